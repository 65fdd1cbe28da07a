"""The page that one waits at: what is started, how far it is, its end."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect
from testbed.hub import HubProcess

from .person import (
    FAILURE,
    LOOKING,
    REPO,
    TARGET,
    Person,
    lines_of,
    printed,
)
from .relay import Relay

# --- what is shown


@pytest.mark.parametrize("server", ["", "lab-2"], ids=["default", "named"])
def test_it_shows_what_is_started_and_how_far_it_is(
    any_hub: HubProcess, come: Callable[..., Person], server: str
) -> None:
    ann = come(any_hub, server)
    ann.do(LOOKING)
    page = ann.start()
    expect(page.locator("h1")).to_have_text(re.compile(r"Starting\s+"))
    expect(page.locator("#progress-message")).to_have_text("Looking up geo/course…")

    ann.do(TARGET, printed("2nd in line.", phase="waiting", is_log=False, place=2))
    expect(page.locator("h1")).to_have_text(re.compile(r"Starting\s+geo/course"))
    expect(page.locator("#repo2docker-target")).to_have_text("main · 0123abc · folder docs")
    link = page.locator("#repo2docker-target a")
    assert link.get_attribute("href") == TARGET["url"]
    current = page.locator("#repo2docker-phases [aria-current=step]")
    expect(current).to_have_text("Waiting")
    expect(page.locator("#repo2docker-detail")).to_contain_text("Number 2 in line")

    ann.do(
        printed("fetching it", phase="fetching"),
        {"do": "about", "seconds": 185},
        printed("#9 [4/9] RUN make", "made", step=[4, 9], progress=0.4),
    )
    expect(current).to_have_text("Building")
    expect(page.locator("#repo2docker-detail")).to_contain_text("Step 4 of 9")
    expect(page.locator("#repo2docker-time")).to_have_text(
        re.compile(r"\d:\d\d, usually about 3 minutes")
    )
    expect(page.locator("#repo2docker-live")).to_have_text("Building.")
    expect(page.locator("#progress-bar")).to_have_attribute("aria-valuenow", "37")
    assert lines_of(page)[-3:] == ["fetching it", "#9 [4/9] RUN make", "made"]
    expect(page.locator("li[data-phase=pushing]")).to_be_hidden()
    expect(page.locator("#stop-server-btn:visible, #progress-details:visible")).to_have_count(0)


def test_it_becomes_the_server_when_that_is_ready(
    any_hub: HubProcess, come: Callable[..., Person]
) -> None:
    ann = come(any_hub)
    page = ann.start()
    ann.do({"do": "ready"})
    page.wait_for_url(re.compile(f"/user/{ann.name}/"), timeout=60_000)


def test_the_time_so_far_is_the_launchs_and_not_the_pages(
    scripted_hub: HubProcess, come: Callable[..., Person]
) -> None:
    ann = come(scripted_hub)
    ann.do(LOOKING)
    page = ann.start()
    page.wait_for_timeout(3000)
    page.reload()
    expect(page.locator("#repo2docker-time")).to_have_text(re.compile(r"0:0[3-9]"))


# --- tabs, reloads, lost connections


def test_tabs_and_a_reload_show_the_same(
    scripted_hub: HubProcess, come: Callable[..., Person]
) -> None:
    ann = come(scripted_hub)
    page = ann.start()
    ann.do(TARGET, printed("one", "two"))
    expect(page.locator("#repo2docker-log")).to_contain_text("two")
    other = ann.tab()
    other.goto(page.url)
    ann.do(printed("three"))
    for each in (page, other):
        expect(each.locator("#repo2docker-log")).to_contain_text("three")
    page.reload()
    expect(page.locator("#repo2docker-log")).to_contain_text("three")
    assert lines_of(page) == lines_of(other) == ["Found it.", "one", "two", "three"]


def test_a_lost_connection_comes_back_without_repeating_or_losing_a_line(
    scripted_hub: HubProcess, come: Callable[..., Person]
) -> None:
    with Relay(scripted_hub.url) as relay:
        ann = come(scripted_hub, url=relay.url)
        page = ann.start()
        ann.do(TARGET, *(printed(f"line {number}") for number in range(50)))
        expect(page.locator("#repo2docker-log")).to_contain_text("line 49")
        relay.cut(refusing=True)
        expect(page.locator("#repo2docker-lost")).to_be_visible()
        ann.do(*(printed(f"line {number}") for number in range(50, 100)))
        page.wait_for_timeout(500)
        relay.mend()
        expect(page.locator("#repo2docker-log")).to_contain_text("line 99", timeout=20_000)
        expect(page.locator("#repo2docker-lost")).to_be_hidden()
        assert lines_of(page) == ["Found it.", *(f"line {number}" for number in range(100))]
        relay.cut()
        ann.do(printed("after a short one"))
        expect(page.locator("#repo2docker-log")).to_contain_text("short one", timeout=20_000)
        assert lines_of(page)[-2:] == ["line 99", "after a short one"]


def test_a_failure_told_while_nobody_listened_is_shown_all_the_same(
    scripted_hub: HubProcess, come: Callable[..., Person]
) -> None:
    with Relay(scripted_hub.url) as relay:
        ann = come(scripted_hub, url=relay.url)
        page = ann.start()
        ann.do(TARGET)
        expect(page.locator("#repo2docker-name")).to_have_text("geo/course")
        relay.cut(refusing=True)
        ann.do(FAILURE)
        page.wait_for_timeout(500)
        relay.mend()
        expect(page.locator(".repo2docker-lines")).to_have_text(
            "\n".join(FAILURE["lines"]), timeout=20_000
        )


# --- cancel


@pytest.mark.parametrize("server", ["", "lab-2"], ids=["default", "named"])
def test_cancel_ends_this_start_and_leads_back_to_the_form(
    any_hub: HubProcess, come: Callable[..., Person], server: str
) -> None:
    ann = come(any_hub, server)
    if server:
        # the default server is another one, and stays
        assert any_hub.api("POST", f"users/{ann.name}/server", {"repo": REPO}).status_code == 202
    ann.do(TARGET, printed("line"))
    page = ann.start(ref="v1")
    other = ann.tab()
    other.goto(page.url)
    expect(other.locator("#repo2docker-log")).to_contain_text("line")
    page.locator("#repo2docker-cancel").focus()
    page.keyboard.press("Enter")
    for each in (page, other):
        expect(each.locator("#repo2docker-cancelled")).to_be_visible(timeout=1000)
        expect(each.locator("h1")).to_have_text(re.compile(r"Cancelled:\s+geo/course"))
        expect(each.locator("#repo2docker-failure")).to_be_hidden()
        expect(each.locator("#repo2docker-cancel")).to_be_hidden()
    page.wait_for_timeout(1500)
    model = ann.model()
    assert model is None or not (model["pending"] or model["ready"])
    if server:
        default = ann.model("")
        assert default is not None
        assert default["pending"] == "spawn"

    page.click("text=Back to the form")
    assert page.locator("[name=repo]").input_value() == REPO
    assert page.locator("[name=ref]").input_value() == "v1"
    assert urlsplit(page.url).path == urlsplit(ann.address("spawn")).path
    # said after a reload too
    other.reload()
    other.click("text=as it was filled in last")
    assert other.locator("[name=repo]").input_value() == REPO


def test_a_cancel_that_the_hub_refuses_is_said_and_can_be_tried_again(
    scripted_hub: HubProcess, come: Callable[..., Person]
) -> None:
    ann = come(scripted_hub)
    page = ann.start()
    page.route("**/hub/api/users/**/server", lambda route: route.fulfill(status=503, body="{}"))
    page.click("#repo2docker-cancel")
    expect(page.locator("#repo2docker-cancel-error")).to_contain_text("503")
    page.unroute("**/hub/api/users/**/server")
    page.click("#repo2docker-cancel")
    expect(page.locator("#repo2docker-cancelled")).to_be_visible()


# --- failure


@pytest.mark.parametrize("server", ["", "lab-2"], ids=["default", "named"])
def test_a_failure_says_what_why_and_what_to_do(
    any_hub: HubProcess, come: Callable[..., Person], server: str
) -> None:
    ann = come(any_hub, server)
    ann.do(TARGET, printed("line 1"))
    page = ann.start(ref="v1")
    expect(page.locator("#repo2docker-log")).to_contain_text("line 1")
    ann.do(FAILURE)
    expect(page.locator("#repo2docker-failure-message")).to_have_text(FAILURE["text"])
    expect(page.locator("#repo2docker-failure-lines")).to_have_text("\n".join(FAILURE["lines"]))
    expect(page.locator("#repo2docker-log")).to_be_visible()
    assert page.evaluate("document.activeElement.id") == "repo2docker-failure"
    assert page.evaluate("document.title").startswith("Failed")

    # it is linked to, and can be read anew
    other = ann.tab()
    other.goto(ann.address("spawn-pending"))
    for text in (FAILURE["text"], FAILURE["lines"][0]):
        expect(other.locator("main, body").first).to_contain_text(text)
    other.click("summary:has-text('log of this start')")
    expect(other.locator("#repo2docker-log")).to_contain_text("line 1")
    assert other.locator("#repo2docker-again").count() == 1
    expect(other.locator("a:visible", has_text="Change the entry")).to_have_count(1)
    other.click("a:visible:has-text('Change the entry')")
    assert other.locator("[name=repo]").input_value() == REPO
    assert other.locator("[name=ref]").input_value() == "v1"
    assert ann.model() is None or not (ann.model() or {}).get("pending")

    # and again, of the same
    ann.forget()
    ann.do(LOOKING)
    page.click("#repo2docker-again")
    page.wait_for_url("**/spawn-pending/**")
    expect(page.locator("#progress-message")).to_have_text(LOOKING["text"])
    assert urlsplit(page.url).query == ""
    model = ann.model()
    assert model is not None
    assert (model["pending"], model["user_options"]) == ("spawn", {"repo": REPO, "ref": "v1"})


def test_a_failure_that_is_not_ours_is_told_as_well(
    scripted_hub: HubProcess, come: Callable[..., Person]
) -> None:
    ann = come(scripted_hub)
    page = ann.start()
    ann.do(LOOKING, {"do": "crash", "text": "The engine is on fire."})
    expect(page.locator("#repo2docker-failure-message")).to_have_text("The engine is on fire.")
    expect(page.locator("#repo2docker-again")).to_be_visible()
