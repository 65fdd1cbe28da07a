"""The sweep's rhythm, and its manners with an engine that errs; what it removes is tested on a
real engine.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Collection
from datetime import datetime, timezone
from typing import Any

import pytest

from repo2dockerspawner.builds import sweeping
from repo2dockerspawner.builds.plan import RETENTION_LABEL
from repo2dockerspawner.builds.sweeping import keep_sweeping, sweep
from repo2dockerspawner.engine import APIError, NotFound
from repo2dockerspawner.errors import EngineError
from repo2dockerspawner.keys import LABEL_PREFIX, container_name


class Builder:
    """Sweeps as a test says: what to remove, or an error to raise."""

    def __init__(self, *answers: list[str] | Exception) -> None:
        self.answers = list(answers)
        self.followed: list[list[str]] = []

    async def sweep(self, followed: Collection[str]) -> list[str]:
        self.followed.append(list(followed))
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return answer


class Pool:
    followed: Collection[str] = ("r2d-build-a",)


async def swept(builder: Builder, seconds: float = 0.1) -> None:
    task = asyncio.create_task(keep_sweeping(builder, Pool(), every=0.02))
    await asyncio.sleep(seconds)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def test_it_sweeps_at_once_and_again_with_what_is_followed() -> None:
    builder = Builder()
    await swept(builder)
    assert len(builder.followed) >= 2
    assert builder.followed[0] == ["r2d-build-a"]


async def test_an_engine_that_is_away_is_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    builder = Builder(EngineError("It is away."), ["r2d-build-b"])
    await swept(builder)
    assert "can't be removed now: It is away." in caplog.text
    assert "r2d-build-b" in caplog.text
    assert len(builder.followed) >= 2


async def test_nothing_removed_is_nothing_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await swept(Builder())
    assert not caplog.records


class Client:
    """An engine with ended containers, some of which it errs about."""

    def __init__(self, *keys: str) -> None:
        self.keys = keys
        self.errors: dict[tuple[str, str], Exception] = {}
        self.removed: list[str] = []

    def _may(self, what: str, container: str) -> None:
        if error := self.errors.get((what, container)):
            raise error

    def containers(self, *, all: bool, filters: dict[str, str]) -> list[dict[str, Any]]:  # noqa: A002
        if not filters["label"].endswith("key"):
            return []
        return [
            {
                "Id": key[:1],
                "Names": ["/" + container_name(key)],
                "Labels": {LABEL_PREFIX + "key": key, RETENTION_LABEL: "0"},
            }
            for key in self.keys
        ]

    def inspect_container(self, container: str) -> dict[str, Any]:
        self._may("inspect", container)
        ended = {"Status": "exited", "Running": False, "FinishedAt": "2026-01-01T00:00:00.1Z"}
        return {"State": ended}

    def remove_container(self, container: str, *, force: bool, v: bool) -> None:
        self._may("remove", container)
        self.removed.append(container)


@pytest.mark.parametrize(
    ("what", "error"),
    [
        pytest.param("inspect", NotFound("gone"), id="gone before it is looked at"),
        pytest.param("inspect", APIError("500"), id="not to be looked at"),
        pytest.param("remove", NotFound("gone"), id="gone before it is removed"),
        pytest.param("remove", APIError("409"), id="going"),
        pytest.param("remove", APIError("500"), id="not to be removed"),
    ],
)
def test_one_that_errs_keeps_none_of_the_others(what: str, error: Exception) -> None:
    client = Client("a" * 64, "b" * 64, "c" * 64)
    client.errors[what, "b"] = error
    removed = sweep(client, frozenset())
    assert client.removed == ["a", "c"]
    assert removed == [container_name("a" * 64), container_name("c" * 64)]


def test_what_is_followed_is_not_even_looked_at() -> None:
    client = Client("a" * 64)
    client.errors["inspect", "a"] = AssertionError("looked at")
    assert sweep(client, frozenset([container_name("a" * 64)])) == []


def test_a_container_that_is_losing_its_name_is_passed_over() -> None:
    client = Client("a" * 64)
    entries = client.containers(all=True, filters={"label": "key"})
    nameless = [{**entries[0], "Names": None}]
    client.containers = (  # type: ignore[method-assign]
        lambda **asked: nameless if "key" in asked["filters"]["label"] else []
    )
    assert sweep(client, frozenset()) == []


@pytest.mark.parametrize("form", ["%Y-%m-%dT%H:%M:%S.123456789Z", "%Y-%m-%dT%H:%M:%SZ"])
def test_docker_moments_are_read_in_any_precision(form: str) -> None:
    moment = datetime.fromtimestamp(time.time() - 100, timezone.utc).strftime(form)
    assert sweeping._age(moment) == pytest.approx(100, abs=2)


@pytest.mark.parametrize(
    ("text", "seconds"), [("60", 60), ("0", 0), ("", None), (None, None), ("soon", None)]
)
def test_labels_are_seconds_or_nothing(text: str | None, seconds: float | None) -> None:
    assert sweeping._seconds(text) == seconds
