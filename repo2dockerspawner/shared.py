"""What all spawners of one process share: the engine, its images, the pool of builds."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from .builds.carrying import Carrier
from .builds.container import ContainerBuilder
from .builds.durations import Durations
from .builds.logfile import BuildLogFile
from .builds.pool import BuildPool
from .builds.rereading import Rereader
from .builds.sweeping import keep_sweeping
from .disk import Disk
from .engine import Engine
from .images import Images

__all__ = ["Shared", "shared"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Shared:
    """The engines and everything about them that is there once in a process.

    Attributes:
        engine: runs the servers.
        images: on that engine.
        build_engine: runs the builds; the same one, where no other is set.
        disk: of the engine that runs the builds.
    """

    engine: Engine
    images: Images
    build_engine: Engine
    disk: Disk
    builder: ContainerBuilder
    reader: Rereader
    durations: Durations
    pool: BuildPool
    sweeper: asyncio.Task[None]
    log_file: BuildLogFile | None

    async def close(self) -> None:
        """Let go of all builds, and end all threads."""
        self.sweeper.cancel()
        await asyncio.gather(self.sweeper, return_exceptions=True)
        await self.pool.close()
        self.engine.close()
        if self.build_engine is not self.engine:
            self.build_engine.close()
        if self.log_file is not None:
            self.log_file.close()


_by_loop: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Shared]] = WeakKeyDictionary()


def shared(
    *,
    client_kwargs: Mapping[str, Any],
    tls_config: Mapping[str, Any],
    limit: int,
    log_file: str,
    secret: bytes = b"",
    build_docker_host: str = "",
    build_tls_config: Mapping[str, Any] | None = None,
) -> Shared:
    """Return what the running loop's spawners of the same engines share, made at the first call.

    One pool for them, whatever a group's or a profile's overrides say, because its limit is the
    hub's: the limit, the file and the secret are those of whoever comes first.
    """
    loop = asyncio.get_running_loop()
    of_loop = _by_loop.setdefault(loop, {})
    build_at = [build_docker_host, dict(build_tls_config or {})]
    which = json.dumps([dict(client_kwargs), dict(tls_config), *build_at], default=_stable)
    found = of_loop.get(which)
    if found is None or found.pool.detached:
        engine = Engine(client_kwargs, tls_config)
        images = Images(engine, secret)
        file = _log_file(log_file)
        build_engine, carrier = engine, None
        if build_docker_host:
            build_engine = _build_engine(build_docker_host, build_tls_config)
            carrier = Carrier(build_engine, engine)
        builder = ContainerBuilder(build_engine, carrier)
        durations = Durations(build_engine)
        pool = BuildPool(
            builder,
            images,
            limit=limit,
            record=file.record if file is not None else None,
            took=durations.note,
        )
        sweeper = loop.create_task(keep_sweeping(builder, pool))
        found = of_loop[which] = Shared(
            engine=engine,
            images=images,
            build_engine=build_engine,
            disk=Disk(build_engine),
            builder=builder,
            reader=Rereader(build_engine),
            durations=durations,
            pool=pool,
            sweeper=sweeper,
            log_file=file,
        )
    return found


def _build_engine(host: str, tls_config: Mapping[str, Any] | None) -> Engine:
    name = "The Docker engine that builds"
    return Engine({"base_url": host}, tls_config, name=name, by_environment=False)


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
