from __future__ import annotations

import tracemalloc
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from repo2dockerspawner.builds.lines import LINE_LIMIT, LineAssembler, clean

MARKER = " … [1 more characters cut]"
REORDERING = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")

# What terminals and logs are made of, beside any bytes at all.
PIECES = st.lists(
    st.one_of(
        st.binary(max_size=6),
        st.text(max_size=6).map(str.encode),
        st.sampled_from(
            [
                b"\n",
                b"\r",
                b"\r\n",
                b"\x1b",
                b"\x1b[31m",
                b"\x1b]0;title\x07",
                b"\x1b]8;;https://example.org\x1b\\",
                b"\x9b1m",
                b"\xc2\x9b",
                "☃".encode(),
                "\u2028".encode(),
                "\u202e".encode(),
                b"\xff\xfe",
                b"\x00",
                b"x" * 30,
            ]
        ),
    ),
    max_size=20,
).map(b"".join)


def assemble(*chunks: bytes, limit: int = LINE_LIMIT) -> list[str]:
    assembler = LineAssembler(limit)
    lines: list[str] = []
    for chunk in chunks:
        lines += assembler.feed(chunk)
    return [str(line) for line in [*lines, *assembler.close()]]


@pytest.mark.parametrize(
    ("printed", "lines"),
    [
        pytest.param(b"", [], id="nothing"),
        pytest.param(b"a\nb\n", ["a", "b"], id="lines"),
        pytest.param(b"a\nb", ["a", "b"], id="no newline at the end"),
        pytest.param(b"\n\na\n", ["", "", "a"], id="empty lines"),
        pytest.param(b"a\r\nb\r\n", ["a", "b"], id="the newlines of Windows"),
        pytest.param(b"a\r\r\nb\n", ["a", "b"], id="such newlines, made once more"),
        pytest.param(b"10%\r50%\r100%\n", ["100%"], id="progress bar"),
        pytest.param(b"100%\r", ["100%"], id="progress bar that stands still"),
        pytest.param(b"100%\r\x1b[K\n", ["100%"], id="nothing that shows after a return"),
        pytest.param(b"a\tb\n", ["a\tb"], id="tab"),
        pytest.param(b"a\x00\x07\x08\x0b\x0c\x1c\x7fb\n", ["ab"], id="control characters"),
        pytest.param("a\x85b\x9bc".encode(), ["abc"], id="C1 control characters"),
        pytest.param(b"\x1b[1;31mred\x1b[0m\n", ["red"], id="colours"),
        pytest.param(b"\x1b[2K\x1b[1Gnew\n", ["new"], id="moves of the cursor"),
        pytest.param(b"\x1b]0;title\x07a\x1b]0;t\x1b\\b\n", ["ab"], id="titles of the window"),
        pytest.param(b"\x1b]8;;https://x\x07a\x1b]8;;\x07\n", ["a"], id="links"),
        pytest.param(b"\x1bPq...\x1b\\a\x1b(Bb\x1b=c\n", ["abc"], id="other sequences"),
        pytest.param(b"\x1b]0;never ended\na\n", ["", "a"], id="open sequence ends with its line"),
        pytest.param(b"\x1b]0;x\x1b[31ma\n", ["a"], id="sequence in a sequence"),
        pytest.param("\x1b[3é\n".encode(), ["é"], id="broken sequence"),
        pytest.param(b"a\xff\xfeb\n", ["a\ufffd\ufffdb"], id="bad UTF-8"),
        pytest.param("☃".encode()[:2], ["\ufffd"], id="half a character at the end"),
        pytest.param("a\u2028b\u2029c\n".encode(), ["abc"], id="line separators"),
        pytest.param("\u202egpj.exe\u2066\u200f\n".encode(), ["gpj.exe"], id="direction marks"),
        pytest.param("\ufeffa\n".encode(), ["a"], id="byte order mark"),
        pytest.param("👩\u200d🚀 क्\u200dष\n".encode(), ["👩\u200d🚀 क्\u200dष"], id="joiners stay"),
    ],
)
def test_lines_are_clean_and_whole(printed: bytes, lines: list[str]) -> None:
    assert assemble(printed) == lines


