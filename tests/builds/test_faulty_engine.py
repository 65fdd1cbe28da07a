"""Builds on an engine of whose calls one in twenty fails: each comes to an end, nothing stays.

`benchmarks/soak.py` does the same in a hub, for 500 of them.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Callable

import pytest
from tenacity import wait_none
from testbed.fakeclient import FakedEngine
from testbed.fakeengine import FakeContainer, FakeEngine, Script
from testbed.faultyclient import FaultyClient

from repo2dockerspawner.builds import container as container_module
from repo2dockerspawner.builds import patience as patience_module
from repo2dockerspawner.builds import pool as pool_module
from repo2dockerspawner.builds import reading as reading_module
from repo2dockerspawner.builds import sweeping as sweeping_module
from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.builds.container import ContainerBuilder
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.builds.state import State
from repo2dockerspawner.errors import Repo2DockerError
from repo2dockerspawner.images import Images
from repo2dockerspawner.keys import LABEL_PREFIX, container_name, image_name, labels

BUILD_IMAGE = "repo2docker:1"
BUILDS = 50
KINDS = (State.DONE, State.DONE, State.FAILED, State.CANCELLED)
LINES = tuple(
    json.dumps({"message": f"line {number}\n", "phase": "building"}).encode() + b"\n"
    for number in range(20)
)
DAY = 86400.0


def plan(number: int) -> BuildPlan:
    key = hashlib.sha256(str(number).encode()).hexdigest()
    return BuildPlan(
        key=key,
        container=container_name(key),
        image=image_name(key, "repo"),
        labels=labels(key, repo="https://x/y", ref="", commit="c" * 40, subdir=""),
        provider="git",
        url="https://x/y",
        content_id="c" * 40,
        build_image=BUILD_IMAGE,
        timeout=300,
        title=f"owner/{number}",
    )


def kind_of(key: str) -> State:
    return KINDS[int(key[:8], 16) % len(KINDS)]


def script(container: FakeContainer) -> Script:
    codes = {State.DONE: 0, State.FAILED: 1, State.CANCELLED: None}
    kind = kind_of(container.key)
    return Script(LINES, codes[kind], makes_image=kind is State.DONE)


async def launch(pool: BuildPool, number: int) -> Build:
    """Wait for a build as the spawner does, and give up on those that go on for ever."""
    build = pool.join(plan(number), f"user {number % 7}")
    try:
        async for event in build.follow():
            if kind_of(build.plan.key) is State.CANCELLED and "line 19" in event.text:
                pool.cancel(build)
        await build.result()
    except Repo2DockerError:
        pass
    finally:
        pool.leave(build)
    return build


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.01)


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is waited for that only time would bring."""
    monkeypatch.setattr(patience_module, "wait_exponential", lambda **_: wait_none())
    monkeypatch.setattr(pool_module, "_KILL_GRACE", 0.3)
    monkeypatch.setattr(reading_module, "_PAUSE", 0.001)
    monkeypatch.setattr(container_module, "_PAUSE", 0.001)
    monkeypatch.setattr(container_module, "_LOOK_AGAIN", 0.001)


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_each_build_ends_and_nothing_stays(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = FakeEngine()
    fake.add_image(BUILD_IMAGE)
    fake.script = script
    client = FaultyClient(fake, "hub", seed=seed, share=0.05)
    engine = FakedEngine(client)
    builder = ContainerBuilder(engine)
    pool = BuildPool(builder, Images(engine), limit=4)
    threads = set(threading.enumerate())

    builds = await asyncio.wait_for(
        asyncio.gather(*(launch(pool, number) for number in range(BUILDS))), 60
    )

    assert all(build.ended for build in builds)
    assert client.faults.total() > BUILDS / 5, "one in twenty of some ten calls each"
    fake.check()
    for build in builds:
        wanted = kind_of(build.plan.key)
        # a fault may take the image, and nothing makes a failed build one that went well
        assert build.state in {wanted, State.FAILED}, build.error
        assert build.error is None or build.error.reason != "internal"
    ended = Counter(build.state for build in builds)
    assert ended[State.DONE] > BUILDS / 4
    assert ended[State.CANCELLED] > 0

    client.share = 0
    # of those that were cancelled somebody still sees to the container
    await until(lambda: not pool.followed and not engine.under_way)
    monkeypatch.setattr(sweeping_module, "time", fake.clock)
    fake.clock.advance(DAY)
    await builder.sweep(pool.followed)
    with fake.changed:
        left = [one for one in fake.containers.values() if LABEL_PREFIX + "key" in one.labels]
    assert left == []

    await pool.close()
    engine.close()
    await until(lambda: set(threading.enumerate()) <= threads)
    assert asyncio.all_tasks() == {asyncio.current_task()}
