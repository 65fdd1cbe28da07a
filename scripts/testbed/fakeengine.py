"""A Docker engine in memory: what builds ask of one, with a hand on every call and every fault.

`FakeEngine` is the engine, which a test holds; `FakeClient` stands in for ``docker.APIClient``, one
for each process. That both engines behave alike is the business of `testbed.contract`.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any

import requests
from docker.errors import APIError, ImageNotFound, NotFound
from urllib3.exceptions import ProtocolError

from repo2dockerspawner.engine import Engine
from repo2dockerspawner.keys import LABEL_PREFIX

__all__ = ["Clock", "FakeContainer", "FakeEngine", "FakedEngine", "KilledError", "Script"]

_KEY = LABEL_PREFIX + "key"
KILLED = 137


class KilledError(BaseException):
    """The process that calls the engine is no more: nothing it would have done next is done."""


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
    maker: FakeClient
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
        self.starts = 0
        self._numbers = itertools.count(1)
        self._calls: list[_Call] = []
        self._blocked: list[Callable[[], bool]] = []

    def client(self, who: str = "") -> FakeClient:
        """Return a client of this engine, of the process ``who``."""
        return FakeClient(self, who)

    # -- images ----------------------------------------------------------------------------

    def add_image(self, name: str, labels: dict[str, str] | None = None) -> None:
        with self.changed:
            self.images[_tagged(name)] = dict(labels or {})

    def delete_image(self, name: str) -> None:
        with self.changed:
            self.images.pop(_tagged(name), None)

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
                    self.images[_tagged(name)] = labels
            container.status = "exited"
            container.exit_code = exit_code
            container.out_of_memory = out_of_memory
            container.finished = self.clock.time()
            self.changed.notify_all()

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
                if exit_code is not None:
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

    def pass_gate(self, client: FakeClient, what: str) -> None:
        """Wait for one's turn where calls are held; called with ``changed`` held."""
        if self.held and not client.dead:
            call = _Call(client.who, what, next(self._numbers))
            self._calls.append(call)
            self.rest_until(lambda: call.passed or not self.held or client.dead)
            if call in self._calls:
                self._calls.remove(call)

    def add(self, client: FakeClient, options: dict[str, Any]) -> FakeContainer:
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


class FakeStream:
    """A container's log from its start to its end, as ``logs(stream=True, follow=True)``.

    As docker-py's it ends in the same way whether the log ends or the connection breaks; the
    stream inside it (``_stream``, there as here) tells.
    """

    def __init__(self, client: FakeClient, container: FakeContainer, *, follow: bool) -> None:
        self._stream = _Frames(client, container, follow=follow)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._stream)
        except (ProtocolError, OSError):
            raise StopIteration from None

    def close(self) -> None:
        self._stream.close()


class _Frames:
    def __init__(self, client: FakeClient, container: FakeContainer, *, follow: bool) -> None:
        self._client = client
        self._engine = client.engine
        self._container = container
        self._follow = follow
        self._start = self._engine.starts
        self._data = b""
        self._frames = 0
        self._closed = False
        # frames come cut at other places at each reading
        self._cut = 5 + 7 * (next(client.streams) % 5)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def _fill(self) -> bool:
        frames = self._container.frames[self._frames :]
        self._frames += len(frames)
        self._data += b"".join(frames)
        return bool(self._data)

    def _broken(self) -> bool:
        return self._closed or self._client.dead or self._start != self._engine.starts

    def _ready(self) -> bool:
        return self._fill() or self._broken() or self._container.over or not self._follow

    def __next__(self) -> bytes:
        with self._engine.changed:
            if not self._ready():
                self._engine.rest_until(self._ready)
            if self._client.dead:
                raise KilledError
            if self._broken():
                raise ProtocolError("Connection broken")
            if not self._data:
                raise StopIteration
            chunk, self._data = self._data[: self._cut], self._data[self._cut :]
            return chunk

    def close(self) -> None:
        with self._engine.changed:
            self._closed = True
            self._engine.changed.notify_all()


