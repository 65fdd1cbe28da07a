"""Private repositories by ssh, and large files that want a password, in real build containers."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import docker
import pytest
from testbed.builds import DOCKERFILE, Bench
from testbed.gitserver import GitServer
from testbed.hostileserver import HostileServer
from testbed.lfsserver import LfsServer
from testbed.marker import Marker, Watch, left_by
from testbed.names import REPO2DOCKER_KEYS_IMAGE
from testbed.sshserver import SshServer

from repo2dockerspawner.builds.handing import document
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.credentials import Credential
from repo2dockerspawner.errors import BuildError

USER = "ann"
ATTRIBUTES = "*.bin filter=lfs diff=lfs merge=lfs -text\n"
LARGE = b"the large file\n" * 1000


@pytest.fixture
def ssh(git_server: GitServer) -> Iterator[SshServer]:
    with SshServer(git_server.root, git_server.host) as server:
        yield server


@pytest.fixture
def lfs(git_server: GitServer) -> Iterator[LfsServer]:
    with LfsServer(git_server) as server:
        yield server


@contextlib.contextmanager
def removed(client: docker.DockerClient, plan: BuildPlan) -> Iterator[None]:
    """Remove what the build has left."""
    try:
        yield
    finally:
        with contextlib.suppress(docker.errors.NotFound):
            client.api.remove_container(plan.container, force=True, v=True)
        with contextlib.suppress(docker.errors.NotFound):
            client.images.remove(plan.image, force=True)


async def why_not(bench: Bench, plan: BuildPlan) -> tuple[BuildError, str]:
    """The error of a build that fails, and all that it has said."""
    build = bench.pool.join(plan, "somebody")
    try:
        text = "\n".join([event.text async for event in build.follow()])
        with pytest.raises(BuildError) as caught:
            await build.result()
        return caught.value, text
    finally:
        bench.pool.leave(build)


# -- a deploy key ---------------------------------------------------------------------------------


def by_ssh(bench: Bench, ssh: SshServer, known_hosts: str) -> BuildPlan:
    """A build of a repository with a submodule, both behind the key."""
    url, _ = bench.repository()
    name = urlsplit(url).path.strip("/").removesuffix(".git")
    inner = bench.git.create(f"{name}-inner", {"inner-file": "inner"})
    modules = f'[submodule "inner"]\n\tpath = inner\n\turl = {ssh.url(f"{name}-inner")}\n'
    files = {".gitmodules": modules, "inner": inner, "data": "by ssh\n"}
    commit = bench.git.commit(name, files, modes={"inner": "160000"})
    key = Credential(f"ssh://git@{ssh.host}", key=ssh.key, known_hosts=known_hosts)
    return replace(
        bench.plan(ssh.url(name), commit, REPO2DOCKER_KEYS_IMAGE),
        credentials=(key,),
        protocols=("ssh",),
        retention=60,
    )


async def test_a_deploy_key_opens_its_repository_and_is_nowhere_afterwards(
    bench: Bench,
    ssh: SshServer,
    docker_client: docker.DockerClient,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(0)
    marker = Marker(ssh.key)
    plan = by_ssh(bench, ssh, ssh.known_hosts)
    with removed(docker_client, plan):
        with Watch(docker_client, plan.container) as watch:
            image, events = await bench.build(plan)
        shown = docker_client.containers.run(
            image, ["cat", "data", "inner/inner-file"], remove=True
        )
        places = left_by(docker_client, plan, watch, events, tmp_path)
        places["hub: log"] = caplog.text.encode()
        assert shown == b"by ssh\ninner"
        assert set(ssh.offered) == {("git", ssh.public_key)}
        assert b"ssh -F /proc/" in places["running: environ"]  # type: ignore[operator]
        assert len(places) == 15
        assert marker.found_in(places) == []
    # the search finds what there is
    assert marker.is_in(document(plan.credentials))


async def test_a_server_with_another_key_is_not_given_ours_and_the_build_says_so(
    bench: Bench, ssh: SshServer, docker_client: docker.DockerClient
) -> None:
    other = f"[{ssh.host}]:{ssh.port} {ssh.public(ssh.new_key())}\n"
    plan = by_ssh(bench, ssh, other)
    with removed(docker_client, plan):
        error, text = await why_not(bench, plan)
    assert ssh.offered == []
    assert not Marker(ssh.key).is_in((text + error.message).encode())
    assert error.reason == "host_key_refused"
    assert "has not the ssh key that this hub knows it by" in error.message


# -- Git LFS --------------------------------------------------------------------------------------


def with_large_file(bench: Bench, lfs: LfsServer, marker: Marker) -> BuildPlan:
    """A build of a private repository, whose large file wants the token, too."""
    url, _ = bench.repository()
    name = urlsplit(url).path.strip("/").removesuffix(".git")
    files = {"Dockerfile": DOCKERFILE, ".gitattributes": ATTRIBUTES, "large.bin": lfs.add(LARGE)}
    commit = bench.git.commit(name, files)
    bench.git.require_auth(name, USER, marker.secret)
    # as narrow as what somebody types: the repository and its neighbours
    place = lfs.url(name).rsplit("/", 1)[0]
    return replace(
        bench.plan(lfs.url(name), commit, REPO2DOCKER_KEYS_IMAGE),
        credentials=(Credential(place, USER, marker.secret),),
        retention=60,
    )


async def test_a_large_file_of_a_private_repository_is_fetched_with_its_token(
    bench: Bench,
    lfs: LfsServer,
    docker_client: docker.DockerClient,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(0)
    marker = Marker()
    plan = with_large_file(bench, lfs, marker)
    with removed(docker_client, plan):
        with Watch(docker_client, plan.container) as watch:
            image, events = await bench.build(plan)
        shown = docker_client.containers.run(image, ["cat", "large.bin"], remove=True)
        places = left_by(docker_client, plan, watch, events, tmp_path)
        places["hub: log"] = caplog.text.encode()
        assert shown == LARGE
        assert b"git-lfs" in places["running: cmdline"]  # type: ignore[operator]
        assert len(places) == 15
        assert marker.found_in(places) == []
    assert [line.split()[0] for line in lfs.requests][-1] == "GET"


async def test_a_store_elsewhere_that_asks_for_a_password_gets_none(
    bench: Bench, lfs: LfsServer, docker_client: docker.DockerClient
) -> None:
    marker = Marker()
    plan = with_large_file(bench, lfs, marker)
    with HostileServer(bench.git.host) as canary, removed(docker_client, plan):
        lfs.store = canary.url("store/")
        error, text = await why_not(bench, plan)
        assert canary.requests
        assert [one for one in canary.requests if one.authorization] == []
        assert not any(marker.is_in(one.text.encode()) for one in canary.requests)
    assert error.reason == "lfs_failed"
    assert "large.bin" in error.message
    assert not marker.is_in((text + error.message).encode())
