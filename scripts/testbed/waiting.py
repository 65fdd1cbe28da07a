"""Wait until something is so, as long as it takes and no longer than it may."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["until", "wait_until"]

_PAUSE = 0.01


def _did_not(said: Callable[[], object] | None, seconds: float) -> AssertionError:
    return AssertionError(said() if said else f"It did not come so within {seconds:g} s.")


async def until(
    condition: Callable[[], object],
    seconds: float = 10,
    *,
    said: Callable[[], object] | None = None,
) -> None:
    """Wait until something is so; the event loop goes on meanwhile.

    Args:
        condition: asked again and again, the last time when the time is over.
        seconds: how long it may take.
        said: what there is to say where it did not come so.

    Raises:
        AssertionError: it did not.
    """
    deadline = time.monotonic() + seconds
    over = False
    while not condition():
        if over:
            raise _did_not(said, seconds)
        await asyncio.sleep(_PAUSE)
        over = time.monotonic() > deadline


def wait_until(
    condition: Callable[[], object],
    seconds: float = 10,
    *,
    said: Callable[[], object] | None = None,
) -> None:
    """The same for who has no event loop."""
    deadline = time.monotonic() + seconds
    over = False
    while not condition():
        if over:
            raise _did_not(said, seconds)
        time.sleep(_PAUSE)
        over = time.monotonic() > deadline
