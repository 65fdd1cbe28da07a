"""The catalogue of built images on a real engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import docker
import pytest
from testbed.names import IMAGE_SECRET
from testbed.ready import ReadyImage, make_ready_image

from repo2dockerspawner.credentials import Reader
from repo2dockerspawner.engine import Engine
from repo2dockerspawner.images import Images, choose_environment

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def ready(docker_client: docker.DockerClient) -> Iterator[dict[str, ReadyImage]]:
    made = {
        "free": make_ready_image(docker_client, "geo/course", commit=COMMIT),
        "ann's": make_ready_image(docker_client, "geo/exam", owner="ann"),
    }
    # the same image under a name of somebody's, and one made from it
    docker_client.api.tag(made["free"].name, "testbed-retagged", "x")
    yield made
    docker_client.api.remove_image("testbed-retagged:x")
    for image in made.values():
        docker_client.api.remove_image(image.name)


async def test_what_was_built_is_listed_as_its_labels_say(ready: dict[str, ReadyImage]) -> None:
    engine = Engine()
    try:
        found = await Images(engine, IMAGE_SECRET.encode()).environments(Reader("bob"))
    finally:
        engine.close()
    one = choose_environment(found, ready["free"].key)
    assert (one.name, one.repo) == ("geo/course", "https://github.com/geo/course")
    assert (one.ref, one.commit, one.owner) == ("main", COMMIT, "")
    assert (one.image.name, one.image.id) == (ready["free"].name, ready["free"].id)
    assert abs(one.built - time.time()) < 300
    assert ready["ann's"].key not in {other.key for other in found}


async def test_a_private_image_is_listed_for_its_owner(ready: dict[str, ReadyImage]) -> None:
    engine = Engine()
    try:
        found = await Images(engine, IMAGE_SECRET.encode()).environments(Reader("ann"))
    finally:
        engine.close()
    assert {image.key for image in ready.values()} <= {one.key for one in found}


async def test_another_process_knows_what_was_used_last(ready: dict[str, ReadyImage]) -> None:
    engine = Engine()
    ours = [ready["ann's"].key, ready["free"].key]
    try:
        for key in ours[::-1]:
            before = Images(engine, IMAGE_SECRET.encode())
            found = choose_environment(await before.environments(Reader("ann")), key)
            await asyncio.sleep(1.1)  # the engine is asked to the second
            before.note_use(key, found.image)
            await asyncio.sleep(0.3)
            after = Images(engine, IMAGE_SECRET.encode())
            listed = [one.key for one in await after.environments(Reader("ann")) if one.key in ours]
            assert listed[0] == key
    finally:
        engine.close()
