"""No secret comes out, whatever it looks like and wherever the stream is cut (case A8)."""

from __future__ import annotations

import ast
import base64
import copy
import html
import itertools
import json
import re
import subprocess
import sys
import time
import traceback
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from markupsafe import escape

from repo2dockerspawner.builds.inside import redaction
from repo2dockerspawner.builds.inside.redaction import MASK, MIN_LENGTH, Redactor, forms
from repo2dockerspawner.credentials import Credential, secrets_of

TOKEN = "glpat-Zx9+/Qw==&é<\"'\\0123456789abcdefghi"
PLAIN = "ghp_0123456789abcdefghijklmnopqrstuvwxyz"
assert len(TOKEN) == len(PLAIN) == 40


def shapes(secret: str, user: str = "ann") -> dict[str, str]:
    """What the world makes of a secret, by the functions that make it."""
    raw = secret.encode()
    pair = f"{user}:{secret}".encode()
    return {
        "as it is": secret,
        "quote": quote(secret),
        "quote everything": quote(secret, safe=""),
        "quote_plus": quote_plus(secret),
        "lower-case digits": re.sub("%..", lambda found: found[0].lower(), quote(secret)),
        "base64": base64.b64encode(raw).decode(),
        "base64 without padding": base64.b64encode(raw).decode().rstrip("="),
        "base64 url-safe": base64.urlsafe_b64encode(raw).decode(),
        "basic": base64.b64encode(pair).decode(),
        "basic, url-safe": base64.urlsafe_b64encode(pair).decode(),
        "basic, quoted": quote(base64.b64encode(pair).decode(), safe=""),
        "json": json.dumps(secret)[1:-1],
        "json, not ascii": json.dumps(secret, ensure_ascii=False)[1:-1],
        "json of repr": json.dumps(repr(secret)),
        "json of html": json.dumps(html.escape(secret)),
        "json of json": json.dumps(json.dumps(secret)),
        "repr": repr(secret),
        "ascii": ascii(secret),
        "repr of bytes": repr(raw),
        "html": html.escape(secret),
        "html, text only": html.escape(secret, quote=False),
        "markupsafe": str(escape(secret)),
    }


# What must not be left of any shape: long enough that no ordinary text has it.
PIECE = 8


def leaked(text: str, shape: str) -> list[str]:
    """The pieces of a shape that are in a text."""
    pieces = {shape[at : at + PIECE] for at in range(len(shape) - PIECE + 1)}
    return sorted(piece for piece in pieces if piece in text)


@pytest.mark.parametrize("secret", [TOKEN, PLAIN])
@pytest.mark.parametrize("name", list(shapes(PLAIN)))
def test_every_shape_is_redacted_wherever_the_stream_is_cut(secret: str, name: str) -> None:
    shape = shapes(secret)[name]
    before, after = "Cloning 'x' with ", " and so on\n"
    raw = (before + shape + after).encode()
    secrets = secrets_of([Credential("https://host", "ann", secret)])
    results = set()
    fresh = Redactor(secrets)
    for cut in range(len(raw) + 1):
        redactor = copy.copy(fresh)
        parts = [redactor.feed(raw[:cut]), redactor.feed(raw[cut:]), redactor.close()]
        # what is out before the cut is out: it may not need what comes after
        for part in (parts[0], b"".join(parts)):
            assert not leaked(part.decode(errors="replace"), shape)
        results.add(b"".join(parts))
    single = copy.copy(fresh)
    results.add(b"".join([*(single.feed(bytes([byte])) for byte in raw), single.close()]))
    assert len(results) == 1
    (result,) = results
    assert result.startswith(before.encode())
    assert result.endswith(after.encode())
    assert MASK.encode() in result
    assert Redactor(secrets).text(before + shape + after) == result.decode()


