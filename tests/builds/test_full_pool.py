"""F21 of the table of faults: builds that hang fill the pool, and concern nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from dockerspawner import DockerSpawner
from testbed.fakeclient import FakeClient, FakedEngine
from testbed.fakeengine import FakeEngine, Script
from testbed.waiting import until

from repo2dockerspawner.builds.container import ContainerBuilder
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.images import Images
from repo2dockerspawner.keys import container_name, labels

HUNG, PLACES = 20, 4


def plan(number: int) -> BuildPlan:
    key = f"{number:032x}" * 2
    return BuildPlan(
        key=key,
        container=container_name(key),
        image=f"r2d-{number}",
        labels=labels(key, repo="https://x/y", ref="", commit="c" * 40, subdir=""),
        provider="git",
        url="https://x/y",
        content_id="c" * 40,
        build_image="builder",
    )


async def slowest(call: Callable[[], Awaitable[object]]) -> float:
    """The 95th percentile of 100 calls, in seconds."""
    taken = []
    for _ in range(100):
        since = time.perf_counter()
        await call()
        taken.append(time.perf_counter() - since)
    return sorted(taken)[94]


async def test_twenty_hung_builds_on_four_places_keep_nobody_else_waiting() -> None:
    fake = FakeEngine()
    fake.add_image("builder")
    fake.script = lambda _: Script((b"begun\n",), None)
    engine = FakedEngine(FakeClient(fake, "hub"))
    images = Images(engine)
    pool = BuildPool(ContainerBuilder(engine), images, limit=PLACES)
    builds = [pool.join(plan(number), f"user-{number}") for number in range(HUNG)]
    await until(lambda: len(fake.running()) == PLACES)
    places = [build.told for build in builds[PLACES:]]
    assert places[0] == f"1st in line; {PLACES} builds are running."
    assert places[-1] == f"{HUNG - PLACES}th in line; {PLACES} builds are running."

    spawner = DockerSpawner()
    loop = asyncio.get_running_loop()
    assert await slowest(lambda: images.find("0" * 64, "not-there")) < 0.05
    # what DockerSpawner asks the engine goes through this one thread
    assert await slowest(lambda: loop.run_in_executor(spawner.executor, time.monotonic)) < 0.05

    for build in builds:
        pool.cancel(build)
    await until(lambda: not pool.statistics().running and not fake.running())
    fake.check()
    await pool.close()
    engine.close()
