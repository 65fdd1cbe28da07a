"""Names, keys and labels made of hostile entries: none collides, none breaks out (A10)."""

from __future__ import annotations

import itertools
import re
import unicodedata
from dataclasses import replace
from types import SimpleNamespace

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from testbed.hostile import spelled

from repo2dockerspawner import Repo2DockerSpawner
from repo2dockerspawner.credentials import Access
from repo2dockerspawner.keys import (
    BuildInputs,
    build_key,
    container_name,
    decode_label,
    encode_label,
    image_name,
    labels,
    read_labels,
)
from repo2dockerspawner.repos import parse_repo

MANY = settings(
    max_examples=5000,
    deadline=None,
    database=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.differing_executors],
)
# The grammar of Docker's references (distribution/reference): host, path, tag.
PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REFERENCE = re.compile(rf"(?:[A-Za-z0-9.\-]+(?::[0-9]+)?/)?{PART}(?:/{PART})*")
#: What is nearest to one another, moved over every border there is.
TEXTS = ("", "a", "b", "ab", "a:", ":a", "1", "s1:a", "t0:", "a,b", "é", "e\u0301", "\ud800", "\0")


def inputs_of(code: bytes) -> BuildInputs:
    """Inputs out of one draw, so that thousands take no time; any two codes may be the same."""
    word = [TEXTS[byte % len(TEXTS)] for byte in code]
    args = tuple((word[i], word[i + 1]) for i in range(6, 6 + 2 * (code[0] % 3), 2))
    return BuildInputs(
        provider=word[0],
        identity=word[1],
        content_id=word[2],
        subdir=word[3],
        build_image=word[4],
        build_args=tuple(dict(args).items()),
        extra_args=tuple(word[10 : 10 + code[1] % 3]),
        clone_depth=code[2] % 3,
        owner=word[5],
    )


KEYS: dict[str, BuildInputs] = {}


@MANY
@given(st.binary(min_size=36, max_size=36))
def test_a10_no_two_of_millions_of_pairs_have_one_key(code: bytes) -> None:
    """Each example is compared with all before it: 15,000 inputs are 100 million pairs."""
    for one in (inputs_of(code[at : at + 12]) for at in range(0, len(code), 12)):
        plain = replace(one, build_args=tuple(sorted(one.build_args)))
        assert KEYS.setdefault(build_key(one), plain) == plain


def test_a10_every_way_to_share_out_a_text_is_another_key() -> None:
    names = ["provider", "identity", "content_id", "subdir", "build_image", "owner"]
    given = list(itertools.product(("", "a", "b", "ab"), repeat=len(names)))
    plain = BuildInputs("", "", "", "", "")
    keys = {build_key(replace(plain, **dict(zip(names, words, strict=True)))) for words in given}
    assert len(keys) == len(given) == 4096


ALIKE = [
    *("foo/bar-baz", "foo-bar/baz", "foo/bar_baz", "foo_bar/baz", "foo/bar.baz", "foo/bar--baz"),
    *("https://x.org/foo/bar", "https://x.org/foo-bar", "https://x.org/foo%2Fbar"),
    *("https://x.org:8443/foo/bar", "https://y.org/foo/bar", "https://x.org/Foo/bar"),
    *("http://x.org/foo/bar", "ssh://git@x.org/foo/bar", "ssh://me@x.org/foo/bar"),
    *("git@x.org:foo/bar", "https://x.org/foo/bar.git", "https://x.org/foo/ba"),
    *("https://x.org/\u00e9", "https://x.org/e\u0301", "https://x.org/%C3%A9"),
    *("https://codeberg.org/foo/bar-baz", "https://gitlab.com/foo/bar-baz"),
]


def test_a10_what_looks_alike_is_told_apart_by_repository_folder_and_commit() -> None:
    schemes = ("https", "ssh", "http", "git")
    specs = [parse_repo(text, allowed_schemes=schemes) for text in ALIKE]
    commits = ["a" * 40, "a" * 39 + "b", "a" * 64]
    folders = ["", "sub", "sub/dir", "sub-dir", "Sub"]
    keys = {
        build_key(BuildInputs("git", spec.identity, commit, folder, "r2d"))
        for spec in specs
        for commit in commits
        for folder in folders
    }
    assert len(keys) == len(ALIKE) * len(commits) * len(folders)
    assert len({image_name(key, "foo/bar") for key in keys}) == len(keys)
    assert len({container_name(key) for key in keys}) == len(keys)


def test_a10_whose_access_made_an_image_is_told_apart() -> None:
    accesses = [
        Access(),
        *(Access(owner=name) for name in ("ann", "Ann", "place https://x.org", "user ann")),
        *(Access(place=name) for name in ("https://x.org", "https://x.org/a", "user ann")),
    ]
    scopes = {access.scope for access in accesses}
    assert len(scopes) == len(accesses)


def test_a10_a_hyphen_moved_from_user_to_server_is_another_container() -> None:
    def container(user: str, server: str) -> str:
        made = Repo2DockerSpawner()
        made.orm_spawner = SimpleNamespace(name=server, server=None)
        made._trait_values["user"] = SimpleNamespace(name=user)
        return str(made.object_name)

    words = ["a", "b", "c", "a-b", "b-c", "a--b", "b--c", "a-", "-b", "a_b", "a.b", "A", "é"]
    pairs = list(itertools.product(words, ["", *words]))
    names = [container(user, server) for user, server in pairs]
    assert all(re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name) for name in names)
    # DockerSpawner takes servers "a" and "A" for one
    different = {(user, server.lower()) for user, server in pairs}
    assert len(set(names)) == len(different)


# one draw of bytes: Hypothesis takes many times as long for a text of as many characters
any_text = st.binary(min_size=24, max_size=24).map(spelled)


@MANY
@given(any_text)
def test_a10_every_name_is_one_that_docker_takes(name: str) -> None:
    for registry in ("", "r.io/t", "localhost:5000"):
        image = image_name("0123456789abcdef" * 4, name, prefix="r2d-", registry=registry)
        assert REFERENCE.fullmatch(image)
        assert len(image) <= 255
        assert image.endswith("0123456789abcdef" * 2)
        # the last part could be a tag as well
        assert len(image.rpartition("/")[2]) <= 128


@MANY
@given(any_text)
def test_no_labels_value_breaks_out_of_a_dockerfiles_line_and_each_comes_back(text: str) -> None:
    encoded = encode_label(text)
    assert re.fullmatch(r"[A-Za-z0-9/:@.,+~_%\-]*", encoded)
    assert decode_label(encoded) == text


def test_no_label_of_a_build_breaks_out_of_its_line() -> None:
    text = '"\nRUN touch /x\n$(id) `id` \\ {{ x }}'
    made = labels(
        "0" * 64, repo=text, ref=text, commit=text, subdir=text, name=text, owner=text, place=text
    )
    for name, value in made.items():
        assert re.fullmatch(r"repo2dockerspawner\.[a-z]+", name)
        assert re.fullmatch(r"[A-Za-z0-9/:@.,+~_%\-]*", value)
    words = ("repo", "ref", "commit", "subdir", "name", "owner", "place")
    assert {word: read_labels(made)[word] for word in words} == dict.fromkeys(words, text)
    assert unicodedata.is_normalized("NFC", "".join(made.values()))
