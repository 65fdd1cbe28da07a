"""Who leaves a build, and how the pool lets go of all of them at the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import time

import pytest
from testbed.poolhouse import GRACE, House, build_threads, said
from testbed.waiting import until

from repo2dockerspawner.builds import pool as pool_module
from repo2dockerspawner.builds.follower import Follower
from repo2dockerspawner.builds.state import State
from repo2dockerspawner.errors import BuildCancelledError, BuildError

# -- leaving -----------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_threads_left")
async def test_when_the_last_one_leaves_the_build_is_ended_within_a_second() -> None:
    house = House(limit=2)
    build = house.join("a")
    await house.started("a")
    began = time.monotonic()
    house.pool.leave(build)
    assert time.monotonic() - began < 0.01
    with pytest.raises(BuildCancelledError):
        await asyncio.wait_for(build.result(), 1)
    assert time.monotonic() - began >= pool_module._GRACE * 0.9
    assert house.builder.killed == ["a"]
    await house.pool.close()


async def test_a_build_in_line_that_nobody_wants_any_more_never_runs(house: House) -> None:
    for digit in "ab":
        house.join(digit)
    third, fourth = house.join("c"), house.join("d")
    house.pool.leave(third)
    await until(lambda: third.ended)
    assert third.state is State.CANCELLED
    assert said(fourth)[-1] == "1st in line; 2 builds are running."
    house.succeed("a")
    await house.started("b", "d")
    assert "c" not in [run.plan.key[0] for run in house.builder.runs]
    assert not house.builder.killed


async def test_while_somebody_waits_the_build_goes_on(house: House) -> None:
    build = house.join("a", "ann")
    house.join("a", "bob")
    await house.started("a")
    house.pool.leave(build)
    await asyncio.sleep(3 * GRACE)
    assert not build.ended
    house.succeed("a")
    assert await build.result() == "r2d-a"


async def test_who_comes_back_within_the_grace_keeps_the_build(house: House) -> None:
    build = house.join("a")
    await house.started("a")
    house.pool.leave(build)
    await asyncio.sleep(GRACE / 3)
    assert house.join("a") is build
    await asyncio.sleep(3 * GRACE)
    assert not build.ended
    assert not house.builder.killed


async def test_another_processs_build_is_let_go_and_not_killed(house: House) -> None:
    house.builder.ours = False
    build = house.join("a")
    await house.started("a")
    house.pool.leave(build)
    await until(lambda: build.ended)
    await house.started()
    assert house.builder.of("a").follower.detached.is_set()
    assert not house.builder.killed


async def test_cancelling_is_said_before_it_is_asked_whose_the_container_is(
    grace: None, no_threads_left: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # else a thread that makes the container at this moment would start it, and nobody end it
    said_before: list[bool] = []

    class Watched(Follower):
        @property
        def ours(self) -> bool:
            said_before.append(self.cancelled.is_set())
            return True

        @ours.setter
        def ours(self, value: bool) -> None:
            pass

    monkeypatch.setattr(pool_module, "Follower", Watched)
    house = House(limit=1)
    build = house.join("a")
    await house.started("a")
    said_before.clear()
    house.pool.cancel(build)
    assert said_before == [True]
    await house.pool.close()


async def test_cancelling_twice_ends_neither_the_next_build_nor_the_pool(house: House) -> None:
    first = house.join("a")
    await house.started("a")
    house.pool.cancel(first)
    second = house.join("a")
    house.pool.cancel(first)
    assert house.join("a") is second
    await until(lambda: len(house.builder.runs) == 2)
    house.succeed("a")
    assert await second.result() == "r2d-a"


async def test_a_key_asked_anew_waits_until_its_cancelled_build_has_gone(house: House) -> None:
    house.builder.going_away = 0.3
    first = house.join("a")
    await house.started("a")
    house.pool.cancel(first)
    second = house.join("a")
    other = house.join("b")
    assert second is not first
    assert second.state is State.QUEUED
    await house.started("a", "b")
    assert len(house.builder.runs) == 2
    await until(lambda: len(house.builder.runs) == 3)
    house.succeed("a")
    house.succeed("b")
    assert await asyncio.gather(second.result(), other.result()) == ["r2d-a", "r2d-b"]
    assert house.builder.most["a"] == 1


async def test_a_build_cancelled_before_its_first_step_never_runs(house: House) -> None:
    build = house.join("a")
    house.pool.cancel(build)
    await until(lambda: not house.pool._running)
    assert build.state is State.CANCELLED
    assert not house.builder.runs


# -- the process's end -------------------------------------------------------------------------


async def test_letting_go_ends_the_threads_within_a_second_and_no_build(house: House) -> None:
    for digit in "abc":
        house.join(digit)
    await house.started("a", "b")
    began = time.monotonic()
    house.pool.detach()
    await until(lambda: not build_threads(), 1)
    assert time.monotonic() - began < 1
    assert not house.builder.killed
    assert len(house.builder.runs) == 2


async def test_who_leaves_after_that_ends_nothing(house: House) -> None:
    build = house.join("a")
    await house.started("a")
    house.pool.detach()
    house.pool.leave(build)
    await asyncio.sleep(3 * GRACE)
    assert not house.builder.killed


@pytest.mark.usefixtures("grace", "no_threads_left")
async def test_a_pool_can_be_closed_right_after_it_was_made() -> None:
    # no asyncio.wait_for, which would let the pool's own task begin
    empty = House(limit=1)
    await empty.pool.close()
    assert empty.pool.detached
    busy = House(limit=1)
    busy.join("a")
    await busy.pool.close()
    assert busy.pool.detached
    assert not busy.pool._tasks


@pytest.mark.parametrize("moments", [0, 1, 3, 50])
@pytest.mark.usefixtures("grace", "no_threads_left")
def test_a_hub_that_shuts_down_ends_no_build_and_starts_none(
    moments: int, caplog: pytest.LogCaptureFixture
) -> None:
    """JupyterHub's shutdown cancels every task of the loop (app.py, ``shutdown_cancel_tasks``)."""
    houses: list[House] = []

    async def wait_for_build(house: House, digit: str) -> None:
        build = house.join(digit)
        try:
            async for _ in build.follow():
                pass
            await build.result()
        finally:
            house.pool.leave(build)

    async def hub() -> None:
        house = House(limit=2)
        houses.append(house)
        tasks = [asyncio.create_task(wait_for_build(house, digit)) for digit in "aabcd"]
        if moments == 50:
            await house.started("a", "b")
        for _ in range(moments):
            await asyncio.sleep(0)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(3 * GRACE)

    began = time.monotonic()
    asyncio.run(hub())
    assert time.monotonic() - began < 2
    (house,) = houses
    assert not house.builder.killed
    assert {run.plan.key[0] for run in house.builder.runs} <= {"a", "b"}
    assert not caplog.records


