"""A wire between this machine and an engine that has a network of its own."""

from __future__ import annotations

import secrets
import shutil
import subprocess

__all__ = ["EngineLink", "link_possible"]


def link_possible() -> bool:
    """Return whether this machine has the programs for it; it takes root, too."""
    return all(map(shutil.which, ("ip", "nsenter")))


class EngineLink:
    """Two ends, each with an address; from the engine's end all of this machine is reached.

    The addresses are of the range for benchmarks, which no network uses (RFC 2544). They are known
    before there is a wire.

    Attributes:
        here: this machine's address on it.
        there: the engine's.
    """

    def __init__(self) -> None:
        self._name = f"r2d{secrets.token_hex(5)}"
        base = f"198.18.{secrets.randbelow(256)}"
        first = 4 * secrets.randbelow(64)
        self.here, self.there = f"{base}.{first + 1}", f"{base}.{first + 2}"

    def connect(self, process: int) -> None:
        """Lay it to the network that a process is in."""
        inside = ("nsenter", f"--net=/proc/{process}/ns/net")
        pair = ("type", "veth", "peer", "name", "eth0", "netns", str(process))
        for command in (
            ("ip", "link", "add", self._name, *pair),
            ("ip", "address", "add", f"{self.here}/30", "dev", self._name),
            ("ip", "link", "set", self._name, "up"),
            (*inside, "ip", "address", "add", f"{self.there}/30", "dev", "eth0"),
            (*inside, "ip", "link", "set", "lo", "up"),
            (*inside, "ip", "link", "set", "eth0", "up"),
            (*inside, "ip", "route", "add", "default", "via", self.here),
        ):
            subprocess.run(command, check=True)

    def cut(self) -> None:
        """Take it away, if it is there; it also goes when the engine's network does."""
        command = ("ip", "link", "delete", self._name)
        subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
