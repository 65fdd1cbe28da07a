"""Images on the engine: is the one of a key there, and can a server be started from it?"""

from __future__ import annotations

import contextlib
import posixpath
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import requests

from .engine import APIError, Engine, NotFound
from .errors import ImageError
from .keys import LABEL_PREFIX

__all__ = ["Image", "Images", "image_gone"]

_PROBED = 1000
_PROBE_SECONDS = 10
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Image:
    """An image of ours on the engine.

    Attributes:
        id: the engine's id, ``sha256:…``.
        name: the name it was asked for by.
    """

    id: str
    name: str


class Images:
    """Looks at the images of one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        # (image id, command) that were found startable; an id never changes what it holds
        self._startable: dict[tuple[str, str], None] = {}

    async def find(self, key: str, *names: str) -> Image | None:
        """Return the first of the named images that is there and carries the build key.

        The label is what counts: a name alone may have been given to anything.

        Raises:
            EngineError: the engine can't be reached.
        """
        return await self._engine.call(lambda client: _find(client, key, names))

    async def check_startable(self, image: Image, command: Sequence[str]) -> None:
        """Make sure that the image has the program that the server is started with.

        A look into the image's folders, which costs little and runs nothing; only where the
        program isn't found there, a trial run as the server would be started, because an
        entrypoint may set the path.

        Raises:
            ImageError: it has not; the sentence says how to add it.
            EngineError: the engine can't be reached.
        """
        program = command[0] if command else ""
        probe = (image.id, program)
        if not program or probe in self._startable:
            return
        try:
            there = await self._engine.call(lambda client: _has_program(client, image.id, program))
        except NotFound as error:
            raise image_gone() from error
        if not there:
            name = program.rsplit("/", 1)[-1]
            raise ImageError(
                f"The image was built, but it has no {name}, so no server can be started from "
                "it. Add jupyterhub to what the repository installs (in a Dockerfile: "
                "RUN pip install jupyterhub jupyterlab) and start again.",
                reason="no_singleuser",
            )
        while len(self._startable) >= _PROBED:
            del self._startable[next(iter(self._startable))]
        self._startable[probe] = None


def image_gone() -> ImageError:
    """Return the error of an image that was there a moment ago."""
    return ImageError(
        "The image was removed while your server was starting. Start again, and it is built anew.",
        reason="image_missing",
        status=503,
    )


def _find(client: Any, key: str, names: Sequence[str]) -> Image | None:
    for name in dict.fromkeys(names):
        try:
            found = client.inspect_image(name)
        except NotFound:
            continue
        if (found["Config"].get("Labels") or {}).get(LABEL_PREFIX + "key") == key:
            return Image(id=found["Id"], name=name)
    return None


def _has_program(client: Any, image: str, program: str) -> bool:
    config = client.inspect_image(image)["Config"]
    container = client.create_container(
        image,
        command=[program, "--version"],
        network_disabled=True,
        labels={LABEL_PREFIX + "probe": "1"},
    )["Id"]
    try:
        return _in_folders(client, container, config, program) or _runs(client, container)
    finally:
        with contextlib.suppress(APIError):  # a sweep removes it
            client.remove_container(container, force=True, v=True)


def _in_folders(client: Any, container: str, config: dict[str, Any], program: str) -> bool:
    env = dict(item.split("=", 1) for item in config.get("Env") or () if "=" in item)
    folders = [""] if "/" in program else env.get("PATH", _DEFAULT_PATH).split(":")
    for folder in folders:
        path = posixpath.join(folder or config.get("WorkingDir") or "/", program)
        try:
            stream, _ = client.get_archive(container, path)
        except APIError:  # not there, or what should be a folder is none
            continue
        stream.close()
        return True
    return False


def _runs(client: Any, container: str) -> bool:
    try:
        client.start(container)
        status = client.wait(container, timeout=_PROBE_SECONDS)["StatusCode"]
    except (APIError, requests.exceptions.RequestException):
        # not found by the engine, or no end within the time: not what we look for
        return False
    return int(status) == 0