@pytest.mark.usefixtures("grace")
async def test_closing_leaves_neither_task_nor_thread() -> None:
    before = asyncio.all_tasks()
    house = House(limit=3)
    for digit in "abcde":
        house.join(digit)
    await house.started("a", "b", "c")
    await asyncio.wait_for(house.pool.close(), 2)
    assert asyncio.all_tasks() == before
    await until(lambda: not build_threads(), 1)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(house.pool.close(), 1)  # again: nothing more to do


# -- after letting go --------------------------------------------------------------------------


async def test_who_asks_a_pool_that_has_let_go_is_told_to_come_back(house: House) -> None:
    house.pool.detach()
    with pytest.raises(BuildError) as raised:
        house.join("a")
    assert (raised.value.reason, raised.value.status) == ("detached", 503)
    assert not house.pool._builds


async def test_who_still_waits_when_a_pool_closes_is_told(house: House) -> None:
    running, waiting = house.join("a"), [house.join(digit) for digit in "bc"][1]
    await house.started("a", "b")
    house.pool.detach()
    await asyncio.wait_for(house.pool.close(), 2)
    for build in (running, waiting):
        with pytest.raises(BuildError) as raised:
            await asyncio.wait_for(build.result(), 1)
        assert raised.value.reason == "detached"
    assert not house.builder.killed
