"""What the tests on a real engine share."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from testbed.builds import Bench
from testbed.engineproxy import EngineProxy, ProxiedEngine
from testbed.gitserver import GitServer
from testbed.scripted import OwnEngine, ScriptBench, scripted_image

from repo2dockerspawner.builds.container import ContainerBuilder
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.engine import Engine
from repo2dockerspawner.images import Images

if TYPE_CHECKING:
    import docker

_SETTLE = 5.0


def _threads() -> set[threading.Thread]:
    return {one for one in threading.enumerate() if one.name.startswith("r2d-")}


def _open_files() -> list[str]:
    found = []
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(os.readlink(fd))  # noqa: PTH115 - not a path: socket:[123]
    return found


@pytest.fixture(autouse=True)
def _no_thread_and_no_file_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """After a test no thread of ours may live, and no file or socket more be open."""
    # these live longer than one test
    for name in ("git_server", "scripted", "engine_events"):
        if name in request.fixturenames:
            request.getfixturevalue(name)
    client = request.getfixturevalue("docker_client")
    # its idle connections are no concern of a test's; it goes on working
    client.close()
    process = psutil.Process()
    threads, files, names = _threads(), process.num_fds(), set(_open_files())
    yield
    deadline = time.monotonic() + _SETTLE
    while True:
        client.close()
        gc.collect()
        left = _threads() - threads
        gained = process.num_fds() - files
        if not left and gained <= 0:
            return
        if time.monotonic() > deadline:
            break
        time.sleep(0.1)
    now = [name for name in _open_files() if name not in names]
    pytest.fail(f"The test left threads {left} and {gained} open files: {now}", pytrace=False)


@pytest.fixture
async def bench(git_server: GitServer) -> AsyncIterator[Bench]:
    """A pool on the real engine, closed at the end."""
    engine = Engine()
    images = Images(engine)
    pool = BuildPool(ContainerBuilder(engine), images, limit=4)
    yield Bench(engine, images, pool, git_server)
    await pool.close()
    engine.close()


@pytest.fixture(scope="session")
def scripted(docker_client: docker.DockerClient) -> Iterator[None]:
    """The build image that runs a test's script."""
    with scripted_image(docker_client):
        yield


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[EngineProxy]:
    """The way to the real engine, for faults."""
    with EngineProxy(tmp_path / "engine.sock") as made:
        yield made


@pytest.fixture
async def scripts(scripted: None, docker_client: docker.DockerClient) -> AsyncIterator[ScriptBench]:
    """A pool on the real engine for builds that are scripts, closed at the end."""
    bench = ScriptBench.on(OwnEngine(), docker_client, limit=4)
    yield bench
    await bench.close()


@pytest.fixture
async def faulty(
    scripted: None, docker_client: docker.DockerClient, proxy: EngineProxy
) -> AsyncIterator[ScriptBench]:
    """The same on an engine behind the proxy."""
    bench = ScriptBench.on(ProxiedEngine(proxy), docker_client, limit=4)
    yield bench
    await bench.close()
