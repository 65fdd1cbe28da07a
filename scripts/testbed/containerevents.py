"""What an engine says of its containers, kept: it remembers only its last 256 events itself."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from testbed import engine

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ContainerEvents"]

_MARK = "r2d-testbed-mark-"

Matches = Callable[[Mapping[str, str]], bool]
"""Told a container's name (as ``name``), image and labels."""


@dataclass(frozen=True)
class _Event:
    action: str
    at: float
    about: Mapping[str, str]


class ContainerEvents:
    """What the engine says of containers, as it comes, while the ``with`` block runs.

    All that happens after ``with`` has begun is here, and nothing is forgotten.
    """

    def __init__(self) -> None:
        self._client = engine.client()
        self._api: Any = self._client.api
        self._came = threading.Condition()
        self._events: list[_Event] = []
        self._marks: set[str] = set()
        self._stream: Any = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._closing = False
        self._broken = ""

    def __enter__(self) -> Self:
        # The engine answers before it listens for us: from this moment it looks back, too.
        self._stream = self._api.events(
            since=f"{time.time():.6f}", filters={"type": ["container", "volume"]}, decode=True
        )
        self._thread.start()
        self.catch_up()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing = True
        self._stream.close()
        self._thread.join(5)
        self._client.close()

    def catch_up(self, timeout: float = 30) -> None:
        """Wait until all that the engine has done before this call is here.

        Raises:
            TimeoutError: it isn't within ``timeout`` seconds.
            RuntimeError: the engine says nothing any more.
        """
        # Its events come in order, so what was before a mark of ours is here when that is.
        mark = f"{_MARK}{secrets.token_hex(8)}"
        self._api.create_volume(mark)
        self._api.remove_volume(mark)
        # Its idle connections, which is all that this ends, would look like a test's leak.
        self._client.close()
        self._wait(lambda: mark in self._marks, timeout, "mark of ours")

    def of(self, action: str, matches: Matches, since: float = 0) -> list[float]:
        """When the containers that match did this (``start``, ``create``), since 1970.

        What came before this call is in it.

        Args:
            action: the event.
            matches: see ``Matches``.
            since: seconds; earlier events do not count.
        """
        self.catch_up()
        return self._of(action, matches, since)

    def first(self, action: str, matches: Matches, since: float, timeout: float = 10) -> float:
        """When the first container that matches did this, waited for if need be.

        Raises:
            TimeoutError: none did within ``timeout`` seconds.
            RuntimeError: the engine says nothing any more.
        """
        self._wait(lambda: self._of(action, matches, since), timeout, action)
        return self._of(action, matches, since)[0]

    def _of(self, action: str, matches: Matches, since: float) -> list[float]:
        with self._came:
            return [
                one.at
                for one in self._events
                if one.action == action and one.at >= since and matches(one.about)
            ]

    def _wait(self, condition: Callable[[], object], timeout: float, what: str) -> None:
        with self._came:
            came = self._came.wait_for(lambda: condition() or self._broken, timeout)
            if self._broken:
                raise RuntimeError(f"The engine's events have broken off: {self._broken}")
        if not came:
            raise TimeoutError(f"The engine told of no {what} that was waited for.")

    def _read(self) -> None:
        said = "it closed the connection"
        try:
            for event in self._stream:
                with self._came:
                    self._keep(event)
                    self._came.notify_all()
        # Closed in mid-reading, it is whatever the half-read answer makes of it.
        except Exception as error:  # noqa: BLE001 - told to who waits
            said = repr(error)
        if not self._closing:
            with self._came:
                self._broken = said
                self._came.notify_all()

    def _keep(self, event: Mapping[str, Any]) -> None:
        actor = event["Actor"]
        if event["Type"] == "container":
            self._events.append(
                _Event(event["Action"], event["timeNano"] / 1e9, actor["Attributes"])
            )
        elif actor["ID"].startswith(_MARK):
            self._marks.add(actor["ID"])
