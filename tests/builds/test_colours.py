"""Colours of what a build printed, as numbers beside the text."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from repo2dockerspawner.builds.colours import (
    BACKGROUND,
    BOLD,
    PLAIN,
    SPAN_LIMIT,
    UNDERLINE,
    Span,
    clipped,
    in_utf16,
    restyled,
    shifted,
)
from repo2dockerspawner.builds.lines import Line, LineAssembler

RED, GREEN, BLUE, GREY = 2, 3, 5, 9
EVERY = {
    front + behind * BACKGROUND + bold + underline
    for front in range(10)
    for behind in range(9)
    for bold in (0, BOLD)
    for underline in (0, UNDERLINE)
}


def assemble(*chunks: bytes, limit: int = 100) -> list[Line]:
    assembler = LineAssembler(limit)
    lines = [line for chunk in chunks for line in assembler.feed(chunk)]
    return [*lines, *assembler.close()]


@pytest.mark.parametrize(
    ("before", "parameters", "after"),
    [
        (PLAIN, "31", RED),
        (PLAIN, "91", RED),
        (PLAIN, "90", GREY),
        (PLAIN, "1;32;44", GREEN + 5 * BACKGROUND + BOLD),
        (PLAIN, "102", 3 * BACKGROUND),
        (PLAIN, "4", UNDERLINE),
        (RED + BOLD, "", PLAIN),
        (RED + BOLD, "0", PLAIN),
        (RED, "0;34", BLUE),
        (RED, ";34", BLUE),
        (RED + BOLD, "22", RED),
        (RED + UNDERLINE, "24", RED),
        (RED + BOLD, "39", BOLD),
        (RED + 5 * BACKGROUND, "49", RED),
        (PLAIN, "38;5;1", RED),
        (PLAIN, "38;5;8", GREY),
        (PLAIN, "48;5;12;1", 5 * BACKGROUND + BOLD),
        # beyond the basic ones: none, and what follows still counts
        (RED, "38;5;208;1", BOLD),
        (RED, "38;2;255;31;1;4", RED + UNDERLINE),
        (PLAIN, "58;5;1;31", RED),
        # of no meaning here
        (RED, "2", RED),
        (RED, "7", RED),
        (RED, "38", RED),
        (RED, "38;5", RED),
        (RED, "38;9;1;4", RED),
        (RED, "31:1", RED),
        (RED, ">4;1", RED),
        (RED, "?1", RED),
        (RED, "1 ", RED),
        (RED, "310", RED),
        (RED, "1" * 65, RED),
        (RED, "9" * 64, RED),
    ],
)
def test_what_a_sequence_changes(before: int, parameters: str, after: int) -> None:
    assert restyled(before, parameters) == after


@settings(max_examples=2_000)
@given(st.sampled_from(sorted(EVERY)), st.text("0123456789;:<?> \u0663\u00b2m", max_size=70))
def test_no_parameters_make_a_style_that_is_not_known(style: int, parameters: str) -> None:
    assert restyled(style, parameters) in EVERY


@pytest.mark.parametrize(
    ("printed", "lines"),
    [
        (b"a\x1b[31mbc\x1b[0md\n", [("abcd", ((1, 2, RED),))]),
        (b"\x1b[1m\x1b[31mbc\n", [("bc", ((0, 2, RED + BOLD),))]),
        (b"\x1b[31mred\nplain\n", [("red", ((0, 3, RED),)), ("plain", ())]),
        (b"\x1b[31ma\x1b[32m\x1b[31mb\n", [("ab", ((0, 2, RED),))]),
        (b"\x1b[31m old \rnew\n", [("new", ((0, 3, RED),))]),
        (b"\x1b[31m old \r\x1b[0mnew\n", [("new", ())]),
        (b"\x1b[31ma\x00b\n", [("ab", ((0, 2, RED),))]),
        (b"\x1b[31\x1b[0ma\n", [("a", ())]),
        (b"\x1b[31Ka\x1b[m\n", [("a", ())]),
        (b"\x1b]31mtitle\x07a\n", [("a", ())]),
    ],
)
def test_a_line_says_which_parts_of_it_were_coloured(
    printed: bytes, lines: list[tuple[str, tuple[Span, ...]]]
) -> None:
    assert [(str(line), line.spans) for line in assemble(printed)] == lines


PIECES = st.lists(
    st.one_of(
        st.text('ab\u2603\U0001f600<"\n\r\x1b[m;0134', max_size=8),
        st.integers(0, 110).map(lambda code: f"\x1b[{code}m"),
        st.lists(st.integers(0, 255), max_size=5).map(
            lambda codes: f"\x1b[{';'.join(map(str, codes))}m"
        ),
    ),
    max_size=30,
).map(lambda pieces: "".join(pieces).encode())


@settings(max_examples=500, deadline=None)
@given(PIECES, st.integers(1, 40))
@example(b"\x1b[31m" + b"x" * 50, 20)
def test_spans_are_in_their_line_in_order_and_the_same_for_every_split(
    printed: bytes, limit: int
) -> None:
    whole = assemble(printed, limit=limit)
    for line in whole:
        at = 0
        for start, length, style in line.spans:
            assert start >= at
            assert length > 0
            at = start + length
            assert style in EVERY - {PLAIN}
        assert at <= len(line.kept)
        assert len(line.spans) <= SPAN_LIMIT
    for at in range(len(printed) + 1):
        again = assemble(printed[:at], printed[at:], limit=limit)
        assert [line.spans for line in again] == [line.spans for line in whole]


def test_a_line_of_ever_new_colours_is_plain_after_some() -> None:
    printed = "".join(f"\x1b[{31 + number % 6}mx" for number in range(90)).encode()
    (line,) = assemble(printed)
    assert line == "x" * 90
    assert len(line.spans) == SPAN_LIMIT


def test_spans_are_clipped_and_shifted() -> None:
    spans = ((0, 3, RED), (5, 4, BLUE))
    assert clipped(spans, 7) == ((0, 3, RED), (5, 2, BLUE))
    assert clipped(spans, 5) == ((0, 3, RED),)
    assert shifted(spans, 10) == ((10, 3, RED), (15, 4, BLUE))
    assert shifted(spans, -1) == ((0, 2, RED), (4, 4, BLUE))
    assert shifted(spans, -3) == ((2, 4, BLUE),)


@given(st.text(max_size=30), st.lists(st.integers(0, 30), max_size=8))
def test_what_javascript_counts_is_the_same_part_of_the_text(text: str, cuts: list[int]) -> None:
    cuts = sorted({min(cut, len(text)) for cut in cuts})
    spans = [(a, b - a, RED) for a, b in zip(cuts[::2], cuts[1::2], strict=False)]
    units = text.encode("utf-16-le", "surrogatepass")
    for (start, long, _), (at, wide, style) in zip(spans, in_utf16(spans, text), strict=True):
        found = units[2 * at : 2 * (at + wide)].decode("utf-16-le", "surrogatepass")
        assert found == text[start : start + long]
        assert style == RED
