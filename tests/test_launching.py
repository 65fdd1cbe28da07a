"""What the pages that watch a launch are sent."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.launching import Launch


async def collect(launch: Launch) -> list[dict[str, Any]]:
    return [one async for one in launch.progress()]


def read(launch: Launch) -> list[dict[str, Any]]:
    launch.close()
    return asyncio.run(collect(launch))


events = st.builds(
    Event,
    st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    st.floats(-1, 5, allow_nan=False),
    st.sampled_from(["waiting", "fetching", "building", "pushing"]),
    st.booleans(),
)
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
    assert await early == await late == after
    assert len(after) == 52


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
