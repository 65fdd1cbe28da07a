"""Runs git, and anything that fetches, no longer than what it fetches is small enough.

Put into build containers, under repo2docker's own Python (>= 3.9, standard library alone).
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import subprocess  # lists of arguments; no shell is used  # nosec B404
import threading
import time
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["TooLargeError", "folder_size", "largest_file", "run"]

# Seconds between two looks at a folder, and at most this part of the time is spent looking.
_LOOK_EVERY = 0.25
_PART = 0.1
_LONGEST_LINE = 64 * 1024
_SAID = os.strerror(errno.EFBIG)


class TooLargeError(Exception):
    """What is fetched is larger than it may be."""


def folder_size(folder: str) -> int:
    """Return the bytes of all files in a folder, as far as it can be read."""
    total = 0
    folders = [folder]
    while folders:
        # files come and go while git works
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(entry.path)
                    else:
                        total += entry.stat(follow_symlinks=False).st_size
    return total


@contextlib.contextmanager
def largest_file(limit: int) -> Iterator[None]:
    """Let no file grow beyond ``limit`` bytes, 0 for any, and none of a program started here.

    A folder is looked at now and then only; this is what a fast server can't outrun.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    if limit > 0 and (hard == resource.RLIM_INFINITY or limit < hard):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class _Watch:
    """Ends a process when a folder has grown beyond a limit."""

    def __init__(self, process: subprocess.Popen[bytes], folder: str, limit: int) -> None:
        self.exceeded = False
        self._process = process
        self._folder = folder
        self._limit = limit
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        pause = _LOOK_EVERY
        while not self._ended.wait(pause):
            begun = time.monotonic()
            if folder_size(self._folder) > self._limit:
                self.exceeded = True
                _kill(self._process)
                return
            pause = max(_LOOK_EVERY, (time.monotonic() - begun) / _PART)

    def end(self) -> None:
        self._ended.set()
        self._thread.join()


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a process and all it has started: they are a group of their own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def run(
    command: Sequence[str],
    *,
    capture: bool,
    folder: str,
    env: Mapping[str, str],
    limit: int = 0,
    pass_fds: Sequence[int] = (),
) -> Iterator[str]:
    """Run a program in a folder; yields the lines that it prints, where ``capture``.

    Args:
        command: the program and its arguments.
        capture: False lets it print by itself.
        folder: where it runs, and what may not grow beyond the limit.
        env: the program's whole environment; with ``LC_ALL`` so that it speaks English.
        limit: bytes, 0 for any.
        pass_fds: open files that it has from us.

    Raises:
        TooLargeError: the folder has grown beyond the limit; the program is ended.
        subprocess.CalledProcessError: it failed.
    """
    with largest_file(limit):
        process = subprocess.Popen(  # noqa: S603  the caller's to make safe  # nosec B603
            command,
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if capture else None,
            stderr=subprocess.STDOUT if capture else None,
            start_new_session=True,
            # Python ignores SIGXFSZ, and so do they then: a program that it kills says nothing
            restore_signals=False,
            pass_fds=pass_fds,
        )
    watch = _Watch(process, folder, limit) if limit > 0 else None
    exceeded = False
    try:
        for line in _lines(process):
            exceeded = exceeded or _SAID in line
            yield line
        code = process.wait()
    finally:
        _kill(process)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        if watch is not None:
            watch.end()
    # a file at its limit makes the program fail before the folder is looked at, and git tidies up
    exceeded = bool(code) and exceeded
    if watch is not None and (exceeded or watch.exceeded or folder_size(folder) > limit):
        raise TooLargeError
    if code:
        raise subprocess.CalledProcessError(code, command)


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    if process.stdout is None:
        return
    while line := process.stdout.readline(_LONGEST_LINE):
        for part in line.decode("utf-8", "replace").replace("\r\n", "\n").split("\r"):
            if part:
                yield part if part.endswith("\n") else part + "\n"
