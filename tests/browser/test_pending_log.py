"""The log on the page that one waits at."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect
from testbed.hub import HubProcess
from testbed.waiting import wait_until

from .person import (
    EVIL,
    FAILURE,
    TARGET,
    Person,
    lines_of,
    printed,
)
from .relay import Relay

_FROM_END = "one => one.scrollHeight - one.scrollTop - one.clientHeight"


def test_what_a_build_prints_is_text(scripted_hub: HubProcess, come: Callable[..., Person]) -> None:
    ann = come(scripted_hub)
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
    scripted_hub: HubProcess, come: Callable[..., Person]
) -> None:
    ann = come(scripted_hub)
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
    scripted_hub: HubProcess, come: Callable[..., Person], tmp_path: Path
) -> None:
    ann = come(scripted_hub)
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
    scripted_hub: HubProcess,
    come: Callable[..., Person],
    record_property: Callable[[str, object], None],
) -> None:
    ann = come(scripted_hub)
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
    wait_until(lambda: late.evaluate(_LAST_LINE, "line 99999 "), 15)
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
    scripted_hub: HubProcess, come: Callable[..., Person], tmp_path: Path, kept: int
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

    with Relay(scripted_hub.url) as relay:
        ann = come(scripted_hub, url=relay.url)
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
