"""A build that made no image → what went wrong, in one sentence, and the lines that matter.

How the container ended comes first, because that is the engine's word. Then the log: the output of
the step that failed, or of the fetching, is looked up in `causes`. What a repository prints can be
forged, so all that comes of it is one error's words, reason and status, for that repository's user.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ..errors import BuildError
from .causes import CAUSES, Cause
from .lines import clean
from .logs import failure_lines, normal_name
from .outcome import Outcome
from .plan import BuildPlan

__all__ = ["SIGNALLED", "diagnose", "fell_silent", "timed_out"]

SIGNALLED = 128
"""Exit codes above this tell that a signal ended the program."""

_LINES: Final = 20
# Of these, how many may follow the one that told the cause.
_AFTER: Final = 6
# Lines at the end of a step that are looked at: a cause stands near the end, and the search runs
# on the event loop.
_SEARCHED: Final = 60
# Characters of a line that are looked at and shown: its beginning and its end.
_HEAD, _TAIL = 300, 200
# Characters of a log's text that go into a sentence.
_QUOTED: Final = 80

log = logging.getLogger(__name__)


def diagnose(outcome: Outcome, plan: BuildPlan, log: Sequence[str]) -> BuildError:
    """Return the error of a build that ended without a usable image.

    Args:
        outcome: how the container ended.
        plan: what it was to do.
        log: the last lines that it printed, oldest first.
    """
    failure = _failure(log)
    what = plan.title or plan.url
    lines = failure.around(len(failure.output))
    if outcome.out_of_memory:
        limit = f" of the {_size(plan.memory_limit)} it may use" if plan.memory_limit else ""
        return BuildError(
            f"Building {what} ran out of memory{limit} (build_memory_limit). Make the repository "
            "need less, or ask an administrator of this hub for more memory for builds.",
            reason="build_out_of_memory",
            lines=lines,
        )
    if outcome.exit_code is None:
        return BuildError(
            f"The build of {what} was removed from outside before it had ended. Start again.",
            reason="build_lost",
            lines=lines,
        )
    if outcome.exit_code == 0:
        return BuildError(
            f"repo2docker ended well, but the image of {what} is not on this hub's Docker "
            "engine. An administrator of this hub has to look at how repo2docker is set up "
            "(build_extra_args).",
            reason="image_missing",
            status=500,
            lines=lines,
        )
    if outcome.exit_code > SIGNALLED:
        return BuildError(
            f"The build of {what} was killed from outside. Start again.",
            reason="build_killed",
            lines=lines,
        )
    return _by_its_log(what, failure)


def timed_out(plan: BuildPlan, log: Sequence[str]) -> BuildError:
    """Return the error of a build that took longer than it may."""
    return BuildError(
        f"Building {plan.title or plan.url} took longer than the {_duration(plan.timeout)} that "
        f"this hub allows (build_timeout) and was ended{_running_step(log)}. Make the repository "
        "smaller, or ask an administrator of this hub for a longer limit.",
        reason="build_timeout",
        lines=[_shortened(line) for line in log[-_LINES:]],
    )


def fell_silent(plan: BuildPlan, log: Sequence[str]) -> BuildError:
    """Return the error of a build that has printed nothing for longer than it may."""
    return BuildError(
        f"Building {plan.title or plan.url} printed nothing for {_duration(plan.idle_timeout)}, "
        f"longer than this hub allows (build_idle_timeout), and was ended{_running_step(log)}. "
        "Start again, or ask an administrator of this hub for a longer limit.",
        reason="build_idle_timeout",
        lines=[_shortened(line) for line in log[-_LINES:]],
    )


# -- the part of a log that tells ----------------------------------------------------------


@dataclass(frozen=True)
class _Step:
    """An instruction of a Dockerfile: ``[stage-1 4/9] RUN true`` or ``Step 4/9 : RUN true``."""

    title: str
    instruction: str
    place: str = ""

    def __str__(self) -> str:
        return f" at {self.place} ({_quoted(self.instruction)})" if self.place else ""


@dataclass(frozen=True)
class _Failure:
    """The step that failed, None where none is known, and what it printed."""

    step: _Step | None
    output: list[str]

    def around(self, at: int) -> list[str]:
        """Return the step's title and the lines about the one at ``at``, at most `_LINES`."""
        title = [self.step.title] if self.step else []
        room = _LINES - len(title)
        begin = max(0, min(at + 1 + _AFTER, len(self.output)) - room)
        return [*title, *self.output[begin : begin + room]]


def _failure(lines: Sequence[str]) -> _Failure:
    kept = [_shortened(line) for line in failure_lines(lines, limit=len(lines) or 1)]
    kept = [line for line in kept if not _SAYS_NOTHING.match(line)] or kept
    failed = next((at for at, line in enumerate(lines) if _VERTEX_FAILED.match(line)), None)
    if failed is not None:
        # The block that follows repeats the title, which may be long gone from the log's end.
        titles = (line[3:].removesuffix(":") for line in lines[failed:] if line.startswith(" > "))
        title = _shortened(next(titles, _VERTEX.sub("", kept[0])))
        output = [_VERTEX.sub("", line) for line in kept]
        noise = (title, "", "...")
        return _Failure(_step(title), [line for line in output if line.strip() not in noise])
    begun = _last(kept, _CLASSIC)
    if begun is None or _last(kept[begun:], _BUILT) is not None:
        return _Failure(None, kept)
    return _Failure(_step(kept[begun]), kept[begun + 1 :])


