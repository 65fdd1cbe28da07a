"""A Docker engine in memory: what builds ask of one, with a hand on every call and every fault.

`FakeEngine` is the engine, which a test holds; a process calls it through a
`testbed.fakeclient.FakeClient`. That it behaves as a real one is the business of
`testbed.contract`.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import tarfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from repo2dockerspawner.keys import LABEL_PREFIX

__all__ = [
    "KILLED",
    "SIGNALS",
    "Caller",
    "Clock",
    "FakeContainer",
    "FakeEngine",
    "Script",
    "tagged",
]

_KEY = LABEL_PREFIX + "key"
SIGNALS = {"TERM": 15, "KILL": 9}
KILLED = 137
"""The exit code of what was killed."""


class Caller(Protocol):
    """Who calls the engine: one process."""

    who: str
    dead: bool


class Clock:
    """Time that passes by itself, and faster where a test says so. Stands in for ``time``."""

    def __init__(self) -> None:
        self._ahead = 0.0

    def advance(self, seconds: float) -> None:
        self._ahead += seconds

    def time(self) -> float:
        return time.time() + self._ahead

    def monotonic(self) -> float:
        return time.monotonic() + self._ahead


@dataclass(frozen=True)
class Script:
    """What a build container does by itself.

    Attributes:
        lines: what it prints.
        exit_code: how it ends then; ``None``: it goes on until it is told or killed.
        makes_image: whether it has made the image that it was asked for.
    """

    lines: tuple[bytes, ...] = ()
    exit_code: int | None = None
    makes_image: bool = True


@dataclass
class FakeContainer:
    """A container of the fake engine; ``maker`` is the client that created it."""

    id: str
    name: str
    image: str
    command: list[str]
    labels: dict[str, str]
    maker: Caller
    created: float
    status: str = "created"
    exit_code: int = 0
    out_of_memory: bool = False
    started: float = 0
    finished: float = 0
    frames: list[bytes] = field(default_factory=list)
    files: dict[str, bytes] = field(default_factory=dict)
    gone: bool = False

    @property
    def key(self) -> str:
        return self.labels.get(_KEY, "")

    @property
    def running(self) -> bool:
        return self.status == "running"

    @property
    def over(self) -> bool:
        """Whether nothing more will be printed."""
        return self.gone or not self.running

    def option(self, name: str) -> list[str]:
        """The values of an option of the command, as ``--name=value``."""
        start = f"--{name}="
        return [word.removeprefix(start) for word in self.command if word.startswith(start)]


class _Call:
    """A call that waits until it is let through."""

    def __init__(self, who: str, what: str, number: int) -> None:
        self.passed = False
        self.order = (who, what, number)


class FakeEngine:
    """The engine's state, and what a test does to it. Safe to use from any thread.

    Guarantees:
      - a call sees and changes the state at one moment, as on a real engine; a removal, which
        there takes its time, at two;
      - two running containers with one build key raise an `AssertionError` in `check`.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        # what ``changed`` protects is all that follows
        self.changed = threading.Condition(threading.RLock())
        self.containers: dict[str, FakeContainer] = {}
        self.all_containers: list[FakeContainer] = []
        self.images: dict[str, dict[str, str]] = {}
        self.pullable: dict[str, dict[str, str]] = {}
        self.script: Callable[[FakeContainer], Script] = lambda _container: Script()
        self.wrong: list[str] = []
        self.away = False
        self.held = False
        # how often it has gone away
        self.starts = 0
        # by clients, of containers of a name
        self.kills: Counter[str] = Counter()
        self.removals: Counter[str] = Counter()
        # when, the container's id, the signal as the engine tells it
        self.signals: list[tuple[float, str, str]] = []
        self._numbers = itertools.count(1)
        self._calls: list[_Call] = []
        self._blocked: list[Callable[[], bool]] = []

    # -- images ----------------------------------------------------------------------------

    def add_image(self, name: str, labels: dict[str, str] | None = None) -> None:
        with self.changed:
            self.images[tagged(name)] = dict(labels or {})

    def delete_image(self, name: str) -> None:
        with self.changed:
            self.images.pop(tagged(name), None)

    # -- what containers do ----------------------------------------------------------------

    def named(self, name: str) -> FakeContainer | None:
        with self.changed:
            return next((one for one in self.containers.values() if one.name == name), None)

    def running(self, key: str = "") -> list[FakeContainer]:
        """The running build containers, of one key or of all."""
        with self.changed:
            every = self.containers.values()
            return [one for one in every if one.running and one.key and key in ("", one.key)]

    def prints(self, container: FakeContainer, data: bytes) -> None:
        with self.changed:
            if container.running:
                container.frames.append(data)
                self.changed.notify_all()

    def ends(
        self,
        container: FakeContainer,
        exit_code: int = 0,
        *,
        makes_image: bool = False,
        out_of_memory: bool = False,
    ) -> None:
        """Let a container end; the image that it makes is there at the same moment."""
        with self.changed:
            if not container.running:
                return
            if makes_image:
                made = (label.split("=", 1) for label in container.option("label"))
                labels = {name: value for name, value in made}  # noqa: C416 - pairs, not lists
                for name in container.option("image-name"):
                    self.images[tagged(name)] = labels
            container.status = "exited"
            container.exit_code = exit_code
            container.out_of_memory = out_of_memory
            container.finished = self.clock.time()
            self.changed.notify_all()

    def signals_to(self, container: FakeContainer, signal: str) -> None:
        """Note a signal; what comes of it is for who sends it."""
        with self.changed:
            self.signals.append((self.clock.time(), container.id, str(SIGNALS[signal])))

    def removes(self, container: FakeContainer) -> None:
        """Remove a container, as somebody does at the command line."""
        with self.changed:
            self.ends(container, KILLED)
            container.gone = True
            self.containers.pop(container.id, None)
            self.changed.notify_all()

    def starts_container(self, container: FakeContainer) -> None:
        """Start a container, and what its command or its script says."""
        with self.changed:
            container.status = "running"
            container.started = self.clock.time()
            if container.key:
                same = self.running(container.key)
                if len(same) > 1:
                    self.wrong.append(f"{len(same)} builds of {container.key} run")
            if container.command[:2] == ["sh", "-c"]:
                threading.Thread(
                    target=_shell, args=(self, container, container.command[2]), daemon=True
                ).start()
                return
            script = self.script(container)
            for line in script.lines:
                self.prints(container, line)
            if script.exit_code is not None:
                self.ends(container, script.exit_code, makes_image=script.makes_image)

    def check(self) -> None:
        """Say what must never be.

        Raises:
            AssertionError: it has been.
        """
        with self.changed:
            if self.wrong:
                raise AssertionError("; ".join(self.wrong))

    # -- faults ----------------------------------------------------------------------------

    def goes_away(self, exit_code: int | None = None) -> None:
        """End all streams and refuse all calls, until `comes_back`.

        Args:
            exit_code: of all running containers; ``None``: they live on (``live-restore``).
        """
        with self.changed:
            self.away = True
            self.starts += 1
            for container in list(self.containers.values()):
                if exit_code is not None and container.running:
                    self.signals_to(container, "TERM")
                    self.ends(container, exit_code)
            self.changed.notify_all()

    def comes_back(self) -> None:
        with self.changed:
            self.away = False

    # -- the order of calls ----------------------------------------------------------------

    def hold(self) -> None:
        """From now on a call waits before it does anything, until it is let through."""
        with self.changed:
            self.held = True

    def let_one_through(self, index: int) -> str:
        """Let one of the waiting calls through and return which (``""``: none waits)."""
        with self.changed:
            if not self._calls:
                return ""
            calls = sorted(self._calls, key=lambda call: call.order)
            call = calls[index % len(calls)]
            call.passed = True
            self._calls.remove(call)
            self.changed.notify_all()
            return " ".join(call.order[:2])

    def release(self) -> None:
        """Let all calls through, those that wait and those to come."""
        with self.changed:
            self.held = False
            self._calls.clear()
            self.changed.notify_all()

    @property
    def resting(self) -> int:
        """How many threads wait here for something that has not come yet."""
        with self.changed:
            return sum(not ready() for ready in self._blocked)

    def rest_until(self, ready: Callable[[], bool]) -> None:
        """Wait; called with ``changed`` held."""
        self._blocked.append(ready)
        try:
            while not ready():
                self.changed.wait()
        finally:
            self._blocked.remove(ready)

    def pass_gate(self, client: Caller, what: str) -> None:
        """Wait for one's turn where calls are held; called with ``changed`` held."""
        if self.held and not client.dead:
            call = _Call(client.who, what, next(self._numbers))
            self._calls.append(call)
            self.rest_until(lambda: call.passed or not self.held or client.dead)
            if call in self._calls:
                self._calls.remove(call)

    def add(self, client: Caller, options: dict[str, Any]) -> FakeContainer:
        """Create a container; its name and its image have been looked at."""
        number = next(self._numbers)
        made = FakeContainer(
            id=hashlib.sha256(str(number).encode()).hexdigest(),
            name=options.get("name") or f"nobody_{number}",
            image=options["image"],
            command=list(options.get("command") or ()),
            labels=dict(options.get("labels") or {}),
            maker=client,
            created=self.clock.time(),
        )
        self.containers[made.id] = made
        self.all_containers.append(made)
        return made


def tagged(name: str) -> str:
    """Return an image's name with its tag, which is ``latest`` where it says none."""
    return name if ":" in name.rsplit("/", 1)[-1] else name + ":latest"


def _shell(engine: FakeEngine, container: FakeContainer, text: str) -> None:
    """Run ``echo``, ``sleep`` and ``exit``, joined by semicolons: what the contract needs."""
    for step in text.split(";"):
        word, _, rest = step.strip().partition(" ")
        if word == "echo":
            engine.prints(container, rest.encode() + b"\n")
        elif word == "sleep":
            with engine.changed:
                engine.changed.wait_for(lambda: container.over, float(rest))
        elif word == "cat":
            engine.prints(container, _file(container, rest))
        elif word == "exit":
            engine.ends(container, int(rest))
        else:
            raise AssertionError(f"the fake shell doesn't know {word}")
    engine.ends(container, 0)


def _file(container: FakeContainer, path: str) -> bytes:
    for root, data in container.files.items():
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            member = tar.extractfile(path.removeprefix(root))
            if member is not None:
                return member.read()
    return b""
