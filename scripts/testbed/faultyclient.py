"""An engine in memory of whose calls some fail, as a real one's do on a bad day.

Which ones is told by a seed, and by the call itself (its word, its subject, how often it has been
made), never by which thread came first: the same seed has the same faults.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import requests
from urllib3.exceptions import ProtocolError

from .fakeclient import FakeClient, api_error
from .fakeengine import FakeEngine

__all__ = ["FaultyClient"]

# One in so many frames of a log is the last of its connection, where each call fails.
_FRAMES = 50


def _refused() -> Exception:
    return requests.exceptions.ConnectionError("Connection refused")


def _silent() -> Exception:
    return requests.exceptions.ReadTimeout("UnixHTTPConnectionPool: Read timed out.")


def _confused() -> Exception:
    return api_error(500, "Server error: the engine is confused")


def _in_the_way() -> Exception:
    return api_error(409, "Conflict: something else is done to it at this moment")


_FAULTS: tuple[Callable[[], Exception], ...] = (_refused, _silent, _confused, _in_the_way)


class FaultyClient(FakeClient):
    """As `FakeClient`, but that some calls fail before they do anything, and logs break off.

    Args:
        engine: the engine.
        who: the process.
        seed: which calls fail.
        share: how many of them, 0.0 - 1.0; may be set at any time.

    Attributes:
        faults: how often each kind of call has failed.
    """

    def __init__(self, engine: FakeEngine, who: str, *, seed: int, share: float) -> None:
        super().__init__(engine, who)
        self.share = share
        self.faults: Counter[str] = Counter()
        self._seed = seed
        # by what they are about
        self._calls: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._lock = threading.Lock()

    def forget(self, subject: str) -> None:
        """Forget the calls about a container or an image that is no more."""
        with self._lock:
            self._calls.pop(subject[:20], None)

    def _chance(self, what: str) -> tuple[float, int]:
        """Return a number from 0 to 1, and which of the faults it would be."""
        word, _, subject = what.partition(" ")
        with self._lock:
            self._calls[subject][word] += 1
            text = f"{self._seed} {what} {self._calls[subject][word]}"
        digest = hashlib.sha256(text.encode()).digest()
        return int.from_bytes(digest[:4], "big") / 2**32, digest[4]

    def _pass(self, what: str) -> None:
        super()._pass(what)
        chance, which = self._chance(what)
        if chance < self.share:
            self.faults[what.split(" ", 1)[0]] += 1
            fault = _FAULTS[which % len(_FAULTS)]
            raise fault()

    def logs(self, container: str, *arguments: Any, **options: Any) -> Any:
        """As `FakeClient.logs`; a stream may break off at any frame."""
        found = super().logs(container, *arguments, **options)
        return _Breaking(self, container, found) if options.get("stream") else found

    def breaks(self, container: str) -> bool:
        """Whether the connection of a container's log breaks now."""
        chance, _ = self._chance(f"frame {container[:20]}")
        if chance >= self.share / _FRAMES:
            return False
        self.faults["frame"] += 1
        return True


class _Breaking:
    """A log's stream that breaks off where its client says so."""

    def __init__(self, client: FaultyClient, container: str, stream: Any) -> None:
        self._client = client
        self._container = container
        self._whole = stream
        # where `builds.reading` looks for what tells an end from a break
        self._stream = self._frames()

    def _frames(self) -> Iterator[bytes]:
        for frame in self._whole._stream:  # noqa: SLF001 - as docker-py's
            if self._client.breaks(self._container):
                raise ProtocolError("Connection broken")
            yield frame

    def __iter__(self) -> Iterator[bytes]:
        return self._stream

    def close(self) -> None:
        self._whole.close()
