"""Credentials as data."""

from __future__ import annotations

from repo2dockerspawner.credentials import PUBLIC, Access, Credential, Reader


def test_no_secret_is_in_what_is_printed() -> None:
    one = Credential("https://h", "ann", password="s3cr3t", key="k3y")
    said = repr(one) + repr(Access((one,), owner="ann"))
    assert "s3cr3t" not in said
    assert "k3y" not in said


def test_a_user_and_a_place_of_one_name_are_told_apart() -> None:
    assert PUBLIC.scope == ""
    assert Access(owner="x").scope != Access(place="x").scope


def test_who_may_use_what() -> None:
    ann, bob = Reader("ann", frozenset({"https://h"})), Reader("bob")
    for owner, place, by_ann, by_bob in [
        ("", "", True, True),
        ("ann", "", True, False),
        ("Ann", "", False, False),
        ("", "https://h", True, False),
        ("", "https://h/x", False, False),
        ("bob", "https://h", False, True),
    ]:
        assert ann.may_use(owner, place) is by_ann
        assert bob.may_use(owner, place) is by_bob
