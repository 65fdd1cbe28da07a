"""Which way a repository is read."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from repo2dockerspawner.access import own_way, resolve_by, ways_by_hub
from repo2dockerspawner.credentials import PUBLIC, Access, Credential
from repo2dockerspawner.errors import ResolveError
from repo2dockerspawner.hubcredentials import read_hub_credentials
from repo2dockerspawner.repos import RepoSpec, parse_repo
from repo2dockerspawner.resolve import Resolved

URL = "https://h.example/group/repo"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
OWN = Access((Credential("https://h.example/group", "oauth2", "own"),), owner="ann")
HUBS = Access((Credential("https://h.example", "bot", "hub"),), place="https://h.example")


class Host:
    """Opens the repository in some ways; remembers what it was asked.

    Args:
        opens: way → "", or the reason of the error that comes then.
        ready: the ways whose image of `COMMIT` is there.
    """

    def __init__(self, opens: Mapping[Access, str], *ready: Access) -> None:
        self.opens = opens
        self.ready = ready
        self.asked: list[tuple[str, Access]] = []

    async def ask(self, spec: RepoSpec, way: Access) -> Resolved:
        if spec.ref == COMMIT:
            return Resolved(spec, COMMIT)
        self.asked.append((spec.ref, way))
        reason = self.opens.get(way, "repo_not_found")
        if reason:
            raise ResolveError(f"{reason} of {way.scope}", reason=reason)
        return Resolved(spec, "f" * 40, "refs/heads/main")

    async def is_ready(self, resolved: Resolved, way: Access) -> bool:
        return way in self.ready


async def go(host: Host, *ways: Access, ref: str = "main") -> tuple[str, Access]:
    resolved, way = await resolve_by(RepoSpec("git", URL, ref), ways, host.ask, host.is_ready)
    return resolved.content_id, way


async def test_what_anybody_can_read_is_read_without_credentials() -> None:
    host = Host({PUBLIC: "", OWN: "", HUBS: ""})
    assert await go(host, PUBLIC, OWN, HUBS) == ("f" * 40, PUBLIC)
    assert host.asked == [("main", PUBLIC)]


async def test_else_a_persons_own_come_before_the_hubs() -> None:
    host = Host({OWN: "", HUBS: ""})
    assert (await go(host, PUBLIC, OWN, HUBS))[1] == OWN
    assert (await go(Host({HUBS: ""}), PUBLIC, OWN, HUBS))[1] == HUBS


async def test_who_can_t_read_it_is_told_what_is_told_of_one_that_is_not_there() -> None:
    with pytest.raises(ResolveError) as raised:
        await go(Host({}), PUBLIC, OWN, HUBS)
    assert raised.value.message == "repo_not_found of "


@pytest.mark.parametrize("reason", ["host_unreachable", "ref_not_found", "resolve_timeout"])
async def test_another_error_ends_it_and_nothing_more_is_sent(reason: str) -> None:
    host = Host({PUBLIC: reason, OWN: ""})
    with pytest.raises(ResolveError, match=reason):
        await go(host, PUBLIC, OWN)
    assert len(host.asked) == 1


async def test_a_commit_of_a_public_repository_takes_no_question() -> None:
    host = Host({})
    assert await go(host, PUBLIC, ref=COMMIT) == (COMMIT, PUBLIC)
    assert host.asked == []


@pytest.mark.parametrize("ready", [PUBLIC, OWN, HUBS], ids=["public", "own", "hub"])
async def test_a_commit_whose_image_is_there_takes_none_either(ready: Access) -> None:
    host = Host({}, ready)
    assert await go(host, PUBLIC, OWN, HUBS, ref=COMMIT) == (COMMIT, ready)
    assert host.asked == []


@pytest.mark.parametrize("reason", ["", "ref_not_found"], ids=["main", "no default branch"])
async def test_else_the_host_is_asked_which_way_opens_the_commits_repository(reason: str) -> None:
    host = Host({HUBS: reason})
    assert await go(host, PUBLIC, OWN, HUBS, ref=COMMIT) == (COMMIT, HUBS)
    assert host.asked == [("HEAD", PUBLIC), ("HEAD", OWN), ("HEAD", HUBS)]


async def test_a_commit_that_no_way_opens_is_not_there() -> None:
    with pytest.raises(ResolveError, match=r"repo_not_found of $"):
        await go(Host({}), PUBLIC, OWN, ref=COMMIT)


async def test_what_was_typed_is_tried_before_a_commit_is_built() -> None:
    with pytest.raises(ResolveError):
        await go(Host({PUBLIC: ""}), OWN, ref=COMMIT)


# -- the ways


def test_a_persons_own_credential_goes_to_the_repository_and_its_neighbours_alone() -> None:
    spec = parse_repo(URL)
    token = Credential("https://h.example", "oauth2", "tok")
    assert own_way(spec, token, "ann") == Access(
        (Credential("https://h.example/group", "oauth2", "tok"),), owner="ann"
    )
    assert own_way(parse_repo("https://other.example/group/repo"), token, "ann") is None


def test_the_hubs_are_those_of_the_place_the_longest_first() -> None:
    held = read_hub_credentials(
        [
            {"place": "https://github.com", "password": "1"},
            {"place": "https://github.com/Group", "password": "2"},
            {"place": "https://github.com/other", "password": "3"},
            {"place": "https://h.example", "password": "4"},
        ]
    )
    found = ways_by_hub(RepoSpec("git", "https://github.com/group/repo"), held)
    assert [way.place for way in found] == ["https://github.com/Group", "https://github.com"]
    # the spelling is the one that git is going to ask with
    assert found[0].credentials[0].place == "https://github.com/group"
    assert found[0].credentials[0].password == "2"
    assert all(not way.owner for way in found)