@settings(max_examples=2_000, deadline=None)
@given(PIECES, st.integers(min_value=1, max_value=20))
@example(b"\r\n" * 5, 3)
def test_every_split_gives_the_same_lines(printed: bytes, limit: int) -> None:
    whole = assemble(printed, limit=limit)
    for at in range(len(printed) + 1):
        assert assemble(printed[:at], printed[at:], limit=limit) == whole
    assert assemble(*(bytes([byte]) for byte in printed), limit=limit) == whole


@settings(max_examples=2_000, deadline=None)
@given(PIECES)
def test_no_bytes_make_a_line_that_does_harm(printed: bytes) -> None:
    for line in assemble(printed):
        assert_harmless(line)


@settings(max_examples=1_000, deadline=None)
@given(st.text(st.characters(exclude_categories=())))
def test_no_text_makes_a_line_that_does_harm(text: str) -> None:
    assert_harmless(clean(text))
    clean(text).encode()


def assert_harmless(line: str) -> None:
    assert len(line.splitlines()) <= 1
    assert len(line) <= LINE_LIMIT + len(MARKER) + 10
    assert not REORDERING & set(line)
    assert not [
        c
        for c in line
        if unicodedata.category(c) in {"Cc", "Cs", "Zl", "Zp"} - {"\t"} and c != "\t"
    ]


@given(st.text())
def test_a_clean_line_stays_as_it_is(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_a_long_line_is_cut_and_says_how_much() -> None:
    [line] = LineAssembler().feed(b"x" * 10_000 + b"\n")
    assert line == "x" * 4_096 + " … [5,904 more characters cut]"
    assert (line.cut, line.kept) == (5_904, "x" * 4_096)


def test_a_cut_line_cut_again_counts_all_that_is_missing() -> None:
    [line] = LineAssembler(100).feed(b"x" * 130 + b"\n")
    assert clean(line, 10) == "x" * 10 + " … [120 more characters cut]"


def test_what_a_return_overwrites_is_not_counted_as_cut() -> None:
    assert assemble(b"x" * 10_000 + b"\rdone\n") == ["done"]


def test_a_line_as_long_as_the_limit_is_whole() -> None:
    assert assemble(b"x" * 4_096) == ["x" * 4_096]
    assert assemble(b"x" * 4_097) == ["x" * 4_096 + MARKER]


@pytest.mark.parametrize(
    ("printed", "overwritten"),
    [(b"a\rb\n", True), (b"\rb\n", True), (b"a\r\n", False), (b"a\n", False)],
)
def test_a_line_says_whether_its_beginning_was_overwritten(
    printed: bytes, overwritten: bool
) -> None:
    [line] = LineAssembler().feed(printed)
    assert line.overwritten is overwritten
    assert clean(line).overwritten is overwritten


@pytest.mark.parametrize(
    ("chunk", "times"),
    [
        pytest.param(b"x" * 16_384, 640, id="10 MB"),
        pytest.param("☃\x1b[0m".encode() * 2_340, 8, id="in the smallest pieces"),
    ],
)
@pytest.mark.parametrize("limit", [LINE_LIMIT, 65_536])
def test_a_line_without_end_takes_no_more_memory_than_its_limit(
    chunk: bytes, times: int, limit: int
) -> None:
    assembler = LineAssembler(limit)
    tracemalloc.start()
    try:
        assert [assembler.feed(chunk) for _ in range(times)] == [[]] * times
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 4 * limit + 50_000
    [line] = assembler.close()
    assert len(line.kept) <= limit


def test_an_assembler_can_be_used_again_after_its_end() -> None:
    assembler = LineAssembler()
    assert assembler.feed(b"\xe2\x98") == []
    assert assembler.open is False
    assert assembler.close() == ["\ufffd"]
    assert assembler.feed(b"a\n") == ["a"]
    assert assembler.close() == []
