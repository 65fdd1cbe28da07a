"""What a form, a link or the REST API asks for."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from repo2dockerspawner.errors import LaunchError, RepoSpecError
from repo2dockerspawner.launch import (
    FIELDS,
    LaunchRequest,
    LaunchRules,
    launch_request,
    options_from_fields,
    starts_directly,
)
from repo2dockerspawner.profiles import Profile

RULES = LaunchRules()
REPO = "https://github.com/owner/repo"


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"repo": [""], "ref": ["  "], "image": [""]}, {}, id="an empty form"),
        pytest.param({"repo": []}, {}, id="no value"),
        pytest.param(
            {"repo": [f"  {REPO}\n"], "ref": ["main"]}, {"repo": REPO, "ref": "main"}, id="a form"
        ),
        pytest.param(
            {"opt-repo": [REPO], "opt-path": ["a.ipynb"]},
            {"repo": REPO, "path": "a.ipynb"},
            id="a link to JupyterHub 6",
        ),
        pytest.param(
            {"use_r2d": ["yes"], "repourl": [REPO], "reporef": ["v1"]},
            {"repo": REPO, "ref": "v1"},
            id="the old names",
        ),
        pytest.param(
            {"use_r2d": ["no"], "repourl": [REPO], "reporef": ["v1"], "image": ["a:1"]},
            {"image": "a:1"},
            id="the old names, switched off",
        ),
        pytest.param({"use_r2d": ["yes"]}, {}, id="switched on, with nothing"),
        pytest.param(
            {"repo": ["o/new"], "repourl": ["o/old"]}, {"repo": "o/new"}, id="old and new"
        ),
        pytest.param({"repo": ["o/one", "o/two"]}, {"repo": "o/one"}, id="the first of several"),
        pytest.param({"_xsrf": ["x"], "next": ["/hub"]}, {}, id="others' fields"),
        pytest.param(
            {"repo_file": [{"filename": "x"}], "repo": [{"filename": "x"}]}, {}, id="uploads"
        ),
        pytest.param({name: [name] for name in FIELDS}, {n: n for n in FIELDS}, id="all"),
    ],
)
def test_fields_become_options(fields: dict[str, list[Any]], options: dict[str, str]) -> None:
    assert options_from_fields(fields) == options


@pytest.mark.parametrize(
    "options",
    [
        {},
        dict.fromkeys(FIELDS, ""),
        dict.fromkeys(FIELDS),
        {"use_r2d": "no", "repourl": REPO, "ref": "v1"},
        {"environment": "", "something": {"of": ["others"]}},
    ],
    ids=["nothing", "empty", "null", "switched off", "of others"],
)
def test_nothing_of_ours_is_the_default_image(options: dict[str, Any]) -> None:
    assert launch_request(options, RULES) == LaunchRequest()


def test_an_image_is_left_to_dockerspawner() -> None:
    assert launch_request({"image": "any thing"}, RULES) == LaunchRequest(image="any thing")


def test_a_ready_environment_is_left_to_the_catalogue() -> None:
    options = {"environment": " 0123456789ab ", "path": "./a/b.ipynb", "urlpath": "/lab"}
    assert launch_request(options, RULES) == LaunchRequest(
        environment="0123456789ab", path="a/b.ipynb", urlpath="lab"
    )


def test_a_profile_goes_with_whatever_is_started() -> None:
    small, large = Profile("small", "Small", default=True), Profile("large", "Large")
    rules = LaunchRules(profiles=(small, large))
    assert launch_request({}, rules) == LaunchRequest(profile=small)
    assert launch_request({"profile": "large"}, rules) == LaunchRequest(profile=large)
    assert launch_request({"repo": REPO, "profile": "large"}, rules).profile == large
    assert launch_request({"image": "a", "profile": "large"}, rules).profile == large
    assert launch_request({"environment": "a", "profile": "large"}, rules).profile == large


TRUSTED = ["github.com/our-university/*", "git.example.org/team/Course"]
OURS = "https://github.com/our-university/course"


@pytest.mark.parametrize(
    "options",
    [
        {"repo": OURS},
        {"repo": "our-university/course"},
        {"repo": "https://github.com/Our-University/Course.git"},
        {"repo": OURS, "ref": "main"},
        {"repo": OURS, "ref": "feature/x"},
        {"repo": OURS, "ref": "refs/tags/v1"},
        {"repo": OURS, "ref": "v1.0", "path": "a.ipynb", "subdir": "b"},
        {"repo": f"{OURS}/blob/main/a.ipynb"},
        {"repo": f"{OURS}/tree/refs/heads/main/a"},
        {"repo": OURS, "urlpath": "lab/tree/a.ipynb"},
        {"repo": "https://mybinder.org/v2/gh/our-university/course/main?urlpath=lab"},
        {"repo": "https://git.example.org/team/Course.git"},
    ],
    ids=lambda options: " ".join(options.values()),
)
def test_a_branch_or_tag_of_a_trusted_repository_starts_directly(options: dict[str, str]) -> None:
    assert starts_directly(launch_request(options, RULES), TRUSTED)
    assert not starts_directly(launch_request(options, RULES), [])


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"environment": "0123456789ab"},
        {"image": "github.com/our-university/course"},
        {"repo": "https://github.com/others/course"},
        {"repo": "https://github.com/others/our-university"},
        {"repo": "https://github.com.example.org/our-university/course"},
        {"repo": "https://gitlab.com/our-university/course"},
        {"repo": "https://git.example.org/team/course"},
        {"repo": "https://git.example.org/team/Course/more"},
        {"repo": "git@evil.example:github.com/our-university/course"},
        {"repo": f"{OURS}/pull/3"},
        {"repo": OURS, "ref": "refs/pull/3/head"},
        {"repo": OURS, "ref": "pull/3/head"},
        {"repo": f"{OURS}/tree/pull/3/head"},
        {"repo": f"{OURS}/tree/refs/pull/3/head"},
        {"repo": OURS, "ref": "refs/stash"},
        {"repo": f"{OURS}/commit/0123456789abcdef0123456789abcdef01234567"},
        {"repo": OURS, "ref": "0123456"},
        {"repo": f"{OURS}/tree/abcdef1/a"},
        {"repo": OURS, "urlpath": "git-pull?repo=https://github.com/others/x"},
        {"repo": OURS, "urlpath": "lab?x=y"},
        {"repo": "https://gitlab.com/g/p/-/merge_requests/3"},
    ],
    ids=lambda options: " ".join(options.values()) or "nothing",
)
def test_whatever_others_may_have_brought_there_does_not(options: dict[str, str]) -> None:
    assert not starts_directly(launch_request(options, RULES), [*TRUSTED, "gitlab.com/g/*"])


def test_all_that_is_said_of_a_repository_is_taken() -> None:
    options = {"repo": "owner/repo", "ref": "feature/x", "subdir": "sub", "path": "sub/a.ipynb"}
    repo = launch_request(options, RULES).repo
    assert repo is not None
    assert (repo.url, repo.ref, repo.subdir, repo.path) == (REPO, *list(options.values())[1:])


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"ref": "main"}, "repo"),
        ({"subdir": "a"}, "repo"),
        ({"path": "a"}, "repo"),
        ({"urlpath": "lab"}, "repo"),
        ({"image": "a:1", "path": "a"}, "repo"),
        ({"repo": REPO, "image": "a:1"}, "image"),
        ({"repo": "   "}, "repo"),
        ({"repo": "-x"}, "repo"),
        ({"repo": "/etc/passwd"}, "repo"),
        ({"repo": "file:///etc"}, "repo"),
        ({"repo": "git://host/a/b"}, "repo"),
        ({"repo": "10.5281/zenodo.1"}, "repo"),
        ({"repo": REPO, "ref": "-x"}, "ref"),
        ({"repo": REPO, "ref": "a\nb"}, "ref"),
        ({"repo": REPO, "subdir": "../x"}, "subdir"),
        ({"repo": REPO, "path": "/etc"}, "path"),
        ({"repo": REPO, "urlpath": "https://x"}, "urlpath"),
        ({"environment": "abc", "repo": REPO}, "environment"),
        ({"environment": "abc", "image": "a:1"}, "environment"),
        ({"environment": "abc", "ref": "main"}, "ref"),
        ({"environment": "abc", "subdir": "a"}, "subdir"),
        ({"environment": "abc", "path": "../a"}, "path"),
        ({"environment": "abc", "urlpath": "//a"}, "urlpath"),
        ({"environment": "abc", "profile": "big"}, "profile"),
        ({"profile": "big"}, "profile"),
        ({"repo": REPO, "profile": "big"}, "profile"),
        ({"repo": REPO, "ref": 7}, "ref"),
        ({"repo": [REPO]}, "repo"),
        ({"repo": {"url": REPO}}, "repo"),
        ({"repourl": [REPO]}, "repo"),
        ({"image": True}, "image"),
        ({"repo": REPO, "path": ["a"]}, "path"),
        ({"profile": ["a"]}, "profile"),
        ({"repo": "a/" + "b" * 3000}, "repo"),
        ({"image": "b" * 3000}, "image"),
        ({"repo": REPO, "ref": "b" * 3000}, "ref"),
    ],
    ids=lambda value: str(value)[:40] if isinstance(value, dict) else value,
)
def test_what_is_wrong_is_said_in_a_sentence_about_its_field(
    options: dict[str, Any], field: str
) -> None:
    with pytest.raises(LaunchError) as raised:
        launch_request(options, RULES)
    assert raised.value.field == field
    assert raised.value.message.endswith(".")
    assert "\n" not in raised.value.message
    assert len(raised.value.message) < 300
    assert 400 <= raised.value.status < 500


@pytest.mark.parametrize("options", [[], ["repo"], "repo", 7, True, None, 1.5], ids=repr)
def test_what_is_no_object_is_refused(options: Any) -> None:
    with pytest.raises(LaunchError):
        launch_request(options, RULES)


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(exclude_categories=()))
    | st.sampled_from([REPO, "owner/repo", "x" * 3000, "-", "no", "yes"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
names = st.sampled_from([*FIELDS, "use_r2d", "repourl", "reporef"]) | st.text()


@given(st.dictionaries(names, json_values, max_size=6) | json_values)
def test_whatever_comes_by_rest_is_understood_or_refused(options: Any) -> None:
    with contextlib.suppress(LaunchError):
        assert isinstance(launch_request(options, RULES), LaunchRequest)


@settings(max_examples=50)
@given(st.dictionaries(names | names.map("opt-{}".format), st.lists(json_values, max_size=3)))
def test_whatever_comes_by_a_form_is_texts_under_our_names(fields: dict[str, list[Any]]) -> None:
    options = options_from_fields(fields)
    assert set(options) <= set(FIELDS)
    assert all(isinstance(value, str) and value for value in options.values())


def test_many_names_are_passed_over_quickly() -> None:
    options = {f"name-{number}": {"a": [1]} for number in range(100_000)}
    began = time.perf_counter()
    assert launch_request(options, RULES) == LaunchRequest()
    assert time.perf_counter() - began < 5
    assert options_from_fields({name: ["x"] for name in options}) == {}


def test_what_the_administrator_allows_is_allowed() -> None:
    rules = LaunchRules(allowed_schemes=("git",), content_providers=("git", "zenodo"))
    repo = launch_request({"repo": "git://host/a/b"}, rules).repo
    assert repo is not None
    assert repo.url == "git://host/a/b"
    with pytest.raises(RepoSpecError):
        launch_request({"repo": REPO}, rules)
    record = launch_request({"repo": "10.5281/zenodo.1234"}, rules).repo
    assert record is not None
    assert record.provider == "zenodo"
