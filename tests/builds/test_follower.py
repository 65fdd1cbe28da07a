"""The bridge between a worker thread and the event loop, with real threads."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Sequence

import pytest

from repo2dockerspawner.builds import follower as follower_module
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.follower import Follower


def log_event(text: str, progress: float = 0.0, phase: str = "building") -> Event:
    return Event(text, progress, phase, is_log=True)


class Stream:
    """A stream that only tells whether it was closed."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


class Received:
    """What reached the loop."""

    def __init__(self) -> None:
        self.batches: list[Sequence[Event]] = []

    def __call__(self, events: Sequence[Event]) -> None:
        self.batches.append(events)

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]

    @property
    def lines(self) -> list[str]:
        return [line for event in self.events for line in event.text.split("\n")]


@pytest.fixture
def received() -> Received:
    return Received()


@pytest.fixture
async def follower(received: Received) -> AsyncIterator[Follower]:
    made = Follower(asyncio.get_running_loop(), received)
    yield made
    made.detach()


async def test_what_a_thread_reads_arrives_in_order_once_and_in_batches(
    follower: Follower, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "_PAUSE", 0.01)
    count = 200_000

    def work() -> None:
        for number in range(count):
            follower.emit(log_event(str(number)))

    began = time.monotonic()
    await asyncio.to_thread(work)
    follower.flush()
    took = time.monotonic() - began
    assert received.lines == [str(number) for number in range(count)]
    # one handing-over a pause, whatever the number of lines
    assert len(received.batches) <= took / follower_module._PAUSE + 3
    assert all(event.lines <= follower_module._BATCH_LINES for event in received.events)


async def test_the_first_line_after_a_silence_goes_at_once(
    follower: Follower, received: Received, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follower_module, "_PAUSE", 30)
    await asyncio.to_thread(follower.emit, log_event("first"))
    await asyncio.sleep(0.02)
    assert received.lines == ["first"]
    await asyncio.to_thread(follower.emit, log_event("second"))
    await asyncio.sleep(0.02)
    assert received.lines == ["first"]
    follower.flush()
    assert received.lines == ["first", "second"]


async def test_a_thread_far_ahead_waits_for_the_loop(
    follower: Follower, received: Received
) -> None:
    emitted: list[int] = []

    def work() -> None:
        for number in range(3 * follower_module._AHEAD):
            follower.emit(log_event(str(number)))
            emitted.append(number)

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.3)  # noqa: ASYNC251 - the loop is to be busy
    assert len(emitted) == follower_module._AHEAD
    assert len(follower._pending) == follower_module._AHEAD
    await asyncio.to_thread(thread.join, 5)
    follower.flush()
    assert len(received.lines) == 3 * follower_module._AHEAD


async def test_detaching_frees_a_thread_that_waits(follower: Follower) -> None:
    def work() -> None:
        for number in range(2 * follower_module._AHEAD):
            follower.emit(log_event(str(number)))
            if follower.stopped:
                return

    thread = threading.Thread(target=work)
    thread.start()
    time.sleep(0.2)  # noqa: ASYNC251 - the loop is to be busy
    assert thread.is_alive()
    follower.detach()
    thread.join(0.5)
    assert not thread.is_alive()


async def test_detaching_closes_the_stream_that_is_read(follower: Follower) -> None:
    stream = Stream()
    follower.opened(stream)
    assert not stream.closed.is_set()
    follower.detach()
    assert stream.closed.is_set()
    assert follower.stopped


async def test_a_stream_opened_after_detaching_is_closed_at_once(follower: Follower) -> None:
    follower.detach()
    stream = Stream()
    follower.opened(stream)
    assert stream.closed.is_set()


async def test_cancelling_leaves_the_stream_open_for_the_last_lines(follower: Follower) -> None:
    stream = Stream()
    follower.opened(stream)
    follower.cancel()
    assert follower.stopped
    assert not follower.detached.is_set()
    assert not stream.closed.is_set()


