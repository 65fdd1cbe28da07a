"""The page that one waits at, for everybody: by keyboard, read aloud, without scripts."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect
from testbed import names
from testbed.hub import HubProcess

from .person import (
    FAILURE,
    LOOKING,
    TARGET,
    Person,
    printed,
)

AXE = names.ROOT / ".testbed/axe/node_modules/axe-core/axe.min.js"


# every colour on every background
COLOURED = [
    " ".join(f"\x1b[{front};{behind}mon {behind}\x1b[0m" for behind in (49, *range(40, 48)))
    for front in (*range(30, 38), 90)
]


def violations(page: Page) -> list[str]:
    page.evaluate(AXE.read_text(encoding="utf-8"))  # a tag would need the page's nonce
    # what the hub's own frame has is the hub's
    found = page.evaluate("() => axe.run({exclude: [['nav']]})")["violations"]
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in found
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(
    scripted_hub: HubProcess, come: Callable[..., Person], scheme: str
) -> None:
    ann = come(scripted_hub, color_scheme=scheme)
    ann.do(LOOKING, TARGET, printed(*(f"line {number}" for number in range(100)), step=[4, 9]))
    ann.do({"do": "raw", "text": "\n".join([*COLOURED, ""])})
    page = ann.start()
    expect(page.locator("#repo2docker-log")).to_contain_text("line 99")
    expect(page.locator("#repo2docker-log span")).to_have_count(81)
    assert page.locator("html").get_attribute("data-bs-theme") == scheme
    assert not violations(page), "while it builds"
    ann.do(FAILURE)
    expect(page.locator("#repo2docker-failure")).to_be_visible()
    assert not violations(page), "failed"
    page.reload()
    page.click("summary:has-text('log of this start')")
    assert not violations(page), "failed, after a reload"
    ann.forget()
    page.click("#repo2docker-again")
    page.wait_for_url("**/spawn-pending/**")
    page.click("#repo2docker-cancel")
    expect(page.locator("#repo2docker-cancelled")).to_be_visible()
    assert not violations(page), "cancelled"
    page.wait_for_timeout(1500)
    page.reload()
    assert not violations(page), "cancelled, after a reload"


def test_all_of_it_is_reached_by_keyboard(
    scripted_hub: HubProcess, come: Callable[..., Person]
) -> None:
    def reached(page: Page, *expected: str) -> None:
        found = []
        for _ in range(40):  # more than once around, from wherever it stands
            page.keyboard.press("Tab")
            found.append(page.evaluate("document.activeElement.id"))
        at = found.index(f"repo2docker-{expected[0]}")
        for name in expected[1:]:
            at = found.index(f"repo2docker-{name}", at)

    ann = come(scripted_hub)
    ann.do(LOOKING, TARGET, printed("line 1"))
    page = ann.start()
    expect(page.locator("#repo2docker-log")).to_contain_text("line 1")
    reached(page, "download", "log", "cancel")
    ann.do(FAILURE)
    expect(page.locator("#repo2docker-failure")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.locator("#repo2docker-change")).to_be_focused()
    reached(page, "failure-lines", "change", "again", "download", "log")
    page.reload()
    page.locator("summary:has-text('log of this start')").press("Enter")
    reached(page, "change", "again", "log", "download")


def test_without_javascript_it_says_where_it_is_and_comes_anew_by_itself(
    any_hub: HubProcess, come: Callable[..., Person]
) -> None:
    ann = come(any_hub, java_script_enabled=False)
    ann.do(TARGET, printed("2nd in line.", is_log=False, phase="waiting"), printed("line 1"))
    page = ann.start()
    # what is in <noscript> counts only where it is named
    said, lines = page.locator("noscript p").first, page.locator("noscript pre")
    expect(lines).to_contain_text("line 1", timeout=20_000)
    expect(said).to_have_text("2nd in line.")
    expect(page.locator("h1")).to_contain_text("geo/course")
    expect(page.locator("#repo2docker-phases [aria-current=step]")).to_have_text("Building")
    ann.do(printed("line 2"))
    expect(lines).to_contain_text("line 2", timeout=20_000)
    ann.do(FAILURE)
    expect(page.locator(".repo2docker-failure")).to_have_text(FAILURE["text"], timeout=20_000)
    ann.forget()
    ann.do(LOOKING)
    page.click("text=Try again")
    page.wait_for_url("**/spawn-pending/**")
    expect(said).to_have_text(LOOKING["text"], timeout=20_000)
