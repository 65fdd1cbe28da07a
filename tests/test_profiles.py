"""The administrator's profiles."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from traitlets import TraitError
from traitlets.config import Config

from repo2dockerspawner import Repo2DockerSpawner
from repo2dockerspawner.errors import PolicyError
from repo2dockerspawner.profiles import (
    Profile,
    Settings,
    chosen_profile,
    profiles_of,
    read_profiles,
)

SMALL = {"display_name": "Small", "default": True, "settings": {"mem_limit": "2G"}}
LARGE = {"display_name": "Very large", "description": "16 GB.", "groups": ["geo", "staff"]}


def spawner(*profiles: Any, **traits: Any) -> Any:
    traits["profiles"] = list(profiles)
    return Repo2DockerSpawner(config=Config({"Repo2DockerSpawner": traits}))


def test_a_profile_is_read_as_it_is_written() -> None:
    small, large = read_profiles([SMALL, LARGE])
    assert small == Profile("small", "Small", default=True, settings={"mem_limit": "2G"})
    assert large == Profile(
        "very-large", "Very large", "16 GB.", groups=frozenset({"geo", "staff"})
    )


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({}, "no display_name"),
        ({"display_name": ""}, "no display_name"),
        ({"display_name": "x", "setings": {}}, "has a 'setings'"),
        ({"display_name": "x", "kubespawner_override": {}}, "kubespawner_override"),
        ({"display_name": "x", "slug": "Not a slug"}, "needs a slug"),
        ({"display_name": "大"}, "needs a slug"),
        ({"display_name": "x", "groups": "geo"}, "list of names"),
        ({"display_name": "x", "settings": ["mem_limit"]}, "has to have a dict"),
        ({"display_name": "x", "settings": {"memlimit": 1}}, "did you mean mem_limit?"),
        ({"display_name": "x", "settings": {"mem_limit": "much"}}, "can't set mem_limit"),
        ({"display_name": "x", "settings": {"remove": "yes"}}, "can't set remove"),
        ({"display_name": "x", "settings": {"start_timeout": 9000}}, "before a profile is chosen"),
        ({"display_name": "x", "settings": {"build_timeout": 9000}}, "before a profile is chosen"),
        ({"display_name": "x", "settings": {"profiles": []}}, "before a profile is chosen"),
        ({"display_name": "x", "settings": {"user": 1}}, "no such setting"),
    ],
    ids=str,
)
def test_a_wrong_profile_is_refused_when_the_configuration_is_read(
    profile: Any, words: str
) -> None:
    with pytest.raises(TraitError, match="profiles") as raised:
        spawner(profile)
    assert words in str(raised.value)


def test_what_is_no_dict_is_refused() -> None:
    with pytest.raises(ValueError, match="profile 1 is no dict"):
        read_profiles(["small"])
    with pytest.raises(TraitError, match="profiles"):
        spawner("small")


def test_two_profiles_of_one_slug_are_refused() -> None:
    with pytest.raises(TraitError, match="two profiles with the slug 'small'"):
        spawner(SMALL, SMALL)


@pytest.mark.parametrize(
    ("groups", "slugs"),
    [([], ["small"]), (["staff"], ["small", "very-large"]), (["others"], ["small"])],
    ids=str,
)
def test_a_profile_of_groups_is_for_their_members(groups: list[str], slugs: list[str]) -> None:
    found = profiles_of(read_profiles([SMALL, LARGE]), groups)
    assert [profile.slug for profile in found] == slugs


def test_the_default_one_holds_where_none_is_chosen() -> None:
    profiles = read_profiles([LARGE, SMALL])
    chosen = chosen_profile(profiles, "")
    assert chosen is not None
    assert chosen.slug == "small"
    assert chosen_profile(profiles[:1], "") is None
    assert chosen_profile([], "") is None


@pytest.mark.parametrize(
    ("profiles", "words"), [([SMALL], "choose one of small."), ([], "leave the profile out.")]
)
def test_a_profile_that_one_may_not_choose_is_refused_like_one_that_is_not_there(
    profiles: list[Any], words: str
) -> None:
    for slug in ("very-large", "none such"):
        with pytest.raises(PolicyError) as raised:
            chosen_profile(read_profiles(profiles), slug)
        assert raised.value.field == "profile"
        assert slug in raised.value.message
        assert raised.value.message.endswith(words)


def test_what_a_profile_sets_is_taken_back() -> None:
    made = spawner(mem_limit="1G", environment={"A": "1", "B": "2"})
    settings = Settings()
    settings.apply(made, {"mem_limit": "4G", "environment": {"B": "3", "C": "4"}, "cpu_limit": 2})
    assert made.mem_limit == 4 * 2**30
    assert made.environment == {"A": "1", "B": "3", "C": "4"}
    assert made.cpu_limit == 2
    settings.take_back(made)
    assert made.mem_limit == 2**30
    assert made.environment == {"A": "1", "B": "2"}
    assert not made.cpu_limit


def test_what_others_have_set_since_then_stays() -> None:
    target = SimpleNamespace(mem_limit=1, cpu_limit=1)
    settings = Settings()
    settings.apply(target, {"mem_limit": 2, "cpu_limit": 2})
    target.mem_limit = 3
    settings.take_back(target)
    assert (target.mem_limit, target.cpu_limit) == (3, 1)
    target.cpu_limit = 2
    settings.take_back(target)
    assert target.cpu_limit == 2


def test_clearing_the_state_takes_a_profile_back() -> None:
    made = spawner(SMALL)
    made._apply_profile(chosen_profile(made._own_profiles(), ""))
    assert made.mem_limit == 2 * 2**30
    made.clear_state()
    assert not made.mem_limit
