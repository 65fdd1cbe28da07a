"""Hands a build's credentials to its container: by standard input, which nobody can look at later.

The engine keeps a container's command, environment, labels and files, and shows them. What goes
in by standard input it passes on and forgets.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

from ..credentials import Credential, secrets_of

__all__ = ["document", "handing_over"]


def document(credentials: Sequence[Credential]) -> bytes:
    """Return what ``inside.handed_over`` reads: one line."""
    given = {
        "credentials": [asdict(one) for one in credentials],
        "secrets": secrets_of(credentials),
    }
    return json.dumps(given).encode() + b"\n"


@contextlib.contextmanager
def handing_over(client: Any, container: str, credentials: Sequence[Credential]) -> Iterator[None]:
    """Hand the credentials to a container that is started within the block.

    The engine closes the container's standard input when we do, or die: what waits for it there
    never waits in vain.

    Args:
        client: docker-py's.
        container: created with ``stdin_open``, and not started yet.
        credentials: nothing is done where there are none.

    Raises:
        APIError: the engine refuses.
    """
    if not credentials:
        yield
        return
    # before the start, so that nobody else can be first
    stream = client.attach_socket(container, params={"stdin": 1, "stream": 1})
    try:
        yield
        # docker-py gives a reader of the socket, or with TLS and ssh the connection itself
        connection = getattr(stream, "_sock", stream)
        # where it can't be sent, the container has ended, or ends for the lack of it and says so
        with contextlib.suppress(OSError):
            connection.sendall(document(credentials))
            connection.shutdown(socket.SHUT_WR)
    finally:
        # the answer first: it can't be closed without its stream
        for one in (getattr(stream, "_response", None), stream):
            with contextlib.suppress(OSError, ValueError):
                if one is not None:
                    one.close()
