"""What can go wrong, as a tree; each error is one sentence for the person who sees it.

::

    Repo2DockerError
    ├── LaunchError              the request can't be understood or is not allowed (400)
    │   ├── RepoSpecError        the pasted text names no repository we can use
    │   └── PolicyError          understood, but not allowed here (403)
    ├── ResolveError             the repository or ref can't be found (404) or reached (502, 504)
    ├── BuildError               the build ended without an image (see ``reason``)
    │   └── BuildCancelledError  the build was ended on request
    ├── ImageError               the image can't start a server (422)
    └── EngineError              the Docker engine can't do what was asked of it (503)

The module knows nobody: how JupyterHub shows an error is the spawner's business.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "BuildCancelledError",
    "BuildError",
    "EngineError",
    "ImageError",
    "LaunchError",
    "PolicyError",
    "Repo2DockerError",
    "RepoSpecError",
    "ResolveError",
]


class Repo2DockerError(Exception):
    """Base of all errors that a user or an admin sees.

    Attributes:
        message: one sentence, plain text, that says what is wrong and what to do next.
        reason: a code of few values, for logs and metrics (``repo_not_found``).
        status: the HTTP status that fits; below 500 where the user can mend it.
        lines: the lines of a log that matter, oldest first; plain text, may be empty.
        field: the form field the error is about (``repo``, ``ref``, …), or ``""``.
    """

    reason = "error"
    status = 500

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        status: int | None = None,
        lines: Sequence[str] = (),
        field: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason if reason is not None else type(self).reason
        self.status = status if status is not None else type(self).status
        self.lines = tuple(lines)
        self.field = field


class LaunchError(Repo2DockerError):
    """The launch request can't be understood: a wrong field, or fields that contradict."""

    reason = "bad_request"
    status = 400


class RepoSpecError(LaunchError):
    """The pasted text names no repository that can be used here."""

    reason = "bad_repo"


class PolicyError(LaunchError):
    """The request is understood, but this hub doesn't allow it."""

    reason = "not_allowed"
    status = 403


class ResolveError(Repo2DockerError):
    """The repository, or the ref in it, can't be found or reached."""

    reason = "repo_not_found"
    status = 404


class BuildError(Repo2DockerError):
    """A build ended without a usable image."""

    reason = "build_failed"
    status = 422


class BuildCancelledError(BuildError):
    """A build was ended because nobody waited for it any more, or somebody asked for it."""

    reason = "cancelled"
    status = 409


class ImageError(Repo2DockerError):
    """An image is there, but no server can be started from it."""

    reason = "image_unusable"
    status = 422


class EngineError(Repo2DockerError):
    """The Docker engine can't be reached, or refuses."""

    reason = "engine_unavailable"
    status = 503
