"""The page that one waits at beside what other packages make of it, and without ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect
from testbed.hub import HubProcess

from .person import (
    FAILURE,
    LOOKING,
    REPO,
    SCRIPTED,
    TARGET,
    Hubs,
    Person,
    printed,
    scripted_hubs,
)


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


@pytest.fixture(scope="module")
def configured() -> Iterator[Hubs]:
    """Hubs of other configurations, which end with the module."""
    with scripted_hubs() as get:
        yield get


@pytest.mark.parametrize("when", OTHERS)
def test_another_package_that_changes_the_same_pages_has_its_part(
    configured: Hubs, come: Callable[..., Person], tmp_path: Path, when: str
) -> None:
    _other_package(tmp_path / "other")
    ours = SCRIPTED
    config = OTHERS[when].replace("{ours}", ours).replace("{path!r}", repr(str(tmp_path / "other")))
    if when == "before":
        config = "c = get_config()\n" + config
    ann = come(configured(config))
    page = ann.start()
    ann.do(TARGET, printed("line 1"))
    expect(page.locator("#other-page")).to_be_visible()
    expect(page.locator("#other-message")).to_be_visible()
    expect(page.locator("#repo2docker-log")).to_contain_text("line 1")
    # its own connection, which is ours, tells it what is said
    ann.do({"do": "say", "text": "Said to all.", "phase": "building"})
    expect(page).to_have_title("Said to all.")
    expect(page.locator("#progress-message")).to_have_text("Said to all.")


def test_without_our_pages_the_hubs_own_show_progress_and_messages(
    configured: Hubs, come: Callable[..., Person], any_hub: HubProcess
) -> None:
    config = SCRIPTED.replace("spawner=Scripted)", "spawner=Scripted, templates=False)")
    ann = come(configured(config, any_hub.python))
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
