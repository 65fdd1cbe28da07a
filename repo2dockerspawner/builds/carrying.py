"""Copy what was built from the engine that builds to the engine that runs the servers.

Nothing is believed of the engine that builds but what the image itself shows: it comes without
any name, and gets its own one when its key and proof have been seen on the other side.
"""

from __future__ import annotations

import contextlib
import hmac
import logging
import queue
import re
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

import requests

from ..engine import APIError, Engine, NotFound
from ..errors import EngineError
from ..keys import LABEL_PREFIX
from .events import Event
from .follower import Follower
from .imagetar import ImageArchiveError, without_names
from .patience import patiently
from .plan import BuildPlan

__all__ = ["Carrier"]

log = logging.getLogger(__name__)

_TEXT = "Copying the image to the engine that runs the servers"
_PROGRESS = 0.99
_PIECE = 2**20
# Seconds between two sentences that say how far it is.
_PAUSE = 1.0
# Seconds between two looks whether the build was stopped, while an engine says nothing.
_LOOK = 0.2
_LOADED = re.compile(r"Loaded image(?: ID)?: (\S+)")


class _StoppedError(Exception):
    """Nobody waits for the copy any more."""


class Carrier:
    """Copies images from one engine to another. Its methods belong on a worker thread.

    Args:
        source: the engine that builds.
        target: the engine that runs the servers.
    """

    def __init__(self, source: Engine, target: Engine) -> None:
        self._source = source
        self._target = target

    def carry(self, plan: BuildPlan, follower: Follower, *names: str) -> bool:
        """Copy the plan's image, where it is on the one engine and not on the other yet.

        It is removed from the engine that builds afterwards, which nobody looks after: its
        build cache is what makes the next build fast.

        Args:
            plan: what was built.
            follower: told how far it is; the copy ends when it is stopped.
            names: further names that the image may have there.

        Returns:
            Whether the image is on the servers' engine now.

        Raises:
            EngineError: it can't be copied, or one of the engines can't be reached.
        """
        if self._find(self._target, plan, plan.image, follower) is not None:
            return True
        for name in dict.fromkeys((plan.image, *names)):
            found = self._find(self._source, plan, name, follower)
            if found is None:
                continue
            follower.emit(Event(f"{_TEXT}.", _PROGRESS, "pushing"))
            if not self._copy(plan, found, follower):
                return False
            self._forget(name)
            return True
        return False

    def _find(
        self, engine: Engine, plan: BuildPlan, name: str, follower: Follower
    ) -> dict[str, Any] | None:
        try:
            found: dict[str, Any] = patiently(
                engine,
                lambda client: client.inspect_image(name),
                until=follower.detached,
            )
        except NotFound:
            return None
        return found if _is_of(found, plan) else None

    def _copy(self, plan: BuildPlan, found: dict[str, Any], follower: Follower) -> bool:
        """Copy, and return whether it is there; False where the follower was stopped."""
        transfer = _Transfer(self._source, self._target, plan, str(found["Id"]))
        transfer.start()
        said = time.monotonic()
        total = int(found.get("Size") or 0)
        while not follower.stopped:
            try:
                error = transfer.ended.get(timeout=_LOOK)
            except queue.Empty:
                if transfer.done and time.monotonic() - said >= _PAUSE:
                    said = time.monotonic()
                    follower.emit(Event(_how_far(transfer.done, total), _PROGRESS, "pushing"))
                continue
            if error is None:
                return True
            # another process may have copied it meanwhile, and have removed it here
            if self._find(self._target, plan, plan.image, follower) is not None:
                return True
            raise error
        transfer.stop()
        return False

    def _forget(self, name: str) -> None:
        try:
            self._source.client.remove_image(name)
        except (APIError, EngineError, requests.exceptions.RequestException) as error:
            log.warning("The image %s can't be removed from the build engine: %s", name, error)


