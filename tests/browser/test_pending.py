"""The page that one waits at: what is started, how far it is, its log, its end."""

from __future__ import annotations

import json
import re
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect
from testbed import names
from testbed.browsing import watch_policy
from testbed.hub import HubProcess

from .relay import Relay

SCRIPTED = (Path(__file__).parent / "scripted.py").read_text(encoding="utf-8")
SCRIPTED = SCRIPTED.replace("from __future__ import annotations\n", "")
BASE_URL = "/hub%20prefix/"
HUB5 = names.ROOT / ".venv-hub5/bin/python"
AXE = names.ROOT / ".testbed/axe/node_modules/axe-core/axe.min.js"
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


_FROM_END = "one => one.scrollHeight - one.scrollTop - one.clientHeight"


# every colour on every background
COLOURED = [
    " ".join(f"\x1b[{front};{behind}mon {behind}\x1b[0m" for behind in (49, *range(40, 48)))
    for front in (*range(30, 38), 90)
]


def printed(*lines: str, **more: Any) -> dict[str, Any]:
    return {"do": "print", "text": "\n".join(lines), **more}


@pytest.fixture(scope="module")
def hubs() -> Iterator[Hubs]:
    """Hubs by their configuration and version, each started once."""
    running: dict[Any, HubProcess] = {}

    def get(config: str = SCRIPTED, python: str = sys.executable) -> HubProcess:
        if (config, python) not in running:
            hub = HubProcess(config, base_url=BASE_URL, python=python)
            running[config, python] = hub
            hub.start()
        return running[config, python]

    yield get
    for hub in running.values():
        hub.close()


@pytest.fixture(
    params=[
        pytest.param(sys.executable, id="hub"),
        pytest.param(
            str(HUB5),
            id="hub5",
            marks=pytest.mark.skipif(not HUB5.exists(), reason="no .venv-hub5 here"),
        ),
    ]
)
def any_hub(request: pytest.FixtureRequest, hubs: Hubs) -> HubProcess:
    return hubs(python=request.param)


@pytest.fixture
def hub(hubs: Hubs) -> HubProcess:
    return hubs()


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


@pytest.fixture
def come(browser: Browser) -> Iterator[Callable[..., Person]]:
    """People: ``come(hub, server="", url=…, **of the browser's context)``."""
    people: list[Person] = []

    def enter(hub: HubProcess, server: str = "", url: str = "", **of_context: Any) -> Person:
        context = browser.new_context(viewport={"width": 1000, "height": 800}, **of_context)
        context.set_default_timeout(15_000)
        people.append(Person(context, hub, server, url or hub.url))
        return people[-1]

    yield enter
    for person in people:
        person.context.close()
        for name in person.hub.api("GET", f"users/{person.name}").json().get("servers", {}):
            path = f"servers/{quote(name)}" if name else "server"
            person.hub.api("DELETE", f"users/{person.name}/{path}")
    for person in people:
        assert not person.errors
        assert not person.breaches
        origin = urlsplit(person.url).netloc
        asked = [url for url in person.asked if urlsplit(url).scheme in {"http", "https"}]
        assert {urlsplit(url).netloc for url in asked} == {origin}, "nothing outside the hub"


