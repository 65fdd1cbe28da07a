"""Configuration of a hub whose launches do what a test writes into a file, line by line.

The file is ``launch-USER-SERVER.jsonl`` in the hub's directory; each line is an object with
``do`` and what that needs. A launch waits for more until ``ready``, ``fail`` or ``crash``.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

from repo2dockerspawner import Repo2DockerSpawner, configure
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.follower import Follower
from repo2dockerspawner.builds.lines import LineAssembler
from repo2dockerspawner.errors import BuildError
from repo2dockerspawner.launching import LaunchTarget

c = get_config()  # type: ignore[name-defined]  # noqa: F821


def _read(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return text[: text.rfind("\n") + 1].splitlines()


def _print_raw(launch: Any, text: str) -> None:
    """As a worker thread hands over what it has read."""

    def receive(events: Any) -> None:
        for event in events:
            launch.forward(event)

    follower = Follower(asyncio.get_running_loop(), receive)
    for line in LineAssembler().feed_text(text):
        follower.emit(Event(line, 0.1, "building", is_log=True, spans=line.spans))
    follower.flush()


def _lines(first: int, last: int) -> str:
    words = "of a build that prints very much indeed, and more"
    return "\n".join(f"line {number} {words}" for number in range(first, last))


async def _flood(launch: Any, count: int, kept: int) -> None:
    """200 lines an event as a follower hands them over, faster than any build.

    The engine keeps the first ``kept`` of them, and hands them out in other portions.
    """

    async def rest(first: int, last: int, before: str) -> Any:
        for at in range(first, min(last, kept), 333):
            yield Event(_lines(at, min(at + 333, last, kept)), 0.5, "building", is_log=True)

    launch.rest = rest
    for first in range(0, count, 200):
        last = min(first + 200, count)
        launch.forward(Event(_lines(first, last), 0.5, "building", is_log=True, printed=last))
        await asyncio.sleep(0.005)


class Scripted(Repo2DockerSpawner):
    """Launches by a script, in the place of resolving and building."""

    async def _prepare(self, launch: Any) -> None:
        path = Path(f"launch-{self.user.name}-{self.name}.jsonl")
        done = 0
        while True:
            lines = _read(path)
            for line in lines[done:]:
                order = json.loads(line)
                do = order.pop("do")
                if do == "ready":
                    return
                await self._obey(launch, do, order)
            done = len(lines)
            await asyncio.sleep(0.02)

    async def _obey(self, launch: Any, do: str, order: dict[str, Any]) -> None:
        if do == "say":
            launch.say(order["text"], order["phase"])
        elif do == "raw":
            _print_raw(launch, order["text"])
        elif do == "resolved":
            launch.resolved("Found it.", LaunchTarget(**order))
        elif do == "about":
            launch.about = order["seconds"]
        elif do == "print":
            launch.forward(
                Event(
                    order["text"],
                    order.get("progress", 0.1),
                    order.get("phase", "building"),
                    is_log=order.get("is_log", True),
                    step=order.get("step"),
                    place=order.get("place"),
                    printed=order.get("printed", 0),
                )
            )
        elif do == "flood":
            await _flood(launch, order["lines"], order.get("kept", 0))
        elif do == "fail":
            raise BuildError(order["text"], lines=order.get("lines", ()))
        elif do == "crash":
            raise RuntimeError(order["text"])


configure(c, spawner=Scripted)
# so that a start over REST is answered at once
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
