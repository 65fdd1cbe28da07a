"""Connects standard input and output to a host through the guard; for ssh and git's own protocol.

``python through.py GUARD_PORT HOST PORT``: ssh runs it as its ProxyCommand, git as its
``GIT_PROXY_COMMAND``, by a wrapper. What can't be reached is said as ssh says it.

Used on the hub, and put into build containers under repo2docker's own Python (>= 3.9, standard
library alone).
"""

from __future__ import annotations

import os
import socket
import sys
import threading

# RFC 1928, 6, as `guard` uses it.
SAID = {
    2: "address not allowed",
    3: "Network is unreachable",
    4: "Name or service not known",
    5: "Connection refused",
    6: "Connection timed out",
}
_CHUNK = 64 * 1024


def connect(guard: int, host: str, port: int) -> socket.socket:
    """Return a connection to the host.

    Raises:
        OSError: it can't be reached; the text says why.
    """
    connection = socket.create_connection(("127.0.0.1", guard))
    name = host.encode("idna") if not host.isascii() else host.encode()
    connection.sendall(b"\5\1\0")
    _exactly(connection, 2)
    connection.sendall(b"\5\1\0\3" + bytes([len(name)]) + name + port.to_bytes(2, "big"))
    code = _exactly(connection, 10)[1]
    if code:
        connection.close()
        raise OSError(SAID.get(code, "Connection failed"))
    return connection


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise OSError("Connection closed")
        data += more
    return data


def _send(connection: socket.socket) -> None:
    try:
        while data := os.read(0, _CHUNK):
            connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)
    except OSError:
        return


def main(guard: str, host: str, port: str) -> int:
    """Pass everything on until the other side has said all; returns the exit code."""
    host = host.strip("[]")
    try:
        connection = connect(int(guard), host, int(port))
    except (OSError, ValueError, OverflowError) as error:
        sys.stderr.write(f"connect to host {host} port {port}: {error}\n")
        return 1
    threading.Thread(target=_send, args=(connection,), daemon=True).start()
    try:
        while data := connection.recv(_CHUNK):
            while data:
                data = data[os.write(1, data) :]
    except OSError:
        return 1
    return 0


if __name__ == "__main__":
    # not sys.exit, which would wait for the other thread's read
    os._exit(main(*sys.argv[1:4]))
