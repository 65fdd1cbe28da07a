"""The colours in which a build printed its lines, as numbers beside the text.

A page gets plain text and which part of it has which of a few styles, so nothing that a build
prints can become HTML, a class or a style of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Final

__all__ = [
    "BACKGROUND",
    "BOLD",
    "PLAIN",
    "SPAN_LIMIT",
    "SPAN_SIZE",
    "UNDERLINE",
    "Span",
    "clipped",
    "in_utf16",
    "restyled",
    "shifted",
]

Span = tuple[int, int, int]
"""Where it begins in a text, how long it is, both in characters, and its style.

A style is a sum: 1 to 8 for the colour black, red, green, yellow, blue, magenta, cyan, white,
9 for grey; `BACKGROUND` times 1 to 8 for what is behind it; `BOLD`; `UNDERLINE`.
"""

PLAIN: Final = 0
BACKGROUND: Final = 16
BOLD: Final = 256
UNDERLINE: Final = 512
SPAN_LIMIT: Final = 32
"""Spans that are kept of a line; the rest of it is plain."""
SPAN_SIZE: Final = 16
"""What a span counts as where a log's characters are counted."""

_COLOUR: Final = BACKGROUND - 1
_BEHIND: Final = _COLOUR * BACKGROUND
_GREY: Final = 9
_BASIC: Final = 8
# Whatever else ends in an "m" is another function of some terminal.
_SGR: Final = re.compile(r"[0-9;]{0,64}")
# ECMA-48, 8.3.117; the bright ones (90 to 97, 100 to 107) as terminals have them.
_CHANGES: Final = {
    0: (0, PLAIN),
    1: (~0, BOLD),
    4: (~0, UNDERLINE),
    22: (~BOLD, PLAIN),
    24: (~UNDERLINE, PLAIN),
    39: (~_COLOUR, PLAIN),
    49: (~_BEHIND, PLAIN),
}
_EXTENDED: Final = (38, 48, 58)
_FOREGROUND: Final = 38
_UNDERLINED: Final = 58
# How many numbers follow 38;5 and 38;2.
_FOLLOWING: Final = {5: 1, 2: 3}


def restyled(style: int, parameters: str) -> int:
    """Return the style after the control sequence ``ESC [ parameters m``.

    Bold, underline and the basic colours are kept; bright colours are the basic ones, of the
    palettes of 256 and of 16 million colours only the first 16 are known. Anything else changes
    nothing.
    """
    if not _SGR.fullmatch(parameters):
        return style
    codes = [int(code or 0) for code in parameters.split(";")]
    at = 0
    while at < len(codes):
        code = codes[at]
        at += 1
        if code not in _EXTENDED:
            style = _after(style, code)
            continue
        kind = codes[at] if at < len(codes) else 0
        if kind == 5 and at + 1 < len(codes) and code != _UNDERLINED:  # noqa: PLR2004
            style = _indexed(style, codes[at + 1], foreground=code == _FOREGROUND)
        at += 1 + _FOLLOWING.get(kind, len(codes))
    return style


def _after(style: int, code: int) -> int:
    if code in _CHANGES:
        kept, added = _CHANGES[code]
        return style & kept | added
    tens, digit = divmod(code, 10)
    if digit < _BASIC:
        if tens in {3, 9}:
            return _indexed(style, digit + (_BASIC if tens == 9 else 0), foreground=True)  # noqa: PLR2004
        if tens in {4, 10}:
            return _indexed(style, digit, foreground=False)
    return style


def _indexed(style: int, index: int, *, foreground: bool) -> int:
    """Return the style in one of the 16 colours; the others are left out: back to none."""
    colour = index % _BASIC + 1 if index < 2 * _BASIC else 0
    if foreground:
        return style & ~_COLOUR | (_GREY if index == _BASIC else colour)
    return style & ~_BEHIND | colour * BACKGROUND


def clipped(spans: Iterable[Span], length: int) -> tuple[Span, ...]:
    """Return what the spans are in the first ``length`` characters."""
    return tuple(
        (start, min(long, length - start), style) for start, long, style in spans if start < length
    )


def shifted(spans: Iterable[Span], by: int) -> tuple[Span, ...]:
    """Return the spans ``by`` characters on, without what is then before the beginning."""
    moved = ((start + by, start + by + long, style) for start, long, style in spans)
    return tuple(
        (max(0, start), end - max(0, start), style) for start, end, style in moved if end > 0
    )


def in_utf16(spans: Sequence[Span], text: str) -> list[Span]:
    """Return the spans counted as JavaScript counts: what is beyond U+FFFF is two.

    Args:
        spans: in their order, none over another.
        text: what they are in.
    """
    if not text or max(text) <= "\uffff":
        return list(spans)
    counted: list[Span] = []
    at = units = 0
    for start, long, style in spans:
        units += _units(text[at:start])
        wide = _units(text[start : start + long])
        counted.append((units, wide, style))
        at, units = start + long, units + wide
    return counted


def _units(text: str) -> int:
    return len(text) + sum(char > "\uffff" for char in text)
