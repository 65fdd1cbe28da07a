"""What tests of all kinds share: the real engine, a real git server, and the mark of each kind.

Nothing here imports Docker or the engine until a test asks for it.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from testbed import names

if TYPE_CHECKING:
    import docker
    from testbed.containerevents import ContainerEvents
    from testbed.gitserver import GitServer

# The machine may have other work: how long an example takes says nothing about the code.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

_HERE = Path(__file__).parent
_KINDS = ("docker", "hub", "browser")


def _kind(path: Path) -> str:
    first = path.relative_to(_HERE).parts[0] if path.is_relative_to(_HERE) else ""
    return first if first in _KINDS else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if kind := _kind(item.path):
            item.add_marker(getattr(pytest.mark, kind))


def pytest_collection_finish() -> None:
    # Some tests collect garbage to see what they have left; thousands of test items, which stay,
    # would be walked through each time (0.4 s).
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def docker_client() -> Iterator[docker.DockerClient]:
    """The real engine; without one the test fails with a sentence that says what to do."""
    from testbed import engine

    try:
        client = engine.client()
    except engine.EngineMissingError as error:
        pytest.fail(str(error), pytrace=False)
    yield client
    client.close()


@pytest.fixture(scope="session")
def git_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GitServer]:
    """A git server that this host and the containers reach at the same address."""
    from testbed import engine
    from testbed.gitserver import GitServer

    with GitServer(tmp_path_factory.mktemp("git"), engine.bridge_gateway()) as server:
        yield server


@pytest.fixture(
    params=names.REPO2DOCKER_IMAGES,
    ids=[name.rpartition(":")[2] for name in names.REPO2DOCKER_IMAGES],
)
def repo2docker_image(request: pytest.FixtureRequest) -> str:
    """Each of the repo2docker images in turn: the oldest and the newest one supported."""
    return str(request.param)


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of the system's Chromium."""
    import shutil

    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    pytest.fail("No Chromium here: run `scripts/setup browser`.", pytrace=False)


@pytest.fixture(scope="session")
def engine_events(docker_client: docker.DockerClient) -> Iterator[ContainerEvents]:
    """What the engine's containers have done since the first test that asks for it."""
    from testbed.containerevents import ContainerEvents

    with ContainerEvents() as events:
        yield events


@pytest.fixture(autouse=True)
def _nothing_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test on the engine no build container of it may run or wait to be started.

    Only this process's own are looked at: other tests may run on the same engine.
    """
    kind = _kind(request.path)
    # A browser test's hub goes on after it, and may end a build only then: see that fixture.
    if kind not in {"docker", "hub"}:
        yield
        return
    from testbed.scripted import SCRIPTED_ADDRESS
    from testbed.watch import still_going_on

    client, git = (request.getfixturevalue(name) for name in ("docker_client", "git_server"))
    yield
    # Servers of the module's hub may go on.
    left = still_going_on(client, SCRIPTED_ADDRESS, f":{git.port}/", servers=kind == "docker")
    if left:
        pytest.fail(f"The test left build containers: {', '.join(left)}", pytrace=False)
