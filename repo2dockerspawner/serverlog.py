"""What a server prints while it starts, so that the reason is there when it dies."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque
from typing import Any

from .builds.lines import LineAssembler
from .engine import Engine

__all__ = ["ServerLog"]

_LINES = 20


class ServerLog:
    """Follows a container's output from before its start.

    A container that is removed when it ends takes its log with it, so the output is read as it
    comes. `opened` has to be awaited before the container is started, or the first words of one
    that dies at once are lost.

    Attributes:
        ended: set when the container has ended.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lines: deque[str] = deque(maxlen=_LINES)
        self._stream: Any = None
        self.ended = asyncio.Event()

    async def opened(self, container: str) -> None:
        """Attach to a container that is created, but not started.

        Raises:
            EngineError: the engine can't be reached.
            NotFound: there is no such container.
        """
        self._stream = await self._engine.call(
            lambda client: client.attach(container, stream=True, logs=True)
        )
        loop = asyncio.get_running_loop()
        # a thread of its own: it lives for the seconds of a start, and may be one of many
        threading.Thread(target=self._read, args=(loop,), name="r2d-start", daemon=True).start()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        lines = LineAssembler()
        # closed in mid-reading, or the engine went: both end it
        with contextlib.suppress(Exception):
            for chunk in self._stream:
                self._lines.extend(line for line in lines.feed(chunk) if line.strip())
        self._lines.extend(line for line in lines.close() if line.strip())
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(self.ended.set)

    async def has_ended(self, within: float = 1.0) -> bool:
        """Wait at most ``within`` seconds for the container's end; return whether it came."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.ended.wait(), within)
        return self.ended.is_set()

    @property
    def lines(self) -> list[str]:
        """The last lines so far."""
        return list(self._lines)

    def close(self) -> None:
        """Stop following."""
        if self._stream is not None:
            # docker-py raises here what the connection's kind makes of it: over ssh always
            with contextlib.suppress(Exception):
                self._stream.close()
