"""The bounded log of events and those who listen to it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo2dockerspawner.builds.events import Event, EventLog


def event(text: str, progress: float = 0.0) -> Event:
    return Event(text, progress, "building", is_log=True)


async def collect(log: EventLog) -> list[Event]:
    return [one async for one in log.follow()]


def at_once(events: AsyncIterator[Event]) -> Event | None:
    """Return the next event if it is there without waiting, else None; drives by hand."""
    step: Any = events.__anext__()
    try:
        step.send(None)
    except StopIteration as stop:
        found: Event = stop.value
        return found
    else:
        step.close()
        return None


def gap_of(events: Sequence[Event]) -> int:
    gaps = [one.text for one in events if one.text.endswith("lines left out …")]
    return sum(int(text.split()[1].replace(",", "")) for text in gaps)


async def test_who_keeps_up_sees_every_event_whatever_is_dropped_meanwhile() -> None:
    log = EventLog(head=20, tail=40)
    listener = asyncio.create_task(collect(log))
    sent = [event(f"line {number}") for number in range(500)]
    for one in sent:
        log.append(one)
        await asyncio.sleep(0)
    log.close()
    assert await listener == sent
    assert log.left_out > 0


async def test_two_listeners_see_the_same() -> None:
    log = EventLog()
    early = asyncio.create_task(collect(log))
    for number in range(10):
        log.append(event(str(number)))
        await asyncio.sleep(0)
    late = asyncio.create_task(collect(log))
    await asyncio.sleep(0)
    log.append(event("last"))
    log.close()
    assert await early == await late
    assert len(await early) == 11


async def test_who_comes_late_sees_the_head_the_gap_and_the_tail() -> None:
    log = EventLog(head=12, tail=12)
    for number in range(100):
        log.append(event(f"{number:02d}", number / 100))
    log.close()
    texts = [one.text for one in await collect(log)]
    assert texts == ["00", "01", "02", "03", "… 92 lines left out …", "96", "97", "98", "99"]


async def test_the_gap_counts_lines_and_not_events() -> None:
    log = EventLog(head=4, tail=4)
    for text in ("ab", "1\n2", "3\n4\n5", "yz"):
        log.append(event(text))
    log.close()
    assert [one.text for one in await collect(log)] == ["ab", "… 5 lines left out …", "yz"]


@given(
    st.lists(st.text("ab\n", max_size=12), max_size=30),
    st.integers(0, 40),
    st.integers(0, 40),
    st.lists(st.integers(0, 5), min_size=30, max_size=30),
)
def test_every_line_is_seen_or_counted_however_slow_the_listener(
    texts: list[str], head: int, tail: int, reads: list[int]
) -> None:
    log = EventLog(head, tail)
    reader = log.follow()
    seen: list[Event] = []
    sent = [event(text, place / 100) for place, text in enumerate(texts)]
    for one, reads_now in zip(sent, reads, strict=False):
        log.append(one)
        for _ in range(reads_now):
            if seen and seen[-1] is one:
                break
            found = at_once(reader)
            assert found is not None
            seen.append(found)
    log.close()
    with contextlib.suppress(StopAsyncIteration):
        while (found := at_once(reader)) is not None:
            seen.append(found)
    assert not sent or seen[-1] is sent[-1]
    real = [one for one in seen if not one.text.endswith("left out …")]
    assert [one for one in sent if one in real] == real
    assert sum(one.lines for one in real) + gap_of(seen) == sum(one.lines for one in sent)
    assert [one.progress for one in seen] == sorted(one.progress for one in seen)


@given(
    st.lists(st.one_of(st.integers(0, 50), st.integers(0, 3)), max_size=300),
    st.integers(0, 100),
    st.integers(0, 100),
)
def test_memory_is_bounded_by_head_tail_and_one_event(
    sizes: list[int], head: int, tail: int
) -> None:
    log = EventLog(head, tail)
    for size in sizes:
        log.append(event("x" * size))
        # empty lines count too: each has its newline
        kept = [len(one.text) + 1 for one in (*log._head, *log._tail)]
        assert sum(kept) <= head + max([tail, *kept])
    assert len(log) == len(sizes)


def test_an_endless_stream_of_empty_lines_is_bounded_as_well() -> None:
    log = EventLog(head=10, tail=20)
    for _ in range(100):
        log.append(event(""))
    assert len(log._head) + len(log._tail) == 30


async def test_what_is_there_is_handed_out_without_waiting() -> None:
    log = EventLog(head=6, tail=6)
    for number in range(10):
        log.append(event(str(number)))
    events = log.follow()
    found = [at_once(events) for _ in range(7)]
    texts = ["0", "1", "2", "… 4 lines left out …", "7", "8", "9"]
    assert [one.text for one in found if one] == texts
    # and what follows is waited for
    assert at_once(events) is None


async def test_the_last_events_before_an_end_are_handed_out_without_waiting() -> None:
    log = EventLog()
    log.append(event("first"))
    events = log.follow()
    assert at_once(events) == event("first")
    log.append(event("last"))
    log.close()
    assert at_once(events) == event("last")
    with pytest.raises(StopAsyncIteration):
        at_once(events)


async def test_closing_ends_all_who_listen_and_all_who_come_later() -> None:
    log = EventLog()
    listeners = [asyncio.create_task(collect(log)) for _ in range(3)]
    await asyncio.sleep(0)
    log.append(event("x"))
    log.close()
    assert await asyncio.wait_for(asyncio.gather(*listeners), 1) == [[event("x")]] * 3
    assert await asyncio.wait_for(collect(log), 1) == [event("x")]


async def test_a_cancelled_listener_leaves_nothing_behind() -> None:
    log = EventLog()
    stays = asyncio.create_task(collect(log))
    goes = [asyncio.create_task(collect(log)) for _ in range(50)]
    await asyncio.sleep(0)
    for task in goes:
        task.cancel()
    await asyncio.gather(*goes, return_exceptions=True)
    assert len(log._waiting) == 1
    log.append(event("x"))
    log.close()
    assert await stays == [event("x")]
    assert not log._waiting


@pytest.mark.parametrize(
    ("limit", "lines"),
    [(1, ["d"]), (3, ["b", "c", "d"]), (9, ["a", "b", "c", "d"])],
)
def test_the_last_lines_are_those_that_the_build_printed(limit: int, lines: list[str]) -> None:
    log = EventLog(head=2, tail=100)
    for one in (event("a"), Event("ours", 0, "building"), event("b\nc"), event("d")):
        log.append(one)
    log.append(Event("ours", 0, "building"))
    assert log.last_lines(limit) == lines


def test_the_number_of_events_counts_those_left_out() -> None:
    log = EventLog(head=2, tail=2)
    for _ in range(7):
        log.append(event("x"))
    assert len(log) == 7


async def test_a_number_is_the_same_for_whoever_reads_and_whenever() -> None:
    log = EventLog(head=4, tail=4)
    early = log.numbered()
    texts = ["a", "b\nc", "d", "e", "f", "g"]
    seen = []
    for text in texts:
        log.append(event(text))
        seen.append(await early.__anext__())
    log.close()
    late = [one async for one in log.numbered()]
    assert [(one.index, one.line) for one in seen] == [
        (0, 1),
        (1, 3),
        (2, 4),
        (3, 5),
        (4, 6),
        (5, 7),
    ]
    assert [one for one in late if not one.event.missing] == [one for one in seen if one in late]
    (gap,) = [one for one in late if one.event.missing]
    after = late[late.index(gap) + 1]
    # who has seen all up to the gap's end knows that nothing is missing
    assert (gap.index, gap.line) == (after.index - 1, after.line - after.event.lines)


def test_what_is_kept_says_what_is_not() -> None:
    log = EventLog(head=2, tail=4)
    for text in "abcdef":
        log.append(event(text))
    assert [one.text for one in log.kept()] == ["a", "… 3 lines left out …", "e", "f"]
    full = EventLog()
    full.append(event("a"))
    assert full.kept() == [event("a")]
