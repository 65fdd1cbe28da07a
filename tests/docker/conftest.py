"""What the tests on a real engine share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from repo2dockerspawner.builds.container import ContainerBuilder
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.engine import Engine
from repo2dockerspawner.images import Images
from testbed.builds import Bench
from testbed.gitserver import GitServer


@pytest.fixture
async def bench(git_server: GitServer) -> AsyncIterator[Bench]:
    """A pool on the real engine, closed at the end."""
    engine = Engine()
    images = Images(engine)
    pool = BuildPool(ContainerBuilder(engine), images, limit=4)
    yield Bench(engine, images, pool, git_server)
    await pool.close()
    engine.close()
