"""A secret as no other text is, and the search for it wherever a build leaves something."""

from __future__ import annotations

import base64
import contextlib
import json
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import docker
import docker.errors

from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.plan import BuildPlan

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Marker", "Watch", "left_by"]


class Marker:
    """A secret, and what shows it in any form.

    The odd characters at a token's ends are written differently everywhere. The digits in between
    are the same as they are, in a URL, in JSON and in HTML; in base64 they are one of three texts.
    A key's last whole line is as good as its digits.

    Args:
        key: a private key as OpenSSH writes it; without it the secret is a token.

    Attributes:
        secret: the secret.
        patterns: one of these is in whatever has the secret in any form.
    """

    def __init__(self, key: str = "") -> None:
        digits = key.strip().splitlines()[-3] if key else uuid.uuid4().hex
        self.secret = key or f'r2d+/{digits}="é'
        self.patterns = [digits.encode()]
        for before in range(3):
            text = base64.b64encode(bytes(before) + digits.encode())
            self.patterns.append(text[4:40])

    def is_in(self, data: bytes) -> bool:
        """Whether the secret is in something."""
        return any(pattern in data for pattern in self.patterns)

    def is_in_stream(self, chunks: Iterator[bytes]) -> bool:
        """Whether it is in what comes in pieces."""
        kept = b""
        for chunk in chunks:
            if self.is_in(kept + chunk):
                return True
            kept = (kept + chunk)[-100:]
        return False

    def found_in(self, places: dict[str, bytes | Iterator[bytes]]) -> list[str]:
        """Return the names of those places where it is."""
        return [
            name
            for name, data in places.items()
            if self.is_in_stream(iter([data]) if isinstance(data, bytes) else data)
        ]


class Watch:
    """Looks at all processes of this machine and at the build container while it runs.

    Attributes:
        begin: when it began, in seconds since 1970.
        seen: kind of place to what was found there, all samples together.
    """

    def __init__(self, client: docker.DockerClient, container: str) -> None:
        self.begin = int(time.time())
        self.seen: dict[str, set[bytes]] = {}
        self._api: Any = client.api
        self._container = container
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.02):
            for kind in ("environ", "cmdline"):
                for path in Path("/proc").glob(f"[0-9]*/{kind}"):
                    with contextlib.suppress(OSError):
                        self._note(kind, path.read_bytes())
            with contextlib.suppress(docker.errors.APIError):
                self._note(
                    "inspect", json.dumps(self._api.inspect_container(self._container)).encode()
                )
                self._note("top", json.dumps(self._api.top(self._container)).encode())

    def _note(self, kind: str, data: bytes) -> None:
        self.seen.setdefault(kind, set()).add(data)


def left_by(
    client: docker.DockerClient, plan: BuildPlan, watch: Watch, events: list[Event], folder: Path
) -> dict[str, bytes | Iterator[bytes]]:
    """Return all that a build shows while it runs, and leaves on the engine.

    Args:
        client: of the engine.
        plan: of the build, whose container is kept (``retention``).
        watch: of the time in which it ran.
        events: the build's.
        folder: the container's file system (``container.tar``) and the saved image (``image.tar``)
            are put there; they are read, and gone, when their places are.
    """
    api: Any = client.api
    ended = api.inspect_container(plan.container)
    root = Path(client.info()["DockerRootDir"], "containers", ended["Id"])
    told = api.events(since=watch.begin, until=int(time.time()) + 1, decode=True)
    container = folder / "container.tar"
    for path, pieces in (
        (container, api.export(plan.container)),
        (folder / "image.tar", api.get_image(plan.image)),
    ):
        with path.open("wb") as file:
            file.writelines(pieces)
    return {
        **{f"running: {kind}": b"\n".join(found) for kind, found in watch.seen.items()},
        "ended: inspect": json.dumps(ended).encode(),
        "ended: log": api.logs(plan.container),
        "ended: file system": _chunks(container),
        "engine: events": json.dumps(list(told)).encode(),
        "engine: its own files": b"".join(
            path.read_bytes() for path in root.rglob("*") if path.is_file()
        ),
        "image: inspect": json.dumps(api.inspect_image(plan.image)).encode(),
        "image: history": json.dumps(api.history(plan.image)).encode(),
        "image: layers": _chunks(folder / "image.tar"),
        "hub: progress events": repr([event.text for event in events]).encode(),
        "hub: plan": repr(plan).encode() + str(plan).encode(),
    }


def _chunks(path: Path) -> Iterator[bytes]:
    # hundreds of megabytes, which pytest would keep for three runs
    with path.open("rb") as file:
        path.unlink()
        while chunk := file.read(2**20):
            yield chunk
