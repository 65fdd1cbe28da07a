"""Faults of a build and of the engine in the middle of one: nothing is lost, and the truth is told.

The engine is the real one; where it is to fail, a proxy before it does. The numbers in the names
of the groups are those of the project's table of faults.
"""

from __future__ import annotations

import ast
import asyncio
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from testbed.builds import Bench
from testbed.engineproxy import EngineProxy, ProxiedEngine
from testbed.names import SINGLEUSER_IMAGE
from testbed.scripted import (
    ScriptBench,
    UnbuiltImages,
    printed,
    ready_image,
    said,
    scripted_plan,
)
from testbed.waiting import until

import repo2dockerspawner
from repo2dockerspawner.builds import container as container_module
from repo2dockerspawner.builds import pool as pool_module
from repo2dockerspawner.builds.container import ContainerBuilder
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.builds.state import State
from repo2dockerspawner.disk import Disk
from repo2dockerspawner.engine import Engine, NotFound
from repo2dockerspawner.errors import BuildError, EngineError, Repo2DockerError
from repo2dockerspawner.images import Images

# docker-py leaves a socket that could not connect to the garbage collector
refused = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


def lines(count: int, pause: float = 0.0) -> str:
    """Return a script that prints so many numbered lines."""
    wait = f"sleep {pause};" if pause else ""
    return f"i=0; while [ $i -lt {count} ]; do echo line $i; i=$((i+1)); {wait} done"


async def failure(bench: ScriptBench, plan: object) -> Repo2DockerError:
    with pytest.raises(Repo2DockerError) as caught:
        await bench.build(plan)  # type: ignore[arg-type]
    return caught.value


class TestItFails:
    """F1 - F5: the build itself."""

    async def test_a_failed_build_leaves_no_container(self, scripts: ScriptBench) -> None:
        plan = scripted_plan("for i in $(seq 50); do echo line $i; done; echo the-reason; exit 1")
        error = await failure(scripts, plan)
        since = time.monotonic()
        assert error.reason == "build_failed"
        assert 400 <= error.status < 500
        assert 1 <= len(error.lines) <= 20
        assert "the-reason" in error.lines[-1]
        await until(lambda: not scripts.state(plan), 2)
        assert time.monotonic() - since <= 2

    async def test_the_log_of_a_kept_one_can_be_read(self, scripts: ScriptBench) -> None:
        plan = replace(scripted_plan("echo first; echo the-reason; exit 1"), retention=60)
        await failure(scripts, plan)
        assert scripts.state(plan) == "exited"
        assert await scripts.builder.log_of(plan.key) == ["first", "the-reason"]
        assert await scripts.builder.log_of(plan.key, lines=1) == ["the-reason"]
        scripts.client.api.remove_container(plan.container)
        with pytest.raises(NotFound):
            await scripts.builder.log_of(plan.key)

    async def test_ended_well_without_an_image_is_a_failure_and_pulls_nothing(
        self, faulty: ScriptBench, proxy: EngineProxy
    ) -> None:
        plan = scripted_plan("echo Successfully tagged me; exit 0")
        error = await failure(faulty, plan)
        assert (error.reason, error.status) == ("image_missing", 500)
        assert proxy.count("/images/create") == 0
        assert proxy.count("POST /containers/create") == 1

    async def test_repo2docker_that_builds_nothing_is_a_failure(self, bench: Bench) -> None:
        url, commit = bench.repository()
        plan = replace(bench.plan(url, commit), extra_args=("--no-build",))
        with pytest.raises(BuildError) as caught:
            await bench.build(plan)
        assert caught.value.reason == "image_missing"

    async def test_a_killed_container_is_told_within_two_seconds(
        self, scripts: ScriptBench
    ) -> None:
        plan = scripted_plan("echo begun; exec sleep 60")
        build = scripts.pool.join(plan, "ann")
        await until(lambda: "begun" in build.log.last_lines(9))
        since = time.monotonic()
        scripts.client.api.kill(plan.container)
        with pytest.raises(BuildError) as caught:
            await build.result()
        assert time.monotonic() - since <= 2
        assert caught.value.reason == "build_killed"
        scripts.pool.leave(build)

    async def test_out_of_memory_is_told_with_the_limit(self, scripts: ScriptBench) -> None:
        eat = "exec python3 -c 'x = [bytearray(b\"x\") * 10**6 for _ in range(10**4)]'"
        plan = replace(scripted_plan(eat), memory_limit=64 * 2**20)
        error = await failure(scripts, plan)
        assert error.reason == "build_out_of_memory"
        assert "64" in error.message, error.message

    async def test_a_full_disk_is_told_in_fifty_milliseconds(self, scripts: ScriptBench) -> None:
        disk = Disk(scripts.engine)
        await disk.check_reserve(1)
        for _ in range(5):
            since = time.monotonic()
            with pytest.raises(EngineError) as caught:
                await disk.check_reserve(2**60)
            assert time.monotonic() - since <= 0.05
            assert caught.value.reason == "disk_full"


