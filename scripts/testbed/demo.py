"""The demo: a hub with Repo2DockerSpawner and a sample repository to paste into it."""

from __future__ import annotations

import argparse
import contextlib
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import requests

from testbed import engine, names
from testbed.gitserver import GitServer
from testbed.hub import HubError, HubProcess
from testbed.hubclient import ClientError, HubClient, error_text

__all__ = ["demo", "sample_files"]

_SAMPLE = "sample"
_PORT = 8000
_LAUNCH_SECONDS = 300


def sample_files() -> dict[str, str | bytes | None]:
    """The sample repository's files by path."""
    paths = sorted(path for path in names.SAMPLE_DIR.rglob("*") if path.is_file())
    return {path.relative_to(names.SAMPLE_DIR).as_posix(): path.read_bytes() for path in paths}


def _config(git: GitServer) -> str:
    return f"""
from repo2dockerspawner import configure
configure(c)
c.Repo2DockerSpawner.build_image = {names.REPO2DOCKER_IMAGE!r}
# The sample is served over plain HTTP from this machine.
c.Repo2DockerSpawner.allowed_schemes = ["https", "ssh", "http"]
c.JupyterHub.template_vars = {{
    "announcement_login": "A demo: any user name, any password.",
    "announcement_spawn": "A repository to try: {git.url(_SAMPLE)}",
}}
"""


@contextlib.contextmanager
def demo(port: int = 0) -> Iterator[tuple[HubProcess, GitServer, str]]:
    """The running demo: hub, git server, and the sample's commit.

    Args:
        port: of the hub's address; 0 for a free one.
    """
    with (
        tempfile.TemporaryDirectory(prefix="testbed-git-") as root,
        GitServer(Path(root), engine.bridge_gateway()) as git,
    ):
        commit = git.create(_SAMPLE, sample_files(), message="A sample")
        with HubProcess(_config(git), port=port) as hub:
            yield hub, git, commit


def _show(port: int) -> None:
    _say("hub: starting it")
    with demo(port) as (hub, git, _):
        _say(f"""
  The hub:            {hub.url}
  User, password:     any name, any password ("admin" is an administrator)
  Paste this address: {git.url(_SAMPLE)}
  The hub's log:      {hub.log_file}

Ctrl-C ends all of it.""")
        ended = threading.Event()

        def end(_number: int, _frame: FrameType | None) -> None:
            ended.set()

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, end)
        while not ended.wait(1):
            hub.check()
        _say("\nending the hub and what it started")


def _check() -> None:
    _say("hub: starting it")
    with demo() as (hub, git, commit), HubClient(hub.url) as browser:
        _say(f"hub: answers at {hub.url}")
        try:
            _launch(browser, git, commit)
        except (ClientError, TimeoutError, requests.RequestException) as error:
            raise ClientError(f"{error}\nThe hub's last lines:\n{hub.log_tail(40)}") from error


def _launch(browser: HubClient, git: GitServer, commit: str) -> None:
    browser.login("ada")
    _say("login: as ada, through the form")
    started = time.monotonic()
    answer = browser.spawn_form({"repo": git.url(_SAMPLE), "path": "index.ipynb"})
    if not browser.started(answer):
        raise ClientError(f"The form was refused: {error_text(answer.text) or answer.status_code}")
    _say(f"form: {git.url(_SAMPLE)} posted")
    events = browser.wait_ready(timeout=_LAUNCH_SECONDS)
    _say(f"progress: {len(events)} events, ready after {time.monotonic() - started:.1f} s")
    opened = browser.default_url()
    if not opened.endswith("index.ipynb"):
        raise ClientError(f"The server opened {opened}, not the notebook that was asked for.")
    _say(f"server: opens {opened}")
    read = browser.get("files/README.md")
    if not read.ok or read.text.encode() != sample_files()["README.md"]:
        raise ClientError(f"README.md was not served as it is ({read.status_code}).")
    _say(f"server: serves README.md of commit {commit[:12]}, byte for byte")
    browser.stop_server()
    _say("server: stopped")


def _free(port: int) -> int:
    """The port, or 0 where somebody has it."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return 0
    return port


def _say(text: str) -> None:
    print(text, flush=True)


def _main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/demo", description=__doc__)
    parser.add_argument("--check", action="store_true", help="one launch, end to end, then end")
    parser.add_argument("--port", type=int, default=0, help="the hub's (default: 8000 if free)")
    arguments = parser.parse_args()
    try:
        _check() if arguments.check else _show(arguments.port or _free(_PORT))
    except (ClientError, HubError, TimeoutError, engine.EngineMissingError) as error:
        print(f"The demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    if arguments.check:
        _say("demo: all is well")
    return 0


if __name__ == "__main__":
    sys.exit(_main())
