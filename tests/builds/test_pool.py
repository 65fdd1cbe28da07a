"""The pool of builds, with a builder that runs what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib

from testbed.poolhouse import House, said
from testbed.waiting import until

from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.builds.container import Outcome
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.state import State
from repo2dockerspawner.errors import BuildError

# -- one build for all who ask -----------------------------------------------------------------


async def test_who_asks_for_the_same_gets_the_same_build(house: House) -> None:
    builds = [house.join("a", user) for user in ("ann", "bob", "ann", "cid")]
    assert len(set(builds)) == 1
    await house.started("a")
    results = [asyncio.create_task(build.result()) for build in builds]
    house.succeed("a")
    assert await asyncio.wait_for(asyncio.gather(*results), 2) == ["r2d-a"] * 4
    assert len(house.builder.runs) == 1
    assert builds[0].state is State.DONE


async def test_who_asks_after_the_end_gets_the_image_that_is_there(house: House) -> None:
    first = house.join("a")
    await house.started("a")
    house.succeed("a")
    await first.result()
    house.pool.leave(first)
    second = house.join("a")
    assert second is not first
    assert await asyncio.wait_for(second.result(), 2) == "r2d-a"
    assert len(house.builder.runs) == 1, "nothing is built again"


async def test_what_the_thread_reads_reaches_all_who_follow_and_the_record(house: House) -> None:
    build = house.join("a")
    await house.started("a")
    run = house.builder.of("a")
    run.follower.emit(Event("Step 1/2", 0.5, "building", is_log=True))
    house.succeed("a")
    await build.result()
    assert said(build) == ["Step 1/2", "The image r2d-a is ready."]
    assert house.recorded == [("a", "Step 1/2"), ("a", "The image r2d-a is ready.")]


async def test_fifty_who_wait_for_one_build_all_see_its_whole_log(house: House) -> None:
    async def whole_log(build: Build) -> list[str]:
        texts = [event.text async for event in build.follow() if event.is_log]
        return "\n".join(texts).split("\n")

    builds = [house.join("a", user=f"user {number}") for number in range(50)]
    await house.started("a")
    run = house.builder.of("a")
    printed = [f"line {number}" for number in range(300)]
    listeners = [asyncio.create_task(whole_log(build)) for build in builds[:49]]

    def prints() -> None:
        for line in printed:
            run.follower.emit(Event(line, 0.5, "building", is_log=True))

    await asyncio.to_thread(prints)
    # one has come to the page only now
    listeners.append(asyncio.create_task(whole_log(builds[49])))
    house.succeed("a")
    seen = await asyncio.wait_for(asyncio.gather(*listeners), 10)
    assert seen == [printed] * 50
    assert len(house.builder.runs) == 1


# -- what is counted ---------------------------------------------------------------------------


async def test_only_a_build_of_ours_that_ended_well_tells_how_long_it_took(house: House) -> None:
    for digit, outcome in (("a", Outcome(0, ours=True)), ("b", Outcome(0)), ("c", Outcome(1))):
        build = house.join(digit)
        await house.started(digit)
        await asyncio.sleep(0.05)
        house.images.there.add(f"r2d-{digit}")
        house.builder.of(digit).end(outcome)
        with contextlib.suppress(BuildError):
            await build.result()
        house.pool.leave(build)
    ((digit, seconds),) = house.took
    assert digit == "a"
    assert 0.05 <= seconds < 1


async def test_the_counts_tell_what_is_there_and_what_was(house: House) -> None:
    for digit in "abcd":
        house.join(digit, user=digit)
    await house.started("a", "b")
    counts = house.pool.statistics()
    assert (counts.limit, counts.running, counts.queued, counts.ended) == (2, 2, 2, {})
    house.succeed("a")
    house.builder.of("b").end(Outcome(1, ours=True))
    await house.started("c", "d")
    house.pool.cancel(house.pool._builds["c" * 64])
    house.succeed("d")
    await until(lambda: not house.pool.statistics().running)
    counts = house.pool.statistics()
    assert counts.ended == {"done": 2, "build_failed": 1, "cancelled": 1}
    assert (counts.running, counts.queued) == (0, 0)
    assert counts.building_seconds > 0
    assert counts.waiting_seconds > 0
