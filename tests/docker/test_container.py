"""Builds on a real engine with real repo2docker."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from dataclasses import replace

import docker
import pytest
from testbed.builds import Bench
from testbed.names import BASE_IMAGE, REPO2DOCKER_IMAGES, SINGLEUSER_IMAGE
from testbed.waiting import until

from repo2dockerspawner.builds.container import ContainerBuilder
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.errors import BuildError, EngineError, ImageError
from repo2dockerspawner.images import Image, Images
from repo2dockerspawner.keys import read_labels


def unique() -> str:
    """Return a word that no build has seen, so that nothing comes from the engine's cache."""
    return f"x{uuid.uuid4().hex}"


def slow(seconds: int) -> str:
    """Return a Dockerfile that takes so long, and that no cache knows."""
    return f"FROM {SINGLEUSER_IMAGE}\nRUN echo it-has-begun {unique()} && sleep {seconds}\n"


def container(bench: Bench, name: str) -> docker.models.containers.Container | None:
    try:
        return docker.DockerClient.from_env().containers.get(name)
    except docker.errors.NotFound:
        return None


@pytest.mark.parametrize("build_image", REPO2DOCKER_IMAGES)
async def test_a_build_makes_the_named_image_with_its_labels(
    bench: Bench, build_image: str
) -> None:
    url, commit = bench.repository(
        Dockerfile=f"FROM {SINGLEUSER_IMAGE}\n" + f"RUN sleep 0.2 # {unique()}\n" * 4
    )
    plan = bench.plan(url, commit, build_image)
    image, events = await bench.build(plan)
    assert image == plan.image
    found = await bench.images.find(plan.key, image)
    assert found is not None
    info = await bench.engine.call(lambda client: client.inspect_image(image))
    told = read_labels(info["Config"]["Labels"])
    assert (told["key"], told["repo"], told["commit"]) == (plan.key, url, commit)
    progress = [event.progress for event in events]
    assert progress == sorted(progress)
    assert any(0.1 < figure < 0.9 for figure in progress), "the steps of the build show"
    phases = [phase for phase, _ in itertools.groupby(event.phase for event in events)]
    assert phases[:2] == ["waiting", "fetching"] or phases[0] == "fetching"
    assert "building" in phases


@pytest.mark.parametrize("build_image", REPO2DOCKER_IMAGES)
async def test_an_ended_build_leaves_no_container(bench: Bench, build_image: str) -> None:
    url, commit = bench.repository()
    plan = bench.plan(url, commit, build_image)
    await bench.build(plan)
    await until(lambda: container(bench, plan.container) is None, 2)


@pytest.mark.parametrize("build_image", REPO2DOCKER_IMAGES)
async def test_a_failing_step_is_told_with_the_lines_that_matter(
    bench: Bench, build_image: str
) -> None:
    url, commit = bench.repository(
        Dockerfile=f"FROM {SINGLEUSER_IMAGE}\nRUN echo the-reason-why && exit 3\n"
    )
    plan = bench.plan(url, commit, build_image)
    with pytest.raises(BuildError) as caught:
        await bench.build(plan)
    assert caught.value.reason == "build_failed"
    assert caught.value.status < 500
    assert any("the-reason-why" in line for line in caught.value.lines)
    assert len(caught.value.lines) <= 20
    await until(lambda: container(bench, plan.container) is None, 2)


async def test_a_second_process_attaches_and_builds_nothing_itself(bench: Bench) -> None:
    url, commit = bench.repository(Dockerfile=slow(3))
    plan = bench.plan(url, commit)
    # another pool on another client is what another process would be
    other = BuildPool(ContainerBuilder(bench.engine), Images(bench.engine), limit=1)
    first = asyncio.create_task(bench.build(plan))
    await until(lambda: container(bench, plan.container) is not None)
    build = other.join(plan, "another")
    joined = [event async for event in build.follow()]
    assert await build.result() == plan.image
    other.leave(build)
    image, events = await first
    assert image == plan.image
    assert any("joining in" in event.text for event in joined)
    printed = "\n".join(event.text for event in events if event.is_log)
    assert printed.splitlines() == [
        line for event in joined if event.is_log for line in event.text.splitlines()
    ], "both have read the whole log"
    await other.close()


async def test_leaving_kills_the_container_and_frees_the_place(bench: Bench) -> None:
    url, commit = bench.repository(Dockerfile=slow(60))
    plan = bench.plan(url, commit)
    build = bench.pool.join(plan, "somebody")
    await until(lambda: any("it-has-begun" in line for line in build.log.last_lines(50)), 30)
    bench.pool.leave(build)
    since = time.monotonic()
    await until(lambda: container(bench, plan.container) is None, 3)
    assert time.monotonic() - since < 3
    with pytest.raises(BuildError):
        await build.result()


