"""What stands in for ``docker.APIClient`` at a `testbed.fakeengine.FakeEngine`."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from typing import Any

import requests
from docker.errors import APIError, ImageNotFound, NotFound
from urllib3.exceptions import ProtocolError

from repo2dockerspawner.engine import Engine

from .fakeengine import SIGNALS, FakeContainer, FakeEngine, tagged

__all__ = ["FakeClient", "FakedEngine", "KilledError"]

# Seconds that are lost where a moment is written as text.
_MOMENT = 1e-5


class KilledError(BaseException):
    """The process that calls the engine is no more: nothing it would have done next is done."""


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
        dies_at: the word of the call (``start``) before which the process dies, or ``""``.
    """

    def __init__(self, engine: FakeEngine, who: str) -> None:
        self.engine = engine
        self.who = who
        self.dead = False
        self.dies_at = ""
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
        if self.dies_at and what.startswith(self.dies_at):
            self.die()
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
            if tagged(image) not in engine.images:
                raise api_error(404, f"No such image: {tagged(image)}")
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

    def kill(self, container: str, signal: str = "KILL") -> None:
        with self._call("kill", container) as engine:
            found = self._find(container)
            if not found.running:
                raise api_error(409, f"Container {found.id} is not running")
            engine.kills[found.name] += 1
            engine.signals_to(found, signal)
            engine.ends(found, 128 + SIGNALS[signal])

    def remove_container(
        self,
        container: str,
        v: bool = False,  # noqa: ARG002 - there are no volumes
        force: bool = False,
    ) -> None:
        with self._call("remove", container) as engine:
            found = self._find(container)
            if found.status == "removing":
                raise api_error(409, f"removal of container {found.id} is already in progress")
            if found.running and not force:
                raise api_error(409, f"You cannot remove a running container {found.id}.")
            engine.removals[found.name] += 1
            engine.ends(found, 128 + SIGNALS["KILL"])
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
        self,
        all: bool = False,  # noqa: A002 - docker-py's word
        filters: dict[str, str] | None = None,
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

    def logs(
        self,
        container: str,
        stream: bool = False,
        follow: bool | None = None,
        tail: int | str = "all",
    ) -> Any:
        """Return the log, as a `FakeStream` or as bytes; of these the last lines."""
        with self._call("logs", container):
            found = self._find(container)
            reading = FakeStream(self, found, follow=bool(follow))
            if stream:
                return reading
            lines = b"".join(found.frames).splitlines(keepends=True)
            return b"".join(lines if tail == "all" else lines[-int(tail) :])

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
            labels = engine.images.get(tagged(image))
            if labels is None:
                raise api_error(404, f"No such image: {tagged(image)}")
            digest = hashlib.sha256(json.dumps([tagged(image), labels]).encode()).hexdigest()
            return {"Id": f"sha256:{digest}", "Config": {"Labels": dict(labels), "Env": []}}

    def pull(
        self,
        repository: str,
        tag: str = "",
        **_options: bool,
    ) -> Iterator[dict[str, Any]]:
        """As docker-py's with ``stream`` and ``decode``."""
        name = f"{repository}:{tag or 'latest'}"
        with self._call("pull", name) as engine:
            if name not in engine.pullable:
                raise api_error(404, f"manifest for {name} not found")
            engine.images[name] = engine.pullable[name]
        return iter([{"status": "Downloading", "id": "layer", "progressDetail": {}}])

    def events(
        self, since: str, until: str, filters: dict[str, str], decode: bool
    ) -> Iterator[dict[str, Any]]:
        """The signals that a container was sent between two moments."""
        assert decode
        assert filters["event"] == "kill"
        with self._call("events", filters["container"]) as engine:
            return iter(
                [
                    {"Action": "kill", "Actor": {"ID": found, "Attributes": {"signal": signal}}}
                    for when, found, signal in engine.signals
                    if found == filters["container"]
                    and float(since) - _MOMENT <= when <= float(until) + _MOMENT
                ]
            )

    def ping(self) -> bool:
        with self._call("ping"):
            return True

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


def _moment(seconds: float) -> str:
    """Write a moment as Docker does; one that never came is the year 1."""
    if not seconds:
        return "0001-01-01T00:00:00Z"
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond * 1000:09d}Z"
