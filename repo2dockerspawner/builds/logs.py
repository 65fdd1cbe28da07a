"""repo2docker's output -> events: phase, progress, image name.

repo2docker runs with ``--json-logs``: one object a line on stderr,
``{"message": "...", "phase": "..."}``. A message need not end in a newline and may hold several
lines; lines that are no such object come too (usage, tracebacks of the interpreter, git's stdout).

What a repository prints ends up in the same messages. So everything read out of a log is a hint:
the engine has the last word on which image there is. The rules below keep a repository's output
from being taken for repo2docker's or the builder's own wherever the two can be told apart.
"""

from __future__ import annotations

import enum
import json
import re
from typing import TYPE_CHECKING, Final, NamedTuple

from ..keys import LABEL_PREFIX
from .colours import Span, clipped, shifted
from .events import Event
from .inside.redaction import MASK, Redactor
from .lines import Line, LineAssembler, clean
from .steps import Steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = [
    "RECORD_LIMIT",
    "LogEvent",
    "LogParser",
    "Phase",
    "failure_lines",
    "log_event",
    "normal_name",
]

RECORD_LIMIT: Final = 262_144
"""Characters of a raw line that are kept: the classic builder puts 32 KiB of output into one
message, and JSON writes a character in up to six."""

FETCHED: Final = 0.05
BUILT: Final = 0.95
EXPORTED: Final = 0.98
END: Final = 0.99
_CREEP: Final = 0.02


class Phase(enum.Enum):
    """What a build is doing, of what repo2docker knows; in this order, never back."""

    FETCHING = "fetching"
    BUILDING = "building"
    PUSHING = "pushing"


_ORDER: Final = {phase: place for place, phase in enumerate(Phase)}


# repo2docker prints the labels where a build has failed, and the classic builder each of them. Who
# knows this one could make an image that passes for the hub's own (keys.image_proof).
_PROOF: Final = LABEL_PREFIX + "proof"
_PROOF_SAID: Final = re.compile(rf"({re.escape(_PROOF)}\W{{0,8}})[0-9a-f]+")


class LogEvent(NamedTuple):
    """A line of a build's log.

    Attributes:
        text: one clean line, never empty.
        phase: what the build was doing then; None before repo2docker said anything.
        progress: how much of the build is done, 0.0 - 0.99, never going back.
        spans: which parts of the text were coloured.
    """

    text: str
    phase: Phase | None
    progress: float
    spans: tuple[Span, ...] = ()


