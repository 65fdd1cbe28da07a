"""Somebody who waits, on a hub whose launches do what a test says."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from playwright.sync_api import BrowserContext, Page
from testbed import names
from testbed.browsing import watch_policy
from testbed.hub import HubProcess

SCRIPTED = (Path(__file__).parent / "scripted.py").read_text(encoding="utf-8")
SCRIPTED = SCRIPTED.replace("from __future__ import annotations\n", "")


BASE_URL = "/hub%20prefix/"


HUB5 = names.ROOT / ".venv-hub5/bin/python"


REPO = "https://github.com/geo/course"


COMMIT = "0123abc" + "4" * 33


TARGET = {
    "do": "resolved",
    "name": "geo/course",
    "ref": "main",
    "commit": COMMIT,
    "short": COMMIT[:7],
    "url": f"https://github.com/geo/course/tree/{COMMIT}/docs",
    "subdir": "docs",
}


LOOKING = {"do": "say", "text": "Looking up geo/course…", "phase": "waiting"}


FAILURE = {
    "do": "fail",
    "text": "Building geo/course at 0123abc failed. Correct the repository and start again.",
    "lines": ["E: no package named <b>frobnicate</b>", "#9 ERROR: exit code 100"],
}


EVIL = '<img src=x onerror="window.broken = 1"><script>window.broken = 1</script>&amp;\''


Hubs = Callable[..., HubProcess]


def printed(*lines: str, **more: Any) -> dict[str, Any]:
    return {"do": "print", "text": "\n".join(lines), **more}


@contextmanager
def scripted_hubs() -> Iterator[Hubs]:
    """Hubs by their configuration and version, each started once."""
    running: dict[Any, HubProcess] = {}

    def get(config: str = SCRIPTED, python: str = sys.executable) -> HubProcess:
        if (config, python) not in running:
            hub = HubProcess(config, base_url=BASE_URL, python=python)
            running[config, python] = hub
            hub.start()
        return running[config, python]

    try:
        yield get
    finally:
        for hub in running.values():
            hub.close()


class Person:
    """Somebody with a browser, and the script of their launch."""

    def __init__(self, context: BrowserContext, hub: HubProcess, server: str, url: str) -> None:
        self.hub, self.server, self.url = hub, server, url
        self.name = f"ann-{secrets.token_hex(3)}"
        self.context = context
        self.asked: list[str] = []
        self.errors: list[str] = []
        self.breaches = watch_policy(context)
        self.page = self.tab()
        self.page.goto(f"{url}hub/login")
        self.page.fill("#username_input", self.name)
        self.page.fill("#password_input", "password")
        self.page.click("#login_submit")
        self.page.wait_for_url("**/hub/**")

    def tab(self) -> Page:
        page = self.context.new_page()
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        return page

    def do(self, *orders: dict[str, Any], server: str | None = None) -> None:
        server = self.server if server is None else server
        path = self.hub.directory / f"launch-{self.name}-{server}.jsonl"
        with path.open("a", encoding="utf-8") as script:
            script.writelines(json.dumps(order) + "\n" for order in orders)

    def forget(self) -> None:
        (self.hub.directory / f"launch-{self.name}-{self.server}.jsonl").unlink(missing_ok=True)

    def address(self, page: str, server: str | None = None) -> str:
        server = self.server if server is None else server
        return f"{self.url}hub/{page}/{self.name}" + (f"/{quote(server)}" if server else "")

    def start(self, **fields: str) -> Page:
        """Start what the fields say, and go to the page that waits."""
        path = f"servers/{quote(self.server)}" if self.server else "server"
        answer = self.hub.api("POST", f"users/{self.name}/{path}", {"repo": REPO, **fields})
        assert answer.status_code in {201, 202}, answer.text
        self.page.goto(self.address("spawn-pending"))
        return self.page

    def model(self, server: str | None = None) -> dict[str, Any] | None:
        servers = self.hub.api("GET", f"users/{self.name}").json()["servers"]
        found: dict[str, Any] | None = servers.get(self.server if server is None else server)
        return found


def lines_of(page: Page) -> list[str]:
    """What the log panel has, once the present frame has been drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
    return str(page.locator("#repo2docker-log").text_content()).splitlines()