@refused
class TestTheEngineIsAway:
    """F6, F7: no connection, at the start or in the middle."""

    async def test_an_engine_that_was_never_there_is_told_soon(
        self, faulty: ScriptBench, proxy: EngineProxy
    ) -> None:
        proxy.down()
        since = time.monotonic()
        error = await failure(faulty, scripted_plan("echo never"))
        assert time.monotonic() - since <= 10
        assert (error.reason, error.status) == ("engine_unavailable", 503)
        proxy.up()

    async def test_an_engine_that_went_before_the_start_is_asked_three_times(
        self, faulty: ScriptBench, proxy: EngineProxy
    ) -> None:
        await faulty.engine.call(lambda client: client.ping())
        proxy.drop("POST /containers/create")
        since = time.monotonic()
        error = await failure(faulty, replace(scripted_plan("echo never"), build_image="no/such"))
        assert time.monotonic() - since <= 10
        assert error.reason == "engine_unavailable"
        assert proxy.count("POST /containers/create") == 3

    async def test_an_engine_that_is_back_in_a_moment_costs_nothing(
        self, faulty: ScriptBench, proxy: EngineProxy
    ) -> None:
        await faulty.engine.call(lambda client: client.ping())
        plan = scripted_plan("echo done")
        with ready_image(faulty.client, plan):
            proxy.down()
            asyncio.get_running_loop().call_later(0.1, proxy.up)
            assert printed(await faulty.build(plan)) == ["done"]

    @pytest.mark.parametrize("how", ["cut", "away"])
    async def test_a_log_that_breaks_off_is_read_on_without_losing_or_doubling_a_line(
        self, faulty: ScriptBench, proxy: EngineProxy, how: str
    ) -> None:
        count = 400
        plan = scripted_plan(lines(count, 0.01))
        with ready_image(faulty.client, plan):
            task = asyncio.create_task(faulty.build(plan))
            await until(lambda: proxy.count("/logs"))
            for _ in range(5):
                await asyncio.sleep(0.5)
                if how == "cut":
                    assert proxy.cut("/logs") == 1
                else:
                    with proxy.away():
                        await asyncio.sleep(0.3)
            events = await task
        assert printed(events) == [f"line {number}" for number in range(count)]
        told = [text for text in said(events) if "connection" in text]
        assert told == ["The connection to the Docker engine was lost; reading on."]
        assert proxy.count("POST /containers/create") == 1

    async def test_a_flood_that_breaks_off_is_whole(
        self, faulty: ScriptBench, proxy: EngineProxy
    ) -> None:
        # more than a moment of the engine's backlog, and lines that differ
        plan = scripted_plan("seq 60000; sleep 0.2; echo end")
        with ready_image(faulty.client, plan):
            got: list[str] = []
            build = faulty.pool.join(plan, "ann")
            task = asyncio.create_task(_collect(build, got))
            for _ in range(5):
                before = len(got)
                await until(lambda before=before: len(got) > before + 500 or build.ended)
                proxy.cut("/logs")
            await task
            faulty.pool.leave(build)
        assert got == [*map(str, range(1, 60001)), "end"]

    async def test_a_build_that_ends_while_the_engine_is_away_is_found_with_all_its_lines(
        self, faulty: ScriptBench, proxy: EngineProxy
    ) -> None:
        plan = scripted_plan(lines(100, 0.01))
        with ready_image(faulty.client, plan):
            build = faulty.pool.join(plan, "ann")
            await until(lambda: len(build.log.last_lines(999)) > 20)
            with proxy.away():
                await until(lambda: faulty.state(plan) == "exited")
            await asyncio.wait_for(build.result(), 5)
            assert build.log.last_lines(999) == [f"line {number}" for number in range(100)]
            faulty.pool.leave(build)
        assert proxy.count("POST /containers/create") == 1

    async def test_a_build_that_died_with_the_engine_is_built_once_more(
        self, faulty: ScriptBench, proxy: EngineProxy
    ) -> None:
        """What an engine's restart does to its containers, without live-restore."""
        plan = scripted_plan("echo begun; sleep 2; echo ended")
        with ready_image(faulty.client, plan):
            task = asyncio.create_task(faulty.build(plan))
            await until(lambda: faulty.state(plan) == "running" and proxy.count("/logs"))
            with proxy.away():
                faulty.client.api.kill(plan.container)
                await asyncio.sleep(0.3)
            events = await task
        assert proxy.count("POST /containers/create") == 2
        assert printed(events)[-2:] == ["begun", "ended"]
        assert [text for text in said(events) if "building anew" in text]

    async def test_a_build_that_dies_with_the_engine_again_and_again_fails(
        self, faulty: ScriptBench, proxy: EngineProxy
    ) -> None:
        plan = scripted_plan("echo begun; exec sleep 60")
        task = asyncio.create_task(failure(faulty, plan))
        for number in (1, 2):
            # how often the log is asked for depends on what the follower sees first
            await until(lambda number=number: proxy.count("POST /containers/create") >= number)
            await until(lambda number=number: proxy.count("/logs") >= number)
            await until(lambda: faulty.state(plan) == "running")
            with proxy.away():
                faulty.client.api.kill(plan.container)
                await asyncio.sleep(0.3)
        error = await task
        assert error.reason == "build_killed"
        assert proxy.count("POST /containers/create") == 2


