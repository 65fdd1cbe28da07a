"""The build image, and what a Dockerfile starts from, from a registry: pulled, or refused."""

from __future__ import annotations

import io
import os
import re
import tarfile
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import docker
import docker.errors
import pytest
from testbed.builds import Bench
from testbed.imageregistry import ImageRegistry, RefusingRegistry, registry_possible
from testbed.names import REPO2DOCKER_IMAGES
from testbed.scripted import SCRIPTED_IMAGE, ScriptBench, printed, ready_image, said, scripted_plan

from repo2dockerspawner.builds import pulling
from repo2dockerspawner.errors import BuildError, EngineError

needs_registry = pytest.mark.skipif(not registry_possible(), reason="needs docker-registry")

LIMIT = ("TOOMANYREQUESTS", "You have reached your pull rate limit.")
DENIED = ("UNAUTHORIZED", "authentication required")
MEGABYTES = 8


@pytest.fixture(scope="module")
def registry() -> Iterator[ImageRegistry]:
    with ImageRegistry() as running:
        yield running


@pytest.fixture
def pushed(
    scripted: None, registry: ImageRegistry, docker_client: docker.DockerClient
) -> Iterator[str]:
    """A build image that the registry has and the engine has not, with a layer of its own."""
    name = f"{registry.address}/r2d/{uuid.uuid4().hex[:12]}"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo("random")
        entry.size = MEGABYTES * 10**6
        tar.addfile(entry, io.BytesIO(os.urandom(entry.size)))
    made = docker_client.containers.create(SCRIPTED_IMAGE, "true")
    try:
        made.put_archive("/", stream.getvalue())
        made.commit(repository=name, tag="1")
    finally:
        made.remove(force=True)
    answers: Any = docker_client.api.push(name, "1", stream=True, decode=True)
    assert not [one for one in answers if "error" in one]
    docker_client.images.remove(f"{name}:1")
    yield f"{name}:1"
    with suppress(docker.errors.ImageNotFound):
        docker_client.images.remove(f"{name}:1", force=True)


async def refused(scripts: ScriptBench, image: str) -> EngineError:
    with pytest.raises(EngineError) as caught:
        await scripts.build(replace(scripted_plan("echo never"), build_image=image))
    error = caught.value
    assert (error.reason, error.status) == ("builder_image_unavailable", 503)
    assert error.message.startswith(f"The build image {image} can't be fetched (")
    assert "An administrator of this hub has to make it available" in error.message
    return error


@needs_registry
async def test_a_missing_build_image_is_pulled_and_it_is_said_how_far_it_is(
    scripts: ScriptBench,
    docker_client: docker.DockerClient,
    registry: ImageRegistry,
    pushed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pulling, "_PAUSE", 0.0)
    with pytest.raises(docker.errors.ImageNotFound):
        docker_client.images.get(pushed)
    plan = replace(scripted_plan("echo it runs"), build_image=pushed)
    with ready_image(docker_client, plan):
        events = await scripts.build(plan)
    assert "it runs" in printed(events)
    told = said(events)
    first = told.index(f"Fetching the build image {pushed}…")
    figures = [re.fullmatch(r"Fetching the build image: (\d+) of (\d+) MB", one) for one in told]
    far = [(at, int(one[1]), int(one[2])) for at, one in enumerate(figures) if one]
    assert far
    assert all(at > first and done <= total for at, done, total in far)
    assert far[-1][1:] == (MEGABYTES, MEGABYTES)
    assert f"GET /v2/{pushed.partition('/')[2].rpartition(':')[0]}/blobs/" in registry.log()
    # the next build has it
    again = replace(scripted_plan("echo it runs"), build_image=pushed)
    with ready_image(docker_client, again):
        assert not [one for one in said(await scripts.build(again)) if "Fetching the build" in one]


@needs_registry
@pytest.mark.parametrize("wrong", ["tag", "name"])
async def test_a_build_image_that_the_registry_has_not_is_told(
    scripts: ScriptBench, pushed: str, wrong: str
) -> None:
    name, _, tag = pushed.rpartition(":")
    image = f"{name}:2" if wrong == "tag" else f"{name}-other:{tag}"
    error = await refused(scripts, image)
    assert re.search(rf"fetched \(.*{re.escape(image)}.* not found.*\)\.", error.message)


@needs_registry
async def test_a_registry_that_asks_for_a_password_is_told(scripts: ScriptBench) -> None:
    with ImageRegistry(closed=True) as closed:
        error = await refused(scripts, f"{closed.address}/r2d/builder:1")
    assert "no basic auth credentials" in error.message


@pytest.mark.parametrize(
    ("status", "words", "told"),
    [
        (401, DENIED, "unauthorized"),
        (403, ("DENIED", "not for you"), "not for you|403"),
        (429, LIMIT, "pull rate limit|429"),
    ],
)
async def test_a_registry_that_refuses_is_told_in_its_own_words(
    scripts: ScriptBench, status: int, words: tuple[str, str], told: str
) -> None:
    with RefusingRegistry(status, *words) as refusing:
        error = await refused(scripts, f"{refusing.address}/r2d/builder:1")
        assert [one for one in refusing.requests if one.endswith("/v2/r2d/builder/manifests/1")]
    # engines put it differently
    assert re.search(rf"fetched \(.*(?:{told}).*\)\.", error.message, re.IGNORECASE)


@pytest.mark.parametrize("build_image", REPO2DOCKER_IMAGES)
@pytest.mark.parametrize(
    ("status", "words", "reason"),
    [(401, DENIED, "registry_refused"), (429, LIMIT, "registry_limit")],
)
async def test_a_registry_that_refuses_what_a_dockerfile_starts_from_is_told(
    bench: Bench, build_image: str, status: int, words: tuple[str, str], reason: str
) -> None:
    with RefusingRegistry(status, *words) as refusing:
        base = f"{refusing.address}/some/base:1"
        url, commit = bench.repository(Dockerfile=f"FROM {base}\n")
        with pytest.raises(BuildError) as caught:
            await bench.build(bench.plan(url, commit, build_image))
    assert caught.value.reason == reason
    assert base in caught.value.message
