"""Bytes of a build's log -> clean lines, whatever the chunking.

A Docker engine hands out a log in frames of at most 16,384 bytes that cut lines and characters
anywhere, and a build may print anything: what leaves here can be shown as text, kept in a file and
looked at line by line, and takes a bounded amount of memory.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, Final

from .colours import PLAIN, SPAN_LIMIT, Span, restyled

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["LINE_LIMIT", "Line", "LineAssembler", "clean"]

LINE_LIMIT: Final = 4_096
"""Characters of a line that are kept; what comes after is counted and cut."""

_TAB = 0x09
# A line of ours must stay one line for every reader (str.splitlines, a browser, a terminal), and
# must read in the order in which it was written.
_DROPPED: Final = (
    *(code for code in range(0x20) if code != _TAB),
    *range(0x7F, 0xA0),
    0x061C,
    *range(0x200E, 0x2010),
    *range(0x2028, 0x202F),
    *range(0x2066, 0x206A),
    0xFEFF,
)
_HARMLESS: Final[dict[int, str | None]] = dict.fromkeys(_DROPPED)
# Half a surrogate pair comes out of JSON ("\ud800") and can't be encoded again.
_HARMLESS.update(dict.fromkeys(range(0xD800, 0xE000), "\N{REPLACEMENT CHARACTER}"))

# A string of one character takes as much memory as forty characters of a string.
_MOST_PARTS: Final = 256
# Characters of a control sequence that are kept: one more than any that is understood.
_PARAMETERS: Final = 65

_TEXT, _ESCAPE, _CSI, _STRING, _STRING_ESCAPE = range(5)
_RUN: Final = {
    _TEXT: re.compile(r"[^\x1b\r]*"),
    _ESCAPE: re.compile(r"[ -/]*"),
    _CSI: re.compile(r"[ -?]*"),
    _STRING: re.compile(r"[^\x07\x1b\x9c\r]*"),
    _STRING_ESCAPE: re.compile(r""),
}


class Line(str):
    """One clean line, without its end.

    Attributes:
        cut: how many characters are missing at the end; the text then ends in a marker saying so.
        overwritten: something stood before a carriage return in it, so its beginning isn't the
            beginning of what was printed: nothing may be read out of its form.
        spans: which parts of it were coloured, in their order, none over another.
    """

    __slots__ = ("cut", "overwritten", "spans")

    cut: int
    overwritten: bool
    spans: tuple[Span, ...]

    def __new__(
        cls, text: str, *, cut: int = 0, overwritten: bool = False, spans: tuple[Span, ...] = ()
    ) -> Self:
        """Make a line of ``text``, which is clean and within its limit already."""
        # super() takes as long as all the rest of this, and every line comes here twice
        line = str.__new__(cls, text + _marker(cut) if cut else text)
        line.cut = cut
        line.overwritten = overwritten
        line.spans = spans
        return line

    @property
    def kept(self) -> str:
        """The text without the marker."""
        return self[: -len(_marker(self.cut))] if self.cut else str(self)


class LineAssembler:
    """Puts lines together from chunks of bytes.

    Guarantees:
        - the same lines for every way to cut the same bytes into chunks;
        - bad UTF-8 becomes U+FFFD, no bytes raise;
        - no line has a control character (but tab), an escape sequence, a line or paragraph
          separator, or a mark that changes the direction of writing;
        - a carriage return overwrites what stood before it, as on a terminal, and never begins
          a line (``Line.overwritten``); before a newline it means nothing;
        - colours are kept beside the text (``Line.spans``), and none goes beyond its line;
        - no line is longer than ``limit`` characters and its marker, and no more is kept in memory.
    """

    def __init__(self, limit: int = LINE_LIMIT) -> None:
        """``limit`` is in characters."""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = _LineBuilder(limit)
        self._limit = limit

    @property
    def open(self) -> bool:
        """Whether something came after the last newline."""
        return self._line.begun

    def feed(self, chunk: bytes) -> list[Line]:
        """The lines that ``chunk`` ends."""
        return self.feed_text(self._decoder.decode(chunk))

    def close(self) -> list[Line]:
        """What was left without a newline; the assembler can be used again after."""
        lines = self.feed_text(self._decoder.decode(b"", final=True))
        self._decoder.reset()
        if self._line.begun:
            lines.append(self._line.finish())
        return lines

    def feed_text(self, text: str) -> list[Line]:
        """The lines that ``text``, decoded already, ends."""
        ended = text.split("\n")
        rest = ended.pop()
        lines = []
        for part in ended:
            # nearly every line: whole, and with nothing in it that needs care
            if not self._line.begun and len(part) <= self._limit and part.isprintable():
                lines.append(Line(part))
                continue
            self._line.add(part)
            lines.append(self._line.finish())
        if rest:
            self._line.add(rest)
        return lines


def clean(text: str, limit: int = LINE_LIMIT) -> Line:
    """``text`` as one harmless line, by the rules of `LineAssembler`; newlines become spaces.

    A `Line` is cut anew, and stays ``overwritten``.
    """
    if isinstance(text, Line) and not text.cut and len(text) <= limit:
        return text
    if len(text) <= limit and text.isprintable():
        return Line(text)
    builder = _LineBuilder(limit)
    if isinstance(text, Line):
        builder.overwritten = text.overwritten
        builder.cut = text.cut
        text = text.kept
    builder.add(text.replace("\n", " "))
    return builder.finish()


class _LineBuilder:
    """The line that is being put together, and where in an escape sequence it stands."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._reset()

    def _reset(self) -> None:
        self.begun = False
        self.cut = 0
        self.overwritten = False
        self._parts: list[str] = []
        self._length = 0
        self._returned = False
        self._state = _TEXT
        self._style = PLAIN
        self._parameters = ""
        self._spans: list[Span] = []

    def add(self, text: str) -> None:
        """More of the line; ``text`` has no newline."""
        if not text:
            return
        self.begun = True
        # Nearly every line: isprintable is False for all that needs care, and fast.
        if self._state == _TEXT and text.isprintable():
            self._append(text)
            return
        at = 0
        while at < len(text):
            run = _RUN[self._state].match(text, at)
            assert run is not None  # noqa: S101  each matches the empty text  # nosec B101
            if self._state == _TEXT:
                self._append(run[0].translate(_HARMLESS))
            elif self._state == _CSI:
                self._parameters = (self._parameters + run[0])[:_PARAMETERS]
            at = run.end()
            if at < len(text) and self._takes(text[at]):
                at += 1

    def finish(self) -> Line:
        """The line; the next one begins."""
        text, spans = "".join(self._parts), tuple(self._spans)
        line = Line(text, cut=self.cut, overwritten=self.overwritten, spans=spans)
        self._reset()
        return line

    def _takes(self, char: str) -> bool:
        """Moves on at the character that ended a run; False: it has to be looked at again."""
        if char == "\r":
            self._state, self._returned = _TEXT, True
            return True
        if char == "\x1b":
            self._state = _STRING_ESCAPE if self._state == _STRING else _ESCAPE
            return True
        if self._state == _STRING:
            self._state = _TEXT
            return True
        if self._state == _STRING_ESCAPE and char != "\\":
            self._state = _ESCAPE
            return False
        if self._state == _ESCAPE and char in "[]PX^_":
            self._state = _CSI if char == "[" else _STRING
            self._parameters = ""
            return True
        if self._state == _CSI and char == "m":
            self._style = restyled(self._style, self._parameters)
        self._state = _TEXT
        # The final byte of a sequence; anything else ends a broken one and is text itself.
        return "0" <= char <= "~"

    def _append(self, text: str) -> None:
        if not text:
            return
        if self._returned:
            self._parts, self._spans, self._length, self.cut = [], [], 0, 0
            self._returned, self.overwritten = False, True
        kept = text[: self._limit - self._length]
        if kept:
            self._parts.append(kept)
            if self._style != PLAIN:
                self._mark(len(kept))
            self._length += len(kept)
            if len(self._parts) > _MOST_PARTS:
                self._parts = ["".join(self._parts)]
        self.cut += len(text) - len(kept)

    def _mark(self, length: int) -> None:
        """The next ``length`` characters have the present style."""
        start, long, style = self._spans[-1] if self._spans else (0, 0, PLAIN)
        if style == self._style and start + long == self._length:
            self._spans[-1] = (start, long + length, style)
        elif len(self._spans) < SPAN_LIMIT:
            self._spans.append((self._length, length, self._style))


def _marker(cut: int) -> str:
    return f" … [{cut:,} more characters cut]"