def on_closed_loop(prepare: Callable[[Follower], None]) -> Follower:
    """Return a follower whose loop was closed after ``prepare``, as when a process ends."""
    loop = asyncio.new_event_loop()
    follower = Follower(loop, Received())
    prepare(follower)
    loop.close()
    return follower


@pytest.mark.parametrize("silent", [True, False], ids=["nothing under way", "events under way"])
def test_a_closed_loop_is_as_good_as_detached(silent: bool) -> None:
    def prepare(follower: Follower) -> None:
        if not silent:
            follower.emit(log_event("never handed over"))

    follower = on_closed_loop(prepare)
    stream = Stream()
    follower.opened(stream)
    follower.emit(log_event("more"))
    assert follower.detached.is_set()
    assert stream.closed.is_set()


def test_a_thread_that_waits_for_a_loop_that_is_closed_is_freed() -> None:
    loop = asyncio.new_event_loop()
    follower = Follower(loop, Received())

    def work() -> None:
        while not follower.stopped:
            follower.emit(log_event("x"))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    time.sleep(0.1)
    loop.close()
    thread.join(2)
    assert not thread.is_alive()


async def test_an_error_in_receiving_leaves_no_thread_waiting() -> None:
    loop = asyncio.get_running_loop()
    told: list[object] = []
    loop.set_exception_handler(lambda _, context: told.append(context["exception"]))

    def receive(events: Sequence[Event]) -> None:
        raise ValueError(len(events))

    follower = Follower(loop, receive)

    def work() -> None:
        for number in range(3 * follower_module._AHEAD):
            follower.emit(log_event(str(number)))

    await asyncio.wait_for(asyncio.to_thread(work), 5)
    assert told


@pytest.mark.parametrize(
    ("events", "texts"),
    [
        pytest.param([log_event("a"), log_event("b")], ["a\nb"], id="lines are joined"),
        pytest.param(
            [log_event("a"), Event("ours", 0, "building"), log_event("b")],
            ["a", "ours", "b"],
            id="a sentence of ours stands alone",
        ),
        pytest.param(
            [log_event("a", phase="fetching"), log_event("b")], ["a", "b"], id="a phase ends it"
        ),
        pytest.param([log_event(""), log_event(""), log_event("")], ["\n\n"], id="empty lines"),
        pytest.param(
            [log_event("x" * follower_module._BATCH_SIZE), log_event("y")],
            ["x" * follower_module._BATCH_SIZE, "y"],
            id="its size",
        ),
        pytest.param(
            [log_event("x")] * (follower_module._BATCH_LINES + 1),
            ["\n".join("x" * follower_module._BATCH_LINES), "x"],
            id="its number of lines",
        ),
    ],
)
async def test_a_batch_is_joined_into_portions(
    follower: Follower, received: Received, events: list[Event], texts: list[str]
) -> None:
    for event in events:
        follower.emit(event)
    follower.flush()
    assert [event.text for event in received.events] == texts


async def test_a_portion_has_the_progress_and_phase_of_its_last_line(
    follower: Follower, received: Received
) -> None:
    follower.emit(log_event("a", 0.1))
    follower.emit(log_event("b", 0.2))
    follower.flush()
    assert received.events == [log_event("a\nb", 0.2)]


async def test_the_colours_of_joined_lines_are_where_they_were(received: Received) -> None:
    follower = Follower(asyncio.get_running_loop(), received)
    follower.emit(Event("one", 0, "building", is_log=True, spans=((1, 2, 3),)))
    follower.emit(log_event("plain"))
    follower.emit(Event("two", 0, "building", is_log=True, spans=((0, 1, 4), (2, 1, 5))))
    follower.flush()
    (event,) = received.events
    assert event.text == "one\nplain\ntwo"
    assert [(event.text[at : at + long], style) for at, long, style in event.spans] == [
        ("ne", 3),
        ("t", 4),
        ("o", 5),
    ]
