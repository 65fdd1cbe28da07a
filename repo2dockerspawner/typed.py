"""A user name and token as somebody types them: kept out of all that JupyterHub keeps.

The form's two fields never become options, and what the REST API is sent is taken out
(`useroptions`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .credentials import Credential
from .errors import LaunchError, PolicyError
from .hubcredentials import TOKEN_USER, check_secret
from .launch import LaunchRequest
from .places import surroundings

__all__ = [
    "PASSWORD",
    "USERNAME",
    "Typed",
    "check_typed",
    "not_wanted",
    "read_typed",
    "without_secrets",
]

USERNAME, PASSWORD = "username", "password"
"""The form's fields, named as in tljh-repo2docker; not among `launch.FIELDS`."""

_ADDRESSES = ("repo", "repourl")
# An account alone is no secret in an ssh:// address; elsewhere it may be a token.
_USERINFO = re.compile(
    r"((?:https?|git)://)[^/?#\s]*@|(ssh://)[^/?#\s@]*:[^/?#\s]*@", re.IGNORECASE
)


@dataclass(frozen=True)
class Typed:
    """What was typed.

    Attributes:
        username: as typed.
        password: a password or token.
        url: the repository that it was typed for, and the only one that it is used for.
    """

    username: str
    password: str = field(repr=False)
    url: str = ""

    def credential(self) -> Credential:
        """Return what is sent, and where."""
        return Credential(surroundings(self.url), self.username or TOKEN_USER, self.password)


def read_typed(fields: Mapping[str, Sequence[Any]]) -> Typed | None:
    """Return what was typed into the form, ``None`` where that is nothing.

    Args:
        fields: name → values, as JupyterHub hands over a form's.
    """
    texts = {}
    for name in (USERNAME, PASSWORD):
        values = fields.get(name) or ("",)
        texts[name] = values[0].strip() if isinstance(values[0], str) else ""
    return Typed(**texts) if any(texts.values()) else None


def check_typed(typed: Typed, request: LaunchRequest, *, allowed: bool) -> Typed:
    """Return what was typed with the repository that it is for.

    Raises:
        LaunchError: it can't be used for what was asked for; ``field`` says what to change.
    """
    spec = request.repo
    if not allowed:
        raise not_wanted()
    if spec is None:
        raise LaunchError(
            "There is a user name or token, but no repository: fill in the repository's address, "
            "or empty the two fields.",
            field="repo",
        )
    if spec.scheme not in {"https", "http"} or spec.provider != "git":
        raise LaunchError(
            "A user name and token go with a git repository's https:// address; give that one, or "
            "empty the two fields.",
            field="repo",
        )
    if not typed.password:
        raise LaunchError(
            "There is a user name, but no token; type the token, or empty the user name.",
            field=PASSWORD,
        )
    if ":" in typed.username:
        raise LaunchError("A user name has no colon in it.", field=USERNAME)
    for text, name, where in (
        (typed.username, "user name", USERNAME),
        (typed.password, "token", PASSWORD),
    ):
        try:
            check_secret(text, name)
        except ValueError as error:
            raise LaunchError(str(error), field=where) from None
    if not surroundings(spec.url):
        raise LaunchError(
            "No token can be sent to this address: its path has an encoded slash or dots in it.",
            field="repo",
        )
    return Typed(typed.username, typed.password, spec.url)


def not_wanted() -> PolicyError:
    """Return the error of whoever types a token where the administrator wants none."""
    return PolicyError(
        "This hub takes no user name or token for repositories (its administrator sets "
        "private_repos); leave them out.",
        field="repo",
    )


# -- what came where no secret may be ---------------------------------------------------------


def without_secrets(options: Any) -> tuple[Any, bool]:
    """Return `user_options` without what may be secret in them, and whether there was any.

    That is a password or token beside the repository, or in its address.
    """
    if not isinstance(options, Mapping):
        return options, False
    kept = {name: value for name, value in options.items() if name != PASSWORD or not value}
    for name in _ADDRESSES:
        if isinstance(kept.get(name), str):
            kept[name] = _USERINFO.sub(r"\1\2", kept[name])
    if kept == dict(options):
        return options, False
    return kept, True
