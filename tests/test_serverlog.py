"""What a server prints while it starts."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from repo2dockerspawner.engine import NotFound
from repo2dockerspawner.serverlog import ServerLog


class Stream:
    """A container's output: what is put into it, until it is closed."""

    def __init__(self, *chunks: bytes, ends: bool = True) -> None:
        self._chunks = chunks
        self._ends = ends
        self.closed = threading.Event()

    def __iter__(self) -> Iterator[bytes]:
        yield from self._chunks
        if not self._ends:
            self.closed.wait(20)
            raise OSError("closed in mid-reading")

    def close(self) -> None:
        self.closed.set()


class StubEngine:
    """Hands out one stream."""

    def __init__(self, stream: Stream | Exception) -> None:
        self.stream = stream
        self.asked: list[tuple[str, dict[str, Any]]] = []

    async def call(self, function: Callable[[Any], Any]) -> Any:
        return function(self)

    def attach(self, container: str, **options: Any) -> Stream:
        self.asked.append((container, options))
        if isinstance(self.stream, Exception):
            raise self.stream
        return self.stream


def server_log(stream: Stream | Exception) -> ServerLog:
    engine: Any = StubEngine(stream)
    return ServerLog(engine)


async def test_the_last_twenty_lines_are_kept_whatever_the_pieces() -> None:
    text = b"".join(b"line %d\n\n" % number for number in range(30))
    log = server_log(Stream(*(text[at : at + 7] for at in range(0, len(text), 7))))
    await log.opened("server")
    assert await log.has_ended(5)
    assert log.lines == [f"line {number}" for number in range(10, 30)]


async def test_a_last_line_without_its_end_is_kept() -> None:
    log = server_log(Stream(b"no settings in lab.toml"))
    await log.opened("server")
    assert await log.has_ended(5)
    assert log.lines == ["no settings in lab.toml"]


async def test_a_server_that_goes_on_has_not_ended() -> None:
    stream = Stream(b"listening\n", ends=False)
    log = server_log(stream)
    await log.opened("server")
    assert not await log.has_ended(0.05)
    log.close()
    assert stream.closed.is_set()
    assert await log.has_ended(5)
    assert log.lines == ["listening"]


async def test_it_is_read_from_before_the_start() -> None:
    engine: Any = StubEngine(Stream())
    await ServerLog(engine).opened("server")
    assert engine.asked == [("server", {"stream": True, "logs": True})]


async def test_a_container_that_is_gone_is_for_the_caller() -> None:
    log = server_log(NotFound("gone"))
    with pytest.raises(NotFound):
        await log.opened("server")
    log.close()
    assert log.lines == []


def test_a_loop_that_ends_first_is_no_error() -> None:
    stream = Stream(ends=False)
    log = server_log(stream)
    asyncio.run(log.opened("server"))
    log.close()
    deadline = 50
    while any(one.name == "r2d-start" for one in threading.enumerate()) and deadline:
        threading.Event().wait(0.05)
        deadline -= 1
    assert deadline