def lines_of(page: Page) -> list[str]:
    """What the log panel has, once the present frame has been drawn."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
    return str(page.locator("#repo2docker-log").text_content()).splitlines()


def violations(page: Page) -> list[str]:
    page.evaluate(AXE.read_text(encoding="utf-8"))  # a tag would need the page's nonce
    # what the hub's own frame has is the hub's
    found = page.evaluate("() => axe.run({exclude: [['nav']]})")["violations"]
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in found
        for node in one["nodes"]
    ]


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
    hub: HubProcess, come: Callable[..., Person]
) -> None:
    ann = come(hub)
    ann.do(LOOKING)
    page = ann.start()
    page.wait_for_timeout(3000)
    page.reload()
    expect(page.locator("#repo2docker-time")).to_have_text(re.compile(r"0:0[3-9]"))


# --- the log


def test_what_a_build_prints_is_text(hub: HubProcess, come: Callable[..., Person]) -> None:
    ann = come(hub)
    page = ann.start()
    ann.do({**TARGET, "name": EVIL, "ref": EVIL}, printed(EVIL, "  indented"))
    expect(page.locator("#repo2docker-log")).to_contain_text(EVIL)
    expect(page.locator("#repo2docker-name")).to_have_text(EVIL)
    assert lines_of(page)[-2:] == [EVIL, "  indented"]
    page.reload()
    expect(page.locator("#repo2docker-name")).to_have_text(EVIL)
    ann.do({"do": "fail", "text": EVIL, "lines": [EVIL]})
    expect(page.locator("#repo2docker-failure-message")).to_have_text(EVIL)
    expect(page.locator("#repo2docker-failure-lines")).to_have_text(EVIL)
    page.reload()
    expect(page.locator(".repo2docker-failure")).to_have_text(EVIL)
    assert page.evaluate("window.broken") is None


def test_the_colours_of_a_build_are_kept_as_text_of_a_few_styles(
    any_hub: HubProcess, come: Callable[..., Person], tmp_path: Path
) -> None:
    ann = come(any_hub)
    page = ann.start()
    text = (
        f"plain 😀\n😀 \x1b[1;31m{EVIL}\x1b[0m and \x1b[4;44mblue\x1b[0m\n\x1b[38;5;2mgreen\nplain"
    )
    ann.do({"do": "raw", "text": text + "\n"})
    for _ in range(2):
        expect(page.locator("#repo2docker-log")).to_contain_text("green")
        assert lines_of(page)[-4:] == ["plain 😀", f"😀 {EVIL} and blue", "green", "plain"]
        pieces = page.locator("#repo2docker-log span")
        assert pieces.all_text_contents() == [EVIL, "blue", "green"]
        assert [one.get_attribute("class") for one in pieces.all()] == [
            "repo2docker-colour-2 repo2docker-bold",
            "repo2docker-behind-5 repo2docker-underline",
            "repo2docker-colour-3",
        ]
        colour = pieces.first.evaluate("one => getComputedStyle(one).color")
        assert colour == "rgb(166, 30, 43)"
        page.reload()
    with page.expect_download() as download:
        page.click("#repo2docker-download")
    download.value.save_as(tmp_path / "log")
    got = (tmp_path / "log").read_text(encoding="utf-8")
    assert got.endswith(f"😀 {EVIL} and blue\ngreen\nplain\n")
    assert page.evaluate("window.broken") is None


def test_the_log_follows_its_end_until_one_scrolls_up(
    hub: HubProcess, come: Callable[..., Person]
) -> None:
    ann = come(hub)
    page = ann.start()
    panel, follow = page.locator("#repo2docker-log"), page.locator("#repo2docker-follow")
    ann.do(printed(*(f"line {number}" for number in range(3000))))
    expect(panel).to_contain_text("line 2999")
    lines_of(page)
    assert panel.evaluate(_FROM_END) < 8
    expect(follow).to_be_hidden()

    panel.focus()
    page.keyboard.press("PageUp")
    expect(follow).to_be_visible()
    ann.do(printed("one more"))
    expect(panel).to_contain_text("one more")
    # the key scrolls smoothly
    page.wait_for_timeout(700)
    assert panel.evaluate(_FROM_END) > 100

    follow.press("Enter")
    expect(follow).to_be_hidden()
    ann.do(printed("and another"))
    expect(panel).to_contain_text("and another")
    lines_of(page)
    assert panel.evaluate(_FROM_END) < 8


def test_the_log_is_downloaded_whole(
    hub: HubProcess, come: Callable[..., Person], tmp_path: Path
) -> None:
    ann = come(hub)
    page = ann.start()
    sent = [f"line {number} ÄÖ" for number in range(1500)]
    ann.do(TARGET, *(printed(*sent[at : at + 100]) for at in range(0, 1500, 100)))
    expect(page.locator("#repo2docker-log")).to_contain_text(sent[-1])
    with page.expect_download() as download:
        page.click("#repo2docker-download")
    assert download.value.suggested_filename == "geo-course-0123abc.log"
    download.value.save_as(tmp_path / "log")
    got = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert got[-1500:] == sent


_WATCH_FRAMES = """() => {
    window.longest = 0;
    let last = performance.now();
    (function frame() {
        window.longest = Math.max(window.longest, performance.now() - last);
        last = performance.now();
        requestAnimationFrame(frame);
    })();
}"""
_LAST_LINE = """(text) => {
    const chunk = document.querySelector("#repo2docker-log > div").lastChild;
    return chunk.textContent.slice(-200).includes(text);
}"""
# the page's own part alone: as fast as it takes them, so many of each 200 lines in colours
_FEED = """async (coloured) => {
    const at = (id) => document.getElementById("repo2docker-" + id);
    at("log").replaceChildren();
    const log = repo2dockerLog(at("log"), at("follow"), at("count"));
    const line = "#12 34.5 a line of a build that prints very much indeed, and more, number ";
    const began = performance.now();
    for (let first = 0; first < 100000; first += 200)
        log.add(
            Array.from({length: 200}, (_, at) => line + (first + at)).join("\\n"),
            Array.from({length: coloured}, (_, at) => [at * line.length, 8, at % 10]),
        );
    while (!at("log").textContent.slice(-100).includes("number 99999"))
        await new Promise(requestAnimationFrame);
    return performance.now() - began;
}"""


def test_a_hundred_thousand_lines_do_not_make_the_page_slow(
    hub: HubProcess, come: Callable[..., Person], record_property: Callable[[str, object], None]
) -> None:
    ann = come(hub)
    page = ann.start()
    ann.do(printed("the first line"))
    expect(page.locator("#repo2docker-log")).to_contain_text("the first line")
    page.evaluate(_WATCH_FRAMES)
    ann.do({"do": "flood", "lines": 100_000, "kept": 100_000})
    expect(page.locator("#repo2docker-count")).to_have_text(
        re.compile(r"100,0\d\d lines"), timeout=60_000
    )
    lines = lines_of(page)
    assert [line.split()[1] for line in lines[-100_000:]] == [str(at) for at in range(100_000)]
    assert page.locator("#repo2docker-log").evaluate(_FROM_END) < 8
    coming = page.evaluate("window.longest")

    # all of it anew, from the engine
    late = ann.tab()
    late.add_init_script(f"({_WATCH_FRAMES})()")
    began = time.monotonic()
    late.goto(page.url)
    expect(late.locator("#repo2docker-count")).to_have_text(
        re.compile(r"100,0\d\d lines"), timeout=60_000
    )
    # asking for all of the text would take longer than any frame
    late.wait_for_function(_LAST_LINE, arg="line 99999 ")
    sys.stdout.write(
        f"{time.monotonic() - began:.1f} s until a page that is opened late has all; "
        f"longest frame {late.evaluate('window.longest'):.0f} ms\n"
    )
    assert late.evaluate("window.longest") < 500
    late.close()

    # behind another tab it has no frames
    page.bring_to_front()
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
    for coloured in (0, 200):
        page.evaluate("window.longest = 0")
        took = page.evaluate(_FEED, coloured)
        at_once = page.evaluate("window.longest")
        record_property(f"milliseconds_per_1000_lines_{coloured}_coloured", took / 100)
        record_property("longest_frame_milliseconds", max(coming, at_once))
        sys.stdout.write(
            f"{took / 100:.1f} ms per 1,000 lines; longest frame {coming:.0f} ms as they come, "
            f"{at_once:.0f} ms all at once; {coloured} of 200 lines coloured\n"
        )
        # far above what is measured; a page that lays all of it out anew takes seconds a frame
        assert max(coming, at_once) < 500
        assert took < 20_000
    # the newest ones alone have elements of their own
    assert 15_000 < page.locator("#repo2docker-log span").count() <= 20_000


@pytest.mark.parametrize("kept", [20_000, 10_000], ids=["whole", "as far as it is kept"])
def test_a_page_that_is_opened_late_has_the_whole_log(
    hub: HubProcess, come: Callable[..., Person], tmp_path: Path, kept: int
) -> None:
    def check(lines: list[str]) -> None:
        gaps = [at for at, line in enumerate(lines) if "left out" in line]
        assert len(gaps) == (kept < 20_000)
        numbers = [int(line.split()[1]) for line in lines if line.startswith("line ")]
        assert numbers[:kept] == list(range(kept))
        # the end is in memory
        assert numbers[-4_000:] == list(range(16_000, 20_000))
        for at in gaps:
            missing = int(lines[at].split()[1].replace(",", ""))
            assert len(numbers) + missing == 20_000

    with Relay(hub.url) as relay:
        ann = come(hub, url=relay.url)
        page = ann.start()
        ann.do(TARGET, {"do": "flood", "lines": 20_000, "kept": kept})
        # this one sees the beginning, then nothing until all has been said
        expect(page.locator("#repo2docker-log")).to_contain_text("line 399 ")
        relay.cut(refusing=True)
        ann.do(printed("the last one", printed=20_001))
        page.wait_for_timeout(2000)
        relay.mend()
        late = ann.tab()
        late.goto(page.url)
        for each in (page, late):
            expect(each.locator("#repo2docker-log")).to_contain_text("last one", timeout=20_000)
            check(lines_of(each))
        assert lines_of(page) == lines_of(late)
        ann.do(FAILURE)
        expect(late.locator("#repo2docker-failure")).to_be_visible()
        late.reload()
        late.click("summary:has-text('log of this start')")
        lines = lines_of(late)
        check(lines)
        with late.expect_download() as download:
            late.click("#repo2docker-download")
        download.value.save_as(tmp_path / "log")
        assert (tmp_path / "log").read_text(encoding="utf-8").splitlines() == lines


# --- tabs, reloads, lost connections


def test_tabs_and_a_reload_show_the_same(hub: HubProcess, come: Callable[..., Person]) -> None:
    ann = come(hub)
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
    hub: HubProcess, come: Callable[..., Person]
) -> None:
    with Relay(hub.url) as relay:
        ann = come(hub, url=relay.url)
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
    hub: HubProcess, come: Callable[..., Person]
) -> None:
    with Relay(hub.url) as relay:
        ann = come(hub, url=relay.url)
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
    hub: HubProcess, come: Callable[..., Person]
) -> None:
    ann = come(hub)
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
    hub: HubProcess, come: Callable[..., Person]
) -> None:
    ann = come(hub)
    page = ann.start()
    ann.do(LOOKING, {"do": "crash", "text": "The engine is on fire."})
    expect(page.locator("#repo2docker-failure-message")).to_have_text("The engine is on fire.")
    expect(page.locator("#repo2docker-again")).to_be_visible()


# --- for everybody


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(hub: HubProcess, come: Callable[..., Person], scheme: str) -> None:
    ann = come(hub, color_scheme=scheme)
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


def test_all_of_it_is_reached_by_keyboard(hub: HubProcess, come: Callable[..., Person]) -> None:
    def reached(page: Page, *expected: str) -> None:
        found = []
        for _ in range(40):  # more than once around, from wherever it stands
            page.keyboard.press("Tab")
            found.append(page.evaluate("document.activeElement.id"))
        at = found.index(f"repo2docker-{expected[0]}")
        for name in expected[1:]:
            at = found.index(f"repo2docker-{name}", at)

    ann = come(hub)
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


# --- beside others


def _other_package(directory: Path) -> None:
    directory.mkdir()
    (directory / "page.html").write_text(
        '{% extends "templates/page.html" %}{% block announcement %}{{ super() }}'
        '<p id="other-page">Other page</p>{% endblock %}',
        encoding="utf-8",
    )
    (directory / "spawn_pending.html").write_text(
        '{% extends "templates/spawn_pending.html" %}{% block message %}'
        '<p id="other-message">Other message</p>{{ super() }}{% endblock %}'
        "{% block script %}{{ super() }}<script>"
        'new EventSource("{{ progress_url }}").onmessage ='
        " (e) => { document.title = JSON.parse(e.data).message || document.title };"
        "</script>{% endblock %}",
        encoding="utf-8",
    )


OTHERS = {
    "before": "c.JupyterHub.template_paths = [{path!r}]\n{ours}",
    "after": "{ours}\nc.JupyterHub.template_paths.insert(0, {path!r})",
    "after, and alone": "{ours}\nc.JupyterHub.template_paths = [{path!r}]",
}


@pytest.mark.parametrize("when", OTHERS)
def test_another_package_that_changes_the_same_pages_has_its_part(
    hubs: Hubs, come: Callable[..., Person], tmp_path: Path, when: str
) -> None:
    _other_package(tmp_path / "other")
    ours = SCRIPTED
    config = OTHERS[when].replace("{ours}", ours).replace("{path!r}", repr(str(tmp_path / "other")))
    if when == "before":
        config = "c = get_config()\n" + config
    ann = come(hubs(config))
    page = ann.start()
    ann.do(TARGET, printed("line 1"))
    expect(page.locator("#other-page")).to_be_visible()
    expect(page.locator("#other-message")).to_be_visible()
    expect(page.locator("#repo2docker-log")).to_contain_text("line 1")
    # its own connection, which is ours, tells it what is said
    ann.do({"do": "say", "text": "Said to all.", "phase": "building"})
    page.wait_for_function("document.title === 'Said to all.'")
    expect(page.locator("#progress-message")).to_have_text("Said to all.")


def test_without_our_pages_the_hubs_own_show_progress_and_messages(
    hubs: Hubs, come: Callable[..., Person], any_hub: HubProcess
) -> None:
    config = SCRIPTED.replace("spawner=Scripted)", "spawner=Scripted, templates=False)")
    ann = come(hubs(config, any_hub.python))
    page = ann.start()
    ann.do(LOOKING, TARGET, printed("<b>line 1</b>", "line 2", progress=0.5))
    expect(page.locator("#progress-bar")).to_have_attribute("aria-valuenow", re.compile("4[45]"))
    expect(page.locator("#progress-log")).to_contain_text("<b>line 1</b>\nline 2")
    expect(page.locator("#repo2docker-head")).to_have_count(0)
    ann.do(FAILURE)
    expect(page.locator("#progress-message")).to_contain_text(FAILURE["lines"][0])
    page.reload()
    expect(page.locator("body")).to_contain_text(FAILURE["text"])
    page.click("text=Change the entry")
    assert page.locator("[name=repo]").input_value() == REPO
