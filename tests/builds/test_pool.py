"""The pool of builds, with a builder that runs what a test tells it to."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from repo2dockerspawner.builds import pool as pool_module
from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.builds.container import Outcome
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.follower import Follower
from repo2dockerspawner.builds.limits import Limits
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.pool import BuildPool, default_limit
from repo2dockerspawner.builds.state import State
from repo2dockerspawner.errors import BuildCancelledError, BuildError, EngineError, PolicyError
from repo2dockerspawner.images import Image

GRACE = 0.05


def plan(digit: str, timeout: float = 60) -> BuildPlan:
    return BuildPlan(
        key=digit * 64,
        container=f"r2d-build-{digit}",
        image=f"r2d-{digit}",
        labels={},
        provider="git",
        url="https://x/y",
        content_id="c" * 40,
        timeout=timeout,
        title=f"owner/{digit}",
    )


class Run:
    """One run of a build on a worker thread, blocked on its stream until a test lets it go."""

    def __init__(self, plan: BuildPlan, follower: Follower) -> None:
        self.plan = plan
        self.follower = follower
        self.killed = False
        self.outcome: Outcome | Exception | None = None
        self.wake = threading.Event()

    def close(self) -> None:
        """As a stream: its reading ends."""
        self.wake.set()

    def end(self, outcome: Outcome | Exception) -> None:
        self.outcome = outcome
        self.wake.set()


class ScriptedBuilder:
    """A builder in memory."""

    def __init__(self) -> None:
        self.ours = True
        self.runs: list[Run] = []
        self.killed: list[str] = []
        self.most: Counter[str] = Counter()
        self.going_away = 0.0
        self._active: list[Run] = []
        self._lock = threading.Lock()

    @property
    def active(self) -> list[str]:
        with self._lock:
            return [run.plan.key[0] for run in self._active]

    def of(self, digit: str) -> Run:
        """Return the newest run of a build."""
        return next(run for run in reversed(self.runs) if run.plan.key[0] == digit)

    def run(self, plan: BuildPlan, follower: Follower) -> Outcome:
        run = Run(plan, follower)
        ours = follower.ours = self.ours
        with self._lock:
            self.runs.append(run)
            self._active.append(run)
            for digit, count in Counter(one.plan.key[0] for one in self._active).items():
                self.most[digit] = max(self.most[digit], count)
            self.most["all"] = max(self.most["all"], len(self._active))
        follower.opened(run)
        try:
            assert run.wake.wait(20)
            if run.killed:
                time.sleep(self.going_away)
                return Outcome(137, ours=ours)
            if follower.detached.is_set():
                return Outcome(ours=ours, detached=True)
            if isinstance(run.outcome, Exception):
                raise run.outcome
            assert run.outcome is not None
            return run.outcome
        finally:
            with self._lock:
                self._active.remove(run)

    def kill(self, plan: BuildPlan) -> None:
        self.killed.append(plan.key[0])
        with self._lock:
            for run in self._active:
                if run.plan.key == plan.key:
                    run.killed = True
                    run.wake.set()


class StubImages:
    """Images that are there as soon as a test says so."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.error: Exception | None = None

    async def find(self, key: str, *names: str) -> Image | None:
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        found = [name for name in names if name in self.there]
        return Image("sha256:1", found[0]) if found else None


class House:
    """A pool and what a test holds of it."""

    def __init__(self, limit: int, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.builder = ScriptedBuilder()
        self.images = StubImages()
        self.recorded: list[tuple[str, str]] = []
        self.took: list[tuple[str, float]] = []
        images: Any = self.images
        self.pool = BuildPool(
            self.builder,
            images,
            limit=limit,
            record=lambda plan, event: self.recorded.append((plan.key[0], event.text)),
            took=lambda plan, seconds: self.took.append((plan.key[0], seconds)),
        )

    def join(self, digit: str, user: str = "ann", timeout: float = 60) -> Build:
        return self.pool.join(plan(digit, timeout), user, self.limits)

    async def started(self, *digits: str) -> None:
        """Wait until exactly these builds run."""
        await until(lambda: sorted(self.builder.active) == sorted(digits))

    def succeed(self, digit: str) -> None:
        self.images.there.add(f"r2d-{digit}")
        self.builder.of(digit).end(Outcome(0, ours=True))


async def until(condition: Callable[[], object], within: float = 3) -> None:
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, "did not happen in time"
        await asyncio.sleep(0.005)


def build_threads() -> list[threading.Thread]:
    return [one for one in threading.enumerate() if one.name.startswith("r2d-build")]


def said(build: Build) -> list[str]:
    return [event.text for event in (*build.log._head, *build.log._tail)]


@pytest.fixture
def grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_GRACE", GRACE)


@pytest.fixture
def no_threads_left() -> Iterator[None]:
    yield
    deadline = time.monotonic() + 1
    while build_threads() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not build_threads()


@pytest.fixture
async def house(grace: None, no_threads_left: None) -> AsyncIterator[House]:
    made = House(limit=2)
    yield made
    await asyncio.wait_for(made.pool.close(), 2)
    assert not made.pool._tasks
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in others if "pool" in str(task.get_coro())]


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


