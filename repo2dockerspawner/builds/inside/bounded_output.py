"""What repo2docker prints, bounded: a gigabyte of it costs no gigabyte on the engine's disk.

The engine could rotate the log, but one that is rotated while it is read loses lines and ends the
reading (tried on engine 20.10 with both of its drivers). So the bound is where the lines are made.

Runs inside a build container, under repo2docker's own Python (>= 3.9, stdlib alone).
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import signal
import time
from collections import deque
from collections.abc import Callable
from typing import Any, TextIO

HEAD = 16 * 1024 * 1024
"""Characters that pass as they are."""
RATE = 2 * 1024
"""Characters a second that pass after that, so that one sees it going on."""
TAIL = 256 * 1024
"""Characters of the last lines, which say why a build failed, kept for the end."""

_BURST = 16 * 1024
# What saying how many lines are left out costs.
_NOTE = 120


class BoundedOutput:
    """A text stream that passes the beginning, then little, and the last lines at the end.

    What is left out is counted and said, as one of repo2docker's own JSON records.

    Args:
        stream: where it goes.
        head: characters that pass as they are.
        rate: characters a second after that.
        tail: characters kept for the end.
        clock: seconds that only go forwards.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        head: int = HEAD,
        rate: float = RATE,
        tail: int = TAIL,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stream = stream
        self._head = head
        self._rate = rate
        self._tail = tail
        self._clock = clock
        self._kept: deque[str] = deque()
        self._kept_size = 0
        self._left_out = 0
        self._allowed = float(_BURST)
        self._since = clock()

    def write(self, text: str) -> int:
        """Take a record (logging writes one at a time, with its newline)."""
        if self._head >= len(text):
            self._head -= len(text)
            self._stream.write(text)
            return len(text)
        self._head = 0
        now = self._clock()
        self._allowed = min(_BURST, self._allowed + (now - self._since) * self._rate)
        self._since = now
        cost = len(text) + _NOTE
        if cost <= self._allowed:
            self._allowed -= cost
            self._give_up_kept()
            self._say_left_out()
            self._stream.write(text)
        else:
            self._kept.append(text)
            self._kept_size += len(text)
            while self._kept_size > self._tail:
                self._drop(self._kept.popleft())
        return len(text)

    def _drop(self, text: str) -> None:
        self._kept_size -= len(text)
        # a record's own newlines are written as \n
        self._left_out += max(1, text.count("\\n"))

    def _give_up_kept(self) -> None:
        while self._kept:
            self._drop(self._kept.popleft())

    def _say_left_out(self) -> None:
        if self._left_out:
            message = f"… {self._left_out:,} lines left out: this build prints too much …\n"
            self._stream.write(json.dumps({"message": message, "phase": "building"}) + "\n")
            self._left_out = 0

    def finish(self) -> None:
        """Write what was kept for the end."""
        self._say_left_out()
        for text in self._kept:
            self._stream.write(text)
        self._kept.clear()
        self._kept_size = 0
        self._stream.flush()

    def flush(self) -> None:
        """Flush what has passed."""
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Be the stream in everything else."""
        return getattr(self._stream, name)


def bounded(stream: TextIO) -> BoundedOutput:
    """Return the stream, bounded; its end is written when the process ends or is told to.

    To be called on the main thread, which alone may say what a signal does.
    """
    output = BoundedOutput(stream)
    atexit.register(output.finish)

    def end(number: int, _: object) -> None:
        # in the middle of whatever this thread is at, so nothing else of it is run any more; where
        # it is just writing, the stream refuses
        with contextlib.suppress(RuntimeError):
            output.finish()
        os._exit(128 + number)

    # the first process of a container has no default: who tells it to end would wait in vain
    signal.signal(signal.SIGTERM, end)
    return output
