"""Takes the build's credentials from standard input, and keeps them out of what is printed.

One line of JSON, as ``builds.handing`` writes it::

    {"credentials": [{"place": "…", "username": "…", "password": "…", "key": "…",
                      "known_hosts": "…"}],
     "secrets": ["…"]}

``secrets`` are the texts that may not be printed. Runs inside a build container, under
repo2docker's own Python (>= 3.9, stdlib alone).
"""

from __future__ import annotations

import atexit
import json
import os
import select
import sys
import time
from typing import Any, TextIO

from .redaction import Redactor

__all__ = ["LIMIT", "SECONDS", "RedactedOutput", "redact_output", "take"]

SECONDS = 30
"""How long they may take to arrive, counted from when they are first looked for."""
LIMIT = 1024 * 1024
"""Bytes of them, at most."""

_CHUNK = 64 * 1024


def take(seconds: float = SECONDS) -> tuple[list[dict[str, str]], list[str]]:
    """Return the credentials and the secrets, and leave nothing on standard input.

    Raises:
        ValueError: they did not arrive; the text has nothing of what did.
    """
    raw = bytearray()
    until = time.monotonic() + seconds
    while not raw.endswith(b"\n"):
        ready, _, _ = select.select([0], [], [], max(0.0, until - time.monotonic()))
        more = os.read(0, _CHUNK) if ready else b""
        raw += more
        if not more or len(raw) > LIMIT:
            break
    # nothing that a repository has linked to it finds a pipe there
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    try:
        given = json.loads(raw if raw.endswith(b"\n") else b"")
        return list(given["credentials"]), list(given["secrets"])
    except (ValueError, KeyError, TypeError):
        # from None: the error has what arrived in it
        raise ValueError("the build's credentials did not arrive") from None
    finally:
        raw[:] = bytes(len(raw))


class RedactedOutput:
    """A text stream that passes everything but the secrets."""

    def __init__(self, stream: TextIO, redactor: Redactor) -> None:
        self._stream = stream
        self._redactor = redactor

    def write(self, text: str) -> int:
        """Take a text; what may be the beginning of a secret waits for the next one."""
        self._pass(self._redactor.feed(text.encode("utf-8", "surrogatepass")))
        return len(text)

    def finish(self) -> None:
        """Write what has waited."""
        self._pass(self._redactor.close())
        self._stream.flush()

    def _pass(self, raw: bytes) -> None:
        # a secret begins and ends with a character, so that none is cut
        self._stream.write(raw.decode("utf-8", "surrogatepass"))

    def flush(self) -> None:
        """Flush what has passed."""
        self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        """Be the stream in everything else."""
        return getattr(self._stream, name)


def redact_output(secrets: list[str]) -> None:
    """Let nothing more through standard output and error that is secret."""
    for name in ("stdout", "stderr"):
        output = RedactedOutput(getattr(sys, name), Redactor(secrets))
        setattr(sys, name, output)
        atexit.register(output.finish)
