"""Limits of the pool and of the build container, on the real engine; what holds for build steps."""

from __future__ import annotations

import asyncio
import itertools
import os
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from testbed.builds import Bench
from testbed.names import BASE_IMAGE, REPO2DOCKER_IMAGE, REPO2DOCKER_OLD_IMAGE, SINGLEUSER_IMAGE
from testbed.scripted import ScriptBench, ready_image, said, scripted_plan
from testbed.secondengine import SecondEngine, second_engine_possible
from testbed.waiting import until

from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.builds.limits import Limits
from repo2dockerspawner.engine import Engine
from repo2dockerspawner.errors import BuildError, PolicyError
from repo2dockerspawner.images import Images

MEGABYTE = 2**20


@pytest.fixture
async def narrow(scripted: None, docker_client: docker.DockerClient) -> AsyncIterator[ScriptBench]:
    """A pool with one place."""
    bench = ScriptBench.on(Engine(), docker_client, limit=1)
    yield bench
    await bench.close()


def told(build: Build) -> list[str]:
    return said((*build.log._head, *build.log._tail))


async def test_who_waits_is_told_the_place_and_builds_start_in_turn_and_fairly(
    narrow: ScriptBench,
) -> None:
    names = ["ann1", "ann2", "ann3", "bob1"]
    plans = {name: scripted_plan("sleep 0.3; exit 1") for name in names}
    builds = {name: narrow.pool.join(plan, name[:3]) for name, plan in plans.items()}
    assert told(builds["ann2"])[0] == "1st in line; 1 build is running."
    assert told(builds["ann3"])[0] == "2nd in line; 1 build is running."
    # whose second it would be waits for whose first it is
    assert told(builds["bob1"])[0] == "1st in line; 1 build is running."
    assert told(builds["ann2"])[-1] == "2nd in line; 1 build is running."
    assert narrow.pool.statistics().queued == 3
    for build in builds.values():
        with pytest.raises(BuildError):
            await build.result()
        narrow.pool.leave(build)
    order = sorted(names, key=lambda name: builds[name].started_at or 0)
    assert order == ["ann1", "bob1", "ann2", "ann3"]
    spans = [(builds[name].started_at or 0, builds[name].ended_at or 0) for name in order]
    assert all(first[1] <= second[0] for first, second in itertools.pairwise(spans))


async def test_a_ready_image_is_found_while_the_pool_is_full(narrow: ScriptBench) -> None:
    ready = scripted_plan("exit 1")
    with ready_image(narrow.client, ready):
        busy = narrow.pool.join(scripted_plan("echo begun; exec sleep 60"), "ann")
        await until(lambda: narrow.state(busy.plan) == "running")
        since = time.monotonic()
        assert await Images(narrow.engine).find(ready.key, ready.image)
        assert time.monotonic() - since <= 0.5
        narrow.pool.cancel(busy)
        await until(lambda: not narrow.state(busy.plan))
        narrow.pool.leave(busy)


async def test_a_user_with_too_many_builds_is_told_the_limit(narrow: ScriptBench) -> None:
    plans = [scripted_plan("exec sleep 60") for _ in range(4)]
    three = Limits(per_user=3)
    builds = [narrow.pool.join(plan, "ann", three) for plan in plans[:3]]
    with pytest.raises(PolicyError) as caught:
        narrow.pool.join(plans[3], "ann", three)
    assert (caught.value.reason, caught.value.status) == ("builds_per_user", 429)
    assert "builds_per_user_limit" in caught.value.message
    # what is built anyway may be waited for, and another may build
    joined = narrow.pool.join(plans[0], "ann", three)
    other = narrow.pool.join(plans[3], "bob", three)
    for build in (*builds, joined, other):
        narrow.pool.leave(build)
    await until(lambda: all(build.ended for build in (*builds, other)))
    await until(lambda: not narrow.pool.statistics().running)


