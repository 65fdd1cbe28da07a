"""What runs git in a build container: its lines, and its end when a folder grows too large."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from repo2dockerspawner.builds.inside.running import (
    TooLargeError,
    folder_size,
    largest_file,
    run,
)

KIB = 1024


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    me = psutil.Process()
    files, limits = me.num_fds(), resource.getrlimit(resource.RLIMIT_FSIZE)
    threads = set(threading.enumerate())
    yield
    assert me.children(recursive=True) == []
    assert me.num_fds() <= files
    assert resource.getrlimit(resource.RLIMIT_FSIZE) == limits
    assert set(threading.enumerate()) <= threads


def shell(folder: Path, script: str, limit: int = 0, **more: Any) -> Iterator[str]:
    options = {"capture": True, "env": dict(os.environ), **more}
    return run(["sh", "-c", script], folder=str(folder), limit=limit, **options)


def test_lines_come_as_they_are_printed(tmp_path: Path) -> None:
    lines = shell(tmp_path, "echo one; echo two >&2; pwd; read x; printf 'three\\rfour\\r\\nfive'")
    assert next(lines) == "one\n"
    assert list(lines) == ["two\n", f"{tmp_path}\n", "three\n", "four\n", "five\n"]


def test_what_is_no_text_and_what_has_no_end_is_passed_on(tmp_path: Path) -> None:
    assert list(shell(tmp_path, "printf '\\377x\\n'")) == ["\ufffdx\n"]
    lines = list(shell(tmp_path, "head -c 1000000 /dev/zero | tr '\\0' x"))
    assert sum(map(len, lines)) == 1_000_000 + len(lines)


def test_without_capture_it_prints_by_itself(tmp_path: Path, capfd: Any) -> None:
    assert list(shell(tmp_path, "echo one", capture=False)) == []
    assert capfd.readouterr().out == "one\n"


def test_a_failure_is_told(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError) as caught:
        list(shell(tmp_path, "exit 3", limit=KIB))
    assert caught.value.returncode == 3


def test_who_stops_to_listen_ends_it_and_all_it_has_started(tmp_path: Path) -> None:
    lines = shell(tmp_path, "sleep 60 & echo begun; sleep 60", limit=KIB)
    next(lines)
    begun = time.monotonic()
    lines.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 2


def test_one_large_file_ends_it(tmp_path: Path) -> None:
    with pytest.raises(TooLargeError):
        list(shell(tmp_path, "head -c 1000000 /dev/zero > large", limit=100 * KIB))
    assert (tmp_path / "large").stat().st_size == 100 * KIB


def test_many_small_files_end_it_while_it_runs(tmp_path: Path) -> None:
    script = "for i in $(seq 30); do head -c 10240 /dev/zero > $i; done; sleep 60"
    begun = time.monotonic()
    with pytest.raises(TooLargeError):
        list(shell(tmp_path, script, limit=100 * KIB))
    assert time.monotonic() - begun < 5


def test_what_was_too_large_in_the_end_is_said_too(tmp_path: Path) -> None:
    script = "for i in $(seq 30); do head -c 10240 /dev/zero > $i; done"
    with pytest.raises(TooLargeError):
        list(shell(tmp_path, script, limit=100 * KIB))


def test_what_is_small_enough_passes(tmp_path: Path) -> None:
    assert list(shell(tmp_path, "head -c 10240 /dev/zero > a; cat a > b", limit=21 * KIB)) == []


def test_a_process_in_our_place_has_no_limit_afterwards(tmp_path: Path) -> None:
    with largest_file(KIB), pytest.raises(OSError, match="too large"):
        (tmp_path / "a").write_bytes(bytes(2 * KIB))
    (tmp_path / "b").write_bytes(bytes(2 * KIB))


def test_it_passes_open_files_on(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    script = f"import os; os.write({writing}, b'here')"
    command = [sys.executable, "-c", script]
    options: dict[str, Any] = {"capture": True, "env": {}, "pass_fds": (writing,)}
    assert list(run(command, folder=str(tmp_path), **options)) == []
    assert os.read(reading, 10) == b"here"
    os.close(reading)
    os.close(writing)


def test_a_folder_s_size_is_that_of_its_files(tmp_path: Path) -> None:
    inner = tmp_path / "a" / "b"
    inner.mkdir(parents=True)
    (inner / "file").write_bytes(bytes(1000))
    (tmp_path / "file").write_bytes(bytes(234))
    (tmp_path / "outside").symlink_to("/usr")
    link = (tmp_path / "outside").lstat().st_size
    assert folder_size(str(tmp_path)) == 1234 + link
    assert folder_size(str(tmp_path / "nowhere")) == 0
