"""What is kept of a server's options, and what is refused."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyterhub import orm
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from repo2dockerspawner.useroptions import (
    OPTIONS_LIMIT,
    are_too_large,
    keep_small_and_open,
    kept_options,
)

TOKEN = "tok-3c5a1f"
REPO = "https://h.example/group/repo.git"

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=20)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner)
)


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    "options",
    [
        {"repo": "x" * OPTIONS_LIMIT},
        {"x" * OPTIONS_LIMIT: ""},
        {str(number): "x" for number in range(OPTIONS_LIMIT)},
        {"mine": ["x" * 1000] * 66},
        {"mine": [[""] * 300] * 300},
        {"mine": [10**1000] * 100},
        {"mine": nested(OPTIONS_LIMIT)},
        {"mine_file": [{"body": b"x" * OPTIONS_LIMIT}]},
    ],
    ids=["a text", "a name", "names", "texts", "empty texts", "numbers", "depth", "a file"],
)
def test_of_options_that_are_too_large_nothing_is_kept(options: dict[str, Any]) -> None:
    kept, wrong = kept_options(options)
    assert kept == {}
    assert wrong is not None
    assert (wrong.reason, wrong.status) == ("options_too_large", 413)
    assert len(wrong.message) < 200


@pytest.mark.parametrize(
    "options",
    [{}, {"repo": "x" * (OPTIONS_LIMIT - 5)}, {"mine": nested(1000)}, None, 7, {"mine": 1.5}],
)
def test_what_is_not_larger_is_kept_as_it_is(options: Any) -> None:
    assert not are_too_large(options)
    kept, wrong = kept_options(options)
    assert kept is options
    assert wrong is None


@given(json_values, st.integers(1, 200))
def test_what_passes_is_not_much_longer_as_json_than_the_limit(value: Any, limit: int) -> None:
    # quotes, commas, escapes; ``false`` counts as nothing but its place in a list
    if not are_too_large(value, limit):
        assert len(json.dumps(value, ensure_ascii=False)) <= 12 * (limit + 1)


def test_looking_at_large_options_takes_no_memory() -> None:
    options = {f"key{number}": "x" for number in range(300_000)}
    tracemalloc.start()
    try:
        assert are_too_large(options)
        assert tracemalloc.get_traced_memory()[1] < OPTIONS_LIMIT
    finally:
        tracemalloc.stop()


def test_a_secret_is_taken_out_and_refused() -> None:
    kept, wrong = kept_options({"repo": REPO, "password": TOKEN})
    assert kept == {"repo": REPO}
    assert wrong is not None
    assert wrong.reason == "secret_in_options"
    assert TOKEN not in wrong.message


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    orm.Base.metadata.create_all(engine)
    with Session(engine) as made:
        yield made
    engine.dispose()


def test_a_servers_row_never_gets_a_secret_or_what_is_too_large(session: Session) -> None:
    ours, large, others = (orm.Spawner(name=name) for name in ("ours", "large", "others"))
    session.add_all([ours, large, others])
    keep_small_and_open(ours)
    keep_small_and_open(large)
    ours.user_options = {"repo": REPO, "password": TOKEN}
    large.user_options = {"repo": REPO, "mine": "x" * OPTIONS_LIMIT}
    others.user_options = {"password": "kept", "mine": "x" * OPTIONS_LIMIT}
    session.commit()
    rows = dict(session.execute(text("SELECT name, user_options FROM spawners")).all())
    assert TOKEN not in rows["ours"]
    assert REPO in rows["ours"]
    assert rows["large"] == "{}"
    assert "kept" in rows["others"]
    assert len(rows["others"]) > OPTIONS_LIMIT
