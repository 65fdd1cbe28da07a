"""Pull the build image, saying how far it is."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

from ..engine import APIError, split_image
from ..errors import EngineError
from .events import Event
from .follower import Follower

__all__ = ["pull"]

_PAUSE = 1.0
# Seconds between two looks whether the build was stopped, while a registry says nothing.
_LOOK = 0.2


def pull(client: Any, image: str, follower: Follower) -> None:
    """Pull an image; returns early where the follower is stopped.

    Raises:
        EngineError: it can't be had.
    """
    follower.emit(Event(f"Fetching the build image {image}…", 0, "fetching"))
    said = time.monotonic()
    layers: dict[str, tuple[int, int]] = {}
    try:
        for event in _events(client, image, follower):
            if "error" in event:
                raise _not_to_be_had(image, str(event["error"]))
            detail = event.get("progressDetail") or {}
            if detail.get("total"):
                layers[str(event.get("id"))] = (detail.get("current", 0), detail["total"])
            if layers and time.monotonic() - said >= _PAUSE:
                said = time.monotonic()
                done, total = (sum(column) for column in zip(*layers.values(), strict=True))
                text = f"Fetching the build image: {done / 1e6:.0f} of {total / 1e6:.0f} MB"
                follower.emit(Event(text, 0, "fetching"))
    except APIError as error:
        raise _not_to_be_had(image, str(error.explanation or error)) from error


def _events(client: Any, image: str, follower: Follower) -> Iterator[dict[str, Any]]:
    came: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def read() -> None:
        repository, tag = split_image(image)
        try:
            for event in client.pull(repository, tag, stream=True, decode=True):
                came.put(event)
                if follower.stopped:
                    return
        except Exception as error:  # noqa: BLE001 - told to who waits for the events
            came.put(error)
        came.put(None)

    # docker-py gives a pull no time limit and no way to end it: so it has a thread that nobody
    # waits for, and a registry that stalls holds up neither a place nor the end of the process
    threading.Thread(target=read, name="r2d-pull", daemon=True).start()
    while not follower.stopped:
        try:
            event = came.get(timeout=_LOOK)
        except queue.Empty:
            continue
        if event is None:
            return
        if isinstance(event, Exception):
            raise event
        yield event


def _not_to_be_had(image: str, said: str) -> EngineError:
    return EngineError(
        f"The build image {image} can't be fetched ({' '.join(said.split())[:200]}). An "
        "administrator of this hub has to make it available or set build_image to another one.",
        reason="builder_image_unavailable",
    )
