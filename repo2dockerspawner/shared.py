"""What all spawners of one process share: the engine, its images, the pool of builds."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from .builds.container import ContainerBuilder
from .builds.logfile import BuildLogFile
from .builds.pool import BuildPool
from .builds.sweeping import keep_sweeping
from .disk import Disk
from .engine import Engine
from .images import Images

__all__ = ["Shared", "shared"]


@dataclass(frozen=True)
class Shared:
    """One engine and everything about it that is there once in a process."""

    engine: Engine
    images: Images
    disk: Disk
    builder: ContainerBuilder
    pool: BuildPool
    sweeper: asyncio.Task[None]
    log_file: BuildLogFile | None

    async def close(self) -> None:
        """Let go of all builds, and end all threads."""
        self.sweeper.cancel()
        await asyncio.gather(self.sweeper, return_exceptions=True)
        await self.pool.close()
        self.engine.close()
        if self.log_file is not None:
            self.log_file.close()


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Shared]] = WeakKeyDictionary()


def shared(
    *,
    client_kwargs: Mapping[str, Any],
    tls_config: Mapping[str, Any],
    limit: int,
    per_user: int,
    log_file: str,
) -> Shared:
    """Return what the running loop's spawners of these settings share, made at the first call."""
    loop = asyncio.get_running_loop()
    of_loop = _by_loop.setdefault(loop, {})
    settings = json.dumps(
        [dict(client_kwargs), dict(tls_config), limit, per_user, log_file], default=str
    )
    found = of_loop.get(settings)
    if found is None or found.pool.detached:
        engine = Engine(client_kwargs, tls_config)
        images = Images(engine)
        file = BuildLogFile(log_file) if log_file else None
        builder = ContainerBuilder(engine)
        pool = BuildPool(
            builder,
            images,
            limit=limit,
            per_user=per_user,
            record=file.record if file is not None else None,
        )
        sweeper = loop.create_task(keep_sweeping(builder, pool))
        found = of_loop[settings] = Shared(
            engine, images, Disk(engine), builder, pool, sweeper, file
        )
    return found
