"""The address of a repository, taken apart and checked: pure, no network.

Only what can't be misread passes: the host that is shown is the host that git will ask, nothing in
it can be taken for an option, a local path, or a piece of a Dockerfile. repo2docker itself checks
none of this (it writes the address unescaped into ``LABEL repo2docker.repo="…"``).
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .errors import RepoSpecError

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = [
    "MAX_TEXT",
    "SUPPORTED_SCHEMES",
    "Address",
    "check_scheme",
    "clean_text",
    "decode_segment",
    "has_unseen",
    "read_address",
]

MAX_TEXT = 2048
"""Characters that a pasted address may have."""

SUPPORTED_SCHEMES = ("https", "ssh", "http", "git")
"""What ``allowed_schemes`` can name; all else (``file``, ``ext``, ``ftp``) is never used."""

_DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22, "git": 9418}

_URL = re.compile(
    r"([A-Za-z][A-Za-z0-9+.\-]*)://([^/?#]*)([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL
)
_SCP = re.compile(r"([^@/:?#]+)@(\[[^\]]*\]|[^@/:\[\]]+):(.+)", re.DOTALL)
_TRANSPORT = re.compile(r"[A-Za-z0-9+.\-]*::")
# Paths of Unix, of Windows with a drive, and on a Windows server.
_LOCAL = re.compile(r"/|\.{1,2}/|~|[A-Za-z]:([/\\]|$)|\\\\|file:", re.IGNORECASE)
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_\-]{0,61}[a-z0-9_])?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+\-]{0,63}")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
# Not legal in a URL as they stand (RFC 3986), but for "$"; '"', "$" and "`" mean something in the
# Dockerfile that repo2docker writes.
_UNSAFE = re.compile(r'["$`<>{}|^\\]')
_NO_LOOK = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


@dataclass(frozen=True)
class Address:
    """A checked address.

    Attributes:
        scheme: one of ``SUPPORTED_SCHEMES``, lower case.
        host: a DNS name or an IPv4 address, lower case, or an IPv6 address in brackets.
        port: ``None`` where it is the scheme's default.
        path: as written (still percent-encoded), begins with ``/``, or is empty; of an scp-like
            address without ``/`` in front it is relative to the account's home directory.
        query: what followed ``?``, as written.
        user: the account of an ssh address, ``""`` for other schemes.
        scp: whether it was written as ``user@host:path``.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    query: str = ""
    user: str = ""
    scp: bool = False

    @property
    def base(self) -> str:
        """``scheme://[user@]host[:port]``."""
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port is not None else ""
        return f"{self.scheme}://{user}{self.host}{port}"

    @property
    def segments(self) -> list[str]:
        """The parts of the path, each decoded exactly once, empty ones left out.

        Raises:
            RepoSpecError: the encoding is not UTF-8, or hides a control character.
        """
        return [decode_segment(part) for part in self.path.split("/") if part]


def has_unseen(text: str) -> bool:
    """Whether ``text`` has a character that can't be seen: control, format, lone surrogate."""
    return any(unicodedata.category(char) in _NO_LOOK for char in text)


def decode_segment(text: str) -> str:
    """``text`` with its percent-encoding decoded once.

    Raises:
        RepoSpecError: the bytes are not UTF-8, or there is a control character among them.
    """
    try:
        decoded = unquote(text, errors="strict")
    except UnicodeDecodeError:
        decoded = "\0"
    if has_unseen(decoded):
        msg = "The address holds an encoded control character; copy it from the browser again."
        raise RepoSpecError(msg, field="repo")
    return decoded


def clean_text(text: str) -> str:
    """The pasted ``text`` without what pasting puts around it.

    Raises:
        RepoSpecError: nothing is left, or it is too long, begins with ``-``, or holds characters
            that no address has.
    """
    text = text.strip().strip("\ufeff\u200b").strip()
    if text.startswith("<") and text.endswith(">"):
        text = text[1:-1].strip()
    if not text:
        raise _refused("Give the address of a repository, or its owner and name as owner/repo.")
    if len(text) > MAX_TEXT:
        raise _refused(f"The address is longer than {MAX_TEXT} characters; paste the address only.")
    if text.startswith("-"):
        raise _refused("An address can't begin with a hyphen; begin with https:// or owner/repo.")
    if has_unseen(text):
        raise _refused("The address holds a control character; copy it from the browser again.")
    if any(char.isspace() for char in text):
        raise _refused("The address has a space in it; paste one address and nothing else.")
    if text in {".", ".."} or _LOCAL.match(text):
        raise _refused(
            "That is a path on a computer; give an address that this hub can fetch from."
        )
    if "\\" in text:
        raise _refused("The address has a backslash in it; addresses are written with /.")
    if _TRANSPORT.match(text):
        raise _refused(
            "Addresses of the form transport::address can't be used; give the https:// address."
        )
    return text


