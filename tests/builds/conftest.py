"""A pool of builds in memory; its ends leave no thread and no task."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from testbed.poolhouse import GRACE, House, build_threads
from testbed.waiting import wait_until

from repo2dockerspawner.builds import pool as pool_module


@pytest.fixture
def grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "_GRACE", GRACE)


@pytest.fixture
def no_threads_left() -> Iterator[None]:
    yield
    wait_until(lambda: not build_threads(), 1, said=build_threads)


@pytest.fixture
async def house(grace: None, no_threads_left: None) -> AsyncIterator[House]:
    made = House(limit=2)
    yield made
    await asyncio.wait_for(made.pool.close(), 2)
    assert not made.pool._tasks
    others = asyncio.all_tasks() - {asyncio.current_task()}
    assert not [task for task in others if "pool" in str(task.get_coro())]


@pytest.fixture
async def one_place(grace: None, no_threads_left: None) -> AsyncIterator[House]:
    made = House(limit=1)
    yield made
    await asyncio.wait_for(made.pool.close(), 2)
