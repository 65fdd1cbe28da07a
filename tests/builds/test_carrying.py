"""Copying an image from one engine to another, where something goes wrong on the way."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import pytest
import requests
from docker.errors import APIError, ImageNotFound
from testbed.imagearchives import old, packed

from repo2dockerspawner.builds.carrying import Carrier
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.follower import Follower
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.engine import Engine
from repo2dockerspawner.errors import EngineError
from repo2dockerspawner.keys import container_name, labels

KEY = "f" * 64
PLAN = BuildPlan(
    key=KEY,
    container=container_name(KEY),
    image="r2d-repo",
    labels=labels(KEY, repo="https://x/y", ref="", commit="c" * 40, subdir="", secret=b"s"),
    provider="git",
    url="https://x/y",
    content_id="c" * 40,
)
FOREIGN = labels(KEY, repo="https://x/y", ref="", commit="c" * 40, subdir="", secret=b"other")


class HalfEngine(Engine):
    """As much of an engine in memory as a copy asks for."""

    def __init__(self, images: dict[str, dict[str, Any]]) -> None:
        super().__init__()
        # name or id -> what is said of it
        self.images = images
        self.data = packed(old())
        self.loads: dict[str, Any] = {}
        self.answers: Sequence[dict[str, Any]] = ()
        self.before_load: Callable[[], object] = lambda: None
        self.saved = 0
        self.got = b""

    @property
    def client(self) -> Any:
        """The engine's client: itself."""
        return self

    def patient_client(self, seconds: float) -> Any:
        assert seconds == PLAN.timeout
        return self

    def close(self) -> None:
        """Nothing is open."""

    def inspect_image(self, name: str) -> dict[str, Any]:
        if name not in self.images:
            raise ImageNotFound(f"No such image: {name}")
        return self.images[name]

    def get_image(self, name: str, chunk_size: int) -> Iterator[bytes]:
        self.saved += 1
        assert name == self.images[name]["Id"], "by its id, which nobody can move"
        for at in range(0, len(self.data), 512):
            yield self.data[at : at + 512]

    def load_image(self, data: Iterator[bytes], quiet: bool) -> Iterator[dict[str, Any]]:
        assert not quiet
        for piece in data:
            self.got += piece
            self.before_load()
        self.images.update(self.loads)
        yield from self.answers

    def tag(self, image: str, name: str) -> None:
        self.images[name] = self.images[image]

    def remove_image(self, name: str) -> None:
        found = self.images[name]
        self.images = {k: v for k, v in self.images.items() if v is not found}


def image(said: dict[str, str], *names: str) -> dict[str, Any]:
    return {"Id": "sha256:1", "Config": {"Labels": said}, "Size": 10**7, "RepoTags": list(names)}


@pytest.fixture
def source() -> HalfEngine:
    made = image(dict(PLAN.labels), "r2d-repo:latest")
    return HalfEngine({"r2d-repo": made, "sha256:1": made})


@pytest.fixture
def target() -> HalfEngine:
    made = HalfEngine({})
    made.loads = {"sha256:2": {**image(dict(PLAN.labels)), "Id": "sha256:2"}}
    made.answers = [{"stream": "Loaded image ID: sha256:2\n"}]
    return made


