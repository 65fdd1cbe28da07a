"""What all spawners of one process share: the engine, its images, the pool of builds."""

from __future__ import annotations

import asyncio
import json
import logging
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

log = logging.getLogger(__name__)


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
    log_file: str,
) -> Shared:
    """Return what the running loop's spawners of one engine share, made at the first call.

    One pool per engine, whatever a group's or a profile's overrides say, because its limit is the
    hub's: the limit and the file are those of whoever comes first.
    """
    loop = asyncio.get_running_loop()
    of_loop = _by_loop.setdefault(loop, {})
    which = json.dumps([dict(client_kwargs), dict(tls_config)], default=_stable)
    found = of_loop.get(which)
    if found is None or found.pool.detached:
        engine = Engine(client_kwargs, tls_config)
        images = Images(engine)
        file = _log_file(log_file)
        builder = ContainerBuilder(engine)
        pool = BuildPool(
            builder,
            images,
            limit=limit,
            record=file.record if file is not None else None,
        )
        sweeper = loop.create_task(keep_sweeping(builder, pool))
        found = of_loop[which] = Shared(engine, images, Disk(engine), builder, pool, sweeper, file)
    return found


def _stable(value: object) -> object:
    """Return what an object in the settings is, without where in memory it is."""
    return [type(value).__name__, sorted((k, repr(v)) for k, v in vars(value).items())]


def _log_file(path: str) -> BuildLogFile | None:
    if not path:
        return None
    try:
        return BuildLogFile(path)
    except OSError as error:
        log.error(  # noqa: TRY400 - the sentence says it all
            "Builds are not logged: build_log_file can't be written (%s).", error
        )
        return None
