"""A process with a pool of its own, for races between real processes.

``python -m testbed.buildprocess`` takes one order per line on its standard input,
``{"plan": {…}, "at": seconds since 1970}``, and prints one answer per line:
``{"event": "text"}`` as the build goes on, and ``{"image": …}`` or ``{"reason": …}`` at its end.
It ends at the end of its input, and on SIGTERM as a hub does: all tasks are cancelled.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict
from typing import Any

from repo2dockerspawner.builds import container
from repo2dockerspawner.builds.container import ContainerBuilder
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.engine import Engine
from repo2dockerspawner.errors import Repo2DockerError

from .names import ROOT
from .scripted import UnbuiltImages

__all__ = ["BuildProcess"]

_GRACE = "R2D_TEST_START_GRACE"


class BuildProcess:
    """Such a process, as the test holds it.

    Args:
        start_grace: seconds after which a container that was made and not started counts as
            left behind.
    """

    def __init__(self, start_grace: float = 1.0) -> None:
        paths = [str(ROOT), str(ROOT / "scripts")]
        self._process = subprocess.Popen(
            [sys.executable, "-m", "testbed.buildprocess"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            env={**os.environ, "PYTHONPATH": ":".join(paths), _GRACE: str(start_grace)},
        )
        assert self._read() == {"ready": True}

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        found: dict[str, Any] = json.loads(line) if line else {}
        return found

    def order(self, plan: BuildPlan, at: float | None = None) -> None:
        """Have a build done, at a moment (seconds since 1970), now where none is given."""
        assert self._process.stdin is not None
        print(json.dumps({"plan": asdict(plan), "at": at or 0}), file=self._process.stdin)

    def next_event(self) -> dict[str, Any]:
        """Return the next answer, ``{}`` where the process has ended."""
        return self._read()

    def result(self) -> dict[str, Any]:
        """Return the end of the build that was ordered, ``{}`` where the process has ended."""
        while "event" in (answer := self._read()):
            pass
        return answer

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self.close()

    def terminate(self) -> float:
        """End it as a hub is ended; returns how long that took, in seconds."""
        since = time.monotonic()
        self._process.terminate()
        self._process.wait(30)
        self.close()
        return time.monotonic() - since

    def close(self) -> None:
        """Let it end and wait for it."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait(30)


def _tell(**answer: Any) -> None:
    print(json.dumps(answer), flush=True)


async def _build(pool: BuildPool, plan: BuildPlan) -> None:
    build = pool.join(plan, "somebody")
    try:
        async for event in build.follow():
            _tell(event=event.text)
        _tell(image=await build.result())
    except Repo2DockerError as error:
        _tell(reason=error.reason, message=error.message)
    finally:
        pool.leave(build)


def _cancel_all() -> None:
    for task in asyncio.all_tasks():
        task.cancel()


async def _main() -> None:
    container._START_GRACE = float(os.environ[_GRACE])  # noqa: SLF001
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, _cancel_all)
    engine = Engine()
    pool = BuildPool(ContainerBuilder(engine), UnbuiltImages(engine), limit=4)
    reader = asyncio.StreamReader(limit=2**20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _tell(ready=True)
    try:
        while line := await reader.readline():
            order = json.loads(line)
            await asyncio.sleep(max(0.0, order["at"] - time.time()))
            await _build(pool, BuildPlan(**order["plan"]))
    finally:
        await pool.close()
        engine.close()


if __name__ == "__main__":
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(_main())