async def test_a_build_that_takes_too_long_is_ended_with_a_sentence(bench: Bench) -> None:
    url, commit = bench.repository(Dockerfile=slow(60))
    plan = replace(bench.plan(url, commit), timeout=4)
    with pytest.raises(BuildError) as caught:
        await bench.build(plan)
    assert caught.value.reason == "build_timeout"
    assert "build_timeout" in caught.value.message
    await until(lambda: container(bench, plan.container) is None, 3)


async def test_a_detached_build_goes_on_and_is_found_by_the_next_process(bench: Bench) -> None:
    url, commit = bench.repository(Dockerfile=slow(3))
    plan = bench.plan(url, commit)
    gone = BuildPool(ContainerBuilder(bench.engine), Images(bench.engine), limit=1)
    build = gone.join(plan, "somebody")
    await until(lambda: any("it-has-begun" in line for line in build.log.last_lines(50)), 30)
    since = time.monotonic()
    await gone.close()
    assert time.monotonic() - since < 1
    assert container(bench, plan.container) is not None
    image, events = await bench.build(plan)
    assert image == plan.image
    assert any("joining in" in event.text for event in events)


async def test_a_container_killed_from_outside_is_told(bench: Bench) -> None:
    url, commit = bench.repository(Dockerfile=slow(60))
    plan = bench.plan(url, commit)
    task = asyncio.create_task(bench.build(plan))
    await until(lambda: (c := container(bench, plan.container)) and c.status == "running")
    found = container(bench, plan.container)
    assert found is not None
    found.kill()
    with pytest.raises(BuildError) as caught:
        await task
    assert caught.value.reason == "build_killed"


async def test_a_missing_build_image_is_told(bench: Bench) -> None:
    url, commit = bench.repository()
    plan = replace(bench.plan(url, commit), build_image="127.0.0.1:9/no/such:image")
    with pytest.raises(EngineError) as caught:
        await bench.build(plan)
    assert caught.value.reason == "builder_image_unavailable"
    assert "build_image" in caught.value.message


async def test_a_strangers_container_of_that_name_is_left_alone(bench: Bench) -> None:
    url, commit = bench.repository()
    plan = bench.plan(url, commit)
    client = docker.DockerClient.from_env()
    stranger = client.containers.create(BASE_IMAGE, "true", name=plan.container)
    try:
        with pytest.raises(BuildError) as caught:
            await bench.build(plan)
        assert caught.value.reason == "name_taken"
        stranger.reload()
    finally:
        stranger.remove(force=True)
        client.close()


async def test_an_image_without_the_label_is_not_ours(bench: Bench) -> None:
    client = docker.DockerClient.from_env()
    client.images.get(BASE_IMAGE).tag("r2d-test-not-ours")
    try:
        assert await bench.images.find("0" * 64, "r2d-test-not-ours") is None
    finally:
        client.images.remove("r2d-test-not-ours", noprune=True)
        client.close()


class TestStartable:
    async def test_an_image_with_the_server_passes_and_is_remembered(self, bench: Bench) -> None:
        info = await bench.engine.call(lambda client: client.inspect_image(SINGLEUSER_IMAGE))
        image = Image(info["Id"], SINGLEUSER_IMAGE)
        await bench.images.check_startable(image, ["jupyterhub-singleuser"])
        since = time.monotonic()
        await bench.images.check_startable(image, ["jupyterhub-singleuser"])
        assert time.monotonic() - since < 0.01

    async def test_an_image_without_it_is_refused_with_how_to_add_it(self, bench: Bench) -> None:
        info = await bench.engine.call(lambda client: client.inspect_image(BASE_IMAGE))
        with pytest.raises(ImageError) as caught:
            await bench.images.check_startable(
                Image(info["Id"], BASE_IMAGE), ["jupyterhub-singleuser"]
            )
        assert caught.value.reason == "no_singleuser"
        assert "pip install jupyterhub" in caught.value.message

    async def test_a_path_set_by_the_entrypoint_counts(self, bench: Bench) -> None:
        client = docker.DockerClient.from_env()
        made = client.containers.create(BASE_IMAGE, "true")
        image = made.commit(
            repository="r2d-test-entrypoint",
            conf={
                "Entrypoint": [
                    "/bin/sh",
                    "-c",
                    (
                        'mkdir /tmp/x; printf "#!/bin/sh\\n" > /tmp/x/hidden-server; '
                        'chmod +x /tmp/x/hidden-server; PATH=/tmp/x:$PATH exec "$0" "$@"'
                    ),
                ]
            },
        )
        made.remove(force=True)
        try:
            await bench.images.check_startable(
                Image(str(image.id), "r2d-test-entrypoint"), ["hidden-server"]
            )
        finally:
            client.images.remove("r2d-test-entrypoint", force=True)
            client.close()
