"""A name that something else has."""

from __future__ import annotations

from typing import Any

import pytest

from repo2dockerspawner.builds.impostors import free_name
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.engine import NotFound
from repo2dockerspawner.keys import LABEL_PREFIX, labels

KEY = "0123456789abcdef" * 4
LABELS = labels(KEY, repo="https://x/y", ref="", commit="c" * 40, subdir="", secret=b"ours")
PLAN = BuildPlan(KEY, "c", "r2d-x", LABELS, "git", "https://x/y", "c" * 40, title="owner/repo")


class Engine:
    """An engine with at most one image."""

    def __init__(self, said: dict[str, str] | None, *, there: bool = True) -> None:
        self.said, self.there = said, there
        self.removed: list[tuple[str, bool, bool]] = []

    def inspect_image(self, name: str) -> dict[str, Any]:
        if not self.there:
            raise NotFound("No such image")
        return {"Id": "sha256:1", "Config": {"Labels": self.said}}

    def remove_image(self, name: str, *, force: bool, noprune: bool) -> None:
        self.removed.append((name, force, noprune))


@pytest.mark.parametrize(
    "said",
    [
        None,
        {},
        {**LABELS, f"{LABEL_PREFIX}key": "f" * 64},
        {**LABELS, f"{LABEL_PREFIX}proof": "f" * 64},
        {name: value for name, value in LABELS.items() if "proof" not in name},
    ],
    ids=["no labels", "none of ours", "another key", "another proof", "no proof"],
)
def test_the_name_is_taken_from_what_is_none_of_ours(
    said: dict[str, str] | None, caplog: pytest.LogCaptureFixture
) -> None:
    engine = Engine(said)
    free_name(engine, PLAN)
    assert engine.removed == [("r2d-x", True, True)]
    assert "r2d-x is the name of an image that is none of the build of owner/repo" in caplog.text


@pytest.mark.parametrize(
    "engine", [Engine(dict(LABELS)), Engine({}, there=False)], ids=["ours", "-"]
)
def test_what_is_ours_or_not_there_is_left_alone(engine: Engine) -> None:
    free_name(engine, PLAN)
    assert engine.removed == []
