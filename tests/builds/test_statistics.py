"""The pool's counts."""

from __future__ import annotations

import dataclasses

import pytest

from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.statistics import PoolStatistics, Tally


def build(asked: float, started: float | None, ended: float | None) -> Build:
    made = Build(BuildPlan("a" * 64, "c", "i", {}, "git", "https://x/y", ""), "ann")
    made.asked_at, made.started_at, made.ended_at = asked, started, ended
    return made


def test_nothing_has_happened_yet() -> None:
    counts = Tally().statistics(limit=3, queued=0, running=0)
    assert counts == PoolStatistics(3, 0, 0, {}, 0.0, 0.0)


@pytest.mark.parametrize(
    ("times", "waiting", "building"),
    [
        pytest.param((10.0, 12.0, 15.0), 2.0, 3.0, id="waited, then built"),
        pytest.param((10.0, 10.0, 15.0), 0.0, 5.0, id="built at once"),
        pytest.param((10.0, None, 14.0), 4.0, 0.0, id="left while in line"),
        pytest.param((10.0, None, None), 0.0, 0.0, id="no end known"),
    ],
)
async def test_waiting_and_building_are_counted_apart(
    times: tuple[float, float | None, float | None], waiting: float, building: float
) -> None:
    tally = Tally()
    tally.ended(build(*times), "done")
    counts = tally.statistics(1, 0, 0)
    assert (counts.waiting_seconds, counts.building_seconds) == (waiting, building)


async def test_ends_are_counted_by_their_reason_and_times_added_up() -> None:
    tally = Tally()
    for reason in ("done", "done", "build_failed"):
        tally.ended(build(0, 1, 3), reason)
    counts = tally.statistics(1, 0, 0)
    assert counts.ended == {"done": 2, "build_failed": 1}
    assert (counts.waiting_seconds, counts.building_seconds) == (3, 6)


async def test_counts_that_were_taken_do_not_change() -> None:
    tally = Tally()
    before = tally.statistics(1, 0, 0)
    tally.ended(build(0, 1, 3), "done")
    assert before.ended == {}
    with pytest.raises(TypeError):
        before.ended["done"] = 5  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        before.queued = 5  # type: ignore[misc]
