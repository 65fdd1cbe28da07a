"""What was resolved and what is set → a plan."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import Any

import pytest
from traitlets.config import Config

from repo2dockerspawner import Repo2DockerSpawner
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.credentials import PUBLIC, Access, Credential
from repo2dockerspawner.keys import read_labels
from repo2dockerspawner.planning import build_plan
from repo2dockerspawner.repos import parse_repo
from repo2dockerspawner.resolve import Resolved

COMMIT = "c" * 40
TOKEN = "s3cr3t-t0k3n"
ANN = Access((Credential("https://github.com", "ann", TOKEN),), owner="ann")
HUB = Access((Credential("https://github.com", "hub", TOKEN),), place="https://github.com")


def plan(access: Access = PUBLIC, *, secret: bytes = b"s", **more: Any) -> BuildPlan:
    exact = more.pop("exact", True)
    spec = parse_repo("https://github.com/o/r", subdir=more.pop("subdir", ""))
    traits = Repo2DockerSpawner(config=Config({"Repo2DockerSpawner": more}))
    return build_plan(traits, Resolved(spec, COMMIT, exact=exact), access, secret)


def test_the_same_makes_the_same_key() -> None:
    assert plan().key == plan().key


@pytest.mark.parametrize(
    "more",
    [
        {"subdir": "a"},
        {"build_image": "other:1"},
        {"build_args": {"A": "1"}},
        {"build_extra_args": ["--debug"]},
        {"clone_depth": 0},
        {"secret": b"other"},
        {"exact": False},
    ],
)
def test_what_makes_the_image_another_makes_the_key_another(more: dict[str, Any]) -> None:
    assert plan(**more).key != plan().key


@pytest.mark.parametrize(
    "more",
    [
        {"build_timeout": 60},
        {"build_environment": {"A": "1"}},
        {"build_network": "n"},
        {"build_memory_limit": 2**30},
        {"allowed_networks": ["10.0.0.0/8"]},
    ],
)
def test_how_it_is_built_does_not(more: dict[str, Any]) -> None:
    assert plan(**more).key == plan().key


def test_each_way_to_read_a_repository_has_its_own_image() -> None:
    bob = Access((Credential("https://github.com", "bob", TOKEN),), owner="bob")
    like_a_place = Access(owner=HUB.place)
    assert len({plan(one).key for one in (PUBLIC, ANN, bob, HUB, like_a_place)}) == 5


def test_the_credential_is_handed_on_and_shows_nowhere() -> None:
    made = plan(ANN)
    assert made.credentials == ANN.credentials
    assert TOKEN not in repr(made)
    said = read_labels(made.labels)
    assert said["owner"] == "ann"
    assert said["place"] == ""


def test_what_the_hub_can_read_is_of_the_place() -> None:
    said = read_labels(plan(HUB).labels)
    assert said["place"] == "https://github.com"
    assert said["owner"] == ""


def test_what_tells_no_version_is_good_for_a_day() -> None:
    before = datetime.now(timezone.utc).date()
    one, other = plan(exact=False), plan(exact=False)
    assert one.key == other.key or datetime.now(timezone.utc).date() != before


def test_a_plan_says_what_it_is() -> None:
    assert re.fullmatch(r"o/r at ccccccc, folder a", plan(subdir="a").title)
    assert plan().guarded
    assert plan(block_private_networks=False).guarded is False
