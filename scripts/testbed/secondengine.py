"""A Docker engine of a test's own beside the machine's, to be restarted in mid-build.

It has a network namespace of its own, and so can't touch the bridge of the machine's engine.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import docker
import docker.errors
import requests

__all__ = ["SecondEngine", "second_engine_possible"]

_PROGRAMS = ("sh", "sleep", "echo", "seq")


def second_engine_possible() -> bool:
    """Return whether this machine and user can run another engine."""
    programs = ("dockerd", "containerd", "unshare")
    return hasattr(os, "geteuid") and os.geteuid() == 0 and all(map(shutil.which, programs))


class SecondEngine:
    """An engine with its own data, socket and containerd, and without networks.

    Args:
        folder: for all of it; a short path, because sockets are in it.
        options: further ones of dockerd.
    """

    def __init__(self, folder: Path, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self._options = options
        self.socket = folder / "docker.sock"
        self._process: subprocess.Popen[bytes] | None = None
        self._containerd: subprocess.Popen[bytes] | None = None

    def start(self, seconds: float = 30) -> None:
        """Start it and wait until it answers.

        Raises:
            TimeoutError: it does not.
        """
        (self.folder / "docker.pid").unlink(missing_ok=True)
        # not the machine's own, which may say what contradicts the options here
        (self.folder / "daemon.json").write_text("{}")
        # a process of its own, as on any machine with systemd: it outlives the engine
        if self._containerd is None:
            self._containerd = self._run(
                "containerd",
                f"--root={self.folder}/containerd",
                f"--state={self.folder}/state",
                f"--address={self.folder}/containerd.sock",
            )
        self._process = self._run(
            # a network of its own: with no bridge wanted, dockerd removes the machine's docker0,
            # which is the other engine's
            "unshare",
            "--net",
            "dockerd",
            f"--containerd={self.folder}/containerd.sock",
            f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/run",
            f"--pidfile={self.folder}/docker.pid",
            f"--host=unix://{self.socket}",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            f"--config-file={self.folder}/daemon.json",
            *self._options,
        )
        deadline = time.monotonic() + seconds
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                tail = (self.folder / "log").read_text(errors="replace")[-800:]
                raise TimeoutError(f"The second engine does not start: {tail}")
            time.sleep(0.1)

    def _run(self, *command: str) -> subprocess.Popen[bytes]:
        with (self.folder / "log").open("ab") as log:
            # in a network of its own: an engine told to have no bridge removes the machine's
            apart = ("unshare", "--net", *command)
            return subprocess.Popen(apart, stdout=log, stderr=log, start_new_session=True)

    def _answers(self) -> bool:
        # docker-py would leave a socket open that can't connect
        with socket.socket(socket.AF_UNIX) as probe:
            if probe.connect_ex(str(self.socket)):
                return False
        client = self.client()
        try:
            client.ping()
        except (docker.errors.DockerException, requests.RequestException):
            return False
        finally:
            client.close()
        return True

    def client(self) -> docker.DockerClient:
        """Return a client of it."""
        return docker.DockerClient(base_url=f"unix://{self.socket}", version="1.41")

    def import_image(
        self, name: str, files: Mapping[str, bytes], labels: Mapping[str, str]
    ) -> None:
        """Make an image of a shell, a few programs and what they need, a few megabytes.

        Args:
            name: of the image.
            files: further executable files in it: path without the first slash → content.
            labels: of the image.
        """
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", dereference=True) as tar:
            libraries: set[str] = set()
            for program in _PROGRAMS:
                path = Path(str(shutil.which(program)))
                tar.add(path, f"bin/{program}")
                libraries |= _libraries(path)
            for library in sorted(libraries):
                tar.add(library, library.lstrip("/"))
            for target, content in files.items():
                entry = tarfile.TarInfo(target)
                entry.size, entry.mode = len(content), 0o755
                tar.addfile(entry, io.BytesIO(content))
        changes = ["ENV PATH=/bin:/usr/local/bin", *(f"LABEL {k}={v}" for k, v in labels.items())]
        client = self.client()
        try:
            client.api.import_image_from_data(stream.getvalue(), repository=name, changes=changes)
        finally:
            client.close()

    def kill(self) -> None:
        """End it at once; its containers live on until it starts again."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order, its containers too."""
        self._end(signal.SIGTERM)

    def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(40)

    def close(self) -> None:
        """End all of it and remove its data."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.stop()
        if self._containerd is not None:
            self._containerd.kill()
            self._containerd.wait(10)
        # the shims of containers, known by the folder in their command lines
        for command in Path("/proc").glob("[0-9]*/cmdline"):
            with contextlib.suppress(OSError):
                if str(self.folder).encode() in command.read_bytes():
                    os.kill(int(command.parent.name), signal.SIGKILL)
        for mount in reversed(Path("/proc/mounts").read_text().splitlines()):
            where = mount.split()[1]
            if where.startswith(f"{self.folder}/"):
                subprocess.run(["umount", "-l", where], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)


def _libraries(program: Path) -> set[str]:
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
    return {word for word in told.split() if word.startswith("/")}
