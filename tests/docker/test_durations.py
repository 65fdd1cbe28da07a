"""About how long a build takes, as the engine remembers it."""

from __future__ import annotations

import docker
from testbed.names import BASE_IMAGE
from testbed.scripted import scripted_plan

from repo2dockerspawner.builds.durations import Durations
from repo2dockerspawner.engine import Engine


async def test_the_containers_that_are_kept_tell(docker_client: docker.DockerClient) -> None:
    ended, failed, asked = (scripted_plan("") for _ in range(3))
    engine = Engine()
    containers = [
        docker_client.containers.create(
            BASE_IMAGE, ["sh", "-c", command], name=plan.container, labels=dict(plan.labels)
        )
        for plan, command in ((ended, "sleep 3"), (failed, "exit 1"))
    ]
    try:
        for container in containers:
            container.start()
            container.wait()
        about = await Durations(engine).about(asked)
    finally:
        for container in containers:
            container.remove(force=True)
        engine.close()
    assert about is not None
    assert 2 <= about <= 5
