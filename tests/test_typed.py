"""What is typed for a private repository, and what is sent where no secret may be."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo2dockerspawner.credentials import Credential
from repo2dockerspawner.errors import LaunchError
from repo2dockerspawner.launch import FIELDS, LaunchRules, launch_request, options_from_fields
from repo2dockerspawner.typed import (
    PASSWORD,
    USERNAME,
    Typed,
    check_typed,
    read_typed,
    without_secrets,
)

TOKEN = "tok-3c5a1f"
REPO = "https://h.example/group/repo.git"


def checked(typed: Typed, repo: str = REPO, *, allowed: bool = True) -> Typed:
    rules = LaunchRules(("https", "ssh", "http"), ("git", "zenodo", "mercurial"))
    return check_typed(typed, launch_request({"repo": repo}, rules), allowed=allowed)


def test_the_fields_never_become_options() -> None:
    given = {"repo": [REPO], USERNAME: ["ann"], PASSWORD: [TOKEN], f"opt-{PASSWORD}": [TOKEN]}
    assert options_from_fields(given) == {"repo": REPO}
    assert not {USERNAME, PASSWORD} & set(FIELDS)


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({}, None),
        ({USERNAME: [""], PASSWORD: [" "]}, None),
        ({USERNAME: [], PASSWORD: []}, None),
        ({USERNAME: [b"x"], PASSWORD: [{}]}, None),
        ({USERNAME: [" ann "], PASSWORD: [f"{TOKEN}\n"]}, Typed("ann", TOKEN)),
        ({PASSWORD: [TOKEN, "other"]}, Typed("", TOKEN)),
        ({USERNAME: ["ann"]}, Typed("ann", "")),
        # from a link: not asked for here
        ({f"opt-{PASSWORD}": [TOKEN]}, None),
    ],
)
def test_the_forms_fields_are_read(fields: dict[str, list[Any]], found: Typed | None) -> None:
    assert read_typed(fields) == found


def test_what_was_typed_is_for_one_repository_and_is_not_printed() -> None:
    typed = checked(Typed("ann", TOKEN))
    assert typed.url == REPO
    assert typed.credential() == Credential("https://h.example/group", "ann", TOKEN)
    assert checked(Typed("", TOKEN)).credential().username == "oauth2"
    assert TOKEN not in repr(typed)


@pytest.mark.parametrize(
    ("typed", "repo", "field", "words"),
    [
        (Typed("ann", TOKEN), "", "repo", "but no repository"),
        (Typed("ann", TOKEN), "git@h.example:a/b", "repo", "https:// address"),
        (Typed("ann", TOKEN), "10.5281/zenodo.1", "repo", "https:// address"),
        (Typed("ann", TOKEN), "hg+https://h.example/a", "repo", "https:// address"),
        (Typed("ann", ""), REPO, PASSWORD, "no token"),
        (Typed("a:b", TOKEN), REPO, USERNAME, "no colon"),
        (Typed("ann", f"{TOKEN}\nx"), REPO, PASSWORD, "line break"),
        (Typed("ann", f"{TOKEN}\0"), REPO, PASSWORD, "line break"),
        (Typed("a\rb", TOKEN), REPO, USERNAME, "line break"),
        (Typed("ann", TOKEN * 500), REPO, PASSWORD, "longer than 4096"),
        (Typed("ann", TOKEN), "https://h.example/a/..%2fb/c", "repo", "No token can be sent"),
    ],
)
def test_what_can_t_be_used_is_refused_without_saying_it(
    typed: Typed, repo: str, field: str, words: str
) -> None:
    with pytest.raises(LaunchError) as raised:
        checked(typed, repo)
    assert raised.value.field == field
    assert words in raised.value.message
    assert TOKEN not in raised.value.message


def test_where_an_administrator_wants_none_it_is_refused() -> None:
    with pytest.raises(LaunchError, match="private_repos") as raised:
        checked(Typed("ann", TOKEN), allowed=False)
    assert raised.value.status == 403


# -- options


@pytest.mark.parametrize(
    ("options", "left"),
    [
        ({"repo": REPO, "password": TOKEN}, {"repo": REPO}),
        ({"password": {"a": TOKEN}, "other": 1}, {"other": 1}),
        ({"repo": f"https://ann:{TOKEN}@h.example/a/b"}, {"repo": "https://h.example/a/b"}),
        ({"repo": f"HTTPS://{TOKEN}@h.example/a"}, {"repo": "HTTPS://h.example/a"}),
        ({"repourl": f"http://a:{TOKEN}@x@h.example/a"}, {"repourl": "http://h.example/a"}),
        ({"repo": f"ssh://git:{TOKEN}@h.example/a"}, {"repo": "ssh://h.example/a"}),
    ],
)
def test_a_secret_among_options_is_taken_out(options: Any, left: Any) -> None:
    assert without_secrets(options) == (left, True)


@pytest.mark.parametrize(
    "options",
    [
        None,
        [],
        {},
        {"repo": REPO, "ref": "main", "mine": {"password": 1}},
        {"password": ""},
        {"password": None},
        {"username": "ann"},
        {"repo": "ssh://git@h.example/a/b"},
        {"repo": "git@h.example:a/b"},
        {"repo": "owner/repo@v1"},
        {"repo": "https://h.example/a/b@v1"},
        {"repo": 1},
    ],
    ids=str,
)
def test_options_without_a_secret_stay_as_they_are(options: Any) -> None:
    left, found = without_secrets(options)
    assert left is options
    assert not found


@given(st.text(min_size=1).filter(lambda text: not set(text) & set("/?# \t\n@") and text.strip()))
def test_no_user_name_with_a_password_stays_in_an_address(text: str) -> None:
    left, _ = without_secrets({"repo": f"https://x:<{text}>@h.example/a"})
    assert f"<{text}>" not in str(left)