@pytest.mark.parametrize("before", range(6))
@pytest.mark.parametrize("after", range(6))
def test_a_secret_in_the_base64_of_a_longer_text_is_redacted(before: int, after: int) -> None:
    whole = base64.b64encode(b"x" * before + PLAIN.encode() + b"y" * after).decode()
    result = Redactor([PLAIN]).text(f"Authorization: Basic {whole}")
    kept = result.removeprefix("Authorization: Basic ").replace(MASK, "")
    # a character at each border has bits of the secret's first and last byte
    assert len(kept) <= len(base64.b64encode(b"x" * before + b"y" * after)) + 4


# Few characters, so that secrets begin, end and hold each other.
LETTERS = "ab=/\\<é"


def read_off(
    code: bytes,
) -> tuple[list[str], list[tuple[int, int, int, bytes]], list[int]]:
    """Secrets, pieces and cuts out of one draw, which takes a quarter of the time of so many.

    A piece is which of the patterns, and the part of it that is taken; and after it some other
    bytes.
    """
    take = iter(code).__next__
    secrets = [
        "".join(LETTERS[take() % len(LETTERS)] for _ in range(1 + take() % 9))
        for _ in range(take() % 4)
    ]
    pieces = [
        (take(), take() % 41, take() % 41, bytes(take() for _ in range(take() % 3)))
        for _ in range(take() % 7)
    ]
    return secrets, pieces, [take() for _ in range(take() % 6)]


@settings(max_examples=5000, deadline=None)
@given(st.binary(min_size=80, max_size=80).map(read_off))
def test_no_secret_is_emitted_at_any_split(
    drawn: tuple[list[str], list[tuple[int, int, int, bytes]], list[int]],
) -> None:
    secrets, pieces, cuts = drawn
    redactor = Redactor(secrets)
    patterns = sorted({form.encode() for secret in secrets for form in forms(secret)})
    raw = b""
    for which, left_out, taken, other in pieces:
        one = patterns[which % len(patterns)] if patterns else b"ab"
        # half of the time all of it, else a part, so that some overlap and some come to nothing
        raw += (one if left_out > 20 else one[left_out : left_out + taken]) + other
    borders = [0, *sorted(min(cut, len(raw)) for cut in cuts), len(raw)]
    chunks = [raw[start:stop] for start, stop in itertools.pairwise(borders)]
    emitted = b"".join([*map(redactor.feed, chunks), redactor.close()])
    assert emitted == _expected(raw, patterns)
    assert not [one for one in patterns if one in emitted.replace(MASK.encode(), b"\n")]


def _expected(raw: bytes, patterns: list[bytes]) -> bytes:
    """Every byte of every secret marked, and each run of overlapping ones replaced."""
    spans = sorted(
        (at, at + len(one)) for one in patterns for at in range(len(raw)) if raw.startswith(one, at)
    )
    out, done = b"", 0
    for start, stop in spans:
        if start >= done:
            out += raw[done:start] + MASK.encode()
        done = max(done, stop)
    return out + raw[done:]


def test_two_secrets_that_overlap_are_both_gone() -> None:
    redactor = Redactor(["abcdefgh", "efghijkl", "ijkl"])
    assert redactor.text("-abcdefghijkl-") == f"-{MASK}-"
    assert redactor.text("-abcdefgh-ijkl-") == f"-{MASK}-{MASK}-"
    # one that overlaps itself
    assert Redactor(["abab"]).text("-ababab-") == f"-{MASK}-"


def test_of_two_secrets_one_of_which_begins_the_other_the_longer_is_gone() -> None:
    redactor = Redactor(["abcdef", "abcdefghijkl"])
    out = redactor.feed(b"abcdef")
    assert out == b""
    assert out + redactor.feed(b"ghijkl.") + redactor.close() == f"{MASK}.".encode()


def test_a_beginning_that_comes_to_nothing_is_given_out_at_once() -> None:
    redactor = Redactor([PLAIN])
    assert redactor.feed(b"see ghp_0123") == b"see "
    assert redactor.feed(b" is no token\n") == b"ghp_0123 is no token\n"
    assert redactor.close() == b""


