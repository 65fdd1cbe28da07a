"""Real hubs for tests: of the JupyterHub that runs the tests, 6.1 or 5.x."""

from __future__ import annotations

import secrets
from collections.abc import Generator, Iterator, Mapping
from typing import Any

import docker
import jupyterhub
import pytest
from testbed import names
from testbed.gitserver import Content, GitServer
from testbed.hub import HubProcess
from testbed.hubclient import HubClient
from testbed.kinds import LogIn, MakeHub, MakeRepo
from testbed.quickbuilds import QuickImages, quick_images
from testbed.recipes import Repository, dockerfile, make_repository
from testbed.watch import remove_builds

_CONFIG = f"""
c.Repo2DockerSpawner.build_image = {names.REPO2DOCKER_IMAGE!r}
# The tests' repositories are served over plain HTTP from this machine.
c.Repo2DockerSpawner.allowed_schemes = ["https", "ssh", "http"]
"""

_running: list[HubProcess] = []


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A failed test shows what the hubs said last."""
    report = yield
    if report.failed:
        report.sections += [(f"hub {hub.url}", hub.log_tail(60)) for hub in _running]
    return report


@pytest.fixture(scope="module")
def make_hub() -> Iterator[MakeHub]:
    """Starts hubs: ``make_hub(config="", **arguments of HubProcess)``; they end with the module.

    The configuration that all tests need (build image, schemes) is there already.
    """
    hubs: list[HubProcess] = []

    def make(config: str = "", **arguments: Any) -> HubProcess:
        hub = HubProcess(_CONFIG + config, **arguments)
        hubs.append(hub)
        _running.append(hub)
        hub.start()
        return hub

    yield make
    for hub in hubs:
        _running.remove(hub)
        hub.close()


@pytest.fixture(scope="module")
def hub(make_hub: MakeHub, request: pytest.FixtureRequest) -> HubProcess:
    """The module's hub; ``HUB_CONFIG`` and ``HUB_ARGUMENTS`` of the module are added to it."""
    module = request.module
    return make_hub(getattr(module, "HUB_CONFIG", ""), **getattr(module, "HUB_ARGUMENTS", {}))


@pytest.fixture
def log_in(request: pytest.FixtureRequest) -> Iterator[LogIn]:
    """Browsers: ``log_in(username=None, hub=None)`` is a new person's on the module's hub.

    Their servers are stopped when the test ends.
    """
    clients: list[HubClient] = []

    def enter(username: str | None = None, hub: HubProcess | None = None) -> HubClient:
        at = hub or request.getfixturevalue("hub")
        client = HubClient(at.url)
        clients.append(client)
        client.login(username or f"user-{secrets.token_hex(3)}")
        return client

    yield enter
    for client in clients:
        client.stop_all()
        client.close()


@pytest.fixture
def client(log_in: LogIn) -> HubClient:
    """The browser of a person that nobody else is, logged in to the module's hub."""
    return log_in()


# --- repositories, and what they leave on the engine


@pytest.fixture(scope="session")
def base_image() -> str:
    """The single-user image that fits the JupyterHub under test."""
    fits = {5: names.SINGLEUSER_HUB5_IMAGE}
    return fits.get(jupyterhub.version_info[0], names.SINGLEUSER_IMAGE)


@pytest.fixture(scope="session")
def make_repo(git_server: GitServer, base_image: str) -> MakeRepo:
    """Makes repositories that nobody has built: files, and lines of the usual Dockerfile."""

    def make(files: Mapping[str, Content] | None = None, *lines: str, name: str = "") -> Repository:
        content = {"Dockerfile": dockerfile(base_image, *lines), **(files or {})}
        return make_repository(git_server, content, name=name)

    return make


@pytest.fixture(scope="session")
def quick(docker_client: docker.DockerClient) -> Iterator[QuickImages]:
    """What stands in for repo2docker and for ``jupyterhub-singleuser``, and takes a moment."""
    with quick_images(docker_client) as images:
        yield images


@pytest.fixture(scope="session")
def make_quick_repo(git_server: GitServer, quick: QuickImages) -> MakeRepo:
    """Makes such repositories too; their servers start in a moment, and have the files."""

    def make(files: Mapping[str, Content] | None = None, *lines: str, name: str = "") -> Repository:
        content = {"Dockerfile": dockerfile(quick.server, *lines), **(files or {})}
        return make_repository(git_server, content, name=name)

    return make


@pytest.fixture(scope="session", autouse=True)
def _no_builds_left(docker_client: docker.DockerClient, git_server: GitServer) -> Iterator[None]:
    """What was built from this run's git server can't be of use to anybody afterwards."""
    yield
    remove_builds(docker_client, f":{git_server.port}/")
