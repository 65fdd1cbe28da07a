"""The state machine of a build."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.state import ENDS, TRANSITIONS, State
from repo2dockerspawner.errors import BuildCancelledError, BuildError

PLAN = BuildPlan(
    key="0123456789abcdef" * 4,
    container="r2d-build-x",
    image="r2d-x",
    labels={},
    provider="git",
    url="https://x/y",
    content_id="c" * 40,
)


def new() -> Build:
    return Build(PLAN, "ann")


def in_state(state: State) -> Build:
    build = new()
    build.state = state
    return build


EDGES = [(one, other) for one in State for other in State]


@pytest.mark.parametrize(("one", "other"), EDGES, ids=[f"{a.value}-{b.value}" for a, b in EDGES])
def test_there_is_no_other_way_than_those_listed(one: State, other: State) -> None:
    build = in_state(one)
    if other is one or other in TRANSITIONS[one]:
        build.move(other)
        assert build.state is other
    else:
        with pytest.raises(BuildError) as raised:
            build.move(other)
        assert raised.value.reason == "internal"
        assert build.state is one


def test_an_end_is_followed_by_nothing_and_reached_from_everywhere() -> None:
    assert set(TRANSITIONS) == set(State)
    assert all(not TRANSITIONS[end] for end in ENDS)
    for state in set(State) - ENDS:
        assert TRANSITIONS[state] >= ENDS


phases = st.sampled_from(["", "waiting", "fetching", "building", "pushing", "starting", "done"])
events = st.tuples(
    st.text("ab", max_size=3),
    st.floats(-1, 3, allow_nan=False),
    phases,
    st.booleans(),
).map(lambda fields: Event(*fields))
steps = st.one_of(
    st.tuples(st.just("receive"), st.lists(events, max_size=4)),
    st.tuples(st.sampled_from(["fetch", "succeed", "fail", "cancel", "say"]), st.just([])),
)

CALLS: dict[str, Callable[[Build], None]] = {
    "succeed": lambda build: build.succeed("image"),
    "fail": lambda build: build.fail(BuildError("No.")),
    "cancel": lambda build: build.fail(BuildCancelledError("No."), state=State.CANCELLED),
    "say": lambda build: build.say("x"),
}


@given(st.lists(steps, max_size=12))
def test_whatever_happens_it_goes_only_the_listed_ways_and_its_progress_never_back(
    script: list[tuple[str, list[Event]]],
) -> None:
    build = new()
    ways: list[State] = []
    before = build.state

    def watched(one: Build, _: Event) -> None:
        nonlocal before
        if one.state is not before:
            ways.append(one.state)
            assert one.state in TRANSITIONS[before]
            before = one.state

    build._record = watched
    for step, given_events in script:
        if step == "receive":
            build.receive(given_events)
        elif step == "fetch":
            with contextlib.suppress(BuildError):
                build.move(State.FETCHING)
        elif not build.ended:  # the pool asks that, too
            CALLS[step](build)
        assert build.state is before or build.state in TRANSITIONS[before]
        before = build.state
    progress = [event.progress for event in (*build.log._head, *build.log._tail)]
    assert progress == sorted(progress)
    assert all(0 <= one <= 1 for one in progress)
    assert build.ended == build.log.closed == build._ended.is_set()


def test_a_log_moves_it_forwards_only() -> None:
    build = new()
    build.move(State.FETCHING)
    build.receive([Event("step", 0.5, "building"), Event("cloning", 0.1, "fetching")])
    assert build.state is State.BUILDING
    assert [event.progress for event in build.log._head] == [0.5, 0.5]


def test_nothing_is_taken_after_the_end() -> None:
    build = new()
    build.fail(BuildError("No."))
    before = len(build.log)
    build.receive([Event("late", 1, "building", is_log=True)])
    assert len(build.log) == before
    assert build.state is State.FAILED


def test_each_event_is_recorded_as_it_is_shown() -> None:
    recorded: list[Event] = []
    build = Build(PLAN, "ann", lambda _, event: recorded.append(event))
    build.move(State.FETCHING)
    build.receive([Event("a", 0.5, "building", is_log=True), Event("b", 0.2, "building")])
    build.succeed("image:1")
    assert recorded == build.log._head
    assert [event.progress for event in recorded] == [0.5, 0.5, 1.0]


def test_the_times_of_asking_start_and_end_are_kept() -> None:
    build = new()
    assert (build.started_at, build.ended_at) == (None, None)
    build.move(State.FETCHING)
    build.receive([Event("x", 0, "building")])
    build.succeed("image")
    assert build.started_at is not None
    assert build.ended_at is not None
    assert build.asked_at <= build.started_at <= build.ended_at


async def test_all_who_wait_get_the_image() -> None:
    build = new()
    waiting = [asyncio.create_task(build.result()) for _ in range(3)]
    await asyncio.sleep(0)
    build.move(State.FETCHING)
    build.succeed("image")
    assert await asyncio.gather(*waiting) == ["image"] * 3
    assert await build.result() == "image"


async def test_all_who_wait_get_the_error_and_see_it_as_the_last_event() -> None:
    build = new()
    waiting = [asyncio.create_task(build.result()) for _ in range(2)]
    await asyncio.sleep(0)
    error = BuildError("It did not work.")
    build.fail(error)
    assert await asyncio.gather(*waiting, return_exceptions=True) == [error, error]
    assert [event.text async for event in build.follow()] == ["It did not work."]


async def test_somebody_elses_image_ends_it_from_the_line() -> None:
    build = new()
    build.succeed("image")
    assert build.state is State.DONE
    assert await build.result() == "image"
