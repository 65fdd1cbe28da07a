"""Where a credential may be sent."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from repo2dockerspawner.places import read_place, spelled, surroundings


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("https://gitlab.example.org", "https://gitlab.example.org"),
        (" HTTPS://GitLab.example.org:443/ ", "https://gitlab.example.org"),
        ("https://h.example:8443/a/b/", "https://h.example:8443/a/b"),
        ("http://h.example", "http://h.example"),
        ("ssh://git@h.example", "ssh://git@h.example"),
        ("ssh://git@h.example:2222/a", "ssh://git@h.example:2222/a"),
        ("https://[::1]/a", "https://[::1]/a"),
    ],
)
def test_a_place_has_one_spelling(text: str, place: str) -> None:
    assert read_place(text) == place
    assert read_place(place) == place


@pytest.mark.parametrize(
    "text",
    [
        "",
        "gitlab.example.org",
        "git@h.example:a",
        "git://h.example",
        "file:///etc",
        "https://",
        "https://user:secret@h.example",
        "https://h.example/a?b",
        "https://h.example/../a",
        "https://h.example/a/%2e%2e/b",
        "https://h.example/a%252fb",
        "https://h.example/a b\n",
    ],
)
def test_what_is_no_place_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="place is wrong"):
        read_place(text)


@pytest.mark.parametrize(
    ("place", "url", "found"),
    [
        ("https://h.example", "https://h.example/a/b.git", "https://h.example"),
        ("https://h.example/a", "https://h.example/a/b.git", "https://h.example/a"),
        ("https://h.example/a/b", "https://h.example/a/b.git", "https://h.example/a/b.git"),
        ("https://h.example/a/b.git", "https://h.example/a/b", "https://h.example/a/b"),
        ("https://h.example:1/a", "https://h.example:1/a/b", "https://h.example:1/a"),
        # github.com doesn't tell them apart, git does
        ("https://github.com/Owner", "https://github.com/owner/b", "https://github.com/owner"),
        ("ssh://git@h.example", "git@h.example:a/b", "ssh://git@h.example"),
        ("ssh://git@h.example/a", "git@h.example:a/b", "ssh://git@h.example/a"),
        ("ssh://git@h.example", "ssh://git@h.example/a/b", "ssh://git@h.example"),
        # and nothing else
        ("https://h.example/a", "https://h.example/a-evil/b", ""),
        ("https://h.example/a", "https://h.example/A/b", ""),
        ("https://h.example/a/b", "https://h.example/a/b2", ""),
        ("https://h.example/a", "https://h.example/b/a/c", ""),
        ("https://h.example/a", "https://h.example", ""),
        ("https://h.example/a", "https://h.example/a/..%2fb/c", ""),
        ("https://h.example/a", "https://h.example/a/%252e%252e/c", ""),
        ("https://h.example/a", "https://h.example/a/b%5c..%5cc", ""),
        ("https://h.example", "https://h.example.evil.example/a/b", ""),
        ("https://h.example", "https://evil.example/h.example/b", ""),
        ("https://h.example", "https://evil-h.example/a/b", ""),
        ("https://h.example", "http://h.example/a/b", ""),
        ("http://h.example", "https://h.example/a/b", ""),
        ("https://h.example", "https://h.example:8443/a/b", ""),
        ("https://h.example", "https://h.example@evil.example/a/b", ""),
        ("https://h.example", "git@h.example:a/b", ""),
        ("ssh://git@h.example", "ssh://root@h.example/a/b", ""),
        ("ssh://git@h.example", "ssh://git@h.example:2222/a/b", ""),
        ("https://doi.org", "10.5281/zenodo.1", ""),
        ("https://h.example", "git://h.example/a/b", ""),
    ],
)
def test_a_repository_is_at_a_place_or_not(place: str, url: str, found: str) -> None:
    assert spelled(place, url) == found


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://h.example/a/b/c.git", "https://h.example/a/b"),
        ("https://github.com/owner/repo", "https://github.com/owner"),
        ("https://h.example/only.git", "https://h.example"),
        ("http://10.0.0.1:3000/o/r", "http://10.0.0.1:3000/o"),
        ("https://h.example/a/..%2fb/c", ""),
        ("https://h.example", ""),
        ("10.5281/zenodo.1", ""),
    ],
)
def test_a_persons_own_credential_is_for_a_repository_and_its_neighbours(
    url: str, place: str
) -> None:
    assert surroundings(url) == place
    assert not place or spelled(place, url) == place


@given(st.text(), st.text())
def test_whatever_the_texts_nothing_is_raised(place: str, url: str) -> None:
    assert isinstance(spelled(f"https://h.example/{place}", f"https://h.example/{url}"), str)
    assert isinstance(surroundings(url), str)