# -- the line ----------------------------------------------------------------------------------


async def test_no_more_than_the_limit_run_and_the_others_are_told_their_place(
    house: House,
) -> None:
    builds = {digit: house.join(digit, user=digit) for digit in "abcd"}
    await house.started("a", "b")
    assert said(builds["c"]) == ["1st in line; 2 builds are running."]
    assert said(builds["d"]) == ["2nd in line; 2 builds are running."]
    assert builds["c"].state is State.QUEUED
    house.succeed("a")
    await house.started("b", "c")
    assert said(builds["d"])[-1] == "1st in line; 2 builds are running."
    for digit in "bcd":
        await until(lambda digit=digit: digit in house.builder.active)
        house.succeed(digit)
    assert await asyncio.gather(*(build.result() for build in builds.values()))
    assert house.builder.most["all"] == 2


async def test_a_place_is_told_when_it_changes_and_not_again(house: House) -> None:
    for digit in "ab":
        house.join(digit, user=digit)
    third = house.join("c", user="c")
    for digit in "def0123456789":
        house.join(digit, user=digit)
    assert said(third) == ["1st in line; 2 builds are running."]


async def test_one_running_build_is_not_called_several(grace: None, no_threads_left: None) -> None:
    house = House(limit=1)
    house.join("a")
    assert said(house.join("b")) == ["1st in line; 1 build is running."]
    await house.pool.close()


async def test_a_build_in_line_holds_no_thread(house: House) -> None:
    for digit in "abcdef":
        house.join(digit)
    await house.started("a", "b")
    await asyncio.sleep(0.02)
    assert len(build_threads()) == 2


async def test_who_asks_for_many_does_not_keep_anothers_first_one_waiting(house: House) -> None:
    for digit in "abcde":
        house.join(digit, user="ann")
    await house.started("a", "b")
    bobs = [house.join(digit, user="bob") for digit in "01"]
    assert said(bobs[0]) == ["1st in line; 2 builds are running."]
    house.succeed("a")
    # ann has one running, bob none: bob's first
    await house.started("b", "0")
    assert said(bobs[1])[-1] == "2nd in line; 2 builds are running."