class LogParser:
    """Follows one run of repo2docker, 2024.7 to now, through either builder's output.

    Guarantees:
        - no bytes and no line make it raise;
        - ``progress`` never goes back and is below 1.0: only the engine knows that a build is done;
        - ``image`` comes only from a line of one of the forms that repo2docker or its builder
          writes, in the place where they write it.

    Attributes:
        phase: the newest one, None at first.
        progress: as in `LogEvent`.
        image: the name of the image as the run reported it, without ``docker.io/library/`` and
            ``:latest``; the last report wins. A hint, to be verified.
        reused: whether the run said that the image was there already.
    """

    def __init__(self, *, json_logs: bool = True, redactor: Redactor | None = None) -> None:
        """Begin.

        Args:
            json_logs: whether the run was given that option; never guessed from the log.
            redactor: takes secrets out before anything looks at the log, and out of each line
                once more, which may have come in several records.
        """
        self._redactor = redactor or Redactor()
        self.phase: Phase | None = None
        self.progress = 0.0
        self.image: str | None = None
        self.reused = False
        self._json = json_logs
        self._raw = LineAssembler(RECORD_LIMIT)
        self._message = LineAssembler()
        self._message_phase: str | None = None
        self._steps = Steps()
        self._builder_named = False
        self._failed = False
        self._last_base_image_line = False

    @property
    def step(self) -> tuple[int, int] | None:
        """(4, 9) for "step 4 of 9" of the Dockerfile, all stages counted; None if not known."""
        return self._steps.step

    def feed(self, chunk: bytes) -> list[LogEvent]:
        """The events of a chunk of the log, both streams in the order they came."""
        return self._feed_lines(self._raw.feed(self._redactor.feed(chunk)))

    def close(self) -> list[LogEvent]:
        """The events of what was left without a newline at the end of the log."""
        last = self._raw.feed(self._redactor.close())
        return [*self._feed_lines([*last, *self._raw.close()]), *self._flush()]

    def feed_line(self, line: str) -> list[LogEvent]:
        """The events of one raw line; `close` has to follow the last one."""
        if not self._json:
            return self._read(clean(line), own=True)
        record = _record(line)
        if record is None:
            return [*self._flush(), *self._show(clean(line))]
        return self._feed_record(*record)

    def _feed_lines(self, lines: Iterable[Line]) -> list[LogEvent]:
        return [event for line in lines for event in self.feed_line(line)]

    def _feed_record(self, message: str, phase: str | None, traceback: str) -> list[LogEvent]:
        events = []
        if phase != self._message_phase:
            events += self._flush()
            self._message_phase = phase
        self._enter(phase)
        if traceback and not self._failed and not _EXPECTED.search(traceback):
            shown = LineAssembler()
            for line in [*shown.feed_text(traceback), *shown.close()]:
                events += self._show(line)
        own = phase is None
        for line in self._message.feed_text(message):
            events += self._read(line, own=own)
        # What repo2docker logs itself is whole. What it passes on may go on in the next record: a
        # piece after a carriage return must not look like the beginning of a line.
        if phase == "failed":
            self._failed = True
        if own or phase == "failed" or message == _BASE_IMAGE:
            events += self._flush()
        return events

    def _flush(self) -> list[LogEvent]:
        own = self._message_phase is None
        return [event for line in self._message.close() for event in self._read(line, own=own)]

    def _enter(self, phase: str | None) -> None:
        entered = _PHASES.get(phase or "")
        if entered is None or entered is self.phase:
            return
        if self.phase is None or _ORDER[entered] > _ORDER[self.phase]:
            self.phase = entered
            self._advance(_PHASE_BEGINS[entered])

    def _read(self, line: Line, *, own: bool) -> list[LogEvent]:
        if not line.overwritten:
            line = _without_aux(line)
            self._understand(str(line), own=own)
        return self._show(line)

    def _show(self, line: Line) -> list[LogEvent]:
        text = line.rstrip()
        again = text == _BASE_IMAGE_SHOWN
        if not text or (again and self._last_base_image_line):
            return []
        self._last_base_image_line = again
        self._creep()
        shown = self._redactor.text(text)
        if _PROOF in shown:
            shown = _PROOF_SAID.sub(r"\1" + MASK, shown)
        # spans are places in the line as it was
        spans = clipped(line.spans, len(text)) if line.spans and shown == text else ()
        return [LogEvent(shown, self.phase, self.progress, spans)]

    def _understand(self, text: str, *, own: bool) -> None:
        """What a line says; ``own``: it is repo2docker's, as far as can be told."""
        if own:
            self._understand_own(text)
        if self.phase is None or self.phase is Phase.FETCHING:
            return
        if _BUILDER.fullmatch(text):
            self._builder_named = True
            return
        self._steps.read(text)
        if self._steps.pushing:
            self._enter("pushing")
        done = self._steps.done
        if done is not None:
            self._advance(FETCHED + (BUILT - FETCHED) * done)
        if self._steps.exporting:
            self._advance(BUILT)
        if self._steps.image:
            name = normal_name(self._steps.image)
            self.image = name or self.image
            self._advance(EXPORTED)

    def _understand_own(self, text: str) -> None:
        if _PICKED.fullmatch(text):
            self._enter("fetching")
        reused = _REUSING.fullmatch(text)
        name = reused and normal_name(reused[1])
        if name and not self._builder_named:
            self.image = name
            self.reused = True
            self._advance(END)
        if not self._json:
            for form, phase in _TEXT_PHASES:
                if form.fullmatch(text):
                    self._enter(phase)

    def _advance(self, progress: float) -> None:
        self.progress = max(self.progress, min(progress, END))

    def _creep(self) -> None:
        """A long step moves too, by ever less, and not beyond what is near its end."""
        if self.phase is None or self.phase is Phase.FETCHING:
            ceiling = FETCHED
        elif self.phase is Phase.PUSHING or self._steps.exporting:
            ceiling = END
        else:
            ceiling = FETCHED + (BUILT - FETCHED) * self._steps.near
        self._advance(self.progress + max(0.0, ceiling - self.progress) * _CREEP)


def log_event(event: LogEvent, step: tuple[int, int] | None = None) -> Event:
    """Return what is told of a line that was read."""
    text, phase, progress, spans = event
    # a member's `value` is a property, and costs as much as the rest of this
    name = "fetching" if phase is None else phase._value_
    return Event(text, progress, name, is_log=True, step=step, spans=spans)


def normal_name(name: str) -> str | None:
    """An image's name without what is understood by itself; None if it is none."""
    if len(name) > 512 or not _NAME.fullmatch(name):  # noqa: PLR2004  longer than any engine takes
        return None
    return name.removeprefix("docker.io/").removeprefix("library/").removesuffix(":latest")