def test_what_is_held_back_comes_at_the_end() -> None:
    redactor = Redactor([PLAIN])
    assert redactor.feed(b"see ghp_0123") == b"see "
    assert redactor.close() == b"ghp_0123"
    assert redactor.close() == b""


def test_a_whole_line_is_never_held_back() -> None:
    redactor = Redactor([PLAIN])
    assert redactor.feed(b"ghp_\n") == b"ghp_\n"


@pytest.mark.parametrize("short", ["", "a", "abc", "ab\ncd\nefg"])
def test_what_is_too_short_to_be_a_secret_is_left_alone(short: str) -> None:
    redactor = Redactor([short])
    assert not redactor
    assert redactor.text("abc and efg cab") == "abc and efg cab"
    assert MIN_LENGTH == 4
    assert secrets_of([Credential("https://host", "ann", "abc")]) == []


def test_each_line_of_a_key_is_a_secret_and_its_frame_is_not() -> None:
    frame = "-----BEGIN OPENSSH PRIVATE KEY-----"
    redactor = Redactor(
        secrets_of([Credential("ssh://git@host", key=f"{frame}\nAAAAB3Nz\r\nline2\n")])
    )
    assert redactor.text(f"{frame}|AAAAB3Nz|line2") == f"{frame}|{MASK}|{MASK}"


def test_a_token_in_the_place_of_the_user_name_is_a_secret_and_a_name_is_none() -> None:
    secrets = secrets_of([Credential("https://host", PLAIN, "x-oauth-basic")])
    assert Redactor(secrets).text(f"{PLAIN} x-oauth-basic") == f"{MASK} {MASK}"
    assert Redactor(secrets_of([Credential("https://host", "ann", PLAIN)])).text("ann") == "ann"


def test_a_traceback_and_the_repr_of_what_holds_a_secret_are_clean() -> None:
    credential = Credential("https://host", "ann", TOKEN)
    redactor = Redactor(secrets_of([credential]))
    given = {"url": f"https://ann:{quote(TOKEN, safe='')}@host", "password": TOKEN}
    try:
        raise ValueError(given)  # noqa: TRY301
    except ValueError as error:
        text = redactor.text("".join(traceback.format_exception(error)) + repr(error))
    assert not [one for shape in shapes(TOKEN).values() for one in leaked(text, shape)]
    assert "ValueError" in text
    assert TOKEN not in repr(credential)
    assert repr(TOKEN)[1:-1] not in repr([credential])


def test_texts_with_bytes_that_are_no_text_come_through() -> None:
    odd = b"a\xff\xfe ".decode(errors="surrogateescape") + PLAIN + "\ud800"
    assert Redactor([PLAIN]).text(odd) == odd.replace(PLAIN, MASK)


def test_without_secrets_nothing_is_touched_or_copied() -> None:
    redactor = Redactor()
    data = b"x" * 1000
    assert redactor.feed(data) is data
    assert redactor.close() == b""
    text = "x" * 1000
    assert redactor.text(text) is text


def test_a_log_of_ten_megabytes_takes_seconds_at_most() -> None:
    redactor = Redactor(secrets_of([Credential("https://host", "ann", TOKEN)]))
    line = (
        b'{"message": "#5 0.2 a line as they are in a log of a build, more or less", "phase": 1}\n'
    )
    began = time.process_time()
    for _ in range(10_000_000 // len(line)):
        assert redactor.feed(line) == line
    assert time.process_time() - began < 15


def test_it_runs_alone_and_under_the_oldest_python_of_repo2docker(tmp_path: Path) -> None:
    source = Path(redaction.__file__).read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 9))
    code = "import redaction; print(redaction.Redactor(['abcdef']).text('-abcdef-'))"
    (tmp_path / "redaction.py").write_text(source, encoding="utf-8")
    # -S: no site packages; -I would leave the folder out
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"-{MASK}-\n"
