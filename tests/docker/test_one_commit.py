"""The configuration inside a build container, under the real repo2docker and a real engine."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import docker.errors
import pytest
from testbed.names import NETWORKS, SINGLEUSER_IMAGE

from repo2dockerspawner.builds.confinement import VOLUMES, host_settings
from repo2dockerspawner.builds.logs import LogParser
from repo2dockerspawner.builds.plan import CONFIG_DIR, BuildPlan, archive, arguments

if TYPE_CHECKING:
    import docker
    from testbed.gitserver import GitServer

HOME = "/home/jovyan"
DOCKERFILE = f"FROM {SINGLEUSER_IMAGE}\nCOPY --chown=1000:1000 . {HOME}/\n"
ABSENT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Built:
    """What one run of repo2docker came to."""

    client: docker.DockerClient
    image: str
    exit_code: int
    parser: LogParser
    lines: list[str]

    def run(self, *command: str) -> str:
        """Runs a command in the image; returns what it printed."""
        # docker-py's run(remove=True) removes the container before it has read the log.
        container = self.client.containers.run(self.image, list(command), detach=True)
        try:
            container.wait(timeout=60)
            return str(container.logs().decode()).strip()
        finally:
            container.remove(force=True)

    def git(self, *command: str, where: str = "") -> str:
        return self.run("git", "-C", f"{HOME}/{where}", *command)


Build = Callable[..., Built]


@pytest.fixture
def build(docker_client: docker.DockerClient, repo2docker_image: str) -> Iterator[Build]:
    images = []

    def build(url: str, commit: str, *, named: bool = True, **more: Any) -> Built:
        name = f"r2d-test-inside-{uuid.uuid4().hex}"
        images.append(name)
        settings = {"protocols": ("http",), "guarded": True, "allowed_networks": NETWORKS, **more}
        plan = BuildPlan("", name, name, {}, "git", url, commit, **settings)
        command = [a for a in arguments(plan) if named or not a.startswith("--image-name")]
        api = docker_client.api
        made = api.create_container(
            repo2docker_image,
            command,
            name=name,
            volumes=list(VOLUMES),
            host_config=api.create_host_config(**host_settings(plan, "/var/run/docker.sock")),
        )
        container = docker_client.containers.get(made["Id"])
        try:
            container.put_archive(CONFIG_DIR, archive(plan))
            container.start()
            parser = LogParser()
            events = [e for chunk in container.logs(stream=True) for e in parser.feed(chunk)]
            events += parser.close()
            code = int(container.wait(timeout=60)["StatusCode"])
        finally:
            container.remove(force=True, v=True)
        return Built(docker_client, name, code, parser, [event.text for event in events])

    yield build
    for image in images:
        with contextlib.suppress(docker.errors.ImageNotFound):
            docker_client.images.remove(image, force=True)


@dataclass(frozen=True)
class History:
    """A repository of three commits, with a submodule in it."""

    url: str
    commits: list[str]
    submodule: str


@pytest.fixture(scope="module")
def history(git_server: GitServer) -> History:
    name = f"inside/{uuid.uuid4().hex[:8]}"
    git_server.create(f"{name}-inner", {"inner-file": "1"})
    inner = git_server.commit(f"{name}-inner", {"inner-file": "2"})
    git_server.commit(f"{name}-inner", {"inner-file": "3"})
    modules = f'[submodule "inner"]\n\tpath = inner\n\turl = {git_server.url(f"{name}-inner")}\n'
    commits = [git_server.create(name, {"Dockerfile": DOCKERFILE, "file": "1"})]
    files = {"file": "2", ".gitmodules": modules, "inner": inner}
    commits.append(git_server.commit(name, files, modes={"inner": "160000"}))
    commits.append(git_server.commit(name, {"file": "3"}))
    return History(git_server.url(name), commits, inner)


@pytest.mark.parametrize(
    ("depth", "digits", "counts"),
    [
        pytest.param(1, 40, (1, 1), id="alone"),
        pytest.param(0, 40, (2, 2), id="with its history"),
        pytest.param(1, 9, (2, 1), id="abbreviated"),
    ],
)
def test_the_image_has_the_commit_and_as_much_history_as_asked_for(
    build: Build, history: History, depth: int, digits: int, counts: tuple[int, int]
) -> None:
    commit = history.commits[1]
    built = build(history.url, commit[:digits], clone_depth=depth)
    assert built.exit_code == 0, built.lines
    assert "Picked OneCommit content provider." in built.lines
    assert built.parser.image == built.image
    for where, head, count in (("", commit, counts[0]), ("inner", history.submodule, counts[1])):
        assert built.git("rev-parse", "HEAD", where=where) == head
        assert built.git("rev-list", "--count", "HEAD", where=where) == str(count)
    assert built.run("cat", f"{HOME}/file", f"{HOME}/inner/inner-file") == "22"
    assert built.git("remote", "get-url", "origin") == history.url


@pytest.mark.parametrize("ref", [ABSENT, ABSENT[:8]])
def test_a_commit_that_is_not_there_ends_the_build_with_a_line_that_says_so(
    build: Build, history: History, ref: str
) -> None:
    built = build(history.url, ref)
    assert built.exit_code == 1
    sentence = f"repo2dockerspawner: commit {ref} is not in this repository"
    assert [line for line in built.lines if line.startswith(sentence)]
    assert built.parser.image is None
    assert len(built.lines) < 12


def test_the_name_that_repo2docker_makes_itself_has_the_commit(
    build: Build, history: History, docker_client: docker.DockerClient
) -> None:
    built = build(history.url, history.commits[1], named=False)
    assert built.parser.image is not None, built.lines
    docker_client.images.remove(built.parser.image, force=True)
    assert built.parser.image.startswith("r2dhttp-3a-2f-2f")
    assert built.parser.image.endswith(history.commits[1][:7])


def test_settings_that_say_nothing_usable_end_the_build(build: Build, history: History) -> None:
    built = build(history.url, history.commits[1], clone_depth="many")
    assert built.exit_code == 1
    assert built.lines[0].startswith("repo2dockerspawner: the build's settings")
