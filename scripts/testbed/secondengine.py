"""A Docker engine of a test's own beside the machine's, to be restarted in mid-build.

It has a network namespace of its own, and so can't touch the bridge of the machine's engine.
"""

from __future__ import annotations

import contextlib
import io
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tarfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import docker
import docker.errors
import requests

from testbed.enginelink import EngineLink

__all__ = [
    "RootlessEngine",
    "SecondEngine",
    "rootless_engine_possible",
    "second_engine_possible",
]

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
        link: connects it with this machine whenever it runs.
    """

    def __init__(
        self, folder: Path, options: Sequence[str] = (), link: EngineLink | None = None
    ) -> None:
        self.folder = folder
        self._options = options
        self._link = link
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
        self._process = self._start_engine()
        deadline = time.monotonic() + seconds
        while not self._answers():
            if time.monotonic() > deadline or self._process.poll() is not None:
                tail = (self.folder / "log").read_text(errors="replace")[-800:]
                raise TimeoutError(f"The second engine does not start: {tail}")
            time.sleep(0.1)
        if self._link is not None:
            self._link.connect(int((self.folder / "docker.pid").read_text()))

    def _start_engine(self) -> subprocess.Popen[bytes]:
        # a process of its own, as on any machine with systemd: it outlives the engine
        if self._containerd is None:
            self._containerd = self._run(
                "containerd",
                f"--root={self.folder}/containerd",
                f"--state={self.folder}/state",
                f"--address={self.folder}/containerd.sock",
            )
        return self._run(*self._dockerd(), f"--containerd={self.folder}/containerd.sock")

    def _dockerd(self) -> list[str]:
        return [
            "dockerd",
            f"--data-root={self.folder}/data",
            f"--exec-root={self.folder}/run",
            f"--pidfile={self.folder}/docker.pid",
            f"--host=unix://{self.socket}",
            "--bridge=none",
            "--iptables=false",
            "--ip6tables=false",
            f"--config-file={self.folder}/daemon.json",
            *self._options,
        ]

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

    def load_image(self, name: str, source: docker.DockerClient) -> None:
        """Copy an image from another engine: about ten seconds for half a gigabyte."""
        client = self.client()
        # types-docker doesn't know that it takes pieces
        api: Any = client.api
        try:
            for answer in api.load_image(source.api.get_image(name)):
                if "error" in answer:
                    raise RuntimeError(f"{name} can't be loaded: {answer['error']}")
        finally:
            client.close()

    def import_image(
        self,
        name: str,
        files: Mapping[str, bytes],
        labels: Mapping[str, str],
        programs: Sequence[str] = (),
    ) -> None:
        """Make an image of a shell, a few programs and what they need, a few megabytes.

        Args:
            name: of the image.
            files: further executable files in it: path without the first slash → content.
            labels: of the image.
            programs: further programs of this machine.
        """
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", dereference=True) as tar:
            libraries: set[str] = set()
            # an engine without root makes those that aren't told closed to all
            _add_folder(tar, "bin")
            for program in (*_PROGRAMS, *programs):
                path = Path(str(shutil.which(program)))
                tar.add(path, f"bin/{program}")
                libraries |= _libraries(path)
            parents = {str(one).strip("/") for path in libraries for one in Path(path).parents}
            for folder in sorted(parents - {""}):
                _add_folder(tar, folder)
            for library in sorted(libraries):
                tar.add(library, library.lstrip("/"))
            for folder in ("usr", "usr/local", "usr/local/bin", "tmp", "root"):
                _add_folder(tar, folder)
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
        if self._link is not None:
            self._link.cut()

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


def rootless_engine_possible() -> str:
    """Return ``""`` where this machine can run an engine without root, else why it can't."""
    if not second_engine_possible():
        return "needs root (to become another) and dockerd"
    programs = ("rootlesskit", "newuidmap", "setpriv", "nsenter", "ip")
    missing = [one for one in programs if not shutil.which(one)]
    if missing:
        return f"needs {', '.join(missing)} (Debian's rootlesskit, uidmap, util-linux, iproute2)"
    if not all(map(Path.is_file, _SUBORDINATE)):
        return f"needs {' and '.join(map(str, _SUBORDINATE))}"
    tried = subprocess.run(
        [*_AS_NOBODY, "unshare", "--user", "--map-root-user", "true"],
        capture_output=True,
        check=False,
    )
    return "" if tried.returncode == 0 else "needs user namespaces for those without privileges"


_SUBORDINATE = (Path("/etc/subuid"), Path("/etc/subgid"))
_NOBODY = 65534
_AS_NOBODY = ("setpriv", f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups")


class RootlessEngine(SecondEngine):
    """The same, run by ``nobody`` in a user namespace; root is somebody without rights there.

    Its network belongs to that namespace: a container can only then be in the engine's own one.
    Its images are in memory, some 1.5 GB where repo2docker's is among them, and gone when it ends:
    to remove their files from a disk can take longer than all the rest.
    """

    def _start_engine(self) -> subprocess.Popen[bytes]:
        ids = self.folder / "ids"
        ids.write_text(f"{pwd.getpwuid(_NOBODY).pw_name}:200000:65536\n")
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        for file in (self.folder, self.folder / "daemon.json"):
            os.chown(file, _NOBODY, _NOBODY)
        # the machine's own lists of ids stay as they are: theirs is seen here alone
        script = " && ".join(
            [
                *(f"mount --bind {ids} {file}" for file in _SUBORDINATE),
                f"mount -t tmpfs -o size=4g,uid={_NOBODY},gid={_NOBODY},mode=0711 tmpfs {data}",
                f"export HOME={self.folder} XDG_RUNTIME_DIR={self.folder}",
                'exec "$@"',
            ]
        )
        inside = 'rm -f /run/docker /run/containerd /run/xtables.lock; exec "$@"'
        kit = ("rootlesskit", "--net=host", "--copy-up=/etc", "--copy-up=/run")
        return self._run(
            *("unshare", "--mount", "sh", "-c", script, "sh"),
            *(*_AS_NOBODY, *kit, "sh", "-c", inside, "sh"),
            *("unshare", "--net", *self._dockerd(), "--rootless"),
        )


def _add_folder(tar: tarfile.TarFile, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    tar.addfile(entry)


def _libraries(program: Path) -> set[str]:
    # it fails where there are none
    told = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
    return {word for word in told.split() if word.startswith("/")}