class FakeClient:
    """One process's ``docker.APIClient``, as far as builds and images need it.

    Attributes:
        dead: whether the process is no more: each further call raises `KilledError`.
    """

    def __init__(self, engine: FakeEngine, who: str) -> None:
        self.engine = engine
        self.who = who
        self.dead = False
        self.streams = itertools.count(1)

    def die(self) -> None:
        """End the process at this moment, wherever its threads are."""
        with self.engine.changed:
            self.dead = True
            self.engine.changed.notify_all()

    def close(self) -> None:
        """As ``APIClient.close``."""

    @contextmanager
    def _call(self, what: str, subject: str = "") -> Iterator[FakeEngine]:
        with self.engine.changed:
            self._pass(f"{what} {subject[:20]}")
            yield self.engine

    def _pass(self, what: str) -> None:
        self.engine.pass_gate(self, what)
        if self.dead:
            raise KilledError
        if self.engine.away:
            raise requests.exceptions.ConnectionError("Connection refused")

    def _find(self, container: str) -> FakeContainer:
        found = self.engine.containers.get(container) or self.engine.named(container)
        if found is None:
            raise api_error(404, f"No such container: {container}")
        return found

    # -- containers ------------------------------------------------------------------------

    def create_host_config(self, **options: Any) -> dict[str, Any]:
        return options

    def create_container(self, image: str, **options: Any) -> dict[str, Any]:
        name = options.get("name") or ""
        with self._call("create", name) as engine:
            if name and (taken := engine.named(name)) is not None:
                message = f'Conflict. The name "/{name}" is in use by container "{taken.id}".'
                raise api_error(409, message)
            if _tagged(image) not in engine.images:
                raise api_error(404, f"No such image: {_tagged(image)}")
            return {"Id": engine.add(self, {"image": image, **options}).id, "Warnings": []}

    def put_archive(self, container: str, path: str, data: bytes) -> bool:
        with self._call("put", container):
            self._find(container).files[path] = data
            return True

    def start(self, container: str) -> None:
        with self._call("start", container) as engine:
            found = self._find(container)
            if not found.running:
                engine.starts_container(found)

    def kill(self, container: str) -> None:
        with self._call("kill", container) as engine:
            found = self._find(container)
            if not found.running:
                raise api_error(409, f"Container {found.id} is not running")
            engine.ends(found, KILLED)

    def remove_container(self, container: str, v: bool = False, force: bool = False) -> None:
        with self._call("remove", container) as engine:
            found = self._find(container)
            if found.status == "removing":
                raise api_error(409, f"removal of container {found.id} is already in progress")
            if found.running and not force:
                raise api_error(409, f"You cannot remove a running container {found.id}.")
            engine.ends(found, KILLED)
            found.status = "removing"
            engine.changed.notify_all()
            try:
                # the engine goes on with it, whatever becomes of who asked
                engine.pass_gate(self, f"removal {container[:20]}")
            finally:
                found.gone = True
                engine.containers.pop(found.id, None)
                engine.changed.notify_all()

    def inspect_container(self, container: str) -> dict[str, Any]:
        with self._call("inspect", container):
            found = self._find(container)
            return {
                "Id": found.id,
                "Name": "/" + found.name,
                "Created": _moment(found.created),
                "Config": {"Labels": dict(found.labels), "Cmd": list(found.command)},
                "State": {
                    "Status": found.status,
                    "Running": found.running,
                    "ExitCode": found.exit_code,
                    "OOMKilled": found.out_of_memory,
                    "StartedAt": _moment(found.started),
                    "FinishedAt": _moment(found.finished),
                },
            }

    def containers(
        self, all: bool = False, filters: dict[str, str] | None = None
    ) -> list[dict[str, Any]]:
        """As docker-py's, filtered by labels (``name`` or ``name=value``)."""
        label, _, value = ((filters or {}).get("label") or "").partition("=")
        with self._call("list") as engine:
            return [
                {
                    "Id": one.id,
                    "Names": ["/" + one.name],
                    "Image": one.image,
                    "Labels": dict(one.labels),
                    "Created": int(one.created),
                    "State": one.status,
                }
                for one in engine.containers.values()
                if (all or one.running)
                and (not label or label in one.labels)
                and (not value or one.labels[label] == value)
            ]

    def logs(self, container: str, stream: bool = False, follow: bool | None = None) -> Any:
        """Return the log, as a `FakeStream` or as bytes."""
        with self._call("logs", container):
            found = self._find(container)
            reading = FakeStream(self, found, follow=bool(follow))
            return reading if stream else b"".join(found.frames)

    def wait(self, container: str, timeout: float | None = None) -> dict[str, Any]:
        """Wait for a container's end; at the time-out, what requests makes of it here."""
        with self._call("wait", container) as engine:
            found = self._find(container)
            start = engine.starts

            def ready() -> bool:
                return found.over or start != engine.starts or self.dead

            if timeout is None:
                engine.rest_until(ready)
            else:
                engine.changed.wait_for(ready, timeout)
            if self.dead:
                raise KilledError
            if start != engine.starts:
                raise requests.exceptions.ConnectionError("Connection aborted.")
            if not ready():
                raise requests.exceptions.ConnectionError("UnixHTTPConnectionPool: Read timed out.")
            return {"StatusCode": found.exit_code, "Error": None}

    # -- images ----------------------------------------------------------------------------

    def inspect_image(self, image: str) -> dict[str, Any]:
        with self._call("image", image) as engine:
            labels = engine.images.get(_tagged(image))
            if labels is None:
                raise api_error(404, f"No such image: {_tagged(image)}")
            digest = hashlib.sha256(json.dumps([_tagged(image), labels]).encode()).hexdigest()
            return {"Id": f"sha256:{digest}", "Config": {"Labels": dict(labels), "Env": []}}

    def pull(
        self, repository: str, tag: str = "", stream: bool = False, decode: bool = False
    ) -> Iterator[dict[str, Any]]:
        name = f"{repository}:{tag or 'latest'}"
        with self._call("pull", name) as engine:
            if name not in engine.pullable:
                raise api_error(404, f"manifest for {name} not found")
            engine.images[name] = engine.pullable[name]
        return iter([{"status": "Downloading", "id": "layer", "progressDetail": {}}])

    def info(self) -> dict[str, Any]:
        with self._call("info") as engine:
            return {"Containers": len(engine.containers), "DockerRootDir": "/var/lib/docker"}


