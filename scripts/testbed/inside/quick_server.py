#!/usr/bin/env python3
"""Stands in for jupyterhub-singleuser where many are started: answers, and costs next to nothing.

Runs in a user's container, with the stdlib alone.
"""

import os
import signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
ThreadingHTTPServer(("", 8888), Handler).serve_forever()
