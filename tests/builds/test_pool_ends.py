"""How a build ends: by itself, by its limits, or by an engine that does as it likes."""

from __future__ import annotations

import asyncio
import dataclasses
import time

import pytest
from testbed.poolhouse import House, plan, said
from testbed.waiting import until

from repo2dockerspawner.builds import pool as pool_module
from repo2dockerspawner.builds.container import Outcome
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.state import State
from repo2dockerspawner.errors import BuildError, EngineError


async def test_a_build_that_takes_too_long_is_killed_and_says_so(house: House) -> None:
    build = house.join("a", timeout=0.1)
    with pytest.raises(BuildError) as raised:
        await asyncio.wait_for(build.result(), 2)
    assert raised.value.reason == "build_timeout"
    assert build.state is State.FAILED
    assert house.builder.killed == ["a"]
    await house.started()


async def test_the_time_in_line_does_not_count(house: House) -> None:
    for digit in "ab":
        house.join(digit)
    third = house.join("c", timeout=0.1)
    await asyncio.sleep(0.2)
    assert not third.ended


@pytest.mark.parametrize(
    ("outcome", "there", "reason"),
    [
        pytest.param(Outcome(0), [], "image_missing", id="well, but no image"),
        pytest.param(Outcome(0, image="r2d-x"), [], "image_missing", id="only the log says so"),
        pytest.param(Outcome(0), ["r2d-a"], "", id="well"),
        pytest.param(Outcome(0, image="other"), ["other"], "", id="by another name"),
        pytest.param(Outcome(None), ["r2d-a"], "", id="gone, but the image is there"),
        pytest.param(Outcome(None, ours=True), [], "build_lost", id="gone"),
        pytest.param(Outcome(1), ["r2d-a"], "build_failed", id="failed, an old image there"),
        pytest.param(Outcome(137, ours=True), [], "build_killed", id="killed"),
        pytest.param(
            Outcome(137, out_of_memory=True), [], "build_out_of_memory", id="out of memory"
        ),
    ],
)
async def test_the_image_proves_that_a_build_went_well(
    house: House, outcome: Outcome, there: list[str], reason: str
) -> None:
    build = house.join("a")
    await house.started("a")
    house.images.there.update(there)
    house.builder.of("a").end(outcome)
    if reason:
        with pytest.raises(BuildError) as raised:
            await asyncio.wait_for(build.result(), 2)
        assert raised.value.reason == reason
        assert build.state is State.FAILED
    else:
        assert await asyncio.wait_for(build.result(), 2) == there[0]


async def test_an_engine_that_is_gone_is_told_to_all_who_wait(house: House) -> None:
    builds = [house.join("a", user) for user in ("ann", "bob")]
    await house.started("a")
    house.builder.of("a").end(EngineError("The engine is gone."))
    for build in builds:
        with pytest.raises(EngineError, match=r"The engine is gone\."):
            await asyncio.wait_for(build.result(), 2)


async def test_an_engine_that_goes_while_the_image_is_looked_for_is_told(house: House) -> None:
    build = house.join("a")
    await house.started("a")
    house.images.error = EngineError("The engine is gone.")
    house.builder.of("a").end(Outcome(0))
    with pytest.raises(EngineError):
        await asyncio.wait_for(build.result(), 2)


