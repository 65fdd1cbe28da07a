"""One launch: what the person who waits for it is told, from the repository to the server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from .builds.events import Event, EventLog
from .launch import render

__all__ = ["Launch"]

# How the parts of a launch share the bar: the build is what one waits for.
_RESOLVED = 0.05
_BUILT = 0.85
_STARTED = 0.95


class Launch:
    """The events of one launch, for any number of pages that watch it.

    The progress never goes back, and stays below 1: that a server is ready, JupyterHub says.
    """

    def __init__(self) -> None:
        self._log = EventLog()
        self._progress = 0.0

    def say(self, text: str, phase: str, progress: float = 0.0) -> None:
        """Add a sentence of ours."""
        self._append(text, phase, progress, is_log=False)

    def resolved(self, text: str) -> None:
        """Say what is going to be started."""
        self.say(text, "fetching", _RESOLVED)

    def built(self, text: str) -> None:
        """Say that the image is there."""
        self.say(text, "starting", _BUILT)

    def starting(self, text: str) -> None:
        """Say that the server's container has been started."""
        self.say(text, "starting", _STARTED)

    def forward(self, event: Event) -> None:
        """Add an event of the build that this launch waits for."""
        progress = _RESOLVED + (_BUILT - _RESOLVED) * event.progress
        self._append(event.text, event.phase, progress, is_log=event.is_log)

    def _append(self, text: str, phase: str, progress: float, *, is_log: bool) -> None:
        self._progress = max(self._progress, min(progress, _STARTED))
        self._log.append(Event(text, self._progress, phase, is_log))

    def close(self) -> None:
        """Say that nothing more comes."""
        self._log.close()

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the launch's events as JupyterHub's pages take them, from the first one on.

        ``message`` is text. ``html_message`` is there for what a build printed, escaped, in a
        template of ours, because JupyterHub's page would run its lines together.
        """
        first = True
        async for event in self._log.follow():
            message: dict[str, Any] = {
                "progress": int(event.progress * 100),
                "message": event.text,
                "phase": event.phase,
            }
            if event.is_log:
                earlier, newline, last = event.text.rpartition("\n")
                message["html_message"] = render(
                    "log_lines.html", earlier=earlier + newline, last=last, first=first
                )
                first = False
            yield message
