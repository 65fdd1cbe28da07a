"""What the spawners of one process share."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from repo2dockerspawner import shared as shared_module
from repo2dockerspawner.shared import Shared, shared

Make = Callable[..., Shared]


@pytest.fixture
async def make(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Calls `shared`; no engine is there, and none is asked."""
    swept: list[object] = []

    async def keep_sweeping(builder: object, pool: object) -> None:
        swept.append(builder)
        await asyncio.get_running_loop().create_future()

    monkeypatch.setattr(shared_module, "keep_sweeping", keep_sweeping)
    made: list[Shared] = []

    def call(**settings: Any) -> Shared:
        usual = {"client_kwargs": {}, "tls_config": {}, "limit": 3, "log_file": ""}
        found = shared(**{**usual, **settings})
        if found not in made:
            made.append(found)
        return found

    yield call
    await asyncio.sleep(0)
    assert len(swept) == len(made)
    for one in made:
        await one.close()
        assert one.sweeper.done()


async def test_all_have_one(make: Make) -> None:
    assert make() is make()
    assert make().pool.limit == 3


async def test_the_limit_is_that_of_whoever_comes_first(make: Make) -> None:
    assert make(limit=2) is make(limit=9)
    assert make().pool.limit == 2


async def test_another_engine_has_its_own(make: Make) -> None:
    assert make() is not make(client_kwargs={"base_url": "unix:///elsewhere.sock"})


async def test_settings_that_say_the_same_mean_the_same_engine(make: Make) -> None:
    class Tls:
        def __init__(self, verify: str) -> None:
            self.verify = verify

    assert make(client_kwargs={"tls": Tls("a")}) is make(client_kwargs={"tls": Tls("a")})
    assert make(client_kwargs={"tls": Tls("a")}) is not make(client_kwargs={"tls": Tls("b")})


async def test_one_that_has_let_go_is_made_anew(make: Make) -> None:
    first = make()
    first.pool.detach()
    assert make() is not first


async def test_a_log_file_that_can_not_be_written_is_told_and_builds_go_on(
    make: Make, caplog: pytest.LogCaptureFixture
) -> None:
    assert make(log_file="/no/such/folder/builds.log").log_file is None
    assert "build_log_file can't be written" in caplog.text


async def test_a_log_file_is_written(make: Make, tmp_path: Path) -> None:
    assert make(log_file=str(tmp_path / "builds.log")).log_file is not None


def test_another_loop_has_its_own() -> None:
    async def one() -> Shared:
        found = shared(client_kwargs={}, tls_config={}, limit=1, log_file="")
        found.sweeper.cancel()
        await found.close()
        return found

    assert asyncio.run(one()) is not asyncio.run(one())
