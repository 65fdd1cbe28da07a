"""A part of a build's log, read anew from its container: what memory has left out.

The engine keeps the whole log while it keeps the container; the hub keeps its beginning and end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import Any

from ..credentials import secrets_of
from ..engine import Engine, NotFound
from ..errors import EngineError
from .build import Build
from .events import Event, Rest
from .follower import joined
from .inside.redaction import Redactor
from .logs import LogEvent, LogParser, log_event

__all__ = ["Rereader"]

# Bytes that one call to the engine reads: some 20 ms of parsing, so that no reader keeps others
# from the threads.
_PORTION = 256 * 1024
# Readers that are served at once, of all who have come late.
_AT_ONCE = 2


class Rereader:
    """Reads logs of build containers anew, some at once, each without holding a thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._places = asyncio.Semaphore(_AT_ONCE)

    def of(self, build: Build) -> Rest:
        """Return what reads the log of the build's container."""

        def rest(first: int, last: int, before: str) -> AsyncGenerator[Event, None]:
            # what an earlier container of it printed is gone with that
            begin = build.run_began
            redactor = Redactor(secrets_of(build.plan.credentials))
            reading = _Reading(build.plan.container, first - begin, last - begin, before, redactor)
            return self._read(reading)

        return rest

    async def _read(self, reading: _Reading) -> AsyncGenerator[Event, None]:
        try:
            while not reading.over:
                async with self._places:
                    events = await self._engine.call(reading.more)
                if events:
                    yield joined(events)
        except (EngineError, NotFound):
            return  # it is said how much is missing, as without this
        finally:
            reading.close()


class _Reading:
    """One reading of one container's log, in portions."""

    def __init__(
        self, container: str, first: int, last: int, before: str, redactor: Redactor
    ) -> None:
        self._container = container
        self._first, self._last, self._before = first, last, before
        self._parser = LogParser(redactor=redactor)
        self._stream: Any = None
        self._line = 0
        self.over = not 0 <= first < last

    def more(self, client: Any) -> list[Event]:
        """Return some more of what is wanted; maybe nothing, before its beginning."""
        if self._stream is None:
            self._stream = client.logs(self._container, stream=True, follow=False)
        wanted: list[Event] = []
        left = _PORTION
        while left > 0 and not self.over:
            chunk = next(self._stream, None)
            found = self._parser.close() if chunk is None else self._parser.feed(chunk)
            left -= len(chunk or b"")
            for event in found:
                self._take(event, wanted)
            self.over = self.over or chunk is None
        return wanted

    def _take(self, event: LogEvent, wanted: list[Event]) -> None:
        line, self._line = self._line, self._line + 1
        if line == self._first - 1 and event.text != self._before:
            self.over = True  # another log than the one that was left out of
        if self.over or line < self._first:
            return
        wanted.append(log_event(event))
        self.over = self._line >= self._last

    def close(self) -> None:
        with contextlib.suppress(Exception):
            if self._stream is not None:
                self._stream.close()
