"""What differs between the JupyterHub versions that we run on, and how errors reach them."""

from __future__ import annotations

from typing import Any

from tornado import web

from .errors import Repo2DockerError
from .launch import render

try:
    from jupyterhub.spawner import SpawnException
except ImportError:  # JupyterHub 5; the shim that "Upgrading to 6" recommends

    class SpawnException(web.HTTPError):  # type: ignore[no-redef]
        """A spawn that fails for a reason that is no fault of JupyterHub's."""

        def __init__(self, message: str, *, reason: str, status_code: int = 400, **_: Any) -> None:
            super().__init__(status_code, "%s", message)
            self.message = message
            self.reason = reason


__all__ = ["ConfirmLaunch", "LaunchFailed", "SpawnException"]


class ConfirmLaunch(Exception):  # noqa: N818 - no error: it makes JupyterHub show the form
    """A link filled in the form; a person has to press Start.

    JupyterHub starts a server on a mere GET with options (pages.py, ``_get``), which any page
    on the web can make a browser do. Raised from ``options_from_query`` this shows the form
    instead; the empty message shows no alert above it.
    """

    jupyterhub_message = ""


class LaunchFailed(SpawnException):  # type: ignore[misc]
    """What `Spawner.start` raises so that the person sees the error's sentence.

    JupyterHub 6 does not count a ``SpawnException`` as a failure of its own; JupyterHub 5 counts
    every exception (``consecutive_failure_limit``). The two attributes are what its pages and
    event streams show (utils.py, ``format_exception``).
    """

    def __init__(self, error: Repo2DockerError) -> None:
        super().__init__(error.message, reason=error.reason, status_code=error.status)
        self.jupyterhub_message = error.message
        self.jupyterhub_html_message = render(
            "failure.html", message=error.message, lines=error.lines
        )
