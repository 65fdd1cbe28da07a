"""Where a credential may be sent: a host, or a folder of repositories on it. Pure.

A place is written ``https://host``, ``https://host:8443/group`` or ``ssh://user@host``, in the
spelling that `addresses.read_address` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import unquote

from .addresses import Address, clean_text, read_address
from .errors import RepoSpecError
from .hosts import CASELESS

__all__ = ["read_place", "spelled", "surroundings"]

_SCHEMES = ("https", "http", "ssh")


def read_place(text: str) -> str:
    """Return a place in its one spelling.

    Raises:
        ValueError: it is none; the text says what is wrong, and not what was given: there may
            be a password in it.
    """
    try:
        address = read_address(clean_text(text), _SCHEMES)
    except RepoSpecError as error:
        raise ValueError(f"The place is wrong: {error.message}") from None
    parts = None if address is None or address.scp or address.query else _parts(address)
    if address is None or parts is None:
        raise ValueError(
            "The place is wrong: it looks like https://host, https://host/group or ssh://git@host."
        )
    return _join(address, parts)


def spelled(place: str, url: str) -> str:
    """Return the place as ``url`` spells it, ``""`` where what is at ``url`` isn't there.

    Scheme, account, host and port have to be the same, and the place's path whole parts of the
    url's. git tells upper and lower case apart also where the host doesn't, so that what is sent
    has to have the url's spelling.

    Args:
        place: from `read_place`.
        url: of a repository, as in `RepoSpec.url`.
    """
    known, asked = _read(place), _read(url)
    if known is None or asked is None or _base(known) != _base(asked):
        return ""
    wanted, parts = _parts(known), _parts(asked)
    if wanted is None or not parts:
        return ""
    given = parts[: len(wanted)]
    same = _comparable(given, parts, asked.host) == _comparable(wanted, parts, asked.host)
    return _join(asked, given) if same else ""


def surroundings(url: str) -> str:
    """Return the place that a repository shares with its neighbours, ``""`` where there is none.

    A person's own credential is sent there, and not to all of the host: a stranger's repository
    may have one of the person's private ones as its submodule.
    """
    address = _read(url)
    parts = _parts(address) if address is not None else None
    return _join(address, parts[:-1]) if address is not None and parts else ""


def _comparable(parts: Sequence[str], of: Sequence[str], host: str) -> list[str]:
    found = [part.lower() if host in CASELESS else part for part in parts]
    if found and len(found) == len(of):
        # the place is the repository itself
        found[-1] = found[-1].removesuffix(".git")
    return found


def _read(url: str) -> Address | None:
    try:
        return read_address(url, _SCHEMES)
    except RepoSpecError:
        return None


def _base(address: Address) -> str:
    return replace(address, scp=False).base


def _join(address: Address, parts: Sequence[str]) -> str:
    return "/".join([_base(address), *parts])


def _parts(address: Address) -> list[str] | None:
    """The path's parts as written; ``None`` where a server may read other ones in them."""
    parts = [part for part in address.path.split("/") if part]
    for part in parts:
        text, before = unquote(part), part
        while text != before:
            text, before = unquote(text), text
        if text in {".", ".."} or "/" in text or "\\" in text:
            return None
    return parts
