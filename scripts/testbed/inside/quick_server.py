#!/usr/bin/env python3
"""Stands in for jupyterhub-singleuser where many are started: answers, and costs next to nothing.

It leads from its address to what JupyterHub says is opened first, and has the files of the
repository below ``files/``, for whoever asks. Runs in a user's container, with the stdlib alone.
"""

import os
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

BASE = os.environ.get("JUPYTERHUB_SERVICE_PREFIX", "/")
FIRST = os.environ.get("JUPYTERHUB_DEFAULT_URL", "")
FILES = Path("/home/jovyan")


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        below = unquote(self.path).removeprefix(unquote(BASE))
        if not below and FIRST:
            self.answer(302, Location=BASE.rstrip("/") + FIRST)
        elif not below.startswith("files/"):
            self.answer(200, b"{}")
        elif (file := FILES / below.removeprefix("files/")).is_file():
            self.answer(200, file.read_bytes())
        else:
            self.answer(404)

    def answer(self, status: int, body: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ThreadingHTTPServer(("", 8888), Handler).serve_forever()