class FakedEngine(Engine):
    """A real `Engine` whose client is a fake one; counts the calls that are under way."""

    def __init__(self, client: FakeClient) -> None:
        super().__init__()
        self._fake = client
        self.under_way = 0

    @property
    def client(self) -> Any:
        """The fake client."""
        return self._fake

    def submit(self, function: Callable[[Any], object]) -> None:
        """As `Engine.submit`."""
        super().submit(_Counted(self, function))

    async def call(self, function: Callable[[Any], Any]) -> Any:
        """As `Engine.call`."""
        counted = _Counted(self, function)
        try:
            return await super().call(counted)
        finally:
            counted.dropped()

    def count(self, change: int) -> None:
        with self._fake.engine.changed:
            self.under_way += change


class _Counted:
    """A call that is under way from when it is asked for until it has returned."""

    def __init__(self, engine: FakedEngine, function: Callable[[Any], Any]) -> None:
        self._engine = engine
        self._function = function
        self._begun = False
        engine.count(1)

    def __call__(self, client: Any) -> Any:
        self._begun = True
        try:
            return self._function(client)
        finally:
            self._engine.count(-1)

    def dropped(self) -> None:
        """Nobody waits for it any more: where no thread has begun with it, none will."""
        if not self._begun:
            self._begun = True
            self._engine.count(-1)


def api_error(status: int, message: str) -> APIError:
    """Return the engine's refusal, of the class that docker-py gives it."""
    response = requests.Response()
    response.status_code = status
    if status != requests.codes.not_found:
        kind = APIError
    else:
        kind = ImageNotFound if "No such image" in message else NotFound
    return kind(message, response=response, explanation=message)


def _tagged(name: str) -> str:
    return name if ":" in name.rsplit("/", 1)[-1] else name + ":latest"


def _moment(seconds: float) -> str:
    """Write a moment as Docker does; one that never came is the year 1."""
    if not seconds:
        return "0001-01-01T00:00:00Z"
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond * 1000:09d}Z"


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
    import io
    import tarfile

    for root, data in container.files.items():
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            member = tar.extractfile(path.removeprefix(root))
            if member is not None:
                return member.read()
    return b""
