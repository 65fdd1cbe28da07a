"""The form and the pending page as a person has them before their eyes."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Page, expect
from testbed.browsing import LOG, fill_in, open_log, press_start
from testbed.gitserver import GitServer
from testbed.hub import HubProcess
from testbed.names import SINGLEUSER_IMAGE
from testbed.recipes import Repository, dockerfile, make_repository

PAYLOAD = "<img src=x onerror=alert(1)><script>alert(2)</script>"
SECONDS = 1000
# What reaches beyond the window, which a person would have to scroll to see.
TOO_WIDE = """
document.documentElement.scrollWidth <= window.innerWidth ? [] :
[...document.querySelectorAll("body *")]
  .filter(element => element.scrollWidth > window.innerWidth)
  .map(element => `${element.tagName} ${element.id} ${element.className}`)
"""


def repository(git_server: GitServer, *lines: str) -> Repository:
    files = {"Dockerfile": dockerfile(SINGLEUSER_IMAGE, *lines), "notes/one.md": "# One\n"}
    return make_repository(git_server, files)


def test_paste_press_start_watch_and_be_there(
    hub: HubProcess, page: Page, git_server: GitServer
) -> None:
    repo = repository(git_server, "RUN for i in 1 2 3 4; do echo line-$i-of-4; sleep 0.5; done")
    fill_in(page, hub, {"repo": repo.url, "path": "notes/one.md"})
    press_start(page)

    open_log(page)
    expect(page.locator(LOG)).to_contain_text(f"Fetching commit {repo.commit[:7]}")
    expect(page.locator(LOG)).to_contain_text("line-1-of-4")
    expect(page.locator("#progress-message")).to_be_visible()

    page.wait_for_url(re.compile(r"/lab/tree/notes/one\.md"), timeout=60 * SECONDS)
    page.wait_for_selector("#jp-main-dock-panel", timeout=60 * SECONDS)
    expect(page.locator(".jp-Document, .jp-FileEditor").first).to_be_visible()


def test_the_message_is_one_line_and_the_log_has_all(
    hub: HubProcess, page: Page, git_server: GitServer
) -> None:
    # all at once, so that they come in one event
    repo = repository(git_server, "RUN for i in $(seq 40); do echo line-$i-of-40; done; sleep 4")
    fill_in(page, hub, {"repo": repo.url})
    press_start(page)
    expect(page.locator(LOG)).to_contain_text("line-40-of-40")

    shown = page.locator("#progress-message")
    expect(shown).to_have_text(re.compile(r"line-40-of-40"), use_inner_text=True)
    assert "line-39-of-40" not in shown.inner_text()
    height = shown.evaluate("element => element.getBoundingClientRect().height")
    line = shown.evaluate("element => parseFloat(getComputedStyle(element).lineHeight)")
    assert height < 2.5 * line
    open_log(page)
    shown_log = page.locator(LOG)
    assert "line-39-of-40" in shown_log.inner_text()
    lines = shown_log.locator("pre", has_text="line-39-of-40")
    style = "element => [getComputedStyle(element).textAlign, getComputedStyle(element).whiteSpace]"
    alignment, white_space = lines.evaluate(style)
    assert alignment in {"left", "start"}
    assert white_space == "pre-wrap"
    page.click("#stop-server-btn")


@pytest.mark.parametrize("width", [1000, 400], ids=["wide", "phone"])
def test_a_long_line_does_not_widen_the_page(
    hub: HubProcess, page: Page, git_server: GitServer, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    repo = repository(git_server, f"RUN echo {'x' * 600} && sleep 1 && exit 3")
    fill_in(page, hub, {"repo": repo.url})
    press_start(page)
    expect(page.locator("#progress-bar")).to_have_class(re.compile("bg-danger"), timeout=60_000)
    for _ in range(2):
        assert page.evaluate(TOO_WIDE) == []
        page.reload()


def test_what_a_build_prints_stays_text(hub: HubProcess, page: Page, git_server: GitServer) -> None:
    repo = repository(git_server, f"RUN echo '{PAYLOAD}' && sleep 1 && echo '{PAYLOAD}' && exit 3")
    fill_in(page, hub, {"repo": repo.url})
    press_start(page)

    expect(page.locator("#progress-bar")).to_have_class(re.compile("bg-danger"), timeout=60_000)
    expect(page.locator(LOG)).to_contain_text(PAYLOAD)
    assert page.locator("img[src=x]").count() == 0

    page.reload()
    expect(page.locator("body")).to_contain_text("failed at step")
    expect(page.locator("body")).to_contain_text(PAYLOAD)
    assert page.locator("img[src=x]").count() == 0


def test_a_wrong_entry_comes_back_to_be_mended(
    hub: HubProcess, page: Page, git_server: GitServer
) -> None:
    repo = repository(git_server)
    fill_in(page, hub, {"repo": repo.url, "ref": "mian"})
    page.click("#spawn_form [type=submit]")

    expect(page.locator(".spawn-error-msg")).to_contain_text("did you mean main?")
    expect(page.locator("[name=repo]")).to_have_value(repo.url)
    expect(page.locator("[name=ref]")).to_have_value("mian")


def test_every_field_has_a_label_and_the_first_has_the_cursor(hub: HubProcess, page: Page) -> None:
    page.goto(f"{hub.url}hub/spawn")

    fields = page.locator("#spawn_form input[type=text][name]")
    assert fields.count() >= 4
    for field in fields.all():
        name = field.get_attribute("id")
        expect(page.locator(f"label[for={name}]")).to_have_count(1)
    expect(page.locator("[name=repo]")).to_be_focused()


@pytest.mark.parametrize("page", [False], indirect=True, ids=["without JavaScript"])
def test_the_form_works_without_scripts(hub: HubProcess, page: Page, git_server: GitServer) -> None:
    repo = repository(git_server, "RUN sleep 2")
    fill_in(page, hub, {"repo": repo.url})

    press_start(page)

    expect(page.locator("body")).to_contain_text("Your server is starting up")
    page.wait_for_timeout(6 * SECONDS)
    page.goto(f"{hub.url}hub/home")
    expect(page.locator("#stop, [href*='/user/']").first).to_be_visible()
