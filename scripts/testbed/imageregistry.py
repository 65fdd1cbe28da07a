"""Registries of images on this host: a real one, Debian's docker-registry, and one that refuses.

An engine trusts those at 127.0.0.1 without TLS.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from .waiting import wait_until
from .webserver import WebServer, answer_empty

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ImageRegistry", "RefusingRegistry", "registry_possible"]

_PROGRAM = "docker-registry"
_LISTENING = re.compile(r'listening on (127\.0\.0\.1:\d+)"')


def registry_possible() -> bool:
    """Whether the real one is installed here."""
    return shutil.which(_PROGRAM) is not None


class ImageRegistry:
    """A real registry while the ``with`` block runs, empty at first; all that it has goes with it.

    Args:
        closed: whether it lets nobody in (it asks for a password that nobody has).

    Attributes:
        address: ``127.0.0.1:PORT``, what the names of its images begin with.
    """

    def __init__(self, *, closed: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="testbed-registry-")
        folder = Path(self._folder.name)
        # JSON is YAML
        config = {
            "version": "0.1",
            "log": {"fields": {"service": "registry"}},
            "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
            "http": {"addr": "127.0.0.1:0"},
        }
        if closed:
            config["auth"] = {"htpasswd": {"realm": "testbed", "path": str(folder / "htpasswd")}}
        (folder / "config.yml").write_text(json.dumps(config), encoding="utf-8")
        self._log = folder / "log"
        self.address = ""

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    shutil.which(_PROGRAM) or _PROGRAM,
                    "serve",
                    str(self._log.with_name("config.yml")),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # an environment's REGISTRY_… would change the configuration
                env={},
            )
        try:
            self.address = self._listens_at()
        except BaseException:
            self.close()
            raise
        return self

    def _listens_at(self) -> str:
        wait_until(lambda: _LISTENING.search(self.log()) or self._process.poll() is not None, 20)
        found = _LISTENING.search(self.log())
        if found is None:
            raise RuntimeError(f"{_PROGRAM} does not start: {self.log()[-800:]}")
        return found[1]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        self._folder.cleanup()

    def log(self) -> str:
        """What it has said, a line for each request among it."""
        return self._log.read_text(encoding="utf-8", errors="replace")


class RefusingRegistry(WebServer[str]):
    """A registry that answers whatever image it is asked for with one status.

    Args:
        status: the status.
        code: the registry's own word for it.
        message: what it says.

    Attributes:
        requests: ``"GET /v2/name/manifests/tag"`` and so on.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__()
        self.address = f"{self.host}:{self.port}"
        self._status = status
        self._body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()

    def answer(self, request: BaseHTTPRequestHandler) -> None:
        self.note(f"{request.command} {request.path}")
        if request.path == "/v2/":
            answer_empty(request, 200, Docker_Distribution_Api_Version="registry/2.0")
            return
        request.send_response(self._status)
        request.send_header("Content-Type", "application/json")
        request.send_header("Content-Length", str(len(self._body)))
        request.end_headers()
        if request.command != "HEAD":
            request.wfile.write(self._body)
