"""What the event loop and the worker thread of one build say to each other.

All that crosses between them is here. The loop never waits for the thread; the thread waits for
the loop only where it is far ahead, which costs nothing: the engine keeps the log for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence
from typing import Protocol

from .colours import Span, shifted
from .events import Event

__all__ = ["Closable", "Follower", "joined"]

# Seconds between two handings-over. The first line after a silence goes at once; a flood goes
# in batches, so that the hub's loop stays free (measured: 200,000 lines one by one cost 2.3 s
# of the loop, in batches 0.06 s). Each batch costs each page that watches some 0.1 ms.
_PAUSE = 0.1
# Events the thread may be ahead of the loop.
_AHEAD = 2000
# What one event may hold, so that a listener gets a flood in portions.
_BATCH_LINES = 200
_BATCH_SIZE = 16 * 1024


class Closable(Protocol):
    """A stream that can be closed from another thread, which ends the reading of it."""

    def close(self) -> None:
        """Close the stream."""


class Follower:
    """The bridge between a build's worker thread and the event loop.

    Args:
        receive: called on the loop with the events of a batch, in order.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        receive: Callable[[Sequence[Event]], None],
    ) -> None:
        self._loop = loop
        self._receive = receive
        # protects what follows; held for moments only
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._pending: list[Event] = []
        self._scheduled = False
        self._stream: Closable | None = None
        self.cancelled = threading.Event()
        self.detached = threading.Event()
        self.ours = False

    @property
    def stopped(self) -> bool:
        """Whether the thread is to end."""
        return self.cancelled.is_set() or self.detached.is_set()

    @property
    def _alone(self) -> bool:
        """Whether nobody takes events any more."""
        return self.detached.is_set() or self._loop.is_closed()

    # -- called on the worker thread -------------------------------------------------------

    def emit(self, event: Event) -> None:
        """Hand an event to the loop; waits where the loop is far behind."""
        with self._lock:
            while len(self._pending) >= _AHEAD and not self._alone:
                self._room.wait(timeout=1)
            self._pending.append(event)
            if self._scheduled and not self._loop.is_closed():
                return
            self._scheduled = True
        self._on_loop(self._drain)

    def opened(self, stream: Closable) -> None:
        """Say which stream is read now; closed at once where the end has come already."""
        with self._lock:
            self._stream = stream
            stopped = self.detached.is_set()
        if stopped:
            _close(stream)

    def _on_loop(self, function: Callable[[], object]) -> None:
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:  # the loop is closed: the process ends
            self.detach()

    # -- called on the loop ----------------------------------------------------------------

    def _drain(self) -> None:
        pending = self._take()
        if pending:
            # first, so that the thread isn't left waiting where `receive` raises
            self._loop.call_later(_PAUSE, self._drain)
            self._receive(_merge(pending))

    def _take(self) -> list[Event]:
        with self._lock:
            pending, self._pending = self._pending, []
            self._scheduled = bool(pending)
            self._room.notify_all()
        return pending

    def flush(self) -> None:
        """Hand over what is left, after the thread has ended."""
        pending = self._take()
        if pending:
            self._receive(_merge(pending))

    def cancel(self) -> None:
        """Say that the build is to end; whoever kills the container does so afterwards."""
        self.cancelled.set()

    def detach(self) -> None:
        """Make the thread end at once, and let the build go on without it."""
        self.detached.set()
        with self._lock:
            stream = self._stream
            self._room.notify_all()
        if stream is not None:
            _close(stream)


def _close(stream: Closable) -> None:
    # docker-py raises here what the connection's kind makes of it: over ssh always
    with contextlib.suppress(Exception):
        stream.close()


def _merge(events: Sequence[Event]) -> list[Event]:
    """Join the log lines that follow each other, up to a portion's size."""
    merged: list[Event] = []
    batch: list[Event] = []
    size = 0

    def flush() -> None:
        nonlocal size
        if batch:
            merged.append(joined(batch))
            batch.clear()
            size = 0

    for event in events:
        more = event.size
        starts_anew = (
            not event.is_log
            or len(batch) >= _BATCH_LINES
            or size + more > _BATCH_SIZE
            or (batch and batch[-1].phase != event.phase)
        )
        if starts_anew:
            flush()
        if event.is_log:
            batch.append(event)
            size += more
        else:
            merged.append(event)
    flush()
    return merged


def joined(events: Sequence[Event]) -> Event:
    """Return one event of the log's lines that follow each other; there is at least one."""
    last = events[-1]
    text = "\n".join(event.text for event in events)
    spans: list[Span] = []
    at = 0
    for event in events:
        if event.spans:
            spans += shifted(event.spans, at)
        at += len(event.text) + 1
    return Event(text, last.progress, last.phase, is_log=True, step=last.step, spans=tuple(spans))
