"""Pulling the build image: what is said meanwhile, and when it can't be had."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from repo2dockerspawner.builds import pulling
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.pulling import pull
from repo2dockerspawner.engine import APIError
from repo2dockerspawner.errors import EngineError

IMAGE = "quay.io/jupyterhub/repo2docker:2026.4.0"


class Listener:
    """A follower that is stopped after some events."""

    def __init__(self, stop_after: int = 10**6) -> None:
        self.events: list[Event] = []
        self.left = stop_after

    @property
    def stopped(self) -> bool:
        self.left -= 1
        return self.left < 0

    def emit(self, event: Event) -> None:
        self.events.append(event)

    @property
    def texts(self) -> list[str]:
        return [event.text for event in self.events]


class Client:
    """An engine whose registry answers as a test says."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self.answers = answers
        self.asked: list[tuple[str, str]] = []
        self.taken = 0

    def pull(
        self, repository: str, tag: str, *, stream: bool, decode: bool
    ) -> Iterator[dict[str, Any]]:
        assert stream
        assert decode
        self.asked.append((repository, tag))
        for answer in self.answers:
            self.taken += 1
            if isinstance(answer, Exception):
                raise answer
            yield answer


def layer(name: str, current: int, total: int) -> dict[str, Any]:
    return {
        "status": "Downloading",
        "id": name,
        "progressDetail": {"current": current, "total": total},
    }


def pulled(client: Client, listener: Listener, image: str = IMAGE) -> None:
    follower: Any = listener
    pull(client, image, follower)


@pytest.mark.parametrize(
    ("image", "asked"),
    [
        (IMAGE, ("quay.io/jupyterhub/repo2docker", "2026.4.0")),
        ("host:5000/r2d", ("host:5000/r2d", "latest")),
        ("r2d@sha256:" + "0" * 64, ("r2d@sha256:" + "0" * 64, "")),
    ],
)
def test_one_tag_is_pulled_and_never_all_of_them(image: str, asked: tuple[str, str]) -> None:
    client = Client({"status": "Status: Image is up to date"})
    pulled(client, Listener(), image)
    assert client.asked == [asked]


def test_it_is_said_at_once_and_then_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulling, "_PAUSE", 0.0)
    listener = Listener()
    client = Client(
        {"status": "Pulling from x"},
        layer("a", 1_000_000, 10_000_000),
        layer("b", 2_000_000, 30_000_000),
        {"status": "Waiting", "id": "c", "progressDetail": {}},
        layer("a", 10_000_000, 10_000_000),
    )
    pulled(client, listener)
    assert listener.texts[0] == f"Fetching the build image {IMAGE}…"
    assert listener.texts[1].endswith("1 of 10 MB")
    assert listener.texts[2].endswith("3 of 40 MB")
    assert listener.texts[-1].endswith("12 of 40 MB")
    assert {event.phase for event in listener.events} == {"fetching"}
    assert not any(event.is_log for event in listener.events)


def test_no_more_than_one_line_a_second_is_said() -> None:
    listener = Listener()
    pulled(Client(*(layer("a", n, 1000) for n in range(1000))), listener)
    assert len(listener.events) == 1


def test_who_is_stopped_pulls_no_further() -> None:
    client = Client(*(layer("a", n, 1000) for n in range(1000)))
    pulled(client, Listener(stop_after=3))
    assert client.taken <= 5


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({"error": "manifest\n unknown"}, id="in the middle"),
        pytest.param(APIError("500", explanation="manifest unknown"), id="at once"),
    ],
)
def test_an_image_that_can_not_be_had_is_the_hubs_fault(
    answer: dict[str, Any] | Exception,
) -> None:
    with pytest.raises(EngineError) as caught:
        pulled(Client({"status": "Pulling"}, answer), Listener())
    assert caught.value.reason == "builder_image_unavailable"
    assert caught.value.status == 503
    assert IMAGE in caught.value.message
    assert "(manifest unknown)" in caught.value.message
    assert "build_image" in caught.value.message


def test_what_the_registry_says_is_cut() -> None:
    with pytest.raises(EngineError) as caught:
        pulled(Client({"error": "x" * 5000}), Listener())
    assert len(caught.value.message) < 600
