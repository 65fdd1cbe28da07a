"""The build log file, with real threads and processes."""

from __future__ import annotations

import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from repo2dockerspawner.builds import logfile
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.logfile import BuildLogFile
from repo2dockerspawner.builds.plan import BuildPlan

LINE = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00 (?P<key>[0-9a-f]{12}) (?P<phase>\S+) "
    r"(?P<kind>[>-]) (?P<text>.*)"
)


def plan(digit: str = "a") -> BuildPlan:
    return BuildPlan(
        key=digit * 64,
        container="r2d-build-x",
        image="r2d-x",
        labels={},
        provider="git",
        url="https://x/y",
        content_id="c" * 40,
    )


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "builds.log"


@pytest.fixture
def log(path: Path) -> Iterator[BuildLogFile]:
    made = BuildLogFile(str(path))
    yield made
    made.close()


def lines_of(*paths: Path) -> list[re.Match[str]]:
    """Return the lines of log files, each of which must be a whole one."""
    found = []
    for one in paths:
        for line in one.read_text().splitlines():
            match = LINE.fullmatch(line)
            assert match, line
            found.append(match)
    return found


def test_every_line_says_which_build_when_and_whose_words(log: BuildLogFile, path: Path) -> None:
    log.record(plan("a"), Event("Cloning\n\nStep 1/2 100% %s", 0.1, "building", is_log=True))
    log.record(plan("b"), Event("The image is ready.", 1, ""))
    log.close()
    assert [line.group("key", "phase", "kind", "text") for line in lines_of(path)] == [
        ("a" * 12, "building", ">", "Cloning"),
        ("a" * 12, "building", ">", ""),
        ("a" * 12, "building", ">", "Step 1/2 100% %s"),
        ("b" * 12, "-", "-", "The image is ready."),
    ]


def test_any_text_can_be_written(log: BuildLogFile, path: Path) -> None:
    log.record(plan(), Event("Übung 数据 \ud800", 0, "building", is_log=True))
    log.close()
    assert lines_of(path)[0]["text"].startswith("Übung 数据 ")


def test_several_threads_do_not_mix_their_lines(log: BuildLogFile, path: Path) -> None:
    def work(digit: str) -> None:
        for number in range(100):
            log.record(plan(digit), Event(f"{digit}{number}\n{digit}", 0, "building", is_log=True))

    threads = [threading.Thread(target=work, args=(digit,)) for digit in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    lines = lines_of(path)
    assert len(lines) == 800
    assert all(line["text"].startswith(line["key"][0]) for line in lines)
    for digit in "abcd":
        texts = [line["text"] for line in lines if line["key"][0] == digit]
        assert texts[::2] == [f"{digit}{number}" for number in range(100)]


WRITER = """
import os, sys
from repo2dockerspawner.builds import logfile
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.plan import BuildPlan
logfile._SIZE, logfile._COPIES = 10_000, 50
child = os.fork()
digit = "a" if child else "b"
log = logfile.BuildLogFile(sys.argv[1])
plan = BuildPlan(key=digit * 64, container="", image="", labels={}, provider="", url="",
                 content_id="")
for number in range(200):
    log.record(plan, Event(f"{number} " + digit * 50, 0, "building", is_log=True))
log.close()
if child and os.waitpid(child, 0)[1]:
    sys.exit(1)
"""


def test_two_processes_write_and_rotate_one_file_and_lose_nothing(
    path: Path, tmp_path: Path
) -> None:
    subprocess.run([sys.executable, "-c", WRITER, str(path)], check=True, timeout=60)
    files = list(tmp_path.glob("builds.log*"))
    assert len(files) > 2
    lines = lines_of(*files)
    for digit in "ab":
        texts = [line["text"] for line in lines if line["key"][0] == digit]
        assert len(texts) == 200
        assert set(texts) == {f"{number} {digit * 50}" for number in range(200)}


def test_the_file_is_rotated_and_the_oldest_copies_go(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logfile, "_SIZE", 1000)
    monkeypatch.setattr(logfile, "_COPIES", 2)
    log = BuildLogFile(str(path))
    for number in range(100):
        log.record(plan(), Event(f"line {number}", 0, "building", is_log=True))
    log.close()
    files = sorted(one.name for one in tmp_path.glob("builds.log*"))
    assert files == ["builds.log", "builds.log.1", "builds.log.2"]
    assert all(one.stat().st_size <= 1100 for one in tmp_path.glob("builds.log*"))
    newest = [line["text"] for line in lines_of(path)] or [
        line["text"] for line in lines_of(tmp_path / "builds.log.1")
    ]
    assert newest[-1] == "line 99"


@pytest.mark.parametrize("where", ["file/builds.log", "folder"])
def test_a_path_that_can_not_be_written_is_refused_at_once(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match=re.escape(where.partition("/")[0])):
        BuildLogFile(str(tmp_path / where))


def test_closing_writes_what_is_left_and_ends_the_thread(path: Path) -> None:
    log = BuildLogFile(str(path))
    for number in range(200):
        log.record(plan(), Event(str(number), 0, "building"))
    log.close()
    assert len(lines_of(path)) == 200
    names = [thread.name for thread in threading.enumerate() if thread.is_alive()]
    assert not [name for name in names if name.startswith("r2d-logfile")]
