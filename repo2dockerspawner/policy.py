"""Which repositories may be built here: the administrator's patterns. Pure.

One repository has many addresses. Whoever denies one means it under each address that can be told
to be its own, so a denied pattern is matched generously: any account, any port, either case.
Whoever allows one means no other, so an allowed pattern is matched as it stands.
"""

from __future__ import annotations

import posixpath
import re
import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .errors import PolicyError
from .hosts import CASELESS, forge_of

if TYPE_CHECKING:
    from .repos import RepoSpec

__all__ = ["ANYTHING", "Policy", "matches_allowed", "matches_denied"]

# Where forges take ssh for those whose firewall lets only port 443 through.
_SSH_FRONTS = {
    "ssh.github.com": "github.com",
    "altssh.gitlab.com": "gitlab.com",
    "altssh.bitbucket.org": "bitbucket.org",
}
# As ssh has it too: no port, and the path begins after the ":".
_SCP = re.compile(r"([^@]*@(?:\[[^\]]*\]|[^:]*)):(.*)", re.DOTALL)
_SCHEME = re.compile(r"\A[a-z]+://")
_AUTHORITY = re.compile(r"(?:([^@]*)@)?(\[[^\]]*\]|[^:]*)(?::([0-9]+))?")
# What one server takes for a border between two parts of a path, or for nothing, and another not.
_UNSURE = re.compile(r"%2f|%5c|;|\\", re.IGNORECASE)


@dataclass(frozen=True)
class Policy:
    """The administrator's lists.

    Attributes:
        allowed: patterns ``host/owner/repo`` with ``*``; where there are any, nothing else may be
            built.
        denied: patterns of what may not be built, also where ``allowed`` has it.
    """

    allowed: Collection[str] = ()
    denied: Collection[str] = ()

    def check(self, spec: RepoSpec, leads_to: str = "") -> None:
        """Pass if the repository may be built and started.

        Args:
            spec: the repository.
            leads_to: the address of the page that its DOI leads to, where that is known.

        Raises:
            PolicyError: it may not; ``reason`` is ``repo_denied`` or ``repo_not_allowed``.
        """
        landing = [_Place.of(leads_to.replace("/record/", "/records/"))] if leads_to else []
        if _denied([_place(spec), *landing], self.denied):
            raise PolicyError(
                f"This hub doesn't build {spec.name}: its administrator has excluded it "
                "(denied_repos). Choose another repository, or ask the administrator.",
                reason="repo_denied",
                field="repo",
            )
        if self.allowed and not matches_allowed(spec, self.allowed):
            raise PolicyError(
                f"This hub builds only what its administrator has listed (allowed_repos), and "
                f"{_place(spec)} is not in the list. Choose another repository, or ask the "
                "administrator to add it.",
                reason="repo_not_allowed",
                field="repo",
            )

    def permits(self, spec: RepoSpec) -> bool:
        """Whether `check` passes."""
        try:
            self.check(spec)
        except PolicyError:
            return False
        return True


ANYTHING = Policy()
"""No lists: every repository may be built."""


def matches_allowed(spec: RepoSpec, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns surely means this repository.

    An account other than ``git`` and a port other than the scheme's own have to be in the pattern,
    because another repository may be there.
    """
    if _UNSURE.search(spec.url):
        return False
    place = _place(spec)
    caseless = place.host in CASELESS
    said = str(place).lower() if caseless else str(place)
    return any(
        _fits(said, wanted.lower() if caseless else wanted) for wanted in map(_plain, patterns)
    )


def matches_denied(spec: RepoSpec, patterns: Iterable[str]) -> bool:
    """Whether one of the patterns may mean this repository."""
    return _denied([_place(spec)], patterns)


@dataclass(frozen=True)
class _Place:
    """Where a repository is: what of its address says which one it is."""

    host: str
    path: str
    user: str = ""
    port: str = ""

    @classmethod
    def of(cls, url: str) -> _Place:
        scp = None if _SCHEME.match(url) else _SCP.fullmatch(url)
        authority, path = scp.groups() if scp else _SCHEME.sub("", url).partition("/")[::2]
        found = _AUTHORITY.fullmatch(authority)
        user, host, port = found.groups("") if found else ("", authority, "")
        host = host.lower().removesuffix(".")
        if host in _SSH_FRONTS:
            host, port = _SSH_FRONTS[host], ""
        path = "/".join(unquote(part) for part in path.split("/") if part).removesuffix(".git")
        return cls(forge_of(host) or host, path, "" if user == "git" else user, port)

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        port = f":{self.port}" if self.port else ""
        return f"{user}{self.host}{port}/{self.path}"

    @property
    def ways(self) -> set[str]:
        """How a pattern may have written it, where more than the exact place is meant."""
        # Tomcat and its like leave out what follows a ";" in a part of the path
        bare = "/".join(part.partition(";")[0] for part in re.split(r"[/\\]", self.path))
        paths = {self.path, posixpath.normpath(f"/{bare}").lstrip("/")}
        hosts = {self.host, f"{self.host}:{self.port}"}
        hosts |= {f"{self.user}@{host}" for host in hosts if self.user}
        return {_folded(f"{host}/{path}") for host in hosts for path in paths}


def _place(spec: RepoSpec) -> _Place:
    if spec.host:
        return _Place.of(spec.identity if spec.provider == "zenodo" else spec.url)
    # A DOI means the same in either case (DOI handbook, 2.4); a SWHID is lower case.
    kind = "doi.org" if spec.url.startswith("10.") else "archive.softwareheritage.org"
    return _Place(kind, spec.identity)


def _denied(places: Iterable[_Place], patterns: Iterable[str]) -> bool:
    ways = {way for place in places for way in place.ways}
    wanted = [_folded(_plain(pattern)) for pattern in patterns]
    return any(_fits(way, pattern) for pattern in wanted for way in ways)


def _plain(pattern: str) -> str:
    """The pattern as places are written."""
    authority, slash, path = pattern.partition("/")
    user, at, host = authority.rpartition("@")
    host = host.lower().removesuffix(".")
    host = _SSH_FRONTS.get(host, forge_of(host) or host)
    account = f"{user}@" if at and user != "git" else ""
    return f"{account}{host}{slash}{path.rstrip('/').removesuffix('.git')}"


def _folded(text: str) -> str:
    folded = unicodedata.normalize("NFC", text).casefold()
    return folded.removesuffix(".git")


def _fits(text: str, pattern: str) -> bool:
    # Not fnmatch, for which the brackets of an IPv6 address are a set of characters. Each "*"
    # takes as little as it can: that finds a match where there is one, in linear time.
    first, *rest = pattern.split("*")
    if not rest:
        return text == pattern
    if not text.startswith(first):
        return False
    at = len(first)
    for part in rest[:-1]:
        found = text.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    return text.endswith(rest[-1]) and len(text) - len(rest[-1]) >= at