async def test_an_error_of_ours_ends_one_build_and_not_the_pool(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    build = house.join("a")
    await house.started("a")
    house.builder.of("a").end(ValueError("a secret of the machine room"))
    with pytest.raises(BuildError) as raised:
        await asyncio.wait_for(build.result(), 2)
    assert (raised.value.reason, raised.value.status) == ("internal", 500)
    assert "machine room" not in raised.value.message
    assert "machine room" in caplog.text
    again = house.join("b")
    await house.started("b")
    house.succeed("b")
    assert await again.result() == "r2d-b"


async def test_another_processs_build_that_is_killed_there_is_built_anew_here(
    house: House,
) -> None:
    house.builder.ours = False
    build = house.join("a")
    await house.started("a")
    house.builder.ours = True
    house.builder.of("a").end(Outcome(137, ours=False))
    await until(lambda: len(house.builder.runs) == 2)
    assert not build.ended
    house.succeed("a")
    assert await asyncio.wait_for(build.result(), 2) == "r2d-a"
    assert house.builder.most["a"] == 1


async def test_another_processs_build_that_is_removed_there_is_built_anew_here(
    house: House,
) -> None:
    house.builder.ours = False
    build = house.join("a")
    await house.started("a")
    house.builder.ours = True
    house.builder.of("a").end(Outcome(None, ours=False))
    await until(lambda: len(house.builder.runs) == 2)
    house.succeed("a")
    assert await asyncio.wait_for(build.result(), 2) == "r2d-a"


async def test_a_build_that_is_killed_elsewhere_again_and_again_fails(house: House) -> None:
    house.builder.ours = False
    build = house.join("a")
    await house.started("a")
    house.builder.of("a").end(Outcome(137, ours=False))
    await until(lambda: len(house.builder.runs) == 2)
    house.builder.of("a").end(Outcome(137, ours=False))
    with pytest.raises(BuildError) as raised:
        await asyncio.wait_for(build.result(), 2)
    assert raised.value.reason == "build_killed"
    assert len(house.builder.runs) == 2


# -- silence -----------------------------------------------------------------------------------


def silent(digit: str, idle: float) -> BuildPlan:
    return dataclasses.replace(plan(digit), idle_timeout=idle)


async def test_a_build_that_says_nothing_for_too_long_is_ended(house: House) -> None:
    build = house.pool.join(silent("a", 0.15), "ann")
    began = time.monotonic()
    with pytest.raises(BuildError) as raised:
        await asyncio.wait_for(build.result(), 2)
    assert 0.15 <= time.monotonic() - began < 1
    assert raised.value.reason == "build_idle_timeout"
    assert "build_idle_timeout" in raised.value.message
    assert house.builder.killed == ["a"]
    await house.started()


async def test_each_line_gives_a_build_its_time_again(house: House) -> None:
    build = house.pool.join(silent("a", 0.3), "ann")
    await house.started("a")
    follower = house.builder.of("a").follower
    for number in range(8):
        follower.emit(Event(f"line {number}", 0, "building", is_log=True))
        await asyncio.sleep(0.1)
    assert not build.ended
    house.succeed("a")
    assert await build.result() == "r2d-a"


async def test_the_silence_in_line_does_not_count(one_place: House) -> None:
    one_place.join("a")
    waiting = one_place.pool.join(silent("b", 0.1), "bob")
    await asyncio.sleep(0.25)
    assert not waiting.ended
    one_place.succeed("a")
    await one_place.started("b")
    one_place.succeed("b")
    assert await waiting.result() == "r2d-b"


# -- an engine that doesn't do as it is told ---------------------------------------------------


async def test_a_kill_that_never_comes_frees_the_place_nevertheless(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_module, "_KILL_GRACE", 0.2)
    monkeypatch.setattr(house.builder, "kill", lambda plan: None)
    build = house.join("a")
    await house.started("a")
    began = time.monotonic()
    house.pool.cancel(build)
    assert build.ended, "who waits is told at once"
    assert house.pool.statistics().running == 1, "the container may still be there"
    await until(lambda: not house.pool.statistics().running)
    assert 0.2 <= time.monotonic() - began < 1
    assert house.builder.of("a").follower.detached.is_set()


async def test_a_build_that_the_engine_lost_is_built_once_more(house: House) -> None:
    build = house.join("a")
    await house.started("a")
    house.builder.of("a").end(Outcome(1, ours=True, interrupted=True))
    await until(lambda: len(house.builder.runs) == 2)
    assert said(build)[-1] == (
        "The connection to the Docker engine was lost in the middle of the build; building anew."
    )
    house.succeed("a")
    assert await asyncio.wait_for(build.result(), 2) == "r2d-a"


@pytest.mark.parametrize(
    "outcome",
    [
        pytest.param(Outcome(0, ours=True, interrupted=True), id="done"),
        pytest.param(Outcome(137, True, ours=True, interrupted=True), id="out of memory"),
        pytest.param(Outcome(None, ours=True, interrupted=True), id="removed"),
    ],
)
async def test_what_would_end_the_same_way_is_not_built_again(
    house: House, outcome: Outcome
) -> None:
    build = house.join("a")
    await house.started("a")
    house.builder.of("a").end(outcome)
    with pytest.raises(BuildError):
        await asyncio.wait_for(build.result(), 2)
    assert len(house.builder.runs) == 1


async def test_it_is_built_twice_and_never_three_times(house: House) -> None:
    build = house.join("a")
    for runs in (1, 2):
        await until(lambda runs=runs: len(house.builder.runs) == runs)
        await house.started("a")
        house.builder.of("a").end(Outcome(1, ours=True, interrupted=True))
    with pytest.raises(BuildError):
        await asyncio.wait_for(build.result(), 2)
    assert len(house.builder.runs) == 2