@pytest.mark.parametrize(
    ("number", "text"),
    [(1, "1st"), (2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (12, "12th"), (13, "13th"),
     (21, "21st"), (102, "102nd"), (111, "111th")],
)  # fmt: skip
def test_places_are_written_as_people_say_them(number: int, text: str) -> None:
    assert pool_module._ordinal(number) == text


async def test_no_limit_means_as_many_as_python_takes(no_threads_left: None) -> None:
    made = House(limit=0)
    assert made.pool.limit == default_limit() == made.pool._executor._max_workers
    await made.pool.close()


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


# -- how a build ends --------------------------------------------------------------------------


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


# -- the process's end -------------------------------------------------------------------------


async def test_letting_go_ends_the_threads_within_a_second_and_no_build(house: House) -> None:
    for digit in "abc":
        house.join(digit)
    await house.started("a", "b")
    began = time.monotonic()
    house.pool.detach()
    await until(lambda: not build_threads(), within=1)
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
    await until(lambda: not build_threads(), within=1)
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(house.pool.close(), 1)  # again: nothing more to do


# -- limits of a user, silence, counts ---------------------------------------------------------


@pytest.fixture
async def one_place(grace: None, no_threads_left: None) -> AsyncIterator[House]:
    made = House(limit=1)
    yield made
    await asyncio.wait_for(made.pool.close(), 2)


async def test_with_one_place_a_first_build_goes_before_anothers_second(one_place: House) -> None:
    """Also when the other's have all been in line for longer, and none of them runs."""
    for digit in "abcd":
        one_place.join(digit, user="ann")
    bob, cid = one_place.join("0", user="bob"), one_place.join("1", user="cid")
    assert said(bob)[-1] == "1st in line; 1 build is running."
    assert said(cid)[-1] == "2nd in line; 1 build is running."
    order = []
    for _ in range(6):
        await until(lambda: one_place.builder.active)
        (digit,) = one_place.builder.active
        order.append(digit)
        one_place.succeed(digit)
        await until(lambda digit=digit: digit not in one_place.builder.active)
    assert order == ["a", "0", "1", "b", "c", "d"]
    assert said(bob)[1] == "The image r2d-0 is ready.", "no place was told again"
    await until(lambda: not one_place.pool._running)
    one_place.pool._advance()
    assert not one_place.pool._served, "nobody is remembered for ever"


async def test_the_last_one_served_is_the_last_of_their_equals(one_place: House) -> None:
    one_place.join("a", user="ann")
    users = {"b": "bob", "c": "ann", "d": "cid"}
    builds = {digit: one_place.join(digit, user=user) for digit, user in users.items()}
    one_place.join("e", user="ann")
    await one_place.started("a")
    one_place.succeed("a")
    await one_place.started("b")
    assert said(builds["d"])[-1] == "1st in line; 1 build is running."
    assert said(builds["c"])[-1] == "2nd in line; 1 build is running."


@pytest.fixture
async def two_each(grace: None, no_threads_left: None) -> AsyncIterator[House]:
    made = House(1, Limits(per_user=2))
    yield made
    await asyncio.wait_for(made.pool.close(), 2)


async def test_a_user_may_have_so_many_builds_under_way_and_no_more(two_each: House) -> None:
    for digit in "ab":
        two_each.join(digit, user="ann")
    with pytest.raises(PolicyError) as raised:
        two_each.join("c", user="ann")
    assert (raised.value.reason, raised.value.status) == ("builds_per_user", 429)
    assert "You have 2 builds under way" in raised.value.message
    assert "c" not in [build.plan.key[0] for build in two_each.pool._queue]
    assert two_each.pool.statistics().queued == 1


async def test_the_limit_is_each_users_own_and_not_for_joining(two_each: House) -> None:
    first = two_each.join("a", user="ann")
    for digit in "bc":
        two_each.join(digit, user="bob")
    two_each.join("d", user="ann")
    # what is under way anyway costs nothing more
    assert two_each.join("a", user="bob") is first


async def test_a_build_that_has_ended_counts_no_more(two_each: House) -> None:
    builds = [two_each.join(digit, user="ann") for digit in "ab"]
    two_each.pool.cancel(builds[1])
    two_each.join("c", user="ann")
    await two_each.started("a")
    two_each.succeed("a")
    await builds[0].result()
    await until(lambda: not two_each.pool._running or "a" not in two_each.builder.active)
    two_each.join("d", user="ann")


async def test_a_groups_members_share_its_limit_and_others_have_none(house: House) -> None:
    house.limits = Limits(per_group={"course": 2})
    first = house.join("a", user="ann")
    house.join("b", user="bob")
    with pytest.raises(PolicyError) as raised:
        house.join("c", user="cid")
    assert (raised.value.reason, raised.value.status) == ("builds_per_group", 429)
    assert "The group course has 2 builds under way" in raised.value.message
    # what is under way anyway costs nothing, whoever asks
    assert house.join("a", user="cid") is first
    house.limits = Limits(per_group={"staff": 1})
    house.join("c", user="dora")
    house.limits = Limits()
    house.join("d", user="eve")


async def test_who_is_in_two_groups_needs_a_place_in_each(house: House) -> None:
    house.limits = Limits(per_group={"course": 5, "lab": 1})
    house.join("a", user="ann")
    house.limits = Limits(per_group={"course": 5})
    house.join("b", user="bob")
    house.limits = Limits(per_group={"course": 5, "lab": 1})
    with pytest.raises(PolicyError, match="The group lab has 1 build under way"):
        house.join("c", user="ann")


async def test_a_line_that_is_full_takes_no_more(house: House) -> None:
    house.limits = Limits(in_line=2)
    builds = [house.join(digit, user=digit) for digit in "abcd"]
    assert house.pool.statistics().queued == 2
    with pytest.raises(PolicyError) as raised:
        house.join("e", user="eve")
    assert (raised.value.reason, raised.value.status) == ("builds_queue", 503)
    assert "2 builds are waiting in line" in raised.value.message
    # who joins one of those makes the line no longer
    assert house.join("d", user="eve") is builds[3]
    house.pool.cancel(builds[2])
    house.join("e", user="eve")


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
