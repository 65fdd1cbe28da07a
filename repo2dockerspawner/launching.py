"""One launch: what the person who waits for it is told, from the repository to the server."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from typing import Any

from .builds.colours import in_utf16
from .builds.events import Event, EventLog, Numbered, Rest
from .commitpages import commit_page
from .errors import Repo2DockerError
from .launch import render
from .resolve import Resolved

__all__ = ["CANCELLED", "PART_LINES", "Launch", "LaunchTarget"]

CANCELLED = "The start was cancelled."

# How the parts of a launch share the bar: the build is what one waits for.
_RESOLVED = 0.05
_BUILT = 0.85
_STARTED = 0.95

PART_LINES = 1000
"""Lines in one part of a whole log."""

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
        rest: reads what was left out of the build's log, once there is a build.
    """

    def __init__(self) -> None:
        self.target: LaunchTarget | None = None
        self.about: float | None = None
        self.started = round(time.time(), 3)
        self.rest: Rest | None = None
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

    def takes(self, about: float | None, gone: float) -> None:
        """Say how long its build is likely to take, where earlier ones tell.

        Args:
            about: seconds.
            gone: those of them that it was under way before this launch asked for it.
        """
        if about is not None:
            self.about = round(self.elapsed + max(0.0, about - gone), 1)

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
        self._append(event._replace(progress=progress))

    def _append(self, event: Event) -> None:
        self._progress = max(self._progress, min(event.progress, _STARTED))
        self._phase = event.phase or self._phase
        if not event.is_log:
            self._said = event.text
        if self.target is not None and self.target != self._told:
            self._told = self._targets[len(self._log)] = self.target
        self._log.append(event._replace(progress=self._progress))

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

    async def log_parts(self) -> AsyncIterator[str]:
        """Yield all of what was said and printed, some lines at a time.

        What is no longer in memory is read anew; where it isn't to be had, that is said.
        """
        lines: list[str] = []
        async for numbered in self._whole():
            # a build's failure is its own last sentence, too
            if numbered.event.phase != "failed":
                lines += numbered.event.text.split("\n")
            while len(lines) >= PART_LINES:
                yield "\n".join(lines[:PART_LINES]) + "\n"
                del lines[:PART_LINES]
        yield "\n".join(lines)

    async def _whole(self) -> AsyncIterator[Numbered]:
        """Yield all events, also those that are no longer in memory, as far as they are had."""
        # where the build's log has been told to, and the line before that
        printed, before = 0, ""
        async for numbered in self._log.numbered():
            event = numbered.event
            if event.missing:
                line = numbered.line - event.missing
                async for found in self._missing(event, printed, before):
                    line += found.lines
                    before = _last_line(found)
                    yield Numbered(found, numbered.index, line)
                if line < numbered.line:
                    before = ""
                    yield replace(numbered, event=event.cut_to(numbered.line - line))
                printed = event.printed
                continue
            yield numbered
            if event.is_log:
                printed, before = event.printed, _last_line(event)

    async def _missing(self, gap: Event, printed: int, before: str) -> AsyncIterator[Event]:
        known = bool(before) or not printed
        if self.rest is None or printed >= gap.printed or not known:
            return
        async with aclosing(self.rest(printed, gap.printed, before)) as found:
            async for event in found:
                yield event._replace(progress=gap.progress)

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
          - ``is_log``: whether the message is what the build printed; ``spans``: which parts of
            it were coloured, as `Span`, counted as JavaScript counts;
          - ``step`` [4, 9] and ``place`` in line, where known; ``about``, seconds, likewise;
          - ``launch``: a `LaunchTarget`, when more of it is known than before.
        """
        first = True
        async for numbered in self._whole():
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
            message["is_log"] = True
            message["html_message"] = _as_html(event.text, first=first)
        if event.spans:
            message["spans"] = in_utf16(event.spans, event.text)
        if event.missing:
            message["gap"] = True
        if numbered.index in self._targets:
            message["launch"] = asdict(self._targets[numbered.index])
        if event.phase == "failed" and self._failure is not None:
            message["failure"] = dict(self._failure)
        known = {"step": event.step, "place": event.place, "about": self.about}
        return message | {name: value for name, value in known.items() if value is not None}


# Whoever waits for one build is told the same lines at about the same time, each by a launch of
# their own.
@lru_cache(maxsize=32)
def _as_html(text: str, *, first: bool) -> str:
    earlier, newline, last = text.rpartition("\n")
    return render("log_lines.html", earlier=earlier + newline, last=last, first=first)


def _last_line(event: Event) -> str:
    return event.text.rpartition("\n")[2]
