"""The reserve of free disk."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from repo2dockerspawner.disk import Disk
from repo2dockerspawner.errors import EngineError


class StubEngine:
    """An engine that says where its data is."""

    is_here = True

    def __init__(self, folder: Path | str) -> None:
        self.folder = str(folder)
        self.asked = 0
        self.error: Exception | None = None

    async def call(self, function: Any) -> Any:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return function(self)

    def info(self) -> dict[str, str]:
        return {"DockerRootDir": self.folder}


def disk(engine: StubEngine) -> Disk:
    found: Any = engine
    return Disk(found)


async def test_no_reserve_asks_nobody() -> None:
    engine = StubEngine("/nowhere")
    await disk(engine).check_reserve(0)
    assert engine.asked == 0


async def test_enough_room_is_no_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    await disk(StubEngine(tmp_path)).check_reserve(1)
    assert not caplog.records


async def test_too_little_is_refused_and_an_administrator_told_the_figures(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=3_000_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    checked = disk(StubEngine(tmp_path))
    await checked.check_reserve(3_000_000_000)
    with pytest.raises(EngineError) as caught:
        await checked.check_reserve(5_000_000_000)
    assert (caught.value.reason, caught.value.status) == ("disk_full", 503)
    assert str(tmp_path) not in caught.value.message
    assert "3.0 GB are free" in caplog.text
    assert "5.0 GB" in caplog.text


async def test_the_engine_is_asked_once_and_a_refusal_costs_next_to_nothing(
    tmp_path: Path,
) -> None:
    engine = StubEngine(tmp_path)
    checked = disk(engine)
    since = time.monotonic()
    for _ in range(20):
        with pytest.raises(EngineError):
            await checked.check_reserve(2**62)
    # 50 ms each (F5)
    assert time.monotonic() - since <= 20 * 0.05
    assert engine.asked == 1


async def test_where_the_folder_is_not_to_be_seen_a_build_may_begin(
    caplog: pytest.LogCaptureFixture,
) -> None:
    await disk(StubEngine("/nowhere/of/the/engine")).check_reserve(1)
    assert "build_disk_reserve" in caplog.text
    assert "/nowhere/of/the/engine" in caplog.text


async def test_an_engine_that_is_away_is_asked_again_the_next_time(tmp_path: Path) -> None:
    engine = StubEngine(tmp_path)
    engine.error = EngineError("It is away.")
    checked = disk(engine)
    with pytest.raises(EngineError, match="away"):
        await checked.check_reserve(1)
    engine.error = None
    await checked.check_reserve(1)
    assert engine.asked == 2


async def test_an_engine_elsewhere_is_not_measured_here(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = StubEngine(tmp_path)
    engine.is_here = False
    # the folder is here as well, but it is another one
    await disk(engine).check_reserve(2**62)
    assert "build_disk_reserve" in caplog.text