async def test_the_container_has_its_limits_and_nothing_it_does_not_need(
    scripts: ScriptBench,
) -> None:
    plan = replace(scripted_plan("exec sleep 60"), memory_limit=64 * MEGABYTE)
    build = scripts.pool.join(plan, "ann")
    await until(lambda: scripts.state(plan) == "running")
    found = scripts.client.api.inspect_container(plan.container)
    host = found["HostConfig"]
    assert (host["Memory"], host["MemorySwap"]) == (64 * MEGABYTE, 64 * MEGABYTE)
    assert host["LogConfig"] == {"Type": "local", "Config": {"max-size": "64m", "max-file": "2"}}
    assert host["SecurityOpt"] == ["no-new-privileges"]
    assert not host["Privileged"]
    assert not host["CapAdd"]
    # beside volumes of its own (test_confinement.py)
    binds = [mount["Destination"] for mount in found["Mounts"] if mount["Type"] == "bind"]
    assert binds == ["/var/run/docker.sock"]
    scripts.pool.leave(build)
    await until(lambda: not scripts.state(plan))


async def test_without_a_limit_there_is_none(scripts: ScriptBench) -> None:
    plan = scripted_plan("exec sleep 60")
    build = scripts.pool.join(plan, "ann")
    await until(lambda: scripts.state(plan) == "running")
    assert scripts.client.api.inspect_container(plan.container)["HostConfig"]["Memory"] == 0
    scripts.pool.leave(build)
    await until(lambda: not scripts.state(plan))


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A cgroup that may have 200 MB."""
    group = Path(f"/sys/fs/cgroup/memory/r2d-test-{os.getpid()}")
    if not group.parent.is_dir() or not os.access(group.parent, os.W_OK):
        pytest.skip("needs root and cgroups of version 1")
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text(str(200 * MEGABYTE))
    yield group
    group.rmdir()


def size_of(folder: Path) -> int:
    """Bytes on the disk."""
    return sum(one.stat().st_blocks * 512 for one in folder.rglob("*"))


async def test_a_build_that_prints_very_much_costs_twenty_megabytes_at_most(
    bench: Bench, docker_client: docker.DockerClient
) -> None:
    # the old repo2docker's builder passes all of it; the new one's clips a step at 2 MB itself
    line = "x" * 1000
    step = f"RUN yes {line} | head -c 24000000; echo the-reason; exit 3"
    url, commit = bench.repository(Dockerfile=f"FROM {BASE_IMAGE}\n{step}\n")
    plan = replace(bench.plan(url, commit, REPO2DOCKER_OLD_IMAGE), retention=60)
    with pytest.raises(BuildError) as caught:
        await bench.build(plan)
    api = docker_client.api
    try:
        assert any("the-reason" in one for one in caught.value.lines)
        log = api.logs(plan.container)
        assert 16_000_000 < len(log) < 20_000_000
        assert b"lines left out" in log
        found = api.inspect_container(plan.container)
        folder = Path(docker_client.info()["DockerRootDir"], "containers", found["Id"])
        if os.access(folder, os.R_OK):  # the engine is this machine's, and we are root
            assert 16_000_000 < size_of(folder) < 20_000_000
    finally:
        api.remove_container(plan.container, force=True)


async def test_a_build_that_is_stopped_from_outside_ends_at_once_and_is_told(
    bench: Bench, docker_client: docker.DockerClient
) -> None:
    url, commit = bench.repository(Dockerfile=f"FROM {BASE_IMAGE}\nRUN echo begun && sleep 60\n")
    plan = bench.plan(url, commit)
    build = bench.pool.join(plan, "ann")
    await until(lambda: any("begun" in line for line in build.log.last_lines(9)), 30)
    since = time.monotonic()
    await asyncio.to_thread(docker_client.api.stop, plan.container, timeout=10)
    assert time.monotonic() - since <= 3
    with pytest.raises(BuildError) as caught:
        await build.result()
    assert caught.value.reason == "build_killed"
    bench.pool.leave(build)


class TestBuildSteps:
    """What `docs/build-memory.md` says; 200 MB allowed, 500 MB wanted."""

    EAT = "x=bytearray(b'x')*(500*2**20); print('held', len(x))"

    async def built(self, bench: Bench, image: str, *extra_args: str) -> list[str] | BuildError:
        url, commit = bench.repository(
            Dockerfile=f"FROM {SINGLEUSER_IMAGE}\n"
            f'RUN echo {uuid.uuid4()}; python3 -c "{self.EAT}"\n'
        )
        plan = replace(
            bench.plan(url, commit, image), extra_args=extra_args, memory_limit=200 * MEGABYTE
        )
        try:
            _, events = await bench.build(plan)
        except BuildError as error:
            return error
        return [event.text for event in events]

    async def test_the_old_repo2docker_limits_its_steps(self, bench: Bench) -> None:
        failed = await self.built(bench, REPO2DOCKER_OLD_IMAGE, "--build-memory-limit=200M")
        assert isinstance(failed, BuildError)
        assert "137" in "\n".join(failed.lines)

    @pytest.mark.parametrize("image", [REPO2DOCKER_OLD_IMAGE, REPO2DOCKER_IMAGE])
    async def test_the_limit_of_the_container_is_not_the_steps(
        self, bench: Bench, image: str
    ) -> None:
        texts = await self.built(bench, image)
        assert isinstance(texts, list)
        assert any("held 524288000" in text for text in texts)

    async def test_the_new_repo2docker_refuses_the_old_ones_option(self, bench: Bench) -> None:
        failed = await self.built(bench, REPO2DOCKER_IMAGE, "--build-memory-limit=200M")
        assert isinstance(failed, BuildError)
        assert "no longer supported" in "\n".join(failed.lines)

    async def test_an_engine_of_this_age_ignores_a_steps_own_cgroup(
        self, bench: Bench, docker_client: docker.DockerClient, small_group: Path
    ) -> None:
        version = docker_client.version()["Version"]
        if not version.startswith("20.10."):
            pytest.skip(f"what the docs say is of engine 20.10; this is {version}")
        option = "--DockerEngine.extra_buildx_build_args="
        refused = await self.built(bench, REPO2DOCKER_IMAGE, f"{option}--no-such-option")
        assert isinstance(refused, BuildError), "the option reaches the builder"
        option += f"--cgroup-parent=/{small_group.name}"
        texts = await self.built(bench, REPO2DOCKER_IMAGE, option)
        assert isinstance(texts, list)
        assert any("held 524288000" in text for text in texts)


@pytest.fixture
def limited_engine() -> Iterator[SecondEngine]:
    """An engine whose build steps may have 100 MB, all together."""
    group = Path("/sys/fs/cgroup/memory") / f"r2d-test-{os.getpid()}"
    if not (second_engine_possible() and group.parent.is_dir()):
        pytest.skip("needs root, dockerd and cgroups of version 1")
    folder = Path(tempfile.mkdtemp(prefix="r2d-", dir="/tmp"))
    engine = SecondEngine(folder, [f"--cgroup-parent=/{group.name}"])
    (group / "buildkit").mkdir(parents=True)
    (group / "buildkit" / "memory.limit_in_bytes").write_text(str(100 * MEGABYTE))
    try:
        engine.start()
        engine.import_image("small", {}, {})
        yield engine
    finally:
        engine.close()
        for left in Path("/sys/fs/cgroup").glob(f"*/{group.name}"):
            for path in sorted(left.glob("**/"), reverse=True):
                path.rmdir()


@pytest.mark.parametrize(("count", "code"), [(1_000_000, 0), (20_000_000, 1)])
def test_a_limit_on_the_builders_cgroup_holds_for_the_steps(
    limited_engine: SecondEngine,
    docker_client: docker.DockerClient,
    tmp_path: Path,
    count: int,
    code: int,
) -> None:
    (tmp_path / "Dockerfile").write_text(f"FROM small\nRUN x=$(seq 1 {count}); echo ${{#x}}\n")
    made = docker_client.containers.run(
        REPO2DOCKER_IMAGE,
        ["docker", "buildx", "build", "--network=none", "--progress=plain", "/src"],
        volumes={
            str(limited_engine.socket): {"bind": "/var/run/docker.sock", "mode": "rw"},
            str(tmp_path): {"bind": "/src", "mode": "ro"},
        },
        network_mode="none",
        detach=True,
    )
    try:
        status = made.wait(timeout=60)
        text = made.logs().decode()
    finally:
        made.remove(force=True)
    assert status["StatusCode"] == code, text
    assert ("exit code: 137" in text) == bool(code), text
