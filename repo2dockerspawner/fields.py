"""What is filled in beside the address (ref, folder, path, URL): checked, pure."""

from __future__ import annotations

import re

from .addresses import has_unseen
from .errors import RepoSpecError

__all__ = ["check_ref", "check_subdir", "check_urlpath", "is_ref", "relative_path"]

_MAX_REF = 255
_MAX_PATH = 1024

_REF_FORBIDDEN = re.compile(r"[~^:?*\[\\]|@\{")
_URLPATH_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*:")


def check_ref(ref: str) -> None:
    """Pass if ``ref`` can be the name of a branch, tag or other ref, or a commit's id.

    The rules are those of ``git check-ref-format --allow-onelevel``; ours are that nothing may
    begin with ``-`` or hold what can't be seen, and the length.

    Raises:
        RepoSpecError: it can't be; ``field`` is ``ref``.
    """

    def refuse(why: str) -> RepoSpecError:
        return RepoSpecError(f"{why}; give a branch, a tag or a commit.", field="ref")

    if not ref:
        raise refuse("The ref is empty")
    if len(ref) > _MAX_REF:
        raise refuse(f"The ref is longer than {_MAX_REF} characters")
    if ref.startswith("-"):
        raise refuse("A ref can't begin with a hyphen")
    if has_unseen(ref) or any(char.isspace() for char in ref):
        raise refuse("A ref can't have a space or a control character in it")
    if _REF_FORBIDDEN.search(ref):
        raise refuse(
            "Forms like main~1, v1^2 or @{u} and the characters ~ ^ : ? * [ \\ can't be used"
        )
    if ".." in ref or ref.endswith(".") or ref == "@":
        raise refuse("A ref can't have .. in it, end with a dot, or be @")
    parts = ref.split("/")
    if "" in parts:
        raise refuse("A ref can't begin or end with a slash or have two in a row")
    if any(part.startswith(".") or part.endswith(".lock") for part in parts):
        raise refuse("No part of a ref can begin with a dot or end with .lock")


def is_ref(text: str) -> bool:
    """Return whether `check_ref` passes."""
    try:
        check_ref(text)
    except RepoSpecError:
        return False
    return True


def relative_path(text: str, field: str, label: str) -> str:
    """``text`` as a path below the top, ``.`` and empty parts left out.

    Raises:
        RepoSpecError: it leads out of the repository, or has characters that no path should.
    """
    text = text.strip()
    if len(text) > _MAX_PATH:
        raise RepoSpecError(f"The {label} is longer than {_MAX_PATH} characters.", field=field)
    if has_unseen(text) or "\\" in text:
        msg = f"The {label} has a backslash or a control character in it; write it with /."
        raise RepoSpecError(msg, field=field)
    parts = text.split("/")
    if text.startswith("/") or ".." in parts:
        msg = f"The {label} has to be inside the repository: no / in front and no .. in it."
        raise RepoSpecError(msg, field=field)
    return "/".join(part for part in parts if part not in {"", "."})


def check_subdir(text: str) -> str:
    """``text`` as a folder below the top that may stand in a command line.

    Raises:
        RepoSpecError: it can't; ``field`` is ``subdir``.
    """
    subdir = relative_path(text, "subdir", "subdirectory")
    if subdir.startswith("-"):
        raise RepoSpecError("The subdirectory can't begin with a hyphen.", field="subdir")
    return subdir


def check_urlpath(text: str) -> str:
    """``text`` as a URL below the server's, without ``/`` in front.

    Raises:
        RepoSpecError: it would lead anywhere else; ``field`` is ``urlpath``.
    """
    text = text.strip().removeprefix("/")
    place = re.split(r"[?#]", text)[0]
    if len(text) > _MAX_PATH:
        msg = f"The URL to open is longer than {_MAX_PATH} characters."
    elif has_unseen(text) or "\\" in text:
        msg = "The URL to open has a backslash or a control character in it; write it with /."
    elif text.startswith("/") or _URLPATH_SCHEME.match(text):
        msg = "The URL to open has to be a path on the server, like lab/tree/index.ipynb."
    elif ".." in re.sub("%2e", ".", place, flags=re.IGNORECASE).split("/"):
        msg = "The URL to open can't have .. in it."
    else:
        return text
    raise RepoSpecError(msg, field="urlpath")
