"""A pool of builds whose builder runs what a test tells it to, in memory."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from typing import Any

from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.builds.container import Outcome
from repo2dockerspawner.builds.follower import Follower
from repo2dockerspawner.builds.limits import Limits
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.images import Image

from .waiting import until

__all__ = ["GRACE", "House", "build_threads", "plan", "said"]


GRACE = 0.05
"""What the fixture ``grace`` makes of the pool's, in seconds."""


def plan(digit: str, timeout: float = 60) -> BuildPlan:
    """The plan of a build whose key is one digit."""
    return BuildPlan(
        key=digit * 64,
        container=f"r2d-build-{digit}",
        image=f"r2d-{digit}",
        labels={},
        provider="git",
        url="https://x/y",
        content_id="c" * 40,
        timeout=timeout,
        title=f"owner/{digit}",
    )


class Run:
    """One run of a build on a worker thread, blocked on its stream until a test lets it go."""

    def __init__(self, plan: BuildPlan, follower: Follower) -> None:
        self.plan = plan
        self.follower = follower
        self.killed = False
        self.outcome: Outcome | Exception | None = None
        self.wake = threading.Event()

    def close(self) -> None:
        """As a stream: its reading ends."""
        self.wake.set()

    def end(self, outcome: Outcome | Exception) -> None:
        self.outcome = outcome
        self.wake.set()


class ScriptedBuilder:
    """A builder in memory."""

    def __init__(self) -> None:
        self.ours = True
        self.runs: list[Run] = []
        self.killed: list[str] = []
        self.most: Counter[str] = Counter()
        self.going_away = 0.0
        self._active: list[Run] = []
        self._lock = threading.Lock()

    @property
    def active(self) -> list[str]:
        with self._lock:
            return [run.plan.key[0] for run in self._active]

    def of(self, digit: str) -> Run:
        """Return the newest run of a build."""
        return next(run for run in reversed(self.runs) if run.plan.key[0] == digit)

    def run(self, plan: BuildPlan, follower: Follower) -> Outcome:
        run = Run(plan, follower)
        ours = follower.ours = self.ours
        with self._lock:
            self.runs.append(run)
            self._active.append(run)
            for digit, count in Counter(one.plan.key[0] for one in self._active).items():
                self.most[digit] = max(self.most[digit], count)
            self.most["all"] = max(self.most["all"], len(self._active))
        follower.opened(run)
        try:
            assert run.wake.wait(20)
            if run.killed:
                time.sleep(self.going_away)
                return Outcome(137, ours=ours)
            if follower.detached.is_set():
                return Outcome(ours=ours, detached=True)
            if isinstance(run.outcome, Exception):
                raise run.outcome
            assert run.outcome is not None
            return run.outcome
        finally:
            with self._lock:
                self._active.remove(run)

    def kill(self, plan: BuildPlan) -> None:
        self.killed.append(plan.key[0])
        with self._lock:
            for run in self._active:
                if run.plan.key == plan.key:
                    run.killed = True
                    run.wake.set()


class StubImages:
    """Images that are there as soon as a test says so."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.error: Exception | None = None

    async def find(self, key: str, *names: str) -> Image | None:  # noqa: ARG002 - as Images has it
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        found = [name for name in names if name in self.there]
        return Image("sha256:1", found[0]) if found else None


class House:
    """A pool and what a test holds of it."""

    def __init__(self, limit: int, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.builder = ScriptedBuilder()
        self.images = StubImages()
        self.recorded: list[tuple[str, str]] = []
        self.took: list[tuple[str, float]] = []
        images: Any = self.images
        self.pool = BuildPool(
            self.builder,
            images,
            limit=limit,
            record=lambda plan, event: self.recorded.append((plan.key[0], event.text)),
            took=lambda plan, seconds: self.took.append((plan.key[0], seconds)),
        )

    def join(self, digit: str, user: str = "ann", timeout: float = 60) -> Build:
        return self.pool.join(plan(digit, timeout), user, self.limits)

    async def started(self, *digits: str) -> None:
        """Wait until exactly these builds run."""
        await until(lambda: sorted(self.builder.active) == sorted(digits))

    def succeed(self, digit: str) -> None:
        self.images.there.add(f"r2d-{digit}")
        self.builder.of(digit).end(Outcome(0, ours=True))


def build_threads() -> list[threading.Thread]:
    """The threads that follow builds."""
    return [one for one in threading.enumerate() if one.name.startswith("r2d-build")]


def said(build: Build) -> list[str]:
    """What a build has told since it began."""
    return [event.text for event in build.log.kept()]
