"""What a pool is doing and has done, in numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from .build import Build

__all__ = ["PoolStatistics", "Tally"]


@dataclass(frozen=True)
class PoolStatistics:
    """A pool at one moment.

    Attributes:
        limit: builds that may run at once.
        queued: builds in line.
        running: builds that have a place, those that are just being ended too.
        ended: builds that have ended since the process began, by reason; ``done`` is success.
        waiting_seconds: what those have waited in line, all together.
        building_seconds: what those have taken from their start to their end, all together.
    """

    limit: int
    queued: int
    running: int
    ended: Mapping[str, int]
    waiting_seconds: float
    building_seconds: float


class Tally:
    """Counts the builds that have ended."""

    def __init__(self) -> None:
        self._ended: Counter[str] = Counter()
        self._waiting = 0.0
        self._building = 0.0

    def ended(self, build: Build, reason: str) -> None:
        """Count a build that has just ended."""
        self._ended[reason] += 1
        end = build.ended_at or build.asked_at
        start = build.started_at
        self._waiting += (start if start is not None else end) - build.asked_at
        if start is not None:
            self._building += end - start

    def statistics(self, limit: int, queued: int, running: int) -> PoolStatistics:
        """Return the counts, with what the pool is doing."""
        return PoolStatistics(
            limit=limit,
            queued=queued,
            running=running,
            ended=MappingProxyType(dict(self._ended)),
            waiting_seconds=self._waiting,
            building_seconds=self._building,
        )
