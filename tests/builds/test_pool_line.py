"""Waiting in line: who is next, what they are told, and how many may wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from testbed.poolhouse import House, build_threads, said
from testbed.waiting import until

from repo2dockerspawner.builds import pool as pool_module
from repo2dockerspawner.builds.limits import Limits
from repo2dockerspawner.builds.pool import default_limit
from repo2dockerspawner.builds.state import State
from repo2dockerspawner.errors import PolicyError

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


# -- limits ------------------------------------------------------------------------------------


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