async def _collect(build: object, into: list[str]) -> None:
    async for event in build.follow():  # type: ignore[attr-defined]
        into += printed([event])


class TestTheEngineHangs:
    """F8, F9: connections that stay and say nothing."""

    async def test_a_half_open_stream_is_ended_by_the_idle_limit(
        self, faulty: ScriptBench, proxy: EngineProxy
    ) -> None:
        plan = replace(scripted_plan(lines(3000, 0.01)), idle_timeout=2)
        build = faulty.pool.join(plan, "ann")
        await until(lambda: len(build.log.last_lines(999)) > 5)
        assert proxy.freeze("/logs") == 1
        since = time.monotonic()
        with pytest.raises(BuildError) as caught:
            await build.result()
        assert abs(time.monotonic() - since - 2) <= 2
        assert caught.value.reason == "build_idle_timeout"
        assert "build_idle_timeout" in caught.value.message
        await until(lambda: faulty.state(plan) != "running", 2)
        faulty.pool.leave(build)
        # the thread that reads what never comes is let go
        await until(lambda: not faulty.pool.statistics().running, pool_module._KILL_GRACE + 2)
        await until(lambda: not faulty.state(plan))

    @pytest.mark.parametrize(
        "request_of",
        ["POST /containers/create", "PUT /containers/.*/archive", "POST /containers/.*/start"],
    )
    async def test_an_engine_that_does_not_answer_ends_the_start(
        self, scripted: None, docker_client: object, proxy: EngineProxy, request_of: str
    ) -> None:
        bench = ScriptBench.on(ProxiedEngine(proxy, timeout=1), docker_client)  # type: ignore[arg-type]
        plan = scripted_plan("exec sleep 60")
        proxy.hang(request_of)
        since = time.monotonic()
        error = await failure(bench, plan)
        assert time.monotonic() - since <= 10
        assert error.reason == "engine_timeout"
        assert not bench.state(plan)
        await bench.close()

    @pytest.mark.parametrize(
        "request_of",
        [
            "GET /containers/r2d-build-.*/json",
            "GET /containers/[0-9a-f]{64}/json",
            "POST /containers/.*/wait",
            "DELETE /containers/",
            "GET /images/",
        ],
    )
    async def test_an_engine_that_does_not_answer_at_the_end_ends_nothing_for_ever(
        self, scripted: None, docker_client: object, proxy: EngineProxy, request_of: str
    ) -> None:
        bench = ScriptBench.on(ProxiedEngine(proxy, timeout=1), docker_client)  # type: ignore[arg-type]
        plan = scripted_plan("echo done")
        with ready_image(bench.client, plan):
            proxy.hang(request_of, times=1)
            since = time.monotonic()
            build = bench.pool.join(plan, "ann")
            await until(lambda: build.ended, 20)
            assert build.error is None or build.error.reason == "engine_timeout"
            assert time.monotonic() - since <= 20
            bench.pool.leave(build)
            await until(lambda: not bench.pool.statistics().running)
        if bench.state(plan):
            bench.client.api.remove_container(plan.container, force=True)
        await bench.close()

    async def test_a_create_whose_answer_is_lost_is_taken_up(
        self, faulty: ScriptBench, proxy: EngineProxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(container_module, "_START_GRACE", 0.5)
        plan = scripted_plan("echo done")
        with ready_image(faulty.client, plan):
            proxy.drop("POST /containers/create", times=1)
            assert printed(await faulty.build(plan)) == ["done"]
        assert not faulty.state(plan)

    async def test_a_create_that_is_refused_is_told(
        self, faulty: ScriptBench, proxy: EngineProxy
    ) -> None:
        proxy.answer("POST /containers/create", 500)
        error = await failure(faulty, scripted_plan("echo never"))
        assert error.reason == "engine_refused"
        assert "a fault of 500" in error.message

    async def test_a_name_in_use_by_the_same_build_is_joined(
        self, faulty: ScriptBench, proxy: EngineProxy
    ) -> None:
        plan = scripted_plan("echo done; sleep 1")
        other = ScriptBench.on(ProxiedEngine(proxy), faulty.client)
        with ready_image(faulty.client, plan):
            first = asyncio.create_task(faulty.build(plan))
            await until(lambda: faulty.state(plan) == "running")
            assert "joining in" in said(await other.build(plan))[0]
            await first
        await other.close()

    @refused
    def test_each_call_of_the_engine_goes_through_the_one_room_with_a_time_limit(self) -> None:
        """Only ``engine.py`` makes a client, so each call has its limit; a log's stream, which
        docker-py reads without one, has the build's limits, and a wait has its own.
        """
        root = Path(repo2dockerspawner.__file__).parent
        for path in root.rglob("*.py"):
            if "inside" in path.parts:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                    continue
                name = node.func.attr
                if name in ("APIClient", "DockerClient", "from_env"):
                    assert path.name == "engine.py", f"{path}:{node.lineno}"
                if name == "wait" and ast.unparse(node.func.value) == "client":
                    assert "timeout" in [one.arg for one in node.keywords], path
        with pytest.raises(EngineError):  # it is refused, not waited for
            Engine({"base_url": "unix:///nowhere"}).client.ping()
        assert Engine()._kwargs["timeout"] == 60


@refused
class TestTheContainerStays:
    """F10: what can't be removed now is removed later, and no build fails for it."""

    @pytest.mark.parametrize("status", [404, 409, 500])
    async def test_a_removal_that_fails_fails_no_build(
        self,
        faulty: ScriptBench,
        proxy: EngineProxy,
        caplog: pytest.LogCaptureFixture,
        status: int,
    ) -> None:
        plan = scripted_plan("echo done")
        with ready_image(faulty.client, plan):
            proxy.answer("DELETE /containers/", status)
            await faulty.build(plan)
        assert ("can't be removed" in caplog.text) == (status == 500)
        assert faulty.state(plan) == "exited"
        assert plan.container not in await faulty.builder.sweep([]) or status != 500
        proxy.heal()
        await faulty.builder.sweep(faulty.pool.followed)
        assert not faulty.state(plan)

    @pytest.mark.parametrize("fault", ["500", "cut"])
    async def test_a_kill_that_fails_is_tried_again(
        self, faulty: ScriptBench, proxy: EngineProxy, fault: str
    ) -> None:
        plan = scripted_plan("echo begun; exec sleep 60")
        build = faulty.pool.join(plan, "ann")
        await until(lambda: "begun" in build.log.last_lines(9))
        if fault == "500":
            proxy.answer("POST /containers/.*/kill", 500, times=2)
        else:
            proxy.down()
            asyncio.get_running_loop().call_later(0.5, proxy.up)
        since = time.monotonic()
        faulty.pool.cancel(build)
        await until(lambda: not faulty.state(plan), 5)
        assert time.monotonic() - since <= 5
        await until(lambda: not faulty.pool.statistics().running)
        faulty.pool.leave(build)


class TestOutputAndLimits:
    """F12, F14, F15, F20. What lines may hold (F11, F13) is in tests/builds/test_lines.py."""

    async def test_twenty_thousand_lines_keep_their_beginning_and_their_end(
        self, bench: Bench
    ) -> None:
        run = "RUN seq -f 'line %.0f of part {0}' 1 4000\n"
        url, commit = bench.repository(
            Dockerfile=f"FROM {SINGLEUSER_IMAGE}\nRUN echo {time.time()}\n"
            + "".join(run.format(part) for part in range(5))
        )
        memory = psutil.Process().memory_info().rss
        plan = bench.plan(url, commit)
        build = bench.pool.join(plan, "ann")
        await build.result()
        bench.pool.leave(build)
        text = "\n".join([e.text for e in build.log._head] + [e.text for e in build.log._tail])
        assert "line 1 of part 0" in text
        assert "line 4000 of part 4" in text
        assert len(text) <= (64 + 256 + 32) * 1024
        assert psutil.Process().memory_info().rss - memory <= 8 * 2**20
        assert build.log.left_out == 0 or build.log.left_out > 1000

    async def test_a_build_image_that_can_not_be_had_is_no_fault_of_the_user(
        self, faulty: ScriptBench, proxy: EngineProxy
    ) -> None:
        error = await failure(
            faulty, replace(scripted_plan("echo never"), build_image="127.0.0.1:9/no/such:image")
        )
        assert (error.reason, error.status) == ("builder_image_unavailable", 503)
        assert proxy.count("POST /images/create") == 1

    async def test_a_build_image_of_another_machine_is_told(
        self, scripts: ScriptBench, docker_client: object
    ) -> None:
        # the engine starts it, and the kernel can't run it: what another architecture comes to
        plan = scripted_plan("echo never")
        made = scripts.client.containers.create(plan.build_image, "true")
        made.put_archive("/", _unrunnable())
        made.commit(repository="r2d-test-other-machine")
        made.remove(force=True)
        try:
            error = await failure(scripts, replace(plan, build_image="r2d-test-other-machine"))
        finally:
            scripts.client.images.remove("r2d-test-other-machine", force=True)
        assert error.reason in ("build_failed", "engine_refused"), error.reason
        assert any("exec format" in text for text in (*error.lines, error.message))
        assert not scripts.state(plan)

    async def test_a_build_over_its_time_is_gone_in_three_seconds(
        self, scripts: ScriptBench
    ) -> None:
        plan = replace(scripted_plan("echo begun; exec sleep 60"), timeout=2)
        since = time.monotonic()
        error = await failure(scripts, plan)
        assert 2 <= time.monotonic() - since <= 4
        assert error.reason == "build_timeout"
        assert 400 <= error.status < 500
        await until(lambda: not scripts.state(plan), 3)

    async def test_a_build_that_ended_while_nobody_looked_is_built_no_more(
        self, scripts: ScriptBench
    ) -> None:
        plan = replace(scripted_plan("sleep 0.5"), retention=60)
        gone = BuildPool(ContainerBuilder(scripts.engine), UnbuiltImages(scripts.engine), limit=1)
        with ready_image(scripts.client, plan):
            gone.join(plan, "ann")
            await until(lambda: scripts.state(plan) == "running")
            await gone.close()
            await until(lambda: scripts.state(plan) == "exited")
            # who asks looks for the image first; there is nothing left to build
            assert await Images(scripts.engine).find(plan.key, plan.image)
        scripts.client.api.remove_container(plan.container)

    async def test_an_end_that_is_told_is_counted_once(self, scripts: ScriptBench) -> None:
        build = scripts.pool.join(scripted_plan("exit 1"), "ann")
        with pytest.raises(BuildError):
            await build.result()
        assert build.state is State.FAILED
        assert scripts.pool.statistics().ended == {"build_failed": 1}


def _unrunnable() -> bytes:
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        entry = tarfile.TarInfo("usr/local/bin/jupyter-repo2docker")
        entry.size, entry.mode = 4, 0o755
        tar.addfile(entry, io.BytesIO(b"\x7fELF"))
    return stream.getvalue()
