"""A person at the hub's pages, by Playwright: what they type and what they press."""

from __future__ import annotations

import re
from collections.abc import Mapping

from playwright.sync_api import BrowserContext, ConsoleMessage, Page

from testbed.hub import HubProcess

__all__ = ["FLAGS", "LOG", "fill_in", "log_in", "open_log", "press_start", "watch_policy"]

# Root has no sandbox, a server no graphics; and nobody's update service is to be asked.
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]

LOG = "#progress-log"
_TIMEOUT = 20_000


def log_in(page: Page, hub: HubProcess, username: str) -> None:
    """Log in through the form; any password will do."""
    page.set_default_timeout(_TIMEOUT)
    page.goto(f"{hub.url}hub/login?next={hub.base_url}hub/home")
    page.fill("#username_input", username)
    page.fill("#password_input", "password")
    page.click("#login_submit")
    page.wait_for_url("**/hub/home")


def fill_in(page: Page, hub: HubProcess, fields: Mapping[str, str]) -> None:
    """Go to the spawn page and type into its form; the names are the fields'."""
    page.goto(f"{hub.url}hub/spawn")
    # what is folded away can't be typed into
    page.evaluate("document.querySelectorAll('#spawn_form details').forEach(d => d.open = true)")
    for name, text in fields.items():
        page.fill(f"#spawn_form [name={name}]", text)


def press_start(page: Page) -> None:
    """Press Start, and wait for the page with the progress."""
    page.click("#spawn_form [type=submit]")
    page.wait_for_url(re.compile(r"/hub/spawn-pending/"))


def open_log(page: Page) -> None:
    """Open the event log on the page with the progress."""
    page.click("#progress-details summary")
    page.wait_for_selector(LOG, state="visible")


def watch_policy(context: BrowserContext) -> list[str]:
    """A list to which each breach of a Content-Security-Policy is added, on pages of the hub."""
    breaches: list[str] = []

    def said(message: ConsoleMessage) -> None:
        page = message.page
        if "Content Security Policy" in message.text and page is not None and "/hub/" in page.url:
            breaches.append(f"{page.url}: {message.text}")

    context.on("console", said)
    return breaches
