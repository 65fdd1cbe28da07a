"""An engine that is really restarted in the middle of a build: told, tried once more, done.

On an engine of the test's own, because the machine's has other people's containers. It needs
root and `dockerd` on this machine; what a proxy can play of it is in test_faults.py.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from testbed.scripted import ScriptBench, printed, said, scripted_plan
from testbed.secondengine import SecondEngine, second_engine_possible
from testbed.waiting import until

from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.engine import Engine

pytestmark = [
    pytest.mark.skipif(not second_engine_possible(), reason="needs root and dockerd"),
    # docker-py leaves a socket that could not connect to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

IMAGE = "scripted"
PROGRAM = b'#!/bin/sh\nexec sh -c "$SCRIPT"\n'
# as repo2docker: it ends with an error as soon as its engine goes
SCRIPT = (
    "trap 'echo the engine has gone; exit 1' TERM; echo begun; "
    "for i in $(seq 20); do sleep 0.1; done; echo ended"
)


@pytest.fixture
def engine() -> Iterator[SecondEngine]:
    # a short path: a socket's may have 107 characters
    bridge = Path("/sys/class/net/docker0/ifindex")
    before = bridge.read_text() if bridge.exists() else ""
    made = SecondEngine(Path(tempfile.mkdtemp(prefix="r2d-", dir="/tmp")))
    try:
        made.start()
        made.import_image(IMAGE, {"usr/local/bin/jupyter-repo2docker": PROGRAM}, {})
        yield made
    finally:
        made.close()
        assert not made.folder.exists()
        assert (bridge.read_text() if bridge.exists() else "") == before, "the machine's bridge"


async def restart(engine: SecondEngine, how: str) -> None:
    await asyncio.to_thread(engine.kill if how == "KILL" else engine.stop)
    await asyncio.sleep(0.5)
    await asyncio.to_thread(engine.start)


def lines(build: Build) -> list[str]:
    return build.log.last_lines(99)


@pytest.mark.parametrize("how", ["KILL", "TERM"])
async def test_a_restarted_engine_is_told_and_the_build_tried_once_more(
    engine: SecondEngine, how: str
) -> None:
    plan = replace(scripted_plan(SCRIPT), build_image=IMAGE)
    engine.import_image(plan.image, {}, plan.labels)
    client = engine.client()
    bench = ScriptBench.on(Engine({"base_url": f"unix://{engine.socket}"}), client)
    try:
        task = asyncio.create_task(bench.build(plan))
        await until(lambda: bench.state(plan) == "running")
        await asyncio.sleep(0.5)
        since = time.monotonic()
        await restart(engine, how)
        events = await asyncio.wait_for(task, 30)
        print(f"{how}: {time.monotonic() - since:.1f} s from the restart to the image")
        assert [text for text in said(events) if "building anew" in text]
        assert printed(events)[0] == "begun"
        assert printed(events)[-2:] == ["begun", "ended"]
        assert printed(events).count("begun") == 2
        assert not bench.state(plan)
    finally:
        await bench.close()
        client.close()


@pytest.mark.parametrize("how", ["KILL", "TERM"])
async def test_an_engine_that_does_not_come_back_is_told(
    engine: SecondEngine, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repo2dockerspawner.builds.patience._PATIENCE", 3)
    plan = replace(scripted_plan(SCRIPT), build_image=IMAGE)
    client: docker.DockerClient = engine.client()
    bench = ScriptBench.on(Engine({"base_url": f"unix://{engine.socket}"}), client)
    try:
        build = bench.pool.join(plan, "ann")
        await until(lambda: lines(build) == ["begun"])
        await asyncio.to_thread(engine.kill if how == "KILL" else engine.stop)
        with pytest.raises(Exception) as caught:  # noqa: PT011 - looked at below
            await asyncio.wait_for(build.result(), 20)
        assert caught.value.reason == "engine_unavailable"
        bench.pool.leave(build)
    finally:
        await bench.close()
        client.close()
