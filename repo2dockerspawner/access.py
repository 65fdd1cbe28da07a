"""Which way a repository is read: without credentials, by a person's own, by the hub's."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace

from .credentials import PUBLIC, Access, Credential
from .errors import ResolveError
from .hosts import FULL_COMMIT
from .hubcredentials import HubCredential
from .places import spelled, surroundings
from .repos import RepoSpec
from .resolve import Resolved

__all__ = ["Ask", "IsReady", "own_way", "resolve_by", "ways_by_hub"]

Ask = Callable[[RepoSpec, Access], Awaitable[Resolved]]
"""Resolves a repository, read in that way."""

IsReady = Callable[[Resolved, Access], Awaitable[bool]]
"""Whether the image of that content, read in that way, is there."""


def own_way(spec: RepoSpec, credential: Credential, user: str) -> Access | None:
    """Return how a user's own credential reads the repository; ``None`` where it isn't for it.

    It is sent to the repository and its neighbours, see `places.surroundings`.
    """
    if not spelled(credential.place, spec.url):
        return None
    return Access((replace(credential, place=surroundings(spec.url)),), owner=user)


def ways_by_hub(spec: RepoSpec, credentials: Iterable[HubCredential]) -> list[Access]:
    """Return how the hub's credentials read the repository, in the order in which they come."""
    found = []
    for one in credentials:
        if place := spelled(one.credential.place, spec.url):
            sent = replace(one.credential, place=place)
            found.append(Access((sent,), place=one.credential.place))
    return found


async def resolve_by(
    spec: RepoSpec, ways: Sequence[Access], ask: Ask, is_ready: IsReady
) -> tuple[Resolved, Access]:
    """Resolve a repository in the first way that it can be read.

    A commit in full takes no question to its host where its image is there already. Where it
    isn't, and there is more than one way, the host is asked which one opens the repository.

    Who can't read it in any way is told what is told of a repository that isn't there.

    Args:
        spec: what was asked for.
        ways: at least one.
        ask: resolves.
        is_ready: looks for an image.

    Raises:
        ResolveError: it can't be resolved.
    """
    if spec.provider != "git" or spec.tail or not FULL_COMMIT.fullmatch(spec.ref):
        return await _first(spec, ways, ask)
    commit = await ask(spec, ways[0])
    if list(ways) == [PUBLIC]:
        return commit, PUBLIC
    for way in ways:
        if await is_ready(commit, way):
            return commit, way

    async def probe(spec: RepoSpec, way: Access) -> Resolved:
        try:
            return await ask(replace(spec, ref="HEAD"), way)
        except ResolveError as error:
            if error.reason == "ref_not_found":  # no default branch, but it can be read
                return commit
            raise

    _, way = await _first(spec, ways, probe)
    return commit, way


async def _first(spec: RepoSpec, ways: Sequence[Access], ask: Ask) -> tuple[Resolved, Access]:
    refused: ResolveError | None = None
    for way in ways:
        try:
            return await ask(spec, way), way
        except ResolveError as error:
            if error.reason != "repo_not_found":
                raise
            refused = refused or error
    raise refused or ValueError("There is no way to read a repository.")
