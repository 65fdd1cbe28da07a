"""What runs inside the hub of the soak, called from its configuration file.

The hub with its users and spawners, `Repo2DockerMixin.start`, the pool, the build containers' life
and the sweep are the real ones. Stood in for are the engine (`testbed.faultyclient`), the spawner
beneath (a server that is there at once), and the look into an image for the server's program. What
JupyterHub does around a spawner's start (tokens, routes, asking whether the server answers) is left
out: some 50 ms each, and none of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
from jupyterhub import orm
from jupyterhub.spawner import Spawner
from testbed.fakeclient import FakedEngine
from testbed.fakeengine import Clock, FakeContainer, FakeEngine, Script
from testbed.faultyclient import FaultyClient
from traitlets import Unicode

from repo2dockerspawner import Repo2DockerMixin, shared
from repo2dockerspawner.builds import sweeping
from repo2dockerspawner.builds.build import Build
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.builds.state import State
from repo2dockerspawner.errors import Repo2DockerError
from repo2dockerspawner.keys import LABEL_PREFIX

__all__ = ["SoakSpawner", "begin"]

_BUILD_IMAGE = "soak:1"
_KINDS = (State.DONE, State.DONE, State.FAILED, State.CANCELLED)
_LINES = tuple(
    json.dumps({"message": f"line {number} {'.' * 60}\n", "phase": "building"}).encode() + b"\n"
    for number in range(60)
)
_DAY = 86400.0
_SWEPT_AFTER = 25
# Seconds until nobody sees to a cancelled build any more, and more than that.
_GRACE = 15.0


class _Server(Spawner):  # type: ignore[misc]
    """A spawner whose server is there as soon as it is asked for."""

    image = Unicode()
    _runs = False

    async def start(self) -> str:
        self._runs = True
        return "http://127.0.0.1:1"

    async def stop(self, now: bool = False) -> None:  # noqa: ARG002
        self._runs = False

    async def poll(self) -> int | None:
        return None if self._runs else 0


class SoakSpawner(Repo2DockerMixin, _Server):
    """Repositories above that."""

    def _server_command(self) -> list[str]:
        return []  # so that no image is looked into


def begin(hub: Any, path: str, *, count: int, people: int, seed: int, share: float) -> None:
    """Start so many builds when the hub is up, and write what came of it to a file.

    Args:
        hub: the application, or its class.
        path: of the file, JSON.
        count: builds that are measured.
        people: who start them, all at once.
        seed: of the faults.
        share: of the engine's calls that fail.
    """
    engine = _engine(seed, share)
    our_shared: Any = shared
    our_shared.Engine = lambda *_, **__: engine
    soak = _Soak(hub, engine, count, people)

    async def run() -> None:
        report: dict[str, Any]
        try:
            report = await soak.run()
        except Exception as error:  # noqa: BLE001 - told to who waits for the file
            report = {"error": f"{type(error).__name__}: {error}"}
        _write(Path(path), report)

    _tasks.append(asyncio.get_running_loop().create_task(run()))


def _write(path: Path, report: dict[str, Any]) -> None:
    """Write it at one moment, for who looks whether it is there."""
    written = path.with_suffix(".new")
    written.write_text(json.dumps(report), encoding="utf-8")
    written.replace(path)


_tasks: list[asyncio.Task[None]] = []


def _engine(seed: int, share: float) -> FakedEngine:
    fake = FakeEngine(Clock())
    fake.add_image(_BUILD_IMAGE)
    fake.script = _script
    return FakedEngine(_Client(fake, "hub", seed=seed, share=share))


class _Client(FaultyClient):
    # the engine's memory is not the hub's, which is measured
    def put_archive(self, container: str, path: str, data: bytes) -> bool:  # noqa: ARG002
        return super().put_archive(container, path, b"")

    def tag(self, image: str, repository: str, tag: str) -> bool:  # noqa: ARG002
        with self._call("tag", image):
            return True


def _kind(container: FakeContainer) -> State:
    digest = hashlib.sha256(container.labels[LABEL_PREFIX + "commit"].encode()).digest()
    return _KINDS[digest[0] % len(_KINDS)]


def _script(container: FakeContainer) -> Script:
    kind = _kind(container)
    codes = {State.DONE: 0, State.FAILED: 1, State.CANCELLED: None}
    return Script(_LINES, codes[kind], makes_image=kind is State.DONE)


class _Soak:
    """Launches by the hundred, and what is left of them."""

    def __init__(self, hub: Any, engine: FakedEngine, count: int, people: int) -> None:
        self._hub = hub
        self._engine = engine
        self._client: _Client = engine.client
        self._fake = self._client.engine
        self._count = count
        self._people = people
        self._builds: list[Build] = []
        self._begun = 0
        self._launches = 0
        self._ended: Counter[str] = Counter()
        self._told: Counter[str] = Counter()
        self._wrong: list[str] = []
        self._memory: list[tuple[int, float]] = []
        self._process = psutil.Process()

    async def run(self) -> dict[str, Any]:
        self._watch_joins()
        its_sweeping: Any = sweeping
        its_sweeping.time = self._fake.clock
        hub = self._hub.instance()
        while getattr(hub, "users", None) is None:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await asyncio.sleep(2)  # until it has started
        people = [self._person(hub, number) for number in range(self._people)]
        # warms up: resident memory grows by some megabytes first, of which Python's own objects
        # are a tenth (tracemalloc: 1 KiB per build)
        await self._all(people, self._count * 6 // 5)
        before = await self._rest()
        warming = self._memory[-1][1] - self._memory[0][1]
        self._memory.clear()
        self._begun = self._launches = 0
        self._ended.clear()
        self._told.clear()
        self._client.faults.clear()
        began = time.monotonic()
        await self._all(people, self._count)
        seconds = time.monotonic() - began
        after = await self._rest()
        left = {word: max(0, after[word] - before[word]) for word in before}
        return {
            "seconds": seconds,
            "builds": self._begun,
            "launches": self._launches,
            "ended": dict(self._ended),
            "told": dict(self._told),
            "not ended": len(self._builds),
            "wrong": self._wrong + self._fake.wrong,
            "faults": dict(self._client.faults),
            "left": left,
            "slope": _slope(self._memory),
            "warming": warming,
            "memory": [mib for _, mib in self._memory],
            "containers": await self._swept(),
        }

    def _watch_joins(self) -> None:
        join = BuildPool.join

        def watched(pool: BuildPool, *arguments: Any) -> Build:
            build = join(pool, *arguments)
            self._builds.append(build)
            self._begun += 1
            return build

        its_pool: Any = BuildPool
        its_pool.join = watched

    def _person(self, hub: Any, number: int) -> Any:
        made = orm.User(name=f"soak-{number}")
        hub.db.add(made)
        hub.db.commit()
        return hub.users.add(made)

    async def _all(self, people: list[Any], count: int) -> None:
        until = self._begun + count

        async def launches(user: Any) -> None:
            while self._begun < until:
                await self._launch(user)
                self._count_ended()
                if self._launches % _SWEPT_AFTER == 0:
                    with contextlib.suppress(Repo2DockerError):  # a fault; the next one is soon
                        await self._sweep()

        await asyncio.gather(*(launches(user) for user in people))
        self._count_ended()

    async def _launch(self, user: Any) -> None:
        self._launches += 1
        commit = hashlib.sha1(f"{user.name} {self._launches}".encode()).hexdigest()
        spawner = user.spawners[""]
        spawner.clear_state()
        spawner.user_options = {"repo": "https://example.org/soak/soak.git", "ref": commit}
        task = asyncio.create_task(spawner.start())
        cancelling = asyncio.create_task(self._cancel_where_it_hangs(spawner, commit, task))
        try:
            await task
            said = "ready"
        except asyncio.CancelledError:
            said = "cancelled"
        except Exception as error:  # noqa: BLE001 - counted; what it is, is looked at in the end
            cause = getattr(error, "__cause__", None)
            said = str(getattr(cause, "reason", "") or f"{type(error).__name__}: {error}")
        cancelling.cancel()
        self._told[said] += 1
        await spawner.stop()

    async def _cancel_where_it_hangs(
        self, spawner: Any, commit: str, task: asyncio.Task[Any]
    ) -> None:
        """Press Stop, at a build that goes on for ever."""
        while not task.done():
            await asyncio.sleep(0.02)
            with self._fake.changed:
                forever = [
                    one
                    for one in self._fake.containers.values()
                    if one.labels.get(LABEL_PREFIX + "commit") == commit
                    and one.running
                    and _kind(one) is State.CANCELLED
                ]
            launch = spawner.launch
            if forever and launch is not None and "line 59 " in "".join(launch.last_lines):
                task.cancel()
                return

    def _count_ended(self) -> None:
        """Let go of the builds that have come to an end, and of what the fake engine keeps."""
        going = [build for build in self._builds if not build.ended]
        for build in self._builds:
            if build.ended:
                self._ended[build.state.value] += 1
                if build.error is not None and build.error.reason == "internal":
                    self._wrong.append(build.error.message)
                self._fake.delete_image(build.plan.image)
                self._client.forget(build.plan.image)
        self._builds[:] = going
        with self._fake.changed:
            every = self._fake.all_containers
            gone = [one for one in every if one.gone]
            every[:] = [one for one in every if not one.gone]
            for container in gone:
                for subject in (container.id, container.name):
                    self._client.forget(subject)
            self._fake.signals.clear()
            self._fake.kills.clear()
            self._fake.removals.clear()
        ended = self._ended.total()
        if not self._memory or ended - self._memory[-1][0] >= 10:
            mib = self._process.memory_info().rss / 2**20
            self._memory.append((ended, mib))

    async def _rest(self) -> dict[str, int]:
        """Wait until nobody sees to any build any more; return what is there then."""
        for _ in range(int(_GRACE * 10)):
            await asyncio.sleep(0.1)
            pools = [one.pool for one in shared._by_loop[asyncio.get_running_loop()].values()]
            if not any(pool.followed for pool in pools) and not self._engine.under_way:
                break
        self._count_ended()
        gc.collect()
        await asyncio.sleep(1.5)
        # a pool's and an engine's own threads stay for the next build
        others = [one for one in threading.enumerate() if one.name.startswith("r2d-aside")]
        return {
            "threads": len(others),
            "tasks": len(asyncio.all_tasks()),
            "descriptors": self._process.num_fds(),
        }

    async def _sweep(self) -> None:
        """Let a day pass, and sweep: what faults have left would else grow in this process."""
        self._fake.clock.advance(_DAY)
        ((_, here),) = shared._by_loop[asyncio.get_running_loop()].items()
        await here.builder.sweep(here.pool.followed)

    async def _swept(self) -> int:
        """Return the build containers that are there after a day and a sweep."""
        self._client.share = 0
        await self._sweep()
        with self._fake.changed:
            return sum(LABEL_PREFIX + "key" in one.labels for one in self._fake.containers.values())


def _slope(memory: list[tuple[int, float]]) -> float:
    """Return the KiB per build by which memory has grown: the line through the later half."""
    later = memory[len(memory) // 2 :]
    if len(later) < 2:
        return 0.0
    mean = sum(count for count, _ in later) / len(later)
    level = sum(mib for _, mib in later) / len(later)
    spread = sum((count - mean) ** 2 for count, _ in later)
    return sum((count - mean) * (mib - level) for count, mib in later) / spread * 1024
