"""The credentials that an administrator sets, and where login tokens are found."""

from __future__ import annotations

from typing import Any

import pytest
from traitlets import TraitError
from traitlets.config import Config

from repo2dockerspawner import Repo2DockerSpawner
from repo2dockerspawner.credentials import Credential
from repo2dockerspawner.hubcredentials import (
    read_hub_credentials,
    read_token_paths,
    token_at,
)

HTTPS: dict[str, Any] = {"place": "https://h.example/a", "password": "s3cr3t"}
SSH: dict[str, Any] = {
    "place": "ssh://git@h.example",
    "key": "s3cr3t\nkey\n",
    "known_hosts": "h.example ssh-ed25519 AAAA",
}


def test_they_are_read_and_the_longest_place_comes_first() -> None:
    found = read_hub_credentials(
        [
            {"place": "https://h.example", "username": "bot", "password": "x"},
            {**HTTPS, "groups": ["staff"]},
            SSH,
        ]
    )
    assert [one.credential.place for one in found] == [
        "https://h.example/a",
        "ssh://git@h.example",
        "https://h.example",
    ]
    assert found[0].credential == Credential("https://h.example/a", "oauth2", "s3cr3t")
    assert found[1].credential.key == SSH["key"]
    assert found[2].credential.username == "bot"
    assert [one.is_for(["class"]) for one in found] == [False, True, True]
    assert found[0].is_for(["class", "staff"])


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("https://h.example", "is no dict"),
        ({**HTTPS, "token": "x"}, "has a 'token'"),
        ({**HTTPS, "groups": "staff"}, "list of names"),
        ({**HTTPS, "groups": [1]}, "list of names"),
        ({**HTTPS, "username": 1}, "username that is no text"),
        ({**HTTPS, "place": "h.example"}, "place is wrong"),
        ({"password": "s3cr3t"}, "place is wrong"),
        ({**HTTPS, "place": "https://a:s3cr3t@h.example"}, "place is wrong"),
        ({**HTTPS, "place": "https://h.example?s3cr3t"}, "place is wrong"),
        ({"place": "https://h.example"}, "a password or a key"),
        ({**HTTPS, "key": "s3cr3t"}, "a password or a key"),
        ({**HTTPS, "password": "s3cr3t\nx"}, "password has a line break"),
        ({**HTTPS, "password": "s3cr3t" * 1000}, "password is longer"),
        ({**HTTPS, "username": "a:b"}, "a colon"),
        ({**HTTPS, "known_hosts": "x"}, "known_hosts, which go with"),
        ({"place": "https://h.example", "key": "s3cr3t"}, "go with a place ssh"),
        ({**SSH, "known_hosts": " \n"}, "needs known_hosts"),
        ({"place": "ssh://git@h.example", "password": "s3cr3t"}, "takes a key"),
        ({**SSH, "username": "git"}, "a part of place"),
    ],
)
def test_a_wrong_entry_is_refused_at_once_and_nothing_secret_is_said(
    entry: Any, words: str
) -> None:
    config = Config({"Repo2DockerSpawner": {"credentials": [HTTPS, entry]}})
    with pytest.raises(TraitError, match=r"Repo2DockerSpawner\.credentials: entry 2") as raised:
        Repo2DockerSpawner(config=config)
    assert words in str(raised.value)
    assert "s3cr3t" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_two_entries_of_one_place_are_refused() -> None:
    # else what one of the two opens would be shown to those who may use the other
    again = {**HTTPS, "place": "https://H.example:443/a/", "groups": ["staff"]}
    with pytest.raises(ValueError, match=r"h\.example/a is the place of two"):
        read_hub_credentials([HTTPS, again])


def test_the_hosts_of_login_tokens_are_read() -> None:
    hosts = {"github.com": "access_token", "http://10.0.0.1:3000": "a.b"}
    assert read_token_paths(hosts) == {
        "https://github.com": ("access_token",),
        "http://10.0.0.1:3000": ("a", "b"),
    }


@pytest.mark.parametrize(
    ("hosts", "words"),
    [
        ({"github.com": ""}, "no path"),
        ({"github.com": "a..b"}, "no path"),
        ({"github.com/owner": "a"}, "has a path"),
        ({"ssh://git@github.com": "a"}, "ssh"),
        ({"git hub": "a"}, "place is wrong"),
    ],
)
def test_a_wrong_host_or_path_is_refused(hosts: dict[str, str], words: str) -> None:
    config = Config({"Repo2DockerSpawner": {"auth_state_credentials": hosts}})
    with pytest.raises(TraitError, match="auth_state_credentials") as raised:
        Repo2DockerSpawner(config=config)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("auth_state", "found"),
    [
        ({"a": {"b": "tok"}}, "tok"),
        ({"a": {"b": None}}, ""),
        ({"a": {"b": 1}}, ""),
        ({"a": "tok"}, ""),
        ({}, ""),
        (None, ""),
    ],
)
def test_a_token_is_found_by_its_path(auth_state: Any, found: str) -> None:
    assert token_at(auth_state, ("a", "b")) == found