class _Transfer:
    """One copy, on a thread that nobody has to wait for.

    docker-py gives neither side a way to end a call, and an engine that writes an image's layers
    out first may be silent for minutes.

    Attributes:
        done: bytes that have been sent.
        ended: gets ``None``, or why it failed.
    """

    def __init__(self, source: Engine, target: Engine, plan: BuildPlan, image: str) -> None:
        self._source = source
        self._target = target
        self._plan = plan
        self._image = image
        self._stopped = threading.Event()
        self.done = 0
        self.ended: queue.SimpleQueue[Exception | None] = queue.SimpleQueue()

    def start(self) -> None:
        threading.Thread(target=self._run, name="r2d-carry", daemon=True).start()

    def stop(self) -> None:
        """Have it end as soon as one of the engines says something; what is half there goes."""
        self._stopped.set()

    def _run(self) -> None:
        try:
            with (
                contextlib.closing(self._source.patient_client(self._plan.timeout)) as source,
                contextlib.closing(self._target.patient_client(self._plan.timeout)) as target,
            ):
                self._transfer(source, target)
        except _StoppedError:
            pass
        except ImageArchiveError as error:
            self.ended.put(_not_copied(f"what the build engine sends is no image: {error}"))
        except (APIError, EngineError, OSError) as error:
            if not self._stopped.is_set():
                self.ended.put(_not_copied(str(getattr(error, "explanation", None) or error)))
        except Exception as error:  # noqa: BLE001 - told to who waits for it
            self.ended.put(error)
        else:
            self.ended.put(None)

    def _transfer(self, source: Any, target: Any) -> None:
        archive = source.get_image(self._image, chunk_size=_PIECE)
        with contextlib.closing(archive):
            loaded = _loaded(target.load_image(self._counted(without_names(archive)), quiet=False))
        try:
            found = target.inspect_image(loaded)
        except NotFound:
            raise _not_copied("the engine that runs the servers doesn't have it") from None
        if self._stopped.is_set() or not _is_of(found, self._plan):
            if not found.get("RepoTags"):
                with contextlib.suppress(APIError):  # something uses it
                    target.remove_image(loaded)
            if self._stopped.is_set():
                raise _StoppedError
            raise _not_copied("it arrived as another one")
        target.tag(loaded, self._plan.image)

    def _counted(self, pieces: Iterable[bytes]) -> Iterator[bytes]:
        for piece in pieces:
            if self._stopped.is_set():
                raise _StoppedError
            self.done += len(piece)
            yield piece


def _is_of(found: dict[str, Any], plan: BuildPlan) -> bool:
    """Return whether an image is the plan's, by its key and the hub's proof."""
    said = found["Config"].get("Labels") or {}
    return all(
        name in plan.labels
        and hmac.compare_digest(str(said.get(name, "")).encode(), plan.labels[name].encode())
        for name in (LABEL_PREFIX + "key", LABEL_PREFIX + "proof")
    )


def _loaded(answers: Iterable[dict[str, Any]]) -> str:
    """Return the id of the image that an engine says it has loaded.

    Raises:
        EngineError: it says that it hasn't.
    """
    loaded = ""
    for answer in answers:
        if "error" in answer:
            raise _not_copied(str(answer["error"]))
        told = _LOADED.search(str(answer.get("stream") or ""))
        loaded = told[1] if told else loaded
    if not loaded:
        raise _not_copied("the engine that runs the servers doesn't say that it has it")
    return loaded


def _how_far(done: int, total: int) -> str:
    of = f" of {total / 1e6:.0f}" if done <= total else ""
    return f"{_TEXT}: {done / 1e6:.0f}{of} MB."


def _not_copied(said: str) -> EngineError:
    return EngineError(
        "The image was built, but can't be copied to the engine that runs the servers "
        f"({' '.join(said.split())[:200]}). Start again, and it is only copied; if it stays so, "
        "tell an administrator of this hub.",
        reason="image_not_copied",
    )
