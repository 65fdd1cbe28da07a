"""What runs inside a measured hub: it is called from the hub's configuration file.

Each function measures on the hub's own event loop and writes a line per sample:
``seconds-since-1970 milliseconds``.
"""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

__all__ = ["probe_loop", "probe_polls", "probe_processor", "probe_starts", "samples"]

_TICK = 0.005
_POLL_PAUSE = 0.2
_PROCESSOR_PAUSE = 0.02
# A write for each sample would be part of what is measured.
_BATCH = 200
_PROCESSOR_BATCH = 50

_tasks: set[asyncio.Task[None]] = set()


def _keep(task: asyncio.Task[None]) -> None:
    _tasks.add(task)
    task.add_done_callback(_tasks.discard)


def probe_loop(path: str) -> None:
    """Measure how late the loop runs what is due, 200 times a second."""
    _keep(asyncio.get_running_loop().create_task(_lag(Path(path))))


def probe_polls(path: str) -> None:
    """Measure `poll()` of all servers that run, asked all at once, five times a second."""
    _keep(asyncio.get_running_loop().create_task(_polls(Path(path))))


def probe_starts(path: str) -> None:
    """Measure what `start()` of each server takes, whether it is refused or not."""
    from repo2dockerspawner import Repo2DockerSpawner  # noqa: PLC0415  only where there are any

    start = Repo2DockerSpawner.start

    async def timed(spawner: Any) -> Any:
        started = time.perf_counter()
        try:
            return await start(spawner)
        finally:
            took = (time.perf_counter() - started) * 1000
            _write(Path(path), [f"{time.time():.3f} {took:.3f}\n"])

    Repo2DockerSpawner.start = timed


def probe_processor(path: str) -> None:
    """Write down the processor time that the process has taken so far, 50 times a second."""
    _keep(asyncio.get_running_loop().create_task(_processor(Path(path))))


async def _processor(path: Path) -> None:
    lines: list[str] = []
    while True:
        await asyncio.sleep(_PROCESSOR_PAUSE)
        lines.append(f"{time.time():.3f} {time.process_time() * 1000:.3f}\n")
        if len(lines) >= _PROCESSOR_BATCH:
            _write(path, lines)
            lines.clear()


async def _lag(path: Path) -> None:
    lines: list[str] = []
    while True:
        due = time.perf_counter() + _TICK
        await asyncio.sleep(_TICK)
        lines.append(f"{time.time():.3f} {(time.perf_counter() - due) * 1000:.3f}\n")
        if len(lines) >= _BATCH:
            _write(path, lines)
            lines.clear()


async def _polls(path: Path) -> None:
    from jupyterhub.app import JupyterHub  # noqa: PLC0415  only there is one, in the hub

    hub = JupyterHub.instance()
    while True:
        await asyncio.sleep(_POLL_PAUSE)
        spawners = [
            spawner
            for user in getattr(hub, "users", {}).values()
            for spawner in user.spawners.values()
            if spawner.ready
        ]
        taken = await asyncio.gather(*(_timed(spawner) for spawner in spawners))
        _write(path, [f"{time.time():.3f} {one:.3f}\n" for one in taken])


async def _timed(spawner: Any) -> float:
    started = time.perf_counter()
    await spawner.poll()
    return (time.perf_counter() - started) * 1000


def _write(path: Path, lines: list[str]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.writelines(lines)


def samples(path: Path, since: float, until: float) -> list[float]:
    """Read a probe's milliseconds between two times (seconds since 1970)."""
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        at, _, value = line.partition(" ")
        if since <= float(at) <= until:
            found.append(float(value))
    return found