class Watcher:
    """A follower, and what it was told."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.loop = asyncio.new_event_loop()
        self.follower = Follower(self.loop, self.events.extend)

    def told(self) -> list[str]:
        self.follower.flush()
        return [event.text for event in self.events]


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher()
    yield made
    made.loop.close()


def settle() -> None:
    for thread in threading.enumerate():
        if thread.name == "r2d-carry":
            thread.join(5)


def test_the_image_is_named_there_and_gone_here(
    source: HalfEngine, target: HalfEngine, watcher: Watcher
) -> None:
    assert Carrier(source, target).carry(PLAN, watcher.follower)
    assert target.images["r2d-repo"]["Id"] == "sha256:2"
    assert not source.images
    assert watcher.told() == ["Copying the image to the engine that runs the servers."]
    assert b"repositories" not in target.got


def test_another_name_that_the_log_told_counts_too(
    source: HalfEngine, target: HalfEngine, watcher: Watcher
) -> None:
    source.images["told"] = source.images.pop("r2d-repo")
    assert Carrier(source, target).carry(PLAN, watcher.follower, "told")
    assert "r2d-repo" in target.images


@pytest.mark.parametrize("said", [FOREIGN, {}, {**FOREIGN, "repo2dockerspawner.key": "0"}])
def test_an_image_without_the_proof_is_not_copied(
    source: HalfEngine, target: HalfEngine, watcher: Watcher, said: dict[str, str]
) -> None:
    source.images["r2d-repo"]["Config"]["Labels"] = said
    assert not Carrier(source, target).carry(PLAN, watcher.follower)
    assert not source.saved
    assert "r2d-repo" in source.images


def test_a_plan_without_a_proof_takes_no_image_at_all(
    source: HalfEngine, target: HalfEngine, watcher: Watcher
) -> None:
    plan = replace(PLAN, labels={})
    source.images["r2d-repo"]["Config"]["Labels"] = {}
    assert not Carrier(source, target).carry(plan, watcher.follower)


def test_what_is_there_already_is_neither_copied_nor_removed(
    source: HalfEngine, watcher: Watcher
) -> None:
    # also where both are one engine
    assert Carrier(source, source).carry(PLAN, watcher.follower)
    assert not source.saved
    assert "r2d-repo" in source.images
    assert not watcher.told()


def test_one_that_arrives_as_another_is_not_named_and_goes(
    source: HalfEngine, target: HalfEngine, watcher: Watcher
) -> None:
    target.loads = {"sha256:2": {**image(FOREIGN), "Id": "sha256:2"}}
    with pytest.raises(EngineError) as caught:
        Carrier(source, target).carry(PLAN, watcher.follower)
    assert caught.value.reason == "image_not_copied"
    assert not target.images
    assert "r2d-repo" in source.images


def test_somebody_elses_image_is_not_removed_though_an_engine_names_it(
    source: HalfEngine, target: HalfEngine, watcher: Watcher
) -> None:
    target.images["sha256:3"] = {**image({}, "jupyter/server:latest"), "Id": "sha256:3"}
    target.answers = [{"stream": "Loaded image ID: sha256:3\n"}]
    with pytest.raises(EngineError):
        Carrier(source, target).carry(PLAN, watcher.follower)
    assert "sha256:3" in target.images
    assert "r2d-repo" not in target.images


def refusal(message: str) -> APIError:
    response = requests.Response()
    response.status_code = 500
    return APIError(message, response=response, explanation=message)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda s, t: setattr(s, "data", b"noise" * 200), "is no image"),
        (lambda s, t: setattr(t, "answers", [{"error": "no space left"}]), "no space left"),
        (lambda s, t: setattr(t, "answers", []), "doesn't say that it has it"),
        (lambda s, t: setattr(t, "loads", {}), "doesn't have it"),
        (lambda s, t: setattr(t, "before_load", lambda: _raise(refusal("full"))), "(full)"),
        (
            lambda s, t: setattr(t, "before_load", lambda: _raise(ConnectionResetError("reset"))),
            "(reset)",
        ),
    ],
    ids=["noise", "refused", "silent", "absent", "an error", "a broken connection"],
)
def test_what_goes_wrong_is_told_and_the_image_is_kept_for_another_time(
    source: HalfEngine,
    target: HalfEngine,
    watcher: Watcher,
    spoil: Callable[[Any, Any], object],
    words: str,
) -> None:
    spoil(source, target)
    with pytest.raises(EngineError) as caught:
        Carrier(source, target).carry(PLAN, watcher.follower)
    assert caught.value.reason == "image_not_copied"
    assert caught.value.status == 503
    assert words in caught.value.message
    assert "r2d-repo" in source.images
    assert "r2d-repo" not in target.images


def _raise(error: Exception) -> None:
    raise error


def test_who_was_faster_with_the_same_copy_is_no_trouble(
    source: HalfEngine, target: HalfEngine, watcher: Watcher
) -> None:
    def faster() -> None:
        target.images["r2d-repo"] = image(dict(PLAN.labels))
        raise refusal("it was removed here meanwhile")

    target.before_load = faster
    assert Carrier(source, target).carry(PLAN, watcher.follower)


@pytest.mark.parametrize("how", ["cancel", "detach"])
@pytest.mark.parametrize("when", ["sending", "loading"])
def test_a_copy_that_is_stopped_returns_at_once_and_leaves_nothing(
    source: HalfEngine, target: HalfEngine, watcher: Watcher, how: str, when: str
) -> None:
    goes_on = threading.Event()

    def stalls() -> None:
        if when == "sending" or target.got.endswith(bytes(1024)):
            getattr(watcher.follower, how)()
            goes_on.wait(5)

    target.before_load = stalls
    since = time.monotonic()
    assert not Carrier(source, target).carry(PLAN, watcher.follower)
    assert time.monotonic() - since < 1
    goes_on.set()
    settle()
    assert not target.images
    assert "r2d-repo" in source.images
    # where it had not all been sent, no more was
    assert (len(target.got) < 2048) == (when == "sending")


def test_how_far_it_is_is_told_once_a_second(
    source: HalfEngine, target: HalfEngine, watcher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repo2dockerspawner.builds.carrying._PAUSE", 0.05)
    monkeypatch.setattr("repo2dockerspawner.builds.carrying._LOOK", 0.02)
    target.before_load = lambda: time.sleep(0.03)
    Carrier(source, target).carry(PLAN, watcher.follower)
    assert "Copying the image to the engine that runs the servers: 0 of 10 MB." in watcher.told()
    assert {event.phase for event in watcher.events} == {"pushing"}


def test_an_image_that_can_not_be_removed_is_copied_nevertheless(
    source: HalfEngine,
    target: HalfEngine,
    watcher: Watcher,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(source, "remove_image", lambda _name: _raise(refusal("in use")))
    assert Carrier(source, target).carry(PLAN, watcher.follower)
    assert "can't be removed from the build engine" in caplog.text
