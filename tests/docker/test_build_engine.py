"""Builds on one real engine, servers on another: what is copied, when, and what is left."""

from __future__ import annotations

import asyncio
import io
import json
import tarfile
import tempfile
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest
from testbed.names import BASE_IMAGE
from testbed.scripted import SCRIPTED_ADDRESS, said
from testbed.secondengine import SecondEngine, second_engine_possible
from testbed.socketbuilds import add_socket_builder, socket_plan
from testbed.twoengines import Two
from testbed.waiting import until

from repo2dockerspawner.builds.imagetar import without_names
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.errors import BuildError, EngineError
from repo2dockerspawner.keys import LABEL_PREFIX

pytestmark = [
    pytest.mark.skipif(not second_engine_possible(), reason="needs root and dockerd"),
    # docker-py leaves a socket that could not connect to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning"),
]

COPYING = "Copying the image to the engine that runs the servers"
MEGABYTE = 10**6


@pytest.fixture(scope="module")
def build_engine() -> Iterator[SecondEngine]:
    made = SecondEngine(Path(tempfile.mkdtemp(prefix="r2d-", dir="/tmp")))
    try:
        made.start()
        add_socket_builder(made)
        yield made
    finally:
        made.close()


@pytest.fixture
async def two(build_engine: SecondEngine, docker_client: docker.DockerClient) -> AsyncIterator[Two]:
    made = Two.of(build_engine, docker_client)
    yield made
    await made.here.close()
    made.builds.close()
    ours = {"label": f"{LABEL_PREFIX}repo={SCRIPTED_ADDRESS}"}
    for one in docker_client.api.images(filters=ours):
        docker_client.api.remove_image(one["Id"], force=True)


async def test_what_one_engine_builds_the_other_starts(two: Two) -> None:
    plan = socket_plan("echo building; sleep 1", size=5 * MEGABYTE)
    task = asyncio.create_task(two.build(plan))
    await until(lambda: two.containers(two.builds, plan) == ["running"])
    assert not two.containers(two.servers, plan)
    info = two.builds.api.inspect_container(plan.container)
    # the socket of the engine that it runs on, not of the one that runs the servers
    socket = str(two.here.build_engine.socket)
    assert info["HostConfig"]["Binds"] == [f"{socket}:/var/run/docker.sock:rw"]
    events = await task
    assert f"{COPYING}." in said(events)
    assert next(event.phase for event in events if COPYING in event.text) == "pushing"
    progress = [event.progress for event in events]
    assert progress == sorted(progress)
    found = await two.here.images.find(plan.key, plan.image)
    assert found is not None
    await two.here.images.check_startable(found, ["sh"])
    ran = two.servers.containers.run(plan.image, ["echo", "from the other engine"], remove=True)
    assert ran == b"from the other engine\n"
    # the engine that builds keeps no copy
    assert not two.images(two.builds, plan)
    assert not two.containers(two.servers, plan)


async def test_a_cancelled_build_ends_on_the_engine_that_builds(two: Two) -> None:
    plan = socket_plan("echo begun; exec sleep 60")
    build = two.here.pool.join(plan, "somebody")
    await until(lambda: two.containers(two.builds, plan) == ["running"])
    since = time.monotonic()
    two.here.pool.leave(build)
    await until(lambda: not two.containers(two.builds, plan), 5)
    assert time.monotonic() - since < 3
    with pytest.raises(BuildError):
        await build.result()
    assert not two.images(two.servers, plan)


@pytest.mark.parametrize("how", ["cancelled", "detached"])
async def test_a_copy_that_is_broken_off_leaves_nothing_and_is_only_made_again(
    two: Two, how: str, build_engine: SecondEngine
) -> None:
    plan = replace(socket_plan(size=100 * MEGABYTE), retention=600)
    build = two.here.pool.join(plan, "somebody")
    await until(lambda: any(COPYING in text for text in said(build.log.kept())), 30)
    since = time.monotonic()
    if how == "cancelled":
        two.here.pool.cancel(build)
        await until(lambda: not two.here.pool.followed)
    else:
        await two.here.pool.close()
    assert time.monotonic() - since < 1
    with pytest.raises(BuildError):
        await build.result()
    two.here.pool.leave(build)
    await until(lambda: not _carrying(), 20)
    assert not two.images(two.servers, plan), "not even one without a name"
    assert len(two.images(two.builds, plan)) == 1
    started = _started(two.builds, plan)
    again = Two.shared_of(f"unix://{build_engine.socket}")
    two.here, before = again, two.here
    events = await two.build(plan)
    assert f"{COPYING}." in said(events)
    assert not [event for event in events if event.is_log], "nothing is built again"
    assert _started(two.builds, plan) == started
    assert len(two.images(two.servers, plan)) == 1
    assert not two.images(two.builds, plan)
    if again is not before:
        await before.close()


def _started(client: docker.DockerClient, plan: BuildPlan) -> str:
    return str(client.api.inspect_container(plan.container)["State"]["StartedAt"])


def _carrying() -> bool:
    return any(one.name == "r2d-carry" for one in threading.enumerate())


async def test_an_engine_that_is_away_keeps_nobody_from_a_ready_image(
    two: Two, build_engine: SecondEngine
) -> None:
    ready = socket_plan()
    await two.build(ready)
    build_engine.stop()
    try:
        with pytest.raises(EngineError) as caught:
            await two.build(socket_plan())
        assert caught.value.reason == "engine_unavailable"
        assert caught.value.message.startswith("The Docker engine that builds can't be reached.")
        found = await two.here.images.find(ready.key, ready.image)
        assert found is not None
        await two.here.images.check_startable(found, ["sh"])
    finally:
        build_engine.start()


def test_names_in_an_archive_are_not_given_on_the_other_side(
    docker_client: docker.DockerClient, build_engine: SecondEngine
) -> None:
    """What a taken-over build engine would send: the name of an image that servers start from."""
    victim = f"r2d-test-victim-{uuid.uuid4().hex[:8]}"
    client = build_engine.client()
    docker_client.images.get(BASE_IMAGE).tag(victim)
    before = docker_client.images.get(victim).id
    build_engine.import_image(victim, {"evil": victim.encode()}, {"evil": victim})
    try:
        # an archive by name has the name in it, in both of its lists
        named = b"".join(client.api.get_image(victim))
        with tarfile.open(fileobj=io.BytesIO(named)) as tar:
            manifest: Any = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
            assert manifest[0]["RepoTags"] == [f"{victim}:latest"]
            assert "repositories" in tar.getnames()
        answers = list(docker_client.api.load_image(b"".join(without_names([named]))))
        assert any("Loaded image ID" in answer.get("stream", "") for answer in answers)
        assert docker_client.images.get(victim).id == before
        (evil,) = docker_client.api.images(filters={"label": f"evil={victim}"})
        assert evil["RepoTags"] in (None, ["<none>:<none>"])
        docker_client.api.remove_image(evil["Id"])
        # as it is, it would have been taken
        list(docker_client.api.load_image(named))
        assert docker_client.images.get(victim).id == evil["Id"]
    finally:
        docker_client.images.remove(victim, force=True)
        client.close()
