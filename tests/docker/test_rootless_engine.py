"""Builds on a real engine without root: somebody else's account, with no rights on the machine."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import psutil
import pytest
from testbed.builds import Bench
from testbed.enginelink import EngineLink
from testbed.names import REPO2DOCKER_IMAGE
from testbed.scripted import said
from testbed.secondengine import RootlessEngine, rootless_engine_possible
from testbed.socketbuilds import add_socket_builder, socket_plan
from testbed.twoengines import Two
from testbed.waiting import until

pytestmark = pytest.mark.skipif(bool(rootless_engine_possible()), reason=rootless_engine_possible())

NOBODY = 65534
SMALL = "small-base"
DOCKERFILE = f"""FROM {SMALL}
RUN echo "made by a step" > /made
COPY . /repository
"""


@pytest.fixture(scope="module")
def rootless(docker_client: docker.DockerClient) -> Iterator[RootlessEngine]:
    folder = Path(tempfile.mkdtemp(prefix="r2d-", dir="/tmp"))
    made = RootlessEngine(folder, link=EngineLink())
    try:
        made.start()
        yield made
    finally:
        made.close()


@pytest.fixture
async def two(rootless: RootlessEngine, docker_client: docker.DockerClient) -> AsyncIterator[Two]:
    made = Two.of(rootless, docker_client)
    yield made
    await made.here.close()
    made.builds.close()


async def test_the_root_of_a_build_container_is_nobody_on_the_machine(
    two: Two, rootless: RootlessEngine
) -> None:
    add_socket_builder(rootless)
    assert "name=rootless" in two.builds.info()["SecurityOptions"]
    plan = replace(socket_plan("sleep 1", size=10**6), memory_limit=2**30)
    task = asyncio.create_task(two.build(plan))
    await until(lambda: two.containers(two.builds, plan) == ["running"])
    info = two.builds.api.inspect_container(plan.container)
    assert info["HostConfig"]["Binds"][0].startswith(f"{rootless.socket}:")
    assert info["HostConfig"]["CapDrop"] == ["ALL"]
    assert psutil.Process(info["State"]["Pid"]).uids().real == NOBODY
    await task
    assert len(two.images(two.servers, plan)) == 1
    two.servers.images.remove(plan.image, force=True)


async def test_repo2docker_builds_there_and_servers_start_here(
    two: Two, rootless: RootlessEngine, bench: Bench
) -> None:
    rootless.load_image(REPO2DOCKER_IMAGE, two.servers)
    rootless.import_image(SMALL, {}, {}, ("cat",))
    url, commit = bench.repository(Dockerfile=DOCKERFILE, notebook="of the repository\n")
    plan = replace(
        bench.plan(url, commit),
        # the engine's own network: it has no other, as the machine of a test has no slirp4netns
        network="host",
        extra_args=("--DockerEngine.extra_buildx_build_args=--network=host",),
        memory_limit=2**30,
    )
    events = await two.build(plan)
    try:
        found = await two.here.images.find(plan.key, plan.image)
        assert found is not None
        await two.here.images.check_startable(found, ["sh"])
        shown = two.servers.containers.run(
            plan.image, ["cat", "/made", "/repository/notebook"], remove=True
        )
        assert shown == b"made by a step\nof the repository\n"
        assert "Copying the image to the engine that runs the servers." in said(events)
        assert any("naming to docker.io/library/" in event.text for event in events)
        assert not two.images(two.builds, plan)
        assert not two.containers(two.servers, plan)
    finally:
        two.servers.images.remove(plan.image, force=True)
