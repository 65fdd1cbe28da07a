"""One launch: what the person who waits for it is told, from the repository to the server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .builds.events import Event, EventLog, Numbered
from .commitpages import commit_page
from .errors import Repo2DockerError
from .launch import render
from .resolve import Resolved

__all__ = ["CANCELLED", "Launch", "LaunchTarget"]

CANCELLED = "The start was cancelled."

# How the parts of a launch share the bar: the build is what one waits for.
_RESOLVED = 0.05
_BUILT = 0.85
_STARTED = 0.95

# Lines that a page without JavaScript shows of a log.
_LAST_LINES = 20


@dataclass(frozen=True)
class LaunchTarget:
    """What is being started, as a page shows it.

    Attributes:
        name: ``owner/repo``, a DOI, or whatever people call it.
        ref: as people say it (``main``); ``""`` is the default branch.
        commit: the content id in full; ``""`` until it is known.
        short: what people are shown of it.
        url: the host's page of just that commit, https; ``""`` where none is known.
        subdir: the folder that is built, ``""`` is the top.
    """

    name: str
    ref: str = ""
    commit: str = ""
    short: str = ""
    url: str = ""
    subdir: str = ""

    @classmethod
    def of(cls, resolved: Resolved) -> LaunchTarget:
        """Return what a resolved repository is shown as."""
        spec, commit = resolved.spec, resolved.content_id
        return cls(
            name=spec.name,
            ref=spec.ref_label,
            commit=commit,
            short=commit[:7] if spec.provider == "git" else "",
            url=commit_page(spec, commit),
            subdir=spec.subdir,
        )


class Launch:
    """The events of one launch, for any number of pages that watch it.

    The progress never goes back, and stays below 1: that a server is ready, JupyterHub says.

    Attributes:
        target: what is being started; ``None`` until it is known.
        about: seconds that all of it is going to take, where earlier builds tell; else ``None``.
        started: when it began, seconds since 1970; tells two launches apart.
    """

    def __init__(self) -> None:
        self.target: LaunchTarget | None = None
        self.about: float | None = None
        self.started = round(time.time(), 3)
        self._began = time.monotonic()
        self._log = EventLog()
        self._progress = 0.0
        self._phase = "waiting"
        self._said = ""
        self._failure: Mapping[str, Any] | None = None
        # number of an event -> what it is the first one to know of
        self._targets: dict[int, LaunchTarget] = {}
        self._told: LaunchTarget | None = None

    # -- what happens ----------------------------------------------------------------------

    def say(self, text: str, phase: str, progress: float = 0.0) -> None:
        """Add a sentence of ours."""
        self._append(Event(text, progress, phase))

    def resolved(self, text: str, target: LaunchTarget | None = None) -> None:
        """Say what is going to be started."""
        self.target = target or self.target
        self.say(text, "fetching", _RESOLVED)

    def built(self, text: str) -> None:
        """Say that the image is there."""
        self.say(text, "starting", _BUILT)

    def starting(self, text: str) -> None:
        """Say that the server's container has been started."""
        self.say(text, "starting", _STARTED)

    def failed(self, error: Repo2DockerError) -> None:
        """Say why there is no server."""
        self._failure = {"lines": list(error.lines), "reason": error.reason}
        self.say(error.message, "failed")

    def cancelled(self) -> None:
        """Say that somebody has cancelled it."""
        self.say(CANCELLED, "cancelled")

    def forward(self, event: Event) -> None:
        """Add an event of the build that this launch waits for."""
        progress = _RESOLVED + (_BUILT - _RESOLVED) * event.progress
        self._append(
            Event(event.text, progress, event.phase, event.is_log, event.step, event.place)
        )

    def _append(self, event: Event) -> None:
        self._progress = max(self._progress, min(event.progress, _STARTED))
        self._phase = event.phase or self._phase
        if not event.is_log:
            self._said = event.text
        if self.target is not None and self.target != self._told:
            self._told = self._targets[len(self._log)] = self.target
        self._log.append(
            Event(event.text, self._progress, event.phase, event.is_log, event.step, event.place)
        )

    def close(self) -> None:
        """Say that nothing more comes."""
        self._log.close()

    # -- what is shown ---------------------------------------------------------------------

    @property
    def elapsed(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    @property
    def phase(self) -> str:
        """``waiting``, ``fetching``, ``building``, ``pushing``, ``starting``, or how it ended."""
        return self._phase

    @property
    def said(self) -> str:
        """The last sentence of ours."""
        return self._said

    @property
    def last_lines(self) -> list[str]:
        """The last lines that the build printed."""
        return self._log.last_lines(_LAST_LINES)

    def log_text(self) -> str:
        """Return all that is kept of what was said and printed, with what is left out said."""
        # a build's failure is its own last sentence, too
        told = [event.text for event in self._log.kept() if event.phase != "failed"]
        return "\n".join(told)

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Yield the launch's events as JupyterHub's pages take them, from the first one on.

        What JupyterHub's own page reads: ``progress``; ``message``, text, for what a build
        printed several lines of it; ``html_message``, there for what a build printed, escaped,
        in a template of ours, because that page would run its lines together.

        What our page reads beside it:
          - ``index`` and ``line``, see `Numbered`: who comes back after a lost connection and
            is sent all of it anew tells by them what is new; ``gap`` where lines are left out;
          - ``started`` and ``elapsed``, seconds: which launch it is, and how old it is now;
          - ``phase``: ``waiting``, ``fetching``, ``building``, ``pushing``, ``starting``,
            ``failed`` (with ``failure``: ``lines``, ``reason``) or ``cancelled``;
          - ``is_log``: whether the message is what the build printed;
          - ``step`` [4, 9] and ``place`` in line, where known; ``about``, seconds, likewise;
          - ``launch``: a `LaunchTarget`, when more of it is known than before.
        """
        first = True
        async for numbered in self._log.numbered():
            yield self._message(numbered, first=first)
            first = first and not numbered.event.is_log

    def _message(self, numbered: Numbered, *, first: bool) -> dict[str, Any]:
        event = numbered.event
        message: dict[str, Any] = {
            "progress": int(event.progress * 100),
            "message": event.text,
            "phase": event.phase,
            "index": numbered.index,
            "line": numbered.line,
            "started": self.started,
            "elapsed": round(self.elapsed, 1),
        }
        if event.is_log:
            earlier, newline, last = event.text.rpartition("\n")
            message["is_log"] = True
            message["html_message"] = render(
                "log_lines.html", earlier=earlier + newline, last=last, first=first
            )
        if numbered.gap:
            message["gap"] = True
        if numbered.index in self._targets:
            message["launch"] = asdict(self._targets[numbered.index])
        if event.phase == "failed" and self._failure is not None:
            message["failure"] = dict(self._failure)
        known = {"step": event.step, "place": event.place, "about": self.about}
        return message | {name: value for name, value in known.items() if value is not None}
