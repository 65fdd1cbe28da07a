"""When a server was last started from an image."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from docker.errors import NotFound

from repo2dockerspawner import uses as module
from repo2dockerspawner.uses import Uses

OF_2026 = 1_767_225_600.0


class Engine:
    """Notes names that are given, and says when that was."""

    def __init__(self, **tagged: str) -> None:
        self.tagged = tagged
        self.asked: list[str] = []
        self.given: list[tuple[str, str, str]] = []

    def submit(self, function: Callable[[Any], object]) -> None:
        function(self)

    def tag(self, image: str, repository: str, tag: str) -> None:
        self.given.append((image, repository, tag))

    def inspect_image(self, image: str) -> dict[str, Any]:
        self.asked.append(image)
        if image not in self.tagged:
            raise NotFound("gone")
        return {"Metadata": {"LastTagTime": self.tagged[image]}}


def uses(engine: Engine) -> Uses:
    return Uses(engine)  # type: ignore[arg-type]


def test_a_use_gives_the_image_its_own_name_again() -> None:
    engine = Engine()
    known = uses(engine)
    for name in ("r2d-a", "registry.example:5000/r2d-a", "registry.example:5000/r2d-a:v1"):
        known.note("key", name)
    assert engine.given == [
        ("r2d-a", "r2d-a", "latest"),
        ("registry.example:5000/r2d-a", "registry.example:5000/r2d-a", "latest"),
        ("registry.example:5000/r2d-a:v1", "registry.example:5000/r2d-a", "v1"),
    ]
    assert known.last("key") > OF_2026
    assert known.last("other") == 0


def test_what_is_gone_is_forgotten() -> None:
    engine = Engine(a="2026-01-01T00:00:00.603811267Z")
    known = uses(engine)
    for number in range(1000):
        known.note(f"key {number}", f"image-{number}")
    known.learn(engine, [("a", "A")])
    assert known.last("A") == OF_2026
    assert known.last("key 1") == 0
    assert len(known._when) == 1


def test_an_image_is_asked_about_once() -> None:
    engine = Engine(a="2026-01-01T00:00:00.603811267Z", b="0001-01-01T00:00:00Z", c="")
    known = uses(engine)
    for _ in range(2):
        known.learn(engine, [("a", "A"), ("b", "B"), ("c", "C")])
    assert engine.asked == ["a", "b", "c"]
    assert [known.last(key) for key in "ABC"] == [OF_2026, 0, 0]
    # one that is gone, and another of the same key later
    known.learn(engine, [("d", "D"), ("a", "A")])
    known.learn(engine, [("b", "B")])
    assert engine.asked == ["a", "b", "c", "d", "b"]


def test_what_this_process_has_seen_since_counts_more() -> None:
    engine = Engine(a="2026-01-01T00:00:00Z")
    known = uses(engine)
    known.note("A", "r2d-a")
    now = known.last("A")
    known.learn(engine, [("a", "A")])
    assert known.last("A") == now


def test_of_very_many_some_are_left_for_the_next_time(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(number) for number in range(50)]
    engine = Engine(**dict.fromkeys(names, "2026-01-01T00:00:00Z"))
    known = uses(engine)
    clock = iter(range(10_000))
    monkeypatch.setattr(module, "monotonic", lambda: next(clock) / 40)
    for _ in range(9):
        known.learn(engine, [(name, name) for name in names])
    assert engine.asked == names
