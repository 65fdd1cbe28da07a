"""The build log file: one line per event of every build, each line saying which build."""

from __future__ import annotations

import logging
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timezone

from concurrent_log_handler import ConcurrentRotatingFileHandler

from .events import Event
from .plan import BuildPlan

__all__ = ["BuildLogFile"]

_SIZE = 10 * 1024 * 1024
_COPIES = 5


class BuildLogFile:
    """A rotating file that several processes (hub, service, CLI) may write at once.

    Each line: time (UTC), the build key's first 12 digits, phase, ``>`` for what the build
    printed or ``-`` for a sentence of ours, text. Ten megabytes, five older copies.

    Written on a thread of its own, because the file's lock may be another process's for a
    moment, and the event loop never waits for a disk.

    Raises:
        OSError: the file can't be written.
    """

    def __init__(self, path: str) -> None:
        self._handler = ConcurrentRotatingFileHandler(
            path, maxBytes=_SIZE, backupCount=_COPIES, encoding="utf-8"
        )
        with open(path, "a", encoding="utf-8"):  # noqa: PTH123 - only to see that it can be
            pass
        self._handler.setFormatter(logging.Formatter("%(message)s"))
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="r2d-logfile")

    def record(self, plan: BuildPlan, event: Event) -> None:
        """Write an event, a line for each of its lines, soon."""
        now = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
        head = f"{now} {plan.key[:12]} {event.phase or '-'} {'>' if event.is_log else '-'} "
        text = "\n".join(head + line for line in event.text.split("\n"))
        self._thread.submit(self._write, text)

    def _write(self, text: str) -> None:
        record = logging.LogRecord("repo2dockerspawner", logging.INFO, "", 0, text, None, None)
        self._handler.handle(record)

    def close(self) -> None:
        """Write what is left and close the file."""
        self._thread.shutdown(wait=True)
        self._handler.close()
