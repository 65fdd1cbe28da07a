"""What happens when a hub starts, before anybody starts a server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from jinja2 import Environment
from jupyterhub.app import JupyterHub
from jupyterhub.spawner import SimpleLocalProcessSpawner

from repo2dockerspawner import Repo2DockerSpawner
from repo2dockerspawner.startup import STARTUP_EXTENSION, look_after_builds


@pytest.fixture
def hub() -> Iterator[JupyterHub]:
    JupyterHub.clear_instance()
    hub = JupyterHub.instance()
    hub.spawner_class = Repo2DockerSpawner
    yield hub
    JupyterHub.clear_instance()


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[Repo2DockerSpawner]:
    found: list[Repo2DockerSpawner] = []

    def look(spawner: Repo2DockerSpawner) -> None:
        found.append(spawner)

    monkeypatch.setattr(Repo2DockerSpawner, "look_after_builds", look)
    return found


async def test_a_hub_that_makes_its_pages_looks_after_builds(
    hub: JupyterHub, looked: list[Repo2DockerSpawner]
) -> None:
    hub.config.Repo2DockerSpawner.concurrent_builds_limit = 3
    # DockerSpawner writes a user's name into the container's as soon as this is set
    hub.config.DockerSpawner.image = "some/image"
    Environment(autoescape=True, extensions=[STARTUP_EXTENSION])
    assert [one.concurrent_builds_limit for one in looked] == [3]


async def test_another_spawners_hub_does_not(
    hub: JupyterHub, looked: list[Repo2DockerSpawner]
) -> None:
    hub.spawner_class = SimpleLocalProcessSpawner
    assert not look_after_builds()
    assert not looked


def test_an_environment_without_a_hub_is_nobodys_start(looked: list[Repo2DockerSpawner]) -> None:
    JupyterHub.clear_instance()
    Environment(autoescape=True, extensions=[STARTUP_EXTENSION])
    assert not look_after_builds()
    assert not looked


async def test_settings_that_no_spawner_takes_do_not_keep_the_hub_from_starting(
    hub: JupyterHub, looked: list[Repo2DockerSpawner], caplog: pytest.LogCaptureFixture
) -> None:
    hub.config.Repo2DockerSpawner.start_timeout = 1
    assert look_after_builds()
    assert not looked
    assert "can't be looked after" in caplog.text
