"""About how long a build takes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from docker.errors import NotFound

from repo2dockerspawner.builds import durations as module
from repo2dockerspawner.builds.durations import Durations
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.errors import EngineError
from repo2dockerspawner.keys import LABEL_PREFIX, container_name, labels

REPO = "https://example.org/a/b"


def plan(digit: str, repo: str = REPO, subdir: str = "") -> BuildPlan:
    key = digit * 64
    return BuildPlan(
        key=key,
        container=container_name(key),
        image="image",
        labels=labels(key, repo=repo, ref="", commit=digit * 40, subdir=subdir),
        provider="git",
        url=repo,
        content_id=digit * 40,
    )


class Engine:
    """Has containers, as the engine lists and describes them."""

    def __init__(self) -> None:
        self.found: list[dict[str, Any]] = []
        self.error: Exception | None = None
        self.filters: dict[str, str] = {}

    def add(self, of: BuildPlan, seconds: int, name: str = "") -> None:
        self.found.append(
            {
                "Id": str(len(self.found)),
                "Names": ["/" + (name or of.container)],
                "Labels": dict(of.labels),
                "State": {
                    "StartedAt": "2026-01-31T10:59:50.123456789Z",
                    "FinishedAt": f"2026-01-31T11:{seconds // 60:02d}:{seconds % 60:02d}.9Z",
                },
            }
        )

    async def call(self, function: Callable[[Any], Any]) -> Any:
        if self.error is not None:
            raise self.error
        return function(self)

    def containers(self, *, all: bool, filters: dict[str, str]) -> list[dict[str, Any]]:  # noqa: A002
        assert all
        self.filters = filters
        name, _, value = filters["label"].partition("=")
        return [one for one in self.found if one["Labels"].get(name) == value]

    def inspect_container(self, container: str) -> dict[str, Any]:
        if self.found[int(container)].get("gone"):
            raise NotFound("gone")
        return self.found[int(container)]


def durations(engine: Engine) -> Durations:
    return Durations(engine)  # type: ignore[arg-type]


async def test_nothing_is_known_of_a_repository_that_was_never_built() -> None:
    known = durations(Engine())
    known.note(plan("1", "https://example.org/other"), 10)
    known.note(plan("2", subdir="docs"), 10)
    assert await known.about(plan("3")) is None


async def test_it_is_the_median_of_what_is_remembered_and_what_is_kept() -> None:
    engine = Engine()
    known = durations(engine)
    known.note(plan("1"), 100)
    assert await known.about(plan("5")) == 100
    # the same build, told once
    engine.add(plan("1"), 90)
    assert await known.about(plan("5")) == 100
    engine.add(plan("2"), 290)
    engine.add(plan("3"), 50)
    assert await known.about(plan("5")) == 100
    assert engine.filters["exited"] == "0"
    # another folder of it, a server of its image, one that is just going
    engine.add(plan("4", subdir="docs"), 0)
    engine.add(plan("6"), 0, name="jupyter-ann")
    engine.add(plan("7"), 0)
    engine.found[-1]["gone"] = True
    assert await known.about(plan("5")) == 100
    assert await known.about(plan("5", subdir="docs")) == 10


async def test_of_very_many_the_newest_count() -> None:
    known = durations(Engine())
    for seconds in (*[500.0] * 20, *range(9)):
        known.note(plan("1"), seconds)
    assert await known.about(plan("5")) == 4


async def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_REPOSITORIES", 3)
    known = durations(Engine())
    for name in ("a", "b", "c", "a", "d"):
        known.note(plan("1", f"https://example.org/{name}"), 10)
    there = [await known.about(plan("2", f"https://example.org/{name}")) for name in "abcd"]
    assert there == [10, None, 10, 10]


@pytest.mark.parametrize("error", [EngineError("away"), NotFound("gone")])
async def test_without_an_engine_it_is_what_is_remembered(error: Exception) -> None:
    engine = Engine()
    engine.error = error
    known = durations(engine)
    assert await known.about(plan("5")) is None
    known.note(plan("1"), 100)
    assert await known.about(plan("5")) == 100


async def test_a_plan_without_a_repository_asks_for_nothing() -> None:
    engine = Engine()
    assert await durations(engine).about(replace(plan("1"), labels={})) is None
    assert engine.filters == {}
    assert f"{LABEL_PREFIX}repo" not in engine.filters