def check_scheme(scheme: str, allowed: Collection[str]) -> None:
    """Pass if ``scheme`` may be used here.

    Raises:
        RepoSpecError: it may not; the sentence names those that may.
    """
    usable = [known for known in SUPPORTED_SCHEMES if known in allowed]
    if scheme in usable:
        return
    if not usable:
        raise _refused("This hub allows no address of git; its administrator sets allowed_schemes.")
    names = " or ".join(f"{known}://" for known in usable)
    raise _refused(
        f"{scheme}:// addresses can't be used on this hub: use {names},"
        " or ask its administrator, who sets allowed_schemes."
    )


def read_address(
    text: str, allowed: Collection[str], *, unchecked: Collection[str] = ()
) -> Address | None:
    """The address that ``text`` (from :func:`clean_text`) is, or ``None`` if it looks like none.

    Args:
        text: a URL, or ``user@host:path`` as ssh has it.
        allowed: the schemes that may be used.
        unchecked: schemes that the caller will check.

    Raises:
        RepoSpecError: it is an address, but not one that may be used.
    """
    if url := _URL.fullmatch(text):
        scheme = url[1].lower()
        if scheme not in unchecked:
            check_scheme(scheme, allowed)
        user, host, port = _authority(scheme, url[2])
        path, query = url[3], url[4] or ""
        address = Address(scheme, host, port, path.rstrip("/"), query, user)
    elif scp := _SCP.fullmatch(text):
        check_scheme("ssh", allowed)
        user, host, _ = _authority("ssh", f"{scp[1]}@{scp[2]}")
        if scp[3].startswith("-"):
            raise _refused("A path on the server can't begin with a hyphen.")
        address = Address("ssh", host, None, scp[3].rstrip("/"), "", user, scp=True)
    elif found := re.match(r"([A-Za-z][A-Za-z0-9+.\-]*):", text):
        if found[1].lower() in SUPPORTED_SCHEMES:
            raise _refused(f"Write two slashes after {found[1].lower()}: and then the host.")
        raise _refused("Begin the address with https://, or with ssh:// where it is ssh's.")
    else:
        return None
    _check_path(address)
    return address


def _check_path(address: Address) -> None:
    for text in (address.path, address.query):
        if _UNSAFE.search(text):
            raise _refused(
                'The address holds one of " $ ` < > { } | ^, which have to be percent-encoded.'
            )
    if any(part in {".", ".."} for part in address.segments):
        raise _refused("The path of an address can't have . or .. in it; give it in full.")


def _authority(scheme: str, text: str) -> tuple[str, str, int | None]:
    userinfo, at, hostport = text.rpartition("@")
    user = ""
    if scheme == "ssh":
        # An account has to be named: without one ssh takes that of the process, which is another
        # one here than in the build. "git" is what every forge uses.
        user = userinfo if at else "git"
        if ":" in user:
            raise _secret()
        if not _USER.fullmatch(user):
            raise _refused("The account before @ isn't one that ssh takes; most use git@.")
    elif at:
        raise _secret()
    if hostport.startswith("["):
        inner, bracket, rest = hostport[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise _refused("The address's IPv6 host has no closing bracket.")
        host, colon, port = _ipv6(inner), rest[:1], rest[1:]
    else:
        name, colon, port = hostport.partition(":")
        host = _host(name)
    return user, host, _port(scheme, port) if colon else None


def _ipv6(text: str) -> str:
    try:
        # A zone (%eth0) is a matter of one machine, and the text of it is free.
        return f"[{ipaddress.IPv6Address(text if '%' not in text else '').compressed}]"
    except ValueError:
        raise _refused("What stands in brackets in the address is no IPv6 address.") from None


def _host(text: str) -> str:
    host = text.lower().removesuffix(".")
    if not host:
        raise _refused("The address names no host; it looks like https://host/owner/repo.")
    if not host.isascii():
        # The standard library's idna codec is that of 2003, browsers have that of 2008: for some
        # names the two lead to different hosts.
        raise _refused("Write the host in its ASCII form, which begins with xn--.")
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):  # noqa: PLR2004 (RFC 1035)
        raise _refused("The host in the address is not a valid host name.")
    if _NUMBER.fullmatch(labels[-1]):
        # 0x7f.1 and 2130706433 are 127.0.0.1 to the resolver, but to no reader and no policy.
        try:
            ipaddress.IPv4Address(host)
        except ValueError:
            raise _refused("Write the host's IP address as four decimal numbers.") from None
    return host


def _port(scheme: str, text: str) -> int | None:
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 0 < int(text) < 2**16:
        raise _refused("The port in the address is not a number from 1 to 65535.")
    port = int(text)
    return None if port == _DEFAULT_PORTS[scheme] else port


def _refused(message: str) -> RepoSpecError:
    return RepoSpecError(message, field="repo")


def _secret() -> RepoSpecError:
    return _refused(
        "Take the user name and password or token out of the address:"
        " they are refused there because they would end up in logs."
    )
