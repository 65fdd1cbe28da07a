"""Repo spec -> exact content id: the network is asked, Docker is not.

repo2docker's own resolution is not used: it takes the last of several names that exist, so that
``feature/main`` builds ``main`` (``contentproviders/git.py``). Here a name is a name.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from .errors import ResolveError
from .fields import is_ref
from .gitremote import RemoteRefs, ls_remote
from .hosts import FULL_COMMIT
from .registry import follow_doi, is_exact

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from .credentials import Credential
    from .reach import Reach
    from .repos import RepoSpec

__all__ = ["DOI_RESOLVER", "Resolved", "resolve"]

DOI_RESOLVER = "https://doi.org/"

_ABBREVIATED = re.compile(r"[0-9a-fA-F]{4,39}")
# Enough for any ref that a forge shows; each makes six patterns in git's command line.
_MAX_DEPTH = 32


@dataclass(frozen=True)
class Resolved:
    """A repo spec and the exact content that it stands for now.

    Attributes:
        spec: as asked, with ``tail`` resolved into ``ref`` and ``path``.
        content_id: for git the commit, 40 or 64 lower-case hexadecimal digits (fewer only where
            ``exact`` is ``False``); else what identifies the version: a record's URL, a SWHID.
        ref_name: full name of the ref that was taken (``refs/heads/main``, ``refs/tags/v1``;
            ``HEAD`` where it is no branch), ``""`` for a commit and for other providers.
        exact: whether ``content_id`` can never stand for other content. Where it is ``False``,
            an image made of it says nothing about what the same id stands for later.
        note: a sentence for the user where something was chosen for them, else ``""``.
    """

    spec: RepoSpec
    content_id: str
    ref_name: str = ""
    exact: bool = True
    note: str = ""


async def resolve(
    spec: RepoSpec,
    *,
    timeout: float = 30.0,
    environment: Mapping[str, str] | None = None,
    git: str = "git",
    allowed_schemes: Collection[str] = ("https", "ssh"),
    doi_resolver: str = DOI_RESOLVER,
    credential: Credential | None = None,
    reach: Reach | None = None,
) -> Resolved:
    """Find out what ``spec`` stands for now.

    Args:
        spec: from :func:`.repos.parse_repo`.
        timeout: seconds, for all of it.
        environment: for git, see :func:`.gitremote.ls_remote`.
        git: the program.
        allowed_schemes: the transports that git may use.
        doi_resolver: what a DOI is appended to.
        reach: the addresses that may be asked, None for any.
        credential: for git, see :func:`.gitremote.ls_remote`.

    Raises:
        ResolveError: ``reason`` is one of ``repo_not_found``, ``repo_empty``, ``ref_not_found``,
            ``ref_ambiguous``, ``host_not_found``, ``host_unreachable``, ``resolve_timeout``,
            ``too_many_refs``, ``scheme_not_allowed``, ``git_missing``.
        PolicyError: ``address_not_allowed``.
    """
    if spec.provider != "git":
        return await _resolve_record(spec, timeout, doi_resolver, reach)
    if FULL_COMMIT.fullmatch(spec.ref) and not spec.tail:
        return Resolved(spec, spec.ref.lower())
    until = monotonic() + timeout

    async def ask(*names: str) -> RemoteRefs:
        return await ls_remote(
            spec.url,
            names,
            timeout=max(0.1, until - monotonic()),
            environment=environment,
            git=git,
            allowed_schemes=allowed_schemes,
            reach=reach,
            credential=credential,
        )

    return await _Resolution(spec, ask).run()


class _Ask(Protocol):
    async def __call__(self, *names: str) -> RemoteRefs: ...


class _Resolution:
    """One git repository asked, at most three times."""

    def __init__(self, spec: RepoSpec, ask: _Ask) -> None:
        self.spec = spec
        self.ask = ask
        self.prefixes = _prefixes(spec.tail)

    async def run(self) -> Resolved:
        ref = self.spec.ref
        if not ref and not self.prefixes:
            return await self._head()
        asked = [ref] if ref else []
        names = [name for text in [*asked, *self.prefixes] for name in _candidates(text)]
        refs = await self.ask(*dict.fromkeys(names))
        ref = self._split(refs)
        if FULL_COMMIT.fullmatch(ref):
            return Resolved(self.spec, ref.lower())
        found = [name for name in _candidates(ref) if refs.commit(name)]
        if found:
            name = refs.head if found[0] == "HEAD" and refs.head else found[0]
            return Resolved(self.spec, refs.commit(found[0]), name, note=_chosen(ref, found, refs))
        if ref == "HEAD":
            return await self._head()
        tips = await self.ask()
        if _ABBREVIATED.fullmatch(ref):
            return self._abbreviated(ref.lower(), tips)
        raise self._no_ref(ref, tips)

    def _split(self, refs: RemoteRefs) -> str:
        """Find the border in ``tail`` (the longest ref that exists); return the ref to look for."""
        spec = self.spec
        if not self.prefixes:
            return spec.ref
        existing = [text for text in self.prefixes if any(map(refs.commit, _candidates(text)))]
        # Where none exists the first part is all that can be meant: a commit, or a ref that is
        # gone.
        ref = (existing or self.prefixes)[-1 if existing else 0]
        rest = spec.tail[len(ref) + 1 :]
        self.spec = replace(spec, ref=spec.ref or ref, path=spec.path or rest, tail="")
        return self.spec.ref

    async def _head(self) -> Resolved:
        refs = await self.ask("HEAD")
        if commit := refs.commit("HEAD"):
            return Resolved(self.spec, commit, refs.head or "HEAD")
        tips = await self.ask()
        branches = [name for name in tips.ids if name.startswith("refs/heads/")]
        if not branches:
            raise ResolveError(
                f"{self.spec.url} has no commits yet, or is not a git repository;"
                " check the address.",
                reason="repo_empty",
                field="repo",
            )
        raise ResolveError(
            f"{self.spec.url} has no default branch; name a branch{_like('main', tips)}.",
            reason="ref_not_found",
            field="ref",
        )

    def _abbreviated(self, digits: str, tips: RemoteRefs) -> Resolved:
        # Tips of branches and tags only: anybody can push a commit with chosen first digits to a
        # fork and have it listed by opening a pull request.
        commits = {
            tips.commit(name)
            for name in tips.ids
            if not name.endswith("^{}") and tips.commit(name).startswith(digits)
        }
        if len(commits) > 1:
            raise ResolveError(
                f"More than one commit of {self.spec.name} begins with {digits};"
                " give more of its digits.",
                reason="ref_ambiguous",
                status=400,
                field="ref",
            )
        if commits:
            return Resolved(self.spec, commits.pop())
        return Resolved(
            self.spec,
            digits,
            exact=False,
            note=f"No branch or tag of {self.spec.name} is at {digits}: if it is a commit, finding"
            " it takes the whole history, so the build fetches all of it; with all 40 digits"
            " it would be faster.",
        )

    def _no_ref(self, ref: str, tips: RemoteRefs) -> ResolveError:
        if not tips.ids:
            return ResolveError(
                f"{self.spec.url} has no branches and no tags, or is not a git repository;"
                " check the address.",
                reason="repo_empty",
                field="repo",
            )
        return ResolveError(
            f"{self.spec.name} has no branch, tag or other ref {ref}; check its name"
            f"{_like(ref, tips)}.",
            reason="ref_not_found",
            field="ref",
        )


async def _resolve_record(
    spec: RepoSpec, timeout: float, doi_resolver: str, reach: Reach | None
) -> Resolved:
    if spec.url.startswith("10."):
        url = await follow_doi(spec.url, timeout=timeout, resolver=doi_resolver, reach=reach)
        return Resolved(spec, url, exact=is_exact(url))
    if spec.provider == "swhid":
        return Resolved(spec, spec.url)
    content_id = f"{spec.url}@{spec.ref}" if spec.ref else spec.url
    return Resolved(spec, content_id, exact=is_exact(spec.url))


def _prefixes(tail: str) -> list[str]:
    """What of ``tail`` can be the ref, shortest first."""
    if not tail:
        return []
    parts = tail.split("/")
    least = 3 if tail.startswith(("refs/heads/", "refs/tags/")) else 1
    texts = ["/".join(parts[:count]) for count in range(least, min(len(parts), _MAX_DEPTH) + 1)]
    return [text for text in texts if is_ref(text)]


def _candidates(ref: str) -> list[str]:
    """The full names that ``ref`` can stand for, in git's order (gitrevisions(7))."""
    if ref == "HEAD" or ref.startswith("refs/"):
        return [ref]
    return [f"refs/{ref}", f"refs/tags/{ref}", f"refs/heads/{ref}"]


def _chosen(ref: str, found: list[str], refs: RemoteRefs) -> str:
    if len(found) == 1 or len({refs.commit(name) for name in found}) == 1:
        return ""
    kinds = {"tags": "tag", "heads": "branch"}
    kind, other = (kinds.get(name.split("/")[1], "ref") for name in found[:2])
    return (
        f"{ref} is a {kind} and a {other}; the {kind} was taken, as git does:"
        f" for the {other} give {found[1]}."
    )


def _like(ref: str, tips: RemoteRefs) -> str:
    """`` (did you mean …?)`` or nothing. The names are a stranger's: only well-formed ones."""
    short = {
        re.sub(r"\Arefs/(heads|tags)/", "", name)
        for name in tips.ids
        if not name.endswith("^{}") and is_ref(name)
    }
    # The default branch of old and of new repositories.
    usual = {"master": "main", "main": "master"}.get(ref, "")
    close = [usual] if usual in short else difflib.get_close_matches(ref, sorted(short)[:5000], 1)
    if not close and len(short) == 1:
        close = list(short)
    return f" (did you mean {close[0]}?)" if close else ""
