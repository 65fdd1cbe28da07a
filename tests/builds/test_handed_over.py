"""What arrives on the standard input of a build container, and what is printed afterwards."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from repo2dockerspawner.builds.handing import document, handing_over
from repo2dockerspawner.builds.inside import handed_over
from repo2dockerspawner.builds.inside.redaction import MASK, Redactor
from repo2dockerspawner.builds.logs import LogParser
from repo2dockerspawner.credentials import Credential

INSIDE = Path(handed_over.__file__).parent
SECRET = "glpat-é\"'+/0123456789"
CREDENTIAL = Credential("https://host/group", "ann", SECRET, "-----k-----\nAAAA\n", "host key")
DOCUMENT = document([CREDENTIAL])

TAKE = """
import os, sys
sys.path.insert(0, sys.argv[1])
from inside import handed_over
try:
    credentials, secrets = handed_over.take(float(sys.argv[2]))
except ValueError as error:
    raise SystemExit(f"refused: {error}")
left = os.read(0, 10)
print(os.readlink("/proc/self/fd/0"), left, credentials[0]["place"], len(secrets))
handed_over.redact_output(secrets)
for secret in (credentials[0]["password"], credentials[0]["password"].encode()):
    print("text", secret)
print("half", credentials[0]["password"][:9], end="")
print(credentials[0]["password"][9:], file=sys.stdout)
print("error", repr(credentials), file=sys.stderr)
print("the end", credentials[0]["password"][:4], end="")
raise RuntimeError(credentials)
"""


def run(
    given: bytes | None, *, seconds: float = 5, close: bool = True
) -> subprocess.CompletedProcess[str]:
    """Runs what the configuration does, on a standard input of these bytes."""
    reads, writes = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-S", "-c", TAKE, str(INSIDE.parent), str(seconds)],
        stdin=reads,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONIOENCODING": "utf-8"},
    ) as process:
        os.close(reads)
        try:
            # in two, with a pause between
            for part in ((given or b"")[:7], (given or b"")[7:]):
                os.write(writes, part)
                time.sleep(0.1)
            if close:
                os.close(writes)
            out, err = process.communicate(timeout=30)
        finally:
            if not close:
                os.close(writes)
    return subprocess.CompletedProcess([], process.returncode, out, err)


def test_they_arrive_and_nothing_of_them_can_be_printed_or_read_again() -> None:
    done = run(DOCUMENT)
    lines = done.stdout.splitlines()
    assert lines[0] == "/dev/null b'' https://host/group 3"
    assert lines[1:4] == [f"text {MASK}", f"text b'{MASK}'", f"half {MASK}"]
    # what is held back for being a beginning comes at the end
    assert lines[4] == f"the end {SECRET[:4]}"
    assert done.returncode == 1
    assert "RuntimeError" in done.stderr
    assert f"'password': '{MASK}'" in done.stderr
    for text in (done.stdout, done.stderr):
        assert "0123456789" not in text
        assert "AAAA" not in text


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"\n",
        DOCUMENT[:-1],
        DOCUMENT[:20],
        b"[]\n",
        b"null\n",
        b'{"credentials": []}\n',
        b'{"credentials": 1, "secrets": []}\n',
        b'"' + SECRET.encode() + b"\n",
        b"\xff\n",
    ],
)
def test_what_is_not_all_of_them_is_refused_without_a_word_of_it(given: bytes) -> None:
    done = run(given)
    assert done.returncode == 1
    assert done.stderr == "refused: the build's credentials did not arrive\n"
    assert done.stdout == ""


def test_an_endless_one_is_not_read_to_its_end() -> None:
    reads, writes = os.pipe()
    with subprocess.Popen(
        [sys.executable, "-S", "-c", TAKE, str(INSIDE.parent), "20"], stdin=reads, stderr=-1
    ) as process:
        os.close(reads)
        with pytest.raises(BrokenPipeError), os.fdopen(writes, "wb") as pipe:
            pipe.write(b"x" * 4 * handed_over.LIMIT)
        assert process.wait(10) == 1


def test_one_that_does_not_come_is_waited_for_no_longer_than_said() -> None:
    began = time.monotonic()
    done = run(b"{", seconds=1, close=False)
    assert done.stderr == "refused: the build's credentials did not arrive\n"
    assert 0.9 < time.monotonic() - began < 8
    assert handed_over.SECONDS == 30


def test_the_document_is_one_line_with_what_is_needed() -> None:
    assert DOCUMENT.count(b"\n") == 1
    assert DOCUMENT.endswith(b"\n")
    given = json.loads(DOCUMENT)
    assert given["credentials"] == [
        {
            "place": "https://host/group",
            "username": "ann",
            "password": SECRET,
            "key": CREDENTIAL.key,
            "known_hosts": "host key",
        }
    ]
    assert given["secrets"] == [SECRET, f"ann:{SECRET}", CREDENTIAL.key]


class Unused:
    def __getattr__(self, name: str) -> None:
        raise AssertionError(f"{name} was asked for")


def test_without_credentials_the_engine_is_not_asked() -> None:
    with handing_over(Unused(), "container", ()):
        pass


def test_it_runs_under_the_oldest_python_of_repo2docker() -> None:
    for name in ("handed_over.py", "gitaccess.py", "redaction.py"):
        ast.parse((INSIDE / name).read_text(encoding="utf-8"), feature_version=(3, 9))


# -- the hub reads a log ---------------------------------------------------------------------------


@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_hub_takes_secrets_out_of_a_log_wherever_it_is_cut(ascii_only: bool) -> None:
    records = [
        {"message": f"#5 0.1 one {SECRET} here\n", "phase": "building"},
        # in two records, and with a colour in the middle
        {"message": f"#5 0.2 two {SECRET[:9]}", "phase": "building"},
        {"message": f"{SECRET[9:]}\n", "phase": "building"},
        {"message": f"#5 0.3 three {SECRET[:5]}\x1b[31m{SECRET[5:]}\n", "phase": "building"},
        {"message": "#5 0.4 four\n", "phase": "building"},
    ]
    raw = "".join(json.dumps(one, ensure_ascii=ascii_only) + "\n" for one in records).encode()
    expected = [f"#5 0.{n} {word}" for n, word in ((1, f"one {MASK} here"), (2, f"two {MASK}"))]
    expected += [f"#5 0.3 three {MASK}", "#5 0.4 four"]
    for cut in range(0, len(raw), 3):
        parser = LogParser(redactor=Redactor([SECRET]))
        events = [*parser.feed(raw[:cut]), *parser.feed(raw[cut:]), *parser.close()]
        assert [event.text for event in events] == expected


def test_the_end_of_a_log_that_begins_like_a_secret_is_not_lost() -> None:
    parser = LogParser(json_logs=False, redactor=Redactor([SECRET]))
    assert parser.feed(b"text glpat-") == []
    assert [event.text for event in parser.close()] == ["text glpat-"]
