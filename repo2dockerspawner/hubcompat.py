"""What differs between the JupyterHub versions that we run on, and how errors reach them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from jupyterhub.utils import url_path_join
from tornado import web

from .errors import Repo2DockerError
from .launch import FIELDS, render

if TYPE_CHECKING:
    from .launching import Launch

try:
    from jupyterhub.spawner import SpawnException
except ImportError:  # JupyterHub 5; the shim that "Upgrading to 6" recommends

    class SpawnException(web.HTTPError):  # type: ignore[no-redef]
        """A spawn that fails for a reason that is no fault of JupyterHub's."""

        def __init__(self, message: str, *, reason: str, status_code: int = 400, **_: Any) -> None:
            super().__init__(status_code, "%s", message)
            self.message = message
            self.reason = reason


__all__ = [
    "EDIT",
    "PRIVATE",
    "ConfirmLaunch",
    "HubLinks",
    "LaunchFailed",
    "SpawnException",
    "hub_links",
]

EDIT = "edit"
"""In a link's query (after ``opt-``): show the form, whatever repository the link is of."""

PRIVATE = "private"
"""Its value where the part for a private repository is to be unfolded; else it is ``1``."""


# Seconds; what one waits for is a build, which takes minutes, or an administrator.
_RETRY_AFTER = 60
_FOR_NOW = {429, 503}


@dataclass(frozen=True)
class HubLinks:
    """Where a server's pages are, as paths with the hub's ``base_url``.

    Attributes:
        form: the spawn page; a POST to it starts.
        change: the same with the entries filled in; it never starts anything.
        server: in the REST API; a DELETE ends the server or its start.
    """

    form: str
    change: str
    server: str


def hub_links(spawner: Any, options: Mapping[str, Any], *, private: bool = False) -> HubLinks:
    """Return the links of a spawner's server, default or named.

    Args:
        spawner: with its ``user`` and ``hub``.
        options: `user_options` to fill in the form with; only ours are taken.
        private: whether the form's part for a private repository is unfolded then.
    """
    parts = [spawner.hub.base_url, "spawn", spawner.user.escaped_name]
    if spawner.name:
        parts.append(quote(spawner.name, safe="@~"))
    form: str = url_path_join(*parts)
    entries = {f"opt-{name}": str(options[name]) for name in FIELDS if options.get(name)}
    edit = {f"opt-{EDIT}": PRIVATE if private else "1"}
    change = f"{form}?{urlencode(entries | edit)}" if entries else form
    return HubLinks(form, change, spawner.user.progress_url(spawner.name).removesuffix("/progress"))


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
    every exception (``consecutive_failure_limit``). The two messages are what its pages and
    event streams show (utils.py, ``format_exception``), ``headers`` are sent with the answer of
    its REST API: ``Retry-After``, where the same may go well later.

    Args:
        error: what went wrong.
        change: address of the form with the entries filled in, ``""`` where there is none.
        launch: what failed; our page of a failed start shows its log for as long as JupyterHub
            keeps the exception, which is until the next start.
    """

    def __init__(
        self, error: Repo2DockerError, *, change: str = "", launch: Launch | None = None
    ) -> None:
        super().__init__(error.message, reason=error.reason, status_code=error.status)
        self.jupyterhub_message = error.message
        self.jupyterhub_html_message = render(
            "failure.html", message=error.message, lines=error.lines, change=change
        )
        self.headers = {"Retry-After": str(_RETRY_AFTER)} if error.status in _FOR_NOW else {}
        self.repo2docker_launch = launch