# "Fetching base image...", once for every status that the engine sent while it pulled.
_BASE_IMAGE: Final = "Fetching base image...\r"
_BASE_IMAGE_SHOWN: Final = _BASE_IMAGE.rstrip()
_PICKED: Final = re.compile(r"Picked \w+ content provider\.")
_BUILDER: Final = re.compile(r"Using \w+ builder")
_REUSING: Final = re.compile(r"Reusing existing image \((\S+)\), not building\.")
_AUX: Final = re.compile(r'(?:\{"aux": \{[^{}]*\}\})+')
_NAME: Final = re.compile(
    r"(?:[A-Za-z0-9][A-Za-z0-9.-]*(?::\d+)?/)?"
    r"[a-z0-9]+(?:[._/-]+[a-z0-9]+)*"
    r"(?::\w[\w.-]{0,127})?",
    re.ASCII,
)
_PHASES: Final = {phase.value: phase for phase in Phase}
_PHASE_BEGINS: Final = {Phase.FETCHING: 0.0, Phase.BUILDING: FETCHED, Phase.PUSHING: BUILT}
# Without --json-logs, the lines that say where repo2docker is.
_TEXT_PHASES: Final = (
    (_BUILDER, "building"),
    (re.compile(r"Pushing image"), "pushing"),
)
# A failed build or fetch: the cause stands in the log, and repo2docker's own frames say nothing.
_EXPECTED: Final = re.compile(
    r"^(?:subprocess\.CalledProcessError|\S*ContentProviderException): ", re.MULTILINE
)
_JSON: Final = json.JSONDecoder()
_JSON_SPACES: Final = " \t\r\n"
_CUT_RECORD: Final = re.compile(r'\{"message": "([^"\\]*(?:\\.[^"\\]*)*)')
_CUT_ESCAPE: Final = re.compile(r"\\u[0-9a-fA-F]{0,3}\Z")


def _record(line: str) -> tuple[str, str | None, str] | None:
    """Message, phase, traceback of one raw line; None if it is no record of repo2docker's."""
    if isinstance(line, Line) and line.cut:
        return _cut_record(line.kept)
    if not line.startswith("{"):
        return None
    try:
        found, end = _JSON.raw_decode(line)
    except (ValueError, RecursionError):
        return None
    if line[end:].strip(_JSON_SPACES):
        return None
    message, traceback = found.get("message"), found.get("exc_info")
    if not isinstance(message, str):
        return None
    # A phase of any other kind is none of repo2docker's, but not its absence either.
    phase: str | None = None
    if "phase" in found:
        phase = found["phase"] if isinstance(found["phase"], str) else ""
    return message, phase, traceback if isinstance(traceback, str) else ""


def _cut_record(text: str) -> tuple[str, str | None, str] | None:
    """What can be had of a record that was too long: its message, but not its phase."""
    begin = _CUT_RECORD.match(text)
    if begin is None:
        return None
    try:
        message = json.loads(f'"{_CUT_ESCAPE.sub("", begin[1])}"', strict=False)
    except ValueError:
        return None
    return f"{message}\n", "", ""


def _without_aux(line: Line) -> Line:
    """The classic builder's ``{"aux": …}`` has no newline and is glued to what follows."""
    aux = _AUX.match(line)
    if aux is None:
        return line
    return Line(line.kept[aux.end() :], cut=line.cut, spans=shifted(line.spans, -aux.end()))


def failure_lines(lines: Sequence[str], limit: int = 20) -> list[str]:
    """The lines of a failed build's log that matter most, oldest first, at most ``limit``.

    ``lines`` are texts of `LogEvent`. repo2docker >= 2025.08 ends a failed build in a traceback of
    its own and the builder's command line; the cause stands before them, at the step that failed.
    """
    kept = _without_tracebacks(line for line in lines if line.strip())
    causes = [line for line in kept if not _NOISE.match(line)] or kept
    failed = [at for at, line in enumerate(causes) if _STEP_FAILED.match(line)]
    if failed:
        at = failed[0]
        vertex = causes[at].split(" ", 1)[0] + " "
        step = [line for line in causes[: at + 1] if line.startswith(vertex)]
        rest = [line for line in causes[at + 1 :] if _SOLVE_FAILED.match(line)]
        return [*step, *rest][-limit:]
    return causes[-limit:]


_STEP_FAILED: Final = re.compile(r"#\d+ ERROR")
_SOLVE_FAILED: Final = re.compile(r"ERROR: |error: ")
# What builders say between the steps, and repo2docker's word for all of it.
_NOISE: Final = re.compile(
    r"#\d+ (?:DONE|CACHED|sha256:|transferring )|-{6,}$"
    r"| ---> |Removing intermediate container "
    r"|(?:Error during build|subprocess\.CalledProcessError): Command '\['docker'"
)
_CHAINED: Final = re.compile(r"(?:During handling of|The above exception was) .*:$")


def _without_tracebacks(lines: Iterable[str]) -> list[str]:
    """Drops repo2docker's own tracebacks; one that a build step printed is kept."""
    kept: list[str] = []
    frames: list[str] = []
    for line in lines:
        if frames and line.startswith(" "):
            frames.append(line)
            continue
        if frames:
            # The line that ends a traceback is the exception itself, which says something.
            kept += [] if any(_FRAME.match(frame) for frame in frames) else frames
            frames = []
        if line == "Traceback (most recent call last):":
            frames = [line]
        elif not _CHAINED.match(line):
            kept.append(line)
    return kept


_FRAME: Final = re.compile(r' +File "[^"]*(?:/repo2docker/|/jupyter-repo2docker")')
