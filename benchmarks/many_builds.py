"""500 builds in a row, of which a third fail and a third are cancelled: what stays of them.

The builder is a script in memory: what is measured is the pool, the builds and their logs.
"""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import tracemalloc
from typing import Any, cast

import psutil  # type: ignore[import-untyped]

from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.builds.container import Outcome
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.follower import Follower
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.builds.state import State
from repo2dockerspawner.errors import Repo2DockerError
from repo2dockerspawner.images import Image, Images

from .bed import Bed, CaseError, Options
from .figures import Aim, Row

CASE = "many-builds"
_LINES = 1000
_LIMIT = 4
_KINDS = (State.DONE, State.FAILED, State.CANCELLED)
_TIMED = 60
# seconds after which nobody holds a build any more: a killed one's place is held for up to ten
_GRACE = 11
_KILLED = 137


class _ScriptedBuilder:
    """Prints lines and ends as the plan's content id says; a third waits to be killed."""

    def __init__(self) -> None:
        self._killed: dict[str, threading.Event] = {}
        # keys of what was built and is not asked for yet
        self.made: set[str] = set()

    def run(self, plan: BuildPlan, follower: Follower) -> Outcome:
        follower.ours = True
        ended = self._killed.setdefault(plan.key, threading.Event())
        for line in range(_LINES):
            progress = line / _LINES
            follower.emit(
                Event(f"line {line} of {plan.key} {'.' * 60}", progress, "building", True)
            )
        if plan.content_id == State.CANCELLED.value:
            ended.wait(30)
        del self._killed[plan.key]
        if plan.content_id == State.DONE.value:
            self.made.add(plan.key)
        codes = {State.DONE.value: 0, State.FAILED.value: 1}
        return Outcome(codes.get(plan.content_id, _KILLED), ours=True)

    def kill(self, plan: BuildPlan) -> None:
        self._killed.setdefault(plan.key, threading.Event()).set()


class _Made:
    """The images of what was built, each found once."""

    def __init__(self, made: set[str]) -> None:
        self._made = made

    async def find(self, key: str, *names: str) -> Image | None:
        if key not in self._made:
            return None
        self._made.discard(key)
        return Image(f"sha256:{key}", names[0])


def measure(bed: Bed, options: Options) -> list[Row]:
    """Traced memory per build, and what is left of threads, tasks and descriptors at the end."""
    count = options.size(500, 60)
    figures = asyncio.run(_measure(count))
    bed.say(", ".join(f"{word} {value:.1f}" for word, value in figures.items()))
    return [
        Row(
            CASE,
            f"{count} builds: memory kept per build",
            figures["bytes"] / count / 1024,
            unit="KiB",
            aim=Aim(10, "ours"),
            note=f"{_LINES} lines each; traced; scripted builder in memory",
        ),
        Row(CASE, "process's memory gained", figures["resident"], unit="MiB"),
        *(
            Row(CASE, f"{word} left at the end", figures[word], unit="", aim=Aim(0, "ours"))
            for word in ("threads", "tasks", "descriptors")
        ),
        Row(CASE, "pool's own time per build", figures["seconds"] / _TIMED * 1000, unit="ms"),
    ]


async def _measure(count: int) -> dict[str, float]:
    process = psutil.Process()
    before = _left(process)
    builder = _ScriptedBuilder()
    pool = BuildPool(builder, cast(Images, _Made(builder.made)), limit=_LIMIT)
    await _builds(pool, 0, 30)  # warms up: threads, caches
    started = time.perf_counter()
    await _builds(pool, 1_000_000, _TIMED)
    seconds = time.perf_counter() - started
    tracemalloc.start()
    await _builds(pool, 2_000_000, 30)
    await asyncio.sleep(_GRACE)
    gc.collect()
    resident = process.memory_info().rss
    traced = tracemalloc.get_traced_memory()[0]
    await _builds(pool, 3_000_000, count)
    await asyncio.sleep(_GRACE)
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0] - traced
    tracemalloc.stop()
    gained = (process.memory_info().rss - resident) / (1024 * 1024)
    await pool.close()
    await asyncio.sleep(0.5)
    after = _left(process)
    left = {word: max(0.0, after[word] - before[word]) for word in before}
    return {"bytes": kept, "resident": gained, "seconds": seconds, **left}


def _left(process: Any) -> dict[str, float]:
    return {
        "threads": threading.active_count(),
        "tasks": len(asyncio.all_tasks()),
        "descriptors": process.num_fds(),
    }


async def _builds(pool: BuildPool, first: int, count: int) -> None:
    for number in range(first, first + count):
        kind = _KINDS[number % len(_KINDS)]
        build = pool.join(_plan(number, kind), "ada")
        if kind is State.CANCELLED:
            await anext(build.follow())
            pool.cancel(build)
        await _end(build)
        pool.leave(build)
        if build.state is not kind:
            raise CaseError(f"A build ended {build.state.value} that should be {kind.value}.")


async def _end(build: Build) -> None:
    async for _ in build.follow():
        pass
    try:
        await build.result()
    except Repo2DockerError:
        return


def _plan(number: int, kind: State) -> BuildPlan:
    key = f"{number:064x}"
    return BuildPlan(
        key, f"build-{number}", f"image-{number}", {}, "git", "https://example.org/a", kind.value
    )
