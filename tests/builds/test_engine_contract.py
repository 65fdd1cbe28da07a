"""The fake engine behaves as what it stands in for, and does what a test tells it to."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
import requests
from urllib3.exceptions import ProtocolError

pytest.register_assert_rewrite("testbed.contract")

from testbed.contract import EngineContract  # noqa: E402
from testbed.fakeclient import FakeClient, KilledError  # noqa: E402
from testbed.fakeengine import Clock, FakeEngine  # noqa: E402

IMAGE = "contract:latest"


@pytest.fixture
def engine() -> FakeEngine:
    engine = FakeEngine()
    engine.add_image(IMAGE)
    return engine


@pytest.fixture
def engine_client(engine: FakeEngine) -> FakeClient:
    return FakeClient(engine, "one")


@pytest.fixture
def base_image() -> str:
    return IMAGE


class TestFakeEngine(EngineContract):
    pass


def running(client: FakeClient, name: str = "builds") -> str:
    made = str(client.create_container(IMAGE, name=name)["Id"])
    client.start(made)
    return made


def in_thread(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    """Call on a thread; the list has what came of it."""
    results: list[object] = []

    def run() -> None:
        try:
            results.append(call())
        except BaseException as error:  # noqa: BLE001 - KilledError is one
            results.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    return thread, results


def resting(engine: FakeEngine, number: int) -> None:
    deadline = time.monotonic() + 5
    while engine.resting != number:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_an_engine_that_goes_breaks_streams_and_refuses_calls(
    engine: FakeEngine, engine_client: FakeClient
) -> None:
    container = running(engine_client)
    stream = engine_client.logs(container, stream=True, follow=True)
    waiting, waited = in_thread(lambda: engine_client.wait(container))
    resting(engine, 1)
    engine.goes_away()
    with pytest.raises(ProtocolError):
        next(stream._stream)
    assert list(stream) == []
    waiting.join(5)
    assert isinstance(waited[0], requests.exceptions.ConnectionError)
    with pytest.raises(requests.exceptions.ConnectionError):
        engine_client.inspect_container(container)
    engine.comes_back()
    assert engine_client.inspect_container(container)["State"]["Running"]


def test_an_engine_that_goes_may_end_its_containers(
    engine: FakeEngine, engine_client: FakeClient
) -> None:
    container = running(engine_client)
    engine.goes_away(143)
    engine.comes_back()
    assert engine_client.inspect_container(container)["State"]["ExitCode"] == 143


def test_held_calls_go_through_one_by_one_as_told(engine: FakeEngine) -> None:
    first, second = FakeClient(engine, "first"), FakeClient(engine, "second")
    engine.hold()
    one, ones = in_thread(lambda: first.create_container(IMAGE, name="same"))
    two, twos = in_thread(lambda: second.create_container(IMAGE, name="same"))
    resting(engine, 2)
    assert engine.let_one_through(1) == "second create same"
    two.join(5)
    resting(engine, 1)
    engine.release()
    one.join(5)
    assert isinstance(twos[0], dict)
    assert isinstance(ones[0], Exception)
    assert engine.let_one_through(0) == ""


def test_a_killed_process_does_nothing_more_wherever_it_is(engine: FakeEngine) -> None:
    client = FakeClient(engine, "one")
    container = running(client)
    stream = client.logs(container, stream=True, follow=True)
    reading, read = in_thread(lambda: next(stream))
    resting(engine, 1)
    engine.hold()
    killing, killed = in_thread(lambda: client.kill(container))
    resting(engine, 2)
    client.die()
    for thread in (reading, killing):
        thread.join(5)
    engine.release()
    assert [type(one) for one in (read[0], killed[0])] == [KilledError] * 2
    assert FakeClient(engine, "two").inspect_container(container)["State"]["Running"]
    with pytest.raises(KilledError):
        client.inspect_container(container)


def test_time_goes_as_fast_as_told() -> None:
    clock = Clock()
    before = clock.time(), clock.monotonic()
    clock.advance(100)
    after = clock.time(), clock.monotonic()
    assert all(100 <= late - early < 105 for early, late in zip(before, after, strict=True))
