"""What the pages that watch a launch are sent."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from repo2dockerspawner.builds.events import HEAD_SIZE, TAIL_SIZE, Event
from repo2dockerspawner.errors import BuildError
from repo2dockerspawner.launching import PART_LINES, Launch, LaunchTarget
from repo2dockerspawner.repos import RepoSpec
from repo2dockerspawner.resolve import Resolved


async def collect(launch: Launch) -> list[dict[str, Any]]:
    return [one async for one in launch.progress()]


async def parts_of(launch: Launch) -> list[str]:
    return [part async for part in launch.log_parts()]


def read(launch: Launch) -> list[dict[str, Any]]:
    launch.close()
    return asyncio.run(collect(launch))


events = st.tuples(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    st.floats(-1, 5, allow_nan=False),
    st.sampled_from(["waiting", "fetching", "building", "pushing"]),
    st.booleans(),
).map(lambda fields: Event(*fields))
steps = st.one_of(
    st.tuples(st.just("forward"), events),
    st.tuples(st.just("say"), st.floats(-1, 5, allow_nan=False)),
    st.tuples(st.sampled_from(["resolved", "built", "starting"]), st.just("text")),
)


@given(st.lists(steps, max_size=20))
def test_progress_never_goes_back_and_100_is_left_to_jupyterhub(
    script: list[tuple[str, Any]],
) -> None:
    launch = Launch()
    for step, value in script:
        if step == "say":
            launch.say("text", "fetching", value)
        else:
            getattr(launch, step)(value)
    sent = read(launch)
    progress = [one["progress"] for one in sent]
    assert progress == sorted(progress)
    assert all(isinstance(one, int) and 0 <= one < 100 for one in progress)
    assert len(sent) == len(script)
    assert all(isinstance(one["message"], str) for one in sent)


def test_the_build_has_the_greatest_part_of_the_bar() -> None:
    launch = Launch()
    launch.say("Looking it up", "fetching")
    launch.resolved("owner/repo at 0123abc")
    for progress in (0.0, 0.25, 1.0):
        launch.forward(Event("x", progress, "building"))
    launch.built("The image is ready.")
    launch.starting("Starting your server.")
    assert [one["progress"] for one in read(launch)] == [0, 5, 5, 25, 85, 85, 95]


def test_only_what_a_build_printed_has_html() -> None:
    launch = Launch()
    launch.say("ours", "fetching")
    launch.forward(Event("ours too", 0.1, "building"))
    launch.forward(Event("printed", 0.2, "building", is_log=True))
    assert ["html_message" in one for one in read(launch)] == [False, False, True]


PAYLOADS = [
    "<script>alert(1)</script>",
    "</pre><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "{{ 7 * 7 }}",
    "&lt;b&gt;&amp;amp;",
    "one\n<b>two</b>\n\nfour",
    "",
]


@pytest.mark.parametrize("text", PAYLOADS)
def test_what_a_build_printed_is_text_and_never_html(text: str) -> None:
    launch = Launch()
    launch.forward(Event(text, 0.1, "building", is_log=True))
    (sent,) = read(launch)
    assert sent["message"] == text
    soup = BeautifulSoup(sent["html_message"], "html.parser")
    assert [tag.name for tag in soup.find_all(True)] == ["style", "pre", "span"]
    (box,) = soup.find_all("pre")
    assert box.get_text() == text


def test_the_style_of_what_a_build_printed_comes_once() -> None:
    launch = Launch()
    for text in ("one\ntwo", "three"):
        launch.forward(Event(text, 0.1, "building", is_log=True))
    pages = [BeautifulSoup(sent["html_message"], "html.parser") for sent in read(launch)]
    assert [len(page.find_all("style")) for page in pages] == [1, 0]
    assert [page.select_one(".repo2docker-earlier").get_text() for page in pages] == ["one\n", ""]


async def test_all_pages_are_sent_the_same_whenever_they_come() -> None:
    launch = Launch()
    launch.say("first", "fetching")
    early = asyncio.create_task(collect(launch))
    for number in range(50):
        launch.forward(Event(f"line {number}", number / 50, "building", is_log=True))
        await asyncio.sleep(0)
    late = asyncio.create_task(collect(launch))
    await asyncio.sleep(0)
    launch.starting("Starting your server.")
    launch.close()
    after = await collect(launch)
    assert timeless(await early) == timeless(await late) == timeless(after)
    assert len(after) == 52


def timeless(sent: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in one.items() if name != "elapsed"} for one in sent]


def test_events_are_numbered_so_that_a_page_knows_what_it_has() -> None:
    launch = Launch()
    launch.say("ours", "waiting")
    launch.forward(Event("one\ntwo", 0.1, "building", is_log=True))
    launch.starting("Starting your server.")
    sent = read(launch)
    assert [(one["index"], one["line"]) for one in sent] == [(0, 1), (1, 3), (2, 4)]
    assert {one["started"] for one in sent} == {launch.started}
    assert all(0 <= one["elapsed"] < 5 for one in sent)
    assert [one.get("is_log", False) for one in sent] == [False, True, False]


def test_colours_are_told_beside_the_text_as_javascript_counts() -> None:
    launch = Launch()
    launch.forward(Event("\U0001f600 red", 0.1, "building", is_log=True, spans=((2, 3, 2),)))
    launch.forward(Event("plain", 0.1, "building", is_log=True))
    coloured, plain = read(launch)
    assert coloured["message"] == "\U0001f600 red"
    assert coloured["spans"] == [(3, 3, 2)]
    assert "spans" not in plain


def test_what_is_left_out_has_the_number_of_its_last_event() -> None:
    launch = Launch()
    total = 0
    for number in range(200):
        text = "\n".join(f"{number} {'x' * 100}" for _ in range(50))
        launch.forward(Event(text, 0.1, "building", is_log=True))
        total += 50
    sent = read(launch)
    (gap,) = [at for at, one in enumerate(sent) if one.get("gap")]
    assert sent[gap + 1]["index"] == sent[gap]["index"] + 1
    missing = sent[gap]["line"] - sent[gap - 1]["line"]
    assert f"{missing:,} lines left out" in sent[gap]["message"]
    assert sent[-1]["line"] == total
    parts = asyncio.run(parts_of(launch))
    assert [part.count("\n") for part in parts[:-1]] == [PART_LINES] * (len(parts) - 1)
    assert "".join(parts) == "\n".join(one["message"] for one in sent)


def test_step_place_and_time_are_told_where_they_are_known() -> None:
    launch = Launch()
    launch.forward(Event("2nd in line.", 0, "waiting", place=2))
    launch.forward(Event("x", 0.4, "building", is_log=True, step=(4, 9)))
    launch.about = 185.0
    launch.forward(Event("y", 0.4, "building", is_log=True))
    first, second, third = read(launch)
    assert (first["place"], "step" in first) == (2, False)
    assert (second["step"], "place" in second) == ((4, 9), False)
    assert "step" not in third
    assert third["about"] == 185.0


@pytest.mark.parametrize(
    ("about", "gone", "told"),
    [(None, 0.0, None), (90.0, 0.0, 90), (90.0, 60.0, 30), (9.0, 60.0, 0)],
)
def test_how_long_it_takes_counts_from_the_launch(
    about: float | None, gone: float, told: float | None
) -> None:
    launch = Launch()
    launch.takes(about, gone)
    launch.say("text", "waiting")
    (sent,) = read(launch)
    assert sent.get("about") == (None if told is None else pytest.approx(told, abs=1))


def test_what_is_started_is_told_when_more_of_it_is_known() -> None:
    commit = "0123abc" + "4" * 33
    spec = RepoSpec("git", "https://github.com/geo/course", "refs/heads/main", "docs")
    launch = Launch()
    launch.target = LaunchTarget("geo/course")
    launch.say("Looking up geo/course…", "waiting")
    launch.say("A note.", "waiting")
    launch.resolved("Found it.", LaunchTarget.of(Resolved(spec, commit)))
    launch.starting("Starting your server.")
    first, note, found, last = read(launch)
    assert (first["launch"]["name"], first["launch"]["commit"]) == ("geo/course", "")
    assert "launch" not in note
    assert found["launch"] == {
        "name": "geo/course",
        "ref": "main",
        "commit": commit,
        "short": "0123abc",
        "url": f"https://github.com/geo/course/tree/{commit}/docs",
        "subdir": "docs",
    }
    assert "launch" not in last


def test_a_failure_is_told_with_the_lines_that_matter() -> None:
    launch = Launch()
    launch.failed(BuildError("It failed.", reason="build_failed", lines=["E: <b>no</b>"]))
    (sent,) = read(launch)
    assert (sent["phase"], sent["message"]) == ("failed", "It failed.")
    assert sent["failure"] == {"lines": ["E: <b>no</b>"], "reason": "build_failed"}
    assert "html_message" not in sent


def test_a_page_without_javascript_is_told_where_the_launch_is() -> None:
    launch = Launch()
    launch.say("Looking up geo/course…", "waiting")
    launch.forward(Event("\n".join(map(str, range(50))), 0.1, "building", is_log=True))
    assert (launch.phase, launch.said) == ("building", "Looking up geo/course…")
    assert launch.last_lines == [str(number) for number in range(30, 50)]
    launch.cancelled()
    assert launch.phase == "cancelled"


async def test_what_is_there_is_sent_without_waiting() -> None:
    # JupyterHub stops listening as soon as it would have to wait once the spawn has ended
    launch = Launch()
    for number in range(3):
        launch.forward(Event(str(number), 0, "building", is_log=True))
    messages: Any = launch.progress()
    found = []
    for _ in range(3):
        with pytest.raises(StopIteration) as stop:
            messages.__anext__().send(None)
        found.append(stop.value.value["message"])
    assert found == ["0", "1", "2"]
    await messages.aclose()


async def test_two_hundred_pages_that_read_nothing_hold_no_copies_of_the_log() -> None:
    """A18: each has a number in the log, and what has been left out of it is nobody's any more."""
    launch = Launch()
    launch.say("begun", "building")
    pages = [launch.progress() for _ in range(200)]
    for page in pages:
        assert (await anext(page))["message"] == "begun"
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for number in range(20_000):
            launch.forward(Event(f"{number} {'x' * 100}", 0.5, "building", is_log=True))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    # each event is an object beside its text
    assert grown < 4 * (HEAD_SIZE + TAIL_SIZE)
    launch.close()
    assert (await anext(pages[-1]))["line"] == 2
    for page in pages:
        await page.aclose()
