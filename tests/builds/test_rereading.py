"""Reading anew what memory has left out of a build's log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Any

import pytest
from docker.errors import NotFound
from hypothesis import given, settings
from hypothesis import strategies as st

from repo2dockerspawner.builds import rereading as module
from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.builds.events import Event, EventLog
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.rereading import Rereader
from repo2dockerspawner.errors import EngineError
from repo2dockerspawner.launching import Launch

PLAN = BuildPlan(
    key="0" * 64,
    container="r2d-build-0",
    image="image",
    labels={},
    provider="git",
    url="https://example.org/a/b",
    content_id="c" * 40,
)
LINES = [f"#7 {number}.0 line {number}" for number in range(1000)]


class Stream:
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self.closed = False

    def __next__(self) -> bytes:
        return next(self._chunks)

    def close(self) -> None:
        self.closed = True


class Engine:
    """Keeps one log, and counts who reads it."""

    def __init__(self, lines: list[str], error: Exception | None = None) -> None:
        records = (json.dumps({"message": f"{line}\n", "phase": "building"}) for line in lines)
        data = "".join(f"{record}\n" for record in records).encode()
        self._chunks = [data[at : at + 1000] for at in range(0, len(data), 1000)]
        self._error = error
        self.streams: list[Stream] = []
        self.now = self.most = 0

    async def call(self, function: Callable[[Any], Any]) -> Any:
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            await asyncio.sleep(0)
            return function(self)
        finally:
            self.now -= 1

    def logs(self, container: str, *, stream: bool, follow: bool) -> Stream:
        assert (container, stream, follow) == (PLAN.container, True, False)
        if self._error is not None:
            raise self._error
        self.streams.append(Stream(iter(self._chunks)))
        return self.streams[-1]


def reader(engine: Engine) -> Rereader:
    return Rereader(engine)  # type: ignore[arg-type]


async def read(engine: Engine, first: int, last: int, before: str, began: int = 0) -> list[str]:
    build = Build(PLAN, "ann")
    build.run_began = began
    found = [event async for event in reader(engine).of(build)(first, last, before)]
    return [line for event in found for line in event.text.split("\n")]


@pytest.mark.parametrize("portion", [1, 5_000, 10_000_000])
@pytest.mark.parametrize(("first", "last"), [(0, 1000), (0, 1), (300, 700), (999, 1000), (5, 9999)])
async def test_the_lines_between_two_are_read_whatever_the_portions(
    monkeypatch: pytest.MonkeyPatch, portion: int, first: int, last: int
) -> None:
    monkeypatch.setattr(module, "_PORTION", portion)
    engine = Engine(LINES)
    before = LINES[first - 1] if first else ""
    assert await read(engine, first, last, before) == LINES[first:last]
    assert [stream.closed for stream in engine.streams] == [True]


async def test_nothing_is_read_of_another_log() -> None:
    assert await read(Engine(LINES), 300, 700, "something else") == []
    assert await read(Engine(LINES), 300, 300, LINES[299]) == []


async def test_lines_are_counted_from_the_present_containers_first() -> None:
    assert await read(Engine(LINES), 310, 320, LINES[209], began=100) == LINES[210:220]
    # what the one before it printed isn't to be had
    assert await read(Engine(LINES), 50, 320, LINES[49], began=100) == []


@pytest.mark.parametrize("error", [NotFound("gone"), EngineError("away")])
async def test_a_log_that_is_gone_is_none(error: Exception) -> None:
    assert await read(Engine(LINES, error), 300, 700, LINES[299]) == []


async def test_many_who_come_late_leave_the_threads_to_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_PORTION", 1000)
    engine = Engine(LINES)
    rest = reader(engine).of(Build(PLAN, "ann"))

    async def one() -> int:
        return sum([event.lines async for event in rest(0, 1000, "")])

    assert await asyncio.gather(*(one() for _ in range(20))) == [1000] * 20
    assert engine.most == 2


# --- a launch with it


async def told(launch: Launch) -> list[dict[str, Any]]:
    return [one async for one in launch.progress()]


def lines_told(sent: list[dict[str, Any]]) -> list[str]:
    return [line for one in sent for line in one["message"].split("\n")]


def rest_of(lines: list[str], portion: int) -> Any:
    async def rest(first: int, last: int, before: str) -> AsyncGenerator[Event, None]:
        assert before == (lines[first - 1] if first else "")
        there = min(last, len(lines))
        for at in range(first, there, portion):
            part = lines[at : min(at + portion, there)]
            yield Event("\n".join(part), 0.9, "building", is_log=True)

    return rest


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.integers(1, 9), max_size=60),
    st.tuples(st.integers(0, 200), st.integers(0, 200)),
    # its own sentence is not to be read anew anywhere
    st.tuples(st.integers(len("ours") + 1, 200), st.integers(0, 200)),
    st.integers(1, 50),
)
def test_who_comes_late_is_told_every_line_whichever_memory_has_lost_it(
    sizes: list[int], of_build: tuple[int, int], of_launch: tuple[int, int], portion: int
) -> None:
    build, launch = Build(PLAN, "ann"), Launch()
    build.log, launch._log = EventLog(*of_build), EventLog(*of_launch)
    lines: list[str] = []
    for size in sizes:
        part = [f"line {len(lines) + at}" for at in range(size)]
        lines += part
        build.receive([Event("\n".join(part), 0.5, "building", is_log=True)])
    build.log.close()
    launch.rest = rest_of(lines, portion)

    async def watch() -> list[dict[str, Any]]:
        launch.say("ours", "waiting")
        async for event in build.follow():
            launch.forward(event)
        launch.close()
        return await told(launch)

    sent = asyncio.run(watch())
    assert lines_told(sent) == ["ours", *lines]
    assert not [one for one in sent if one.get("gap")]
    ends = [one["line"] for one in sent]
    assert ends == [
        sum(len(lines_told([one])) for one in sent[: at + 1]) for at in range(len(sent))
    ]
    progress = [one["progress"] for one in sent]
    assert progress == sorted(progress)
    parts = asyncio.run(parts_of(launch))
    assert "".join(parts).split("\n") == ["ours", *lines]


async def parts_of(launch: Launch) -> list[str]:
    return [part async for part in launch.log_parts()]


async def test_what_cannot_be_had_is_said_with_its_number() -> None:
    launch = Launch()
    launch._log = EventLog(200, 200)
    lines = [f"line {number}" for number in range(1000)]
    for at, line in enumerate(lines, start=1):
        launch.forward(Event(line, 0.5, "building", is_log=True, printed=at))
    launch.close()
    # the engine has only some more of it
    launch.rest = rest_of(lines[:500], 100)
    sent = await told(launch)
    (gap,) = [one for one in sent if one.get("gap")]
    told_lines = lines_told(sent)
    at = told_lines.index(gap["message"])
    assert told_lines[:at] == lines[:500]
    missing = 1000 - (len(told_lines) - 1)
    assert gap["message"] == f"… {missing:,} lines left out …"
    assert told_lines[at + 1 :] == lines[500 + missing :]
    assert sent[-1]["line"] == 1000
