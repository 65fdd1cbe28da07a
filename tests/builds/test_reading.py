"""A log that the engine ends before its end: nothing of it is lost, nothing doubled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from docker.errors import APIError, NotFound
from requests import Response

from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.logs import LogParser
from repo2dockerspawner.builds.patience import Midway
from repo2dockerspawner.builds.reading import read

FRAMES = [f"line {number}\n".encode() for number in range(100)]


class Client:
    """Has an ended container's log, of which it sends only the first frames to who follows."""

    def __init__(self, frames: list[bytes], sent: int, kept: int | None = None) -> None:
        self.frames, self.sent, self.kept = frames, sent, kept
        self.asked: list[str] = []

    def logs(
        self, _: str, *, stream: bool = False, follow: bool = False, tail: int = 0
    ) -> Iterator[bytes] | bytes:
        self.asked.append("follow" if follow else "read" if stream else "tail")
        if follow:
            return iter(self.frames[: self.sent])
        if self.kept is not None:
            response = Response()
            response.status_code = self.kept
            raise (NotFound if self.kept == 404 else APIError)("gone", response)
        return iter(self.frames) if stream else b"".join(self.frames[-tail:])

    def wait(self, _: str, *, timeout: float) -> dict[str, Any]:
        return {"StatusCode": 1}


def lines_of(client: Client) -> list[str]:
    detached = threading.Event()
    events: list[Event] = []
    follower = SimpleNamespace(detached=detached, emit=events.append, opened=lambda _: None)
    engine: Any = SimpleNamespace(client=client, name="The engine")
    read(Midway(engine, detached), "c", LogParser(), follower)  # type: ignore[arg-type]
    return [event.text for event in events]


WHOLE = [f"line {number}" for number in range(100)]


def test_a_log_that_came_whole_is_read_once() -> None:
    client = Client(FRAMES, sent=100)
    assert lines_of(client) == WHOLE
    assert client.asked == ["follow", "tail"]


@pytest.mark.parametrize("sent", [0, 1, 37, 79, 99])
def test_what_an_engine_keeps_to_itself_at_the_end_is_read(sent: int) -> None:
    client = Client(FRAMES, sent)
    assert lines_of(client) == WHOLE
    assert client.asked == ["follow", "tail", "read"]


def test_a_last_line_without_an_end_is_read_too() -> None:
    client = Client([*FRAMES, b"and the rest"], sent=100)
    assert lines_of(client) == [*WHOLE, "and the rest"]


def test_an_empty_log_is_one() -> None:
    client = Client([], sent=0)
    assert lines_of(client) == []
    assert client.asked == ["follow", "tail"]


@pytest.mark.parametrize("status", [404, 409])
def test_of_a_container_that_is_gone_counts_what_was_sent(status: int) -> None:
    client = Client(FRAMES, sent=10, kept=status)
    assert lines_of(client) == WHOLE[:10]
