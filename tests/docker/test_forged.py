"""What a repository prints counts for nothing: neither as another image nor as an end."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import docker
import pytest
from testbed.builds import Bench
from testbed.names import BASE_IMAGE, REPO2DOCKER_IMAGES, SINGLEUSER_IMAGE

from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.errors import BuildError
from repo2dockerspawner.launching import Launch

VICTIM = f"r2d-test-victim-{uuid.uuid4().hex[:8]}"
# Each as a line of its own, and after a carriage return, at which repo2docker splits.
LINES = [
    f"Reusing existing image ({VICTIM}:latest), not building.",
    f"Successfully tagged {VICTIM}:latest",
    "Successfully built 0123456789ab",
    f"#9 naming to docker.io/library/{VICTIM}:latest done",
    "#9 exporting to image",
    "#9 ERROR: process did not complete successfully: exit code: 1",
    "#9 [9/9] RUN nothing",
    "Step 9/9 : RUN nothing",
    '{"phase": "failed", "message": "forged"}',
    '{"phase": "ready", "ready": true, "progress": 100}',
    '{"message": "Your server is ready.", "progress": 100, "failed": true}',
    "data: {'ready': true}",
    "repo2dockerspawner: the build's settings can't be read: forged",
    "repo2dockerspawner: this repo2docker can't be used: forged",
    "repo2dockerspawner: commit 0123456 is not in this repository",
    "repo2docker: error: forged",
    "write /var/lib/docker/x: no space left on device",
]
SUBJECT = "\r".join(["one", *LINES])


def run(line: str) -> str:
    # nothing of it comes out of the engine's cache, or as a command's text alone
    text = line.replace("'", "'\\''")
    return f"RUN echo {uuid.uuid4().hex}; printf '%s\\n' '{text}'; printf 'x\\r%s\\n' '{text}'"


@pytest.fixture(scope="module", autouse=True)
def victim(docker_client: docker.DockerClient) -> Iterator[str]:
    """Somebody's image, which forged lines name; returns its id."""
    image = docker_client.images.get(BASE_IMAGE)
    image.tag(VICTIM)
    yield str(image.id)
    docker_client.images.remove(VICTIM, noprune=True)


def repository(bench: Bench, *last: str) -> tuple[str, str]:
    name = f"bench/{uuid.uuid4().hex[:12]}"
    every = "; ".join(run(line).removeprefix("RUN ") for line in LINES)
    recipe = "\n".join([f"FROM {SINGLEUSER_IMAGE}", f"RUN {every}", *last, ""])
    commit = bench.git.create(name, {"Dockerfile": recipe}, message=SUBJECT)
    return bench.git.url(name), commit


async def told(events: list[Event]) -> list[dict[str, object]]:
    """What a page is told of these events."""
    launch = Launch()
    for event in events:
        launch.forward(event)
    launch.close()
    return [message async for message in launch.progress()]


@pytest.mark.parametrize("build_image", REPO2DOCKER_IMAGES)
async def test_forged_lines_choose_no_image_and_end_nothing(
    bench: Bench, build_image: str, docker_client: docker.DockerClient, victim: str
) -> None:
    plan = bench.plan(*repository(bench), build_image)

    image, events = await bench.build(plan)

    printed = [line for event in events if event.is_log for line in event.text.split("\n")]
    for line in LINES:
        assert sum(line in one for one in printed) >= 2, f"it was not printed: {line}"
    assert image == plan.image
    built = await bench.images.find(plan.key, image)
    assert built is not None
    assert built.id != victim
    assert docker_client.images.get(VICTIM).id == victim
    assert await bench.images.find(plan.key, VICTIM) is None
    progress = [event.progress for event in events]
    assert progress == sorted(progress)
    messages = await told(events)
    assert not [one for one in messages if {"ready", "failed", "failure"} & one.keys()]
    assert max(int(str(one["progress"])) for one in messages) < 100
    phases = {str(one["phase"]) for one in messages}
    assert phases <= {"waiting", "fetching", "building", "starting"}


@pytest.mark.parametrize("build_image", REPO2DOCKER_IMAGES)
async def test_a_step_that_forges_and_fails_is_its_own_failure(
    bench: Bench, build_image: str
) -> None:
    # a line about the disk would lead to a wrong hint: see docs/security.md
    ours = [line for line in LINES if line.startswith("repo2dockerspawner:")]
    forged = "; ".join(run(line).removeprefix("RUN ") for line in ours)
    url, commit = repository(bench, f"RUN {forged}; exit 3")
    plan = bench.plan(url, commit, build_image)

    with pytest.raises(BuildError) as caught:
        await bench.build(plan)

    assert caught.value.reason == "build_failed", caught.value.message
    assert 400 <= caught.value.status < 500
    if build_image == REPO2DOCKER_IMAGES[-1]:
        # the classic builder's lines are not told apart from a step's: the number may be lost
        assert "step 3 of 3" in caught.value.message
    assert "forged" not in caught.value.message
    assert await bench.images.find(plan.key, plan.image) is None
