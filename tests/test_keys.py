"""Build keys, names and labels."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo2dockerspawner.keys import (
    LABEL_PREFIX,
    BuildInputs,
    blanked,
    build_key,
    container_name,
    decode_label,
    encode_label,
    image_name,
    image_proof,
    labels,
    names_key,
    proves,
    read_labels,
    short,
)

# The grammar of Docker's references (distribution/reference), without tag and digest.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_HOST = r"[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?(?:\.[A-Za-z0-9](?:[A-Za-z0-9-]*[A-Za-z0-9])?)*"
REFERENCE = re.compile(rf"(?:{_HOST}(?::[0-9]+)?/)?{_PART}(?:/{_PART})*")

# lone surrogates, which JSON can carry, and what means something elsewhere, as often as the rest
any_text = st.text(
    st.characters(exclude_categories=["Cs"])
    | st.characters(categories=["Cs"])
    | st.sampled_from("\"'$\\ \n\t`#%=-")
)
# few letters, so that moving them across the borders of fields is what is tried most
texts = st.one_of(st.text("ab:1", max_size=4), any_text)
KEY = "0123456789abcdef" * 4

inputs = st.builds(
    BuildInputs,
    provider=texts,
    identity=texts,
    content_id=texts,
    subdir=texts,
    build_image=texts,
    build_args=st.dictionaries(texts, texts, max_size=3).map(lambda args: tuple(args.items())),
    extra_args=st.lists(texts, max_size=3).map(tuple),
    clone_depth=st.integers(0, 100),
    owner=texts,
)

PLAIN = BuildInputs("git", "https://github.com/a/b", "c" * 40, "", "r2d:1")


def _sorted(one: BuildInputs) -> BuildInputs:
    return replace(one, build_args=tuple(sorted(one.build_args)))


@given(inputs, inputs)
def test_two_keys_are_equal_only_where_all_inputs_are(one: BuildInputs, other: BuildInputs) -> None:
    assert (build_key(one) == build_key(other)) == (_sorted(one) == _sorted(other))


@given(inputs, st.data())
def test_any_field_changed_changes_the_key(one: BuildInputs, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from([field.name for field in fields(BuildInputs)]))
    before = getattr(one, name)
    after: Any
    if isinstance(before, str):
        after = before + data.draw(texts.filter(bool))
    elif isinstance(before, int):
        after = before + 1
    else:
        after = (*before, ("x", "y") if name == "build_args" else "x")
    assert build_key(replace(one, **{name: after})) != build_key(one)


@given(
    st.text("ab1:", min_size=2, max_size=8),
    st.integers(0, 8),
    st.integers(0, 8),
    st.sampled_from(
        [
            ("provider", "identity"),
            ("identity", "content_id"),
            ("content_id", "subdir"),
            ("subdir", "build_image"),
            ("build_image", "owner"),
        ]
    ),
)
def test_moving_characters_over_the_border_of_two_fields_changes_the_key(
    text: str, at: int, elsewhere: int, names: tuple[str, str]
) -> None:
    def cut(place: int) -> BuildInputs:
        first, second = names
        changes: dict[str, Any] = {first: text[:place], second: text[place:]}
        return replace(PLAIN, **changes)

    one, other = cut(at), cut(elsewhere)
    assert (build_key(one) == build_key(other)) == (one == other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"extra_args": ("ab",)}, {"extra_args": ("a", "b")}, id="arguments joined"),
        pytest.param({"extra_args": ("a", "b")}, {"extra_args": ("b", "a")}, id="their order"),
        pytest.param({"extra_args": ("",)}, {"extra_args": ()}, id="an empty argument"),
        pytest.param(
            {"build_args": (("ab", "c"),)}, {"build_args": (("a", "bc"),)}, id="name and value"
        ),
        pytest.param(
            {"build_args": (("a", "b"), ("c", "d"))},
            {"build_args": (("a", "d"), ("c", "b"))},
            id="values exchanged",
        ),
        pytest.param(
            {"build_args": (("a", "b"),)}, {"extra_args": ("a", "b")}, id="another kind of argument"
        ),
        pytest.param({"owner": "ann"}, {"owner": "bob"}, id="another owner"),
    ],
)
def test_these_are_two_images(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert build_key(replace(PLAIN, **one)) != build_key(replace(PLAIN, **other))


@given(st.dictionaries(texts, texts, max_size=5), st.randoms(use_true_random=False))
def test_the_order_of_build_arguments_does_not_matter(args: dict[str, str], random: Any) -> None:
    shuffled = list(args.items())
    random.shuffle(shuffled)
    assert build_key(replace(PLAIN, build_args=tuple(args.items()))) == build_key(
        replace(PLAIN, build_args=tuple(shuffled))
    )


def test_a_key_is_the_same_in_every_process_and_version() -> None:
    # images outlive the process that made them: a change here orphans every image there is
    assert build_key(PLAIN) == "fed6948753661207297cbe21d5951f3b597d306a1bb77de536d18905b58e955f"


def test_arguments_and_the_secret_go_into_a_key_the_same_in_every_version() -> None:
    more = replace(PLAIN, build_args=(("b", "2"), ("a", "1")), extra_args=("--x", ""), owner="ann")
    assert (
        build_key(more, b"secret")
        == "09b4f048b18bc18810d154756b8ea6915ee61f2ce283765f80a93f34865244aa"
    )
    assert image_proof(KEY) == ("f521be8bea467c536a7a00e747de1125799e0501ae98cc0d3f14f4946d66eace")
    assert (
        image_proof(KEY, b"secret")
        == "8fa18a0e686f59ea3f9838269a45b330a3846d78ea3b409ae465ae712ecb52e9"
    )


@given(inputs)
def test_a_key_is_64_hex_digits(one: BuildInputs) -> None:
    assert re.fullmatch(r"[0-9a-f]{64}", build_key(one))


def test_people_see_the_first_twelve_digits() -> None:
    assert short(KEY) == "0123456789ab"


@given(
    any_text,
    st.sampled_from(["", "r2d-", "hub/", "a/b.c_"]),
    st.sampled_from(["", "localhost:5000", "quay.io/", "ghcr.io/team"]),
)
def test_an_image_name_is_a_valid_reference_for_any_name(
    name: str, prefix: str, registry: str
) -> None:
    image = image_name(KEY, name, prefix=prefix, registry=registry)
    assert REFERENCE.fullmatch(image)
    assert len(image) <= 255
    assert image.endswith(KEY[:32])


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("owner/repo", "owner-repo-"),
        ("Owner/Repo.git", "owner-repo-git-"),
        ("../--x__y--", "x-y-"),
        ("Übung/数据", "bung-"),
        ("数据", ""),
        ("", ""),
        ("a" * 39 + "/b", "a" * 39 + "-"),
        ("/" + "a" * 41, "a" * 40 + "-"),
    ],
)
def test_the_readable_part_of_an_image_name(name: str, slug: str) -> None:
    assert image_name(KEY, name) == slug + KEY[:32]


@pytest.mark.parametrize(
    ("registry", "image"),
    [
        ("", "r2d-a-b-"),
        ("quay.io", "quay.io/r2d-a-b-"),
        ("quay.io/", "quay.io/r2d-a-b-"),
        ("HOSTX:5000/team//", "HOSTX:5000/team/r2d-a-b-"),
        ("HOSTX", "HOSTX/r2d-a-b-"),
    ],
)
def test_the_registry_stands_in_front(registry: str, image: str) -> None:
    assert image_name(KEY, "a/b", prefix="r2d-", registry=registry) == image + KEY[:32]


@pytest.mark.parametrize(
    ("name", "key", "ours"),
    [
        (image_name(KEY, "a/b"), KEY, True),
        (image_name(KEY, "a/b", prefix="r2d-", registry="h:5000/t") + ":latest", KEY, True),
        (KEY[:32], KEY, True),
        (image_name(KEY, "a/b"), "f" * 64, False),
        (image_name(KEY, "a/b"), KEY[:63], False),
        (image_name(KEY, "a/b"), KEY.upper(), False),
        (image_name(KEY, "a/b") + "x", KEY, False),
        (f"x:{KEY[:32]}", KEY, False),
        (f"{KEY[:32]}/x", KEY, False),
        ("anything", "", False),
        ("", "", False),
    ],
)
def test_a_name_says_whose_it_is(name: str, key: str, ours: bool) -> None:
    assert names_key(name, key) is ours


def test_a_container_name_is_one_that_docker_takes() -> None:
    assert container_name(KEY) == "r2d-build-" + KEY[:32]
    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", container_name(KEY))


@given(any_text)
def test_a_label_comes_back_as_it_was(value: str) -> None:
    assert decode_label(encode_label(value)) == value


def test_half_a_character_which_json_can_carry_is_one_like_any_other() -> None:
    assert decode_label(encode_label("a\ud800b")) == "a\ud800b"
    keys = {build_key(replace(PLAIN, identity=text)) for text in ("a\ud800b", "a\ud801b", "a?b")}
    assert len(keys) == 3


@given(any_text)
def test_an_encoded_label_can_stand_in_a_dockerfile(value: str) -> None:
    encoded = encode_label(value)
    assert encoded.isascii()
    assert not re.search(r"[\"'$\\\s\x00-\x20\x7f`#{}]", encoded)


@given(any_text)
def test_reading_a_label_of_somebody_elses_never_fails(value: str) -> None:
    assert isinstance(decode_label(value), str)


@pytest.mark.parametrize("value", ["%", "%zz", "%ff%fe", "%ED%A0", "100%", "\ud800"], ids=ascii)
def test_a_label_that_is_not_encoded_is_read_as_well_as_it_can_be(value: str) -> None:
    assert isinstance(decode_label(value), str)


def test_addresses_stay_readable_in_labels() -> None:
    address = "https://github.com/owner/repo-1_2.git"
    assert encode_label(address) == address


def test_labels_are_all_under_our_prefix_and_come_back() -> None:
    made = labels(KEY, repo='https://x/"$y', ref="feature/ä", commit="c" * 40, subdir="a b")
    assert all(name.startswith(LABEL_PREFIX) for name in made)
    found = read_labels({**made, "maintainer": "somebody"})
    assert found.pop("version")
    assert proves(found.pop("proof"), KEY)
    assert found == {
        "key": KEY,
        "repo": 'https://x/"$y',
        "ref": "feature/ä",
        "commit": "c" * 40,
        "subdir": "a b",
        "owner": "",
        "place": "",
        "name": "",
    }


def test_what_is_empty_is_there_so_that_no_dockerfile_can_fill_it() -> None:
    without = labels(KEY, repo="r", ref="", commit="c", subdir="")
    for word in ("owner", "place", "ref", "subdir", "name"):
        assert without[LABEL_PREFIX + word] == ""
    made = labels(KEY, repo="r", ref="", commit="c", subdir="", owner="ann")
    assert read_labels(made)["owner"] == "ann"


def test_the_proof_in_the_labels_is_that_of_the_secret() -> None:
    made = labels(KEY, repo="r", ref="", commit="c", subdir="", secret=b"one")
    assert made[LABEL_PREFIX + "proof"] == image_proof(KEY, b"one") != image_proof(KEY)


def test_another_secret_makes_other_keys_and_proves_nothing() -> None:
    assert build_key(PLAIN, b"one") != build_key(PLAIN, b"two")
    proof = image_proof(KEY, b"one")
    assert proves(proof, KEY, b"one")
    assert not proves(proof, KEY, b"two")
    assert not proves(proof, "f" * 64, b"one")
    assert not proves("", KEY, b"one")
    assert not proves("ä", KEY, b"one")


@pytest.mark.parametrize("found", [None, {}, {"other": "1"}])
def test_what_has_no_labels_of_ours_reads_as_nothing(found: dict[str, str] | None) -> None:
    assert read_labels(found) == {}
    assert blanked(found) == {}


def test_of_labels_that_are_ours_the_names_alone_are_kept() -> None:
    made = labels(KEY, repo="r", ref="main", commit="c", subdir="", secret=b"one")
    emptied = blanked({"maintainer": "ann", **made})
    assert emptied == dict.fromkeys(made, "")
    assert not any(read_labels(emptied).values())
