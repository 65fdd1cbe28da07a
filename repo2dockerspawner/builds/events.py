"""A bounded log of events that any number of listeners read, each at its own pace."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from .colours import SPAN_SIZE, Span

__all__ = ["HEAD_SIZE", "TAIL_SIZE", "Event", "EventLog", "Numbered", "Rest"]

HEAD_SIZE = 64 * 1024
"""Characters kept of a log's beginning, where a build says what it is doing."""
TAIL_SIZE = 256 * 1024
"""Characters kept of its end, where a build says why it failed."""


# A tuple, as `logs.LogEvent` is: one is made of each line of a flood, and a frozen dataclass takes
# three times as long.
class Event(NamedTuple):
    """Something that happened in a build or a launch.

    Attributes:
        text: one clean line, or for a log several joined by newlines. Text, never HTML.
        progress: of the whole, from 0.0 to 1.0; never less than an earlier event's.
        phase: ``waiting``, ``fetching``, ``building``, ``pushing`` or ``starting``.
        is_log: whether the text is what the build printed, or a sentence of ours.
        step: (4, 9) for "step 4 of 9", where it is known.
        place: in line, from 1 on, where the build waits.
        spans: which parts of what the build printed were coloured.
        printed: how many lines the build has printed up to its end, where it is a log's.
        missing: lines that it stands for, where it only says that they are left out.
    """

    text: str
    progress: float
    phase: str = ""
    is_log: bool = False
    step: tuple[int, int] | None = None
    place: int | None = None
    spans: tuple[Span, ...] = ()
    printed: int = 0
    missing: int = 0

    @property
    def lines(self) -> int:
        """The number of lines in the text, or left out."""
        return self.missing or self.text.count("\n") + 1

    def cut_to(self, missing: int) -> Event:
        """Return the same of other lines left out."""
        return self._replace(text=f"… {missing:,} lines left out …", missing=missing)

    @property
    def size(self) -> int:
        """What it counts as, in characters."""
        # the newline; so empty lines count too
        return len(self.text) + 1 + SPAN_SIZE * len(self.spans)


@dataclass(frozen=True)
class Numbered:
    """An event and where it stands, the same for every listener.

    Attributes:
        event: what happened.
        index: its number among all events, from 0 on; of a gap, that of the last event in it.
        line: how many lines there have been up to its end.
    """

    event: Event
    index: int
    line: int


class Rest(Protocol):
    """Reads what a build has printed, from one of its lines to another."""

    def __call__(self, first: int, last: int, before: str) -> AsyncGenerator[Event, None]:
        """Yield lines ``first`` to ``last`` (from 0 on, without the last), as far as there.

        ``before`` is the line before the first; where another one is there, nothing is yielded.
        """


class EventLog:
    """Events from the first to the last, the middle left out where there are too many.

    Guarantees:
      - a listener that keeps up sees every event, in order;
      - who comes later sees the head, how many lines are left out, and the tail;
      - what is there is handed out without waiting, so the last events before an end are
        never lost (JupyterHub stops listening as soon as it would have to wait);
      - memory is bounded by ``head`` and ``tail`` characters, and one event.

    Belongs to one event loop.
    """

    def __init__(self, head: int = HEAD_SIZE, tail: int = TAIL_SIZE) -> None:
        self._limits = (head, tail)
        self._head: list[Event] = []
        self._tail: deque[Event] = deque()
        self._head_size = self._tail_size = 0
        self._head_lines = 0
        self._dropped = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self.left_out = 0
        self.closed = False

    def append(self, event: Event) -> None:
        """Add an event and wake whoever waits for one."""
        size = event.size
        if not self._tail and self._head_size + size <= self._limits[0]:
            self._head.append(event)
            self._head_size += size
            self._head_lines += event.lines
        else:
            self._tail.append(event)
            self._tail_size += size
            while self._tail_size > self._limits[1] and len(self._tail) > 1:
                old = self._tail.popleft()
                self._tail_size -= old.size
                self._dropped += 1
                self.left_out += old.lines
        self._wake()

    def close(self) -> None:
        """Say that no more events come."""
        self.closed = True
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, set()
        for future in waiting:
            if not future.done():
                future.set_result(None)

    def __len__(self) -> int:
        """The number of events there have been."""
        return len(self._head) + self._dropped + len(self._tail)

    def last_lines(self, limit: int) -> list[str]:
        """Return the last lines that the build printed, oldest first."""
        lines: list[str] = []
        for event in (*reversed(self._tail), *reversed(self._head)):
            if event.is_log:
                lines[:0] = event.text.split("\n")
            if len(lines) >= limit:
                break
        return lines[-limit:]

    def kept(self) -> list[Event]:
        """Return what is kept, and where something is left out, an event that says so."""
        missing = [self._gap(self.left_out)] if self._dropped else []
        return [*self._head, *missing, *self._tail]

    def _at(self, index: int) -> Event:
        head = len(self._head)
        return self._head[index] if index < head else self._tail[index - head - self._dropped]

    async def follow(self) -> AsyncIterator[Event]:
        """Yield all events from the first on, until the log is closed."""
        async for numbered in self.numbered():
            yield numbered.event

    async def numbered(self) -> AsyncIterator[Numbered]:
        """Yield all events as `follow` does, each with its number."""
        index = lines = 0
        while True:
            while index < len(self):
                first = len(self._head) + self._dropped
                if len(self._head) <= index < first:
                    missing = self._head_lines + self.left_out - lines
                    index, lines = first, lines + missing
                    yield Numbered(self._gap(missing), first - 1, lines)
                    continue
                event = self._at(index)
                index += 1
                lines += event.lines
                yield Numbered(event, index - 1, lines)
            if self.closed:
                return
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.add(future)
            try:
                await future
            finally:
                self._waiting.discard(future)

    def _gap(self, lines: int) -> Event:
        after = self._tail[0]
        printed = next((one.printed - one.lines for one in self._tail if one.is_log), 0)
        gap = Event("", after.progress, after.phase, is_log=True, printed=max(0, printed))
        return gap.cut_to(lines)