def _step(title: str) -> _Step:
    found = _CLASSIC.match(title) or _BUILDKIT.match(title)
    if found is None:
        return _Step(title, title)
    return _Step(title, found["instruction"], f"step {found['number']} of {found['total']}")


def _running_step(lines: Sequence[str]) -> str:
    for line in reversed(lines):
        title = _VERTEX.sub("", line)
        if _CLASSIC.match(title) or _BUILDKIT.match(title):
            return str(_step(_shortened(title)))
    return ""


def _last(lines: Sequence[str], pattern: re.Pattern[str]) -> int | None:
    return next((at for at in range(len(lines) - 1, -1, -1) if pattern.match(lines[at])), None)


_CLASSIC: Final = re.compile(r"Step (?P<number>\d+)/(?P<total>\d+) : (?P<instruction>.+)")
_BUILDKIT: Final = re.compile(
    r"\[(?:[^\]\s]+ +)?(?P<number>\d+)/(?P<total>\d+)\] (?P<instruction>.+)"
)
_BUILT: Final = re.compile(r"Successfully built ")
_VERTEX: Final = re.compile(r"^#\d+ (?:\d+\.\d+ ?)?")
_VERTEX_FAILED: Final = re.compile(r"#\d+ ERROR")
# Our own command line, and what the line after it says in more words.
_SAYS_NOTHING: Final = re.compile(
    r"Error during build: Command '\['git'|requests\.exceptions\.HTTPError: \d"
)


# -- the cause -----------------------------------------------------------------------------


def _by_its_log(what: str, failure: _Failure) -> BuildError:
    step = failure.step
    output = _searchable(failure)
    for cause in CAUSES:
        found = _search(cause, step, output)
        if found is None:
            continue
        at, match = found
        if cause.admin:
            # the end of a line says most: what comes first are the callers of what went wrong
            line = clean(match.string)[-_TAIL:]
            log.error("Building %s failed (%s): %s", what, cause.reason, line)
        where = str(step or "") if cause.status < 500 else ""  # noqa: PLR2004 - not the user's
        return BuildError(
            f"Building {what} failed{where}: {_sentence(cause, match, step)}. {cause.advice}",
            reason=cause.reason,
            status=cause.status,
            lines=failure.around(at),
        )
    return BuildError(
        f"Building {what} failed{step or ''}. The lines below say where; correct the repository "
        "and start again.",
        lines=failure.around(len(output)),
    )


def _searchable(failure: _Failure) -> list[str]:
    return [_without_command(line) for line in failure.output]


def _without_command(line: str) -> str:
    """Return the builder's line about a command's end without the command's text."""
    ended = _ENDED.search(line)
    if ended and any(begin in line for begin in _COMMANDS):
        return f"exit code {ended[1]}"
    return line


def _applies(cause: Cause, step: _Step | None) -> bool:
    if cause.in_step is not None and cause.in_step is not (step is not None):
        return False
    if cause.instruction is None:
        return True
    return step is not None and cause.instruction.match(step.instruction) is not None


def _search(
    cause: Cause, step: _Step | None, output: Sequence[str]
) -> tuple[int, re.Match[str]] | None:
    """Return the last line that tells the cause; of its patterns the first one's."""
    if not _applies(cause, step):
        return None
    first = max(0, len(output) - _SEARCHED)
    for pattern in cause.patterns:
        for at in range(len(output) - 1, first - 1, -1):
            match = pattern.search(output[at])
            if match:
                return at, match
    return None


def _sentence(cause: Cause, match: re.Match[str], step: _Step | None) -> str:
    pulled = _IMAGE.search(step.instruction) if step else None
    name = pulled["image"] if pulled else ""
    image = _quoted(normal_name(name) or name) if name else "its base image"
    named = match.groupdict().get("what")
    what = _quoted(named) if named else cause.unnamed.format(image=image)
    return cause.sentence.format(what=what, image=image)


_IMAGE: Final = re.compile(r"(?:FROM|load metadata for) (?:--\S+ )?(?P<image>\S+)")
_ENDED: Final = re.compile(r"(?:exit code: |returned a non-zero code: )(\d{1,3})$")
_COMMANDS: Final = ("executor failed running ", 'process "', "The command '")


# -- words ---------------------------------------------------------------------------------


def _shortened(line: str) -> str:
    """Return a line without the engine's address and query in it, its middle left out."""
    begin, api, rest = line.partition(" Error for http+docker://")
    if api:
        line = begin.rpartition(": ")[0] + ": " + rest.partition(" ")[2]
    if len(line) <= _HEAD + _TAIL:
        return line
    return f"{line[:_HEAD]} … {line[-_TAIL:]}"


def _short(text: str) -> str:
    text = " ".join(clean(text).split())
    return text if len(text) <= _QUOTED else f"{text[: _QUOTED - 1]}…"


def _quoted(text: str) -> str:
    text = _short(text)
    return text if _NUMBER.fullmatch(text) or text.startswith("\u2018") else f"“{text}”"


_NUMBER: Final = re.compile(r"\d+(?:\.\d)?(?: [MG]iB)?")


def _duration(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004 - below two minutes seconds read better
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes"


def _size(number: int) -> str:
    if number < 1 << 30:
        return f"{number / (1 << 20):.0f} MiB"
    return f"{number / (1 << 30):.1f} GiB"
