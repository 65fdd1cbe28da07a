"""The catalogue of built images, on an engine that only says what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from repo2dockerspawner.credentials import Reader
from repo2dockerspawner.errors import EngineError, LaunchError
from repo2dockerspawner.images import Environment, Image, Images, choose_environment
from repo2dockerspawner.keys import LABEL_PREFIX, image_name, labels

ANN = Reader("ann")
KEYS = [f"{digit:x}" * 64 for digit in range(10, 16)]


class FakeEngine:
    """Has these images; counts how often it was asked."""

    def __init__(self, *found: dict[str, Any]) -> None:
        self.found = list(found)
        self.asked: list[Any] = []
        self.tagged: dict[str, str] = {}
        self.names: list[tuple[str, str, str]] = []
        self.hold: asyncio.Event | None = None
        self.error: Exception | None = None

    def images(self, filters: dict[str, str]) -> list[dict[str, Any]]:
        self.asked.append(filters)
        return self.found

    def inspect_image(self, image: str) -> dict[str, Any]:
        return {"Metadata": {"LastTagTime": self.tagged.get(image, "0001-01-01T00:00:00Z")}}

    def tag(self, image: str, repository: str, tag: str) -> None:
        self.names.append((image, repository, tag))

    def submit(self, function: Callable[[Any], object]) -> None:
        function(self)

    async def call(self, function: Callable[[Any], Any]) -> Any:
        if self.hold is not None:
            await self.hold.wait()
        if self.error is not None:
            raise self.error
        return function(self)


def summary(key: str = KEYS[0], created: int = 1, **more: Any) -> dict[str, Any]:
    said = {"repo": "https://github.com/o/r", "ref": "main", "commit": "c", "subdir": "", **more}
    tags = said.pop("tags", [f"{image_name(key, 'o/r', prefix='r2d-')}:latest"])
    said.setdefault("name", "o/r")
    return {
        "Id": f"sha256:{key}",
        "RepoTags": tags,
        "Created": created,
        "Labels": labels(key, **said),
    }


def images(*found: dict[str, Any]) -> tuple[Images, FakeEngine]:
    engine = FakeEngine(*found)
    return Images(engine), engine  # type: ignore[arg-type]


async def test_an_image_is_listed_with_what_its_labels_say() -> None:
    catalogue, engine = images(summary(subdir="week 1", created=7))
    assert await catalogue.environments(ANN) == [
        Environment(
            key=KEYS[0],
            image=Image(f"sha256:{KEYS[0]}", image_name(KEYS[0], "o/r", prefix="r2d-")),
            name="o/r",
            repo="https://github.com/o/r",
            ref="main",
            commit="c",
            subdir="week 1",
            built=7.0,
        )
    ]
    assert engine.asked == [{"label": f"{LABEL_PREFIX}key"}]


@pytest.mark.parametrize(
    "hidden",
    [
        summary(owner="bob"),
        summary(tags=None),
        summary(tags=[]),
        summary(tags=["<none>:<none>"]),
        summary(tags=["made-from-ours:latest"]),
        {**summary(), "Labels": {f"{LABEL_PREFIX}key": "short"}},
        {**summary(), "Labels": {}},
        {**summary(), "Labels": None},
    ],
    ids=["another's", "no tags", "empty tags", "dangling", "derived", "no key", "none", "null"],
)
async def test_what_is_not_for_this_user_or_not_ours_is_not_listed(hidden: dict[str, Any]) -> None:
    catalogue, _ = images(hidden, summary(KEYS[1]))
    assert [one.key for one in await catalogue.environments(ANN)] == [KEYS[1]]


async def test_a_private_image_is_its_owners() -> None:
    catalogue, _ = images(summary(owner="ann"))
    assert len(await catalogue.environments(ANN)) == 1
    assert await catalogue.environments(Reader("Ann")) == []
    assert await catalogue.environments(Reader("")) == []


async def test_what_the_hubs_credential_has_opened_is_for_those_who_may_use_it() -> None:
    catalogue, _ = images(summary(place="https://h/staff"))
    assert await catalogue.environments(ANN) == []
    assert await catalogue.environments(Reader("ann", frozenset({"https://h"}))) == []
    found = await catalogue.environments(Reader("bob", frozenset({"https://h/staff"})))
    assert [one.place for one in found] == ["https://h/staff"]


@pytest.mark.parametrize(
    ("said", "theirs"),
    [
        (None, True),
        ({}, True),
        (summary()["Labels"], True),
        ({f"{LABEL_PREFIX}key": KEYS[0]}, True),
        (summary(owner="ann")["Labels"], True),
        (summary(owner="bob")["Labels"], False),
        (summary(place="https://h")["Labels"], False),
        # another hub's, or written by hand
        ({**summary(owner="ann")["Labels"], f"{LABEL_PREFIX}proof": "0" * 64}, False),
        ({f"{LABEL_PREFIX}owner": "ann"}, False),
    ],
    ids=["no labels", "none", "public", "a key", "own", "bob's", "place", "other hub", "by hand"],
)
def test_whose_an_image_is_its_labels_say(said: dict[str, str] | None, theirs: bool) -> None:
    assert images()[0].may_use(said, ANN) is theirs


async def test_one_key_is_listed_once_by_its_newest_image() -> None:
    catalogue, _ = images(summary(created=1), summary(created=3), summary(created=2))
    assert [one.built for one in await catalogue.environments(ANN)] == [3.0]


async def test_a_registry_and_a_tag_are_kept_in_the_name() -> None:
    name = image_name(KEYS[0], "o/r", prefix="r2d-", registry="registry.example:5000/hub")
    catalogue, _ = images(summary(tags=["other:1", f"{name}:v1"]))
    found = await catalogue.environments(ANN)
    assert found[0].image.name == f"{name}:v1"


async def test_what_was_used_last_comes_first() -> None:
    catalogue, engine = images(*(summary(key, created=at) for at, key in enumerate(KEYS)))
    # as an earlier process has left it
    engine.tagged[f"sha256:{KEYS[1]}"] = "2026-01-01T00:00:00Z"
    listed = await catalogue.environments(ANN)
    assert [one.key for one in listed] == [KEYS[at] for at in (1, 5, 4, 3, 2, 0)]
    catalogue.note_use(KEYS[2], listed[4].image)
    listed = await catalogue.environments(ANN)
    assert [one.key for one in listed] == [KEYS[at] for at in (2, 1, 5, 4, 3, 0)]
    assert engine.names == [(listed[0].image.name, listed[0].image.name, "latest")]


async def test_many_pages_at_once_ask_the_engine_once() -> None:
    catalogue, engine = images(summary())
    await asyncio.gather(*(catalogue.environments(Reader(f"user-{n}")) for n in range(50)))
    await catalogue.environments(ANN)
    assert len(engine.asked) == 1
    await catalogue.environments(ANN, fresh=True)
    assert len(engine.asked) == 2


async def test_who_gives_up_waiting_takes_nothing_from_the_others() -> None:
    catalogue, engine = images(summary())
    engine.hold = asyncio.Event()
    patient = asyncio.create_task(catalogue.environments(ANN))
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(catalogue.environments(ANN), 0.01)
    engine.hold.set()
    assert len(await patient) == 1


async def test_after_an_error_the_engine_is_asked_again() -> None:
    catalogue, engine = images(summary())
    engine.error = EngineError("It can't be reached.")
    with pytest.raises(EngineError):
        await catalogue.environments(ANN)
    engine.error = None
    assert len(await catalogue.environments(ANN, fresh=True)) == 1


def environment(key: str, name: str = "o/r") -> Environment:
    return Environment(key, Image("sha256:x", f"r2d-{key[:32]}"), name)


KNOWN = [environment(KEYS[0]), environment("a" * 12 + "b" * 52, "x/y"), environment(KEYS[2], "x/y")]


@pytest.mark.parametrize(
    ("asked", "index"),
    [
        (KEYS[0], 0),
        ("a" * 13, 0),
        ("a" * 12 + "b", 1),
        (KEYS[2][:12], 2),
        ("o/r", 0),
        (f"r2d-{KEYS[2][:32]}", 2),
    ],
)
def test_an_environment_is_found_by_its_key_its_first_digits_or_a_name(
    asked: str, index: int
) -> None:
    assert choose_environment(KNOWN, asked) == KNOWN[index]


@pytest.mark.parametrize(
    ("asked", "status", "words"),
    [
        ("none such", 404, "There is no ready environment none such"),
        (KEYS[2][:11], 404, "no ready environment"),
        ("d" * 12, 404, "no ready environment"),
        ("", 404, "no ready environment"),
        ("a" * 12, 400, "2 ready environments"),
        ("x/y", 400, "first 12 digits of the one you want: aaaaaaaaaaaa, cccccccccccc."),
    ],
)
def test_one_that_is_not_there_or_not_the_only_one_is_refused(
    asked: str, status: int, words: str
) -> None:
    with pytest.raises(LaunchError) as raised:
        choose_environment(KNOWN, asked)
    assert raised.value.field == "environment"
    assert raised.value.status == status
    assert words in raised.value.message
