"""The traits ``credentials`` and ``auth_state_credentials``: read and checked. Pure.

No error here has a secret in its text.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .addresses import has_unseen
from .credentials import Credential
from .places import read_place

__all__ = [
    "MAX_SECRET",
    "TOKEN_USER",
    "HubCredential",
    "check_secret",
    "read_hub_credentials",
    "read_token_paths",
    "token_at",
]

TOKEN_USER = "oauth2"  # noqa: S105 - a user name  # nosec B105
"""The user name beside a token where none is given: GitLab wants it, other hosts take any."""

MAX_SECRET = 4096
"""Characters of a user name, password or token."""

_KEYS = ("place", "username", "password", "key", "known_hosts", "groups")


@dataclass(frozen=True)
class HubCredential:
    """A credential that an administrator has set.

    Attributes:
        credential: the credential.
        groups: JupyterHub's groups whose members may use it; empty is everybody.
    """

    credential: Credential
    groups: frozenset[str] = frozenset()

    def is_for(self, groups: Collection[str]) -> bool:
        """Whether a member of these groups may use it."""
        return not self.groups or not self.groups.isdisjoint(groups)


def check_secret(text: str, name: str) -> None:
    """Pass if a user name, password or token can be sent.

    Raises:
        ValueError: it can't be.
    """
    if len(text) > MAX_SECRET:
        raise ValueError(f"The {name} is longer than {MAX_SECRET} characters.")
    if has_unseen(text):
        raise ValueError(f"The {name} has a line break or another character that can't be seen.")


def read_hub_credentials(entries: Sequence[Any]) -> list[HubCredential]:
    """Read the trait ``credentials``; the longest place comes first.

    Raises:
        ValueError: an entry is wrong.
    """
    found = [_read_entry(number, entry) for number, entry in enumerate(entries, 1)]
    places = [one.credential.place for one in found]
    for place in places:
        if places.count(place) > 1:
            # an image says its place alone: what one of the two opens would be shown to whoever
            # may use the other
            raise ValueError(f"{place} is the place of two entries; give each one of its own")
    return sorted(found, key=lambda one: len(one.credential.place), reverse=True)


def _read_entry(number: int, entry: Any) -> HubCredential:
    def refuse(why: str) -> ValueError:
        return ValueError(f"entry {number} {why}")

    if not isinstance(entry, Mapping):
        raise refuse("is no dict")
    if unknown := [str(key) for key in entry if key not in _KEYS]:
        raise refuse(f"has a {unknown[0]!r}; an entry has {', '.join(_KEYS)}")
    groups = entry.get("groups") or ()
    if isinstance(groups, str) or not all(isinstance(group, str) for group in groups):
        raise refuse("has to have a list of names as its groups")
    texts = {name: entry.get(name) or "" for name in _KEYS if name != "groups"}
    if wrong := [name for name, text in texts.items() if not isinstance(text, str)]:
        raise refuse(f"has a {wrong[0]} that is no text")
    try:
        texts["place"] = read_place(texts["place"])
        for name in ("username", "password"):
            check_secret(texts[name], name)
    except ValueError as error:
        raise refuse(f"can't be used. {error}") from None
    if why := _unfit(texts):
        raise refuse(why)
    if texts["password"]:
        texts["username"] = texts["username"] or TOKEN_USER
    return HubCredential(Credential(**texts), frozenset(groups))


def _unfit(texts: Mapping[str, str]) -> str:
    """Return what is missing or doesn't go together, ``""`` where all is well."""
    ssh = texts["place"].startswith("ssh:")
    if bool(texts["password"]) == bool(texts["key"]):
        return "needs a password or a key, one of them"
    if ssh and (texts["password"] or texts["username"]):
        return "is for ssh, which takes a key and no password, and a user name as a part of place"
    if ssh and not texts["known_hosts"].strip():
        return "needs known_hosts beside its key, or any server could stand in for the host"
    if not ssh and (texts["key"] or texts["known_hosts"]):
        return "has a key or known_hosts, which go with a place ssh://user@host"
    if ":" in texts["username"]:
        return "has a username with a colon in it"
    return ""


# -- a person's own login token -------------------------------------------------------------------


def read_token_paths(hosts: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Read the trait ``auth_state_credentials``.

    Returns:
        place → the path in ``auth_state``.

    Raises:
        ValueError: an entry is wrong.
    """
    found = {}
    for host, path in hosts.items():
        parts = tuple(path.split("."))
        if not all(parts):
            raise ValueError(f"{path!r} is no path like 'access_token' or 'a.b'")
        try:
            place = read_place(host if "://" in host else f"https://{host}")
        except ValueError as error:
            raise ValueError(f"the host of {path!r} can't be used. {error}") from None
        if not place.startswith(("https:", "http:")):
            raise ValueError("ssh takes no token; give the host alone")
        if place.count("/") > 2:  # noqa: PLR2004 - those of https://
            raise ValueError(f"{place} has a path; give the host alone")
        found[place] = parts
    return found


def token_at(auth_state: Any, path: Sequence[str]) -> str:
    """Return the token at a path in ``auth_state``, ``""`` where there is none."""
    for part in path:
        auth_state = auth_state.get(part) if isinstance(auth_state, Mapping) else None
    return auth_state if isinstance(auth_state, str) else ""
