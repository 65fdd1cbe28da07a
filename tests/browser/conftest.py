"""A real browser on a real hub."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import docker
import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright
from testbed import names
from testbed.browsing import FLAGS, log_in, watch_policy
from testbed.gitserver import GitServer
from testbed.hub import HubProcess
from testbed.watch import remove_builds

from .person import HUB5, Hubs, Person, scripted_hubs

_CONFIG = f"""
c.Repo2DockerSpawner.build_image = {names.REPO2DOCKER_IMAGE!r}
c.Repo2DockerSpawner.allowed_schemes = ["https", "ssh", "http"]
"""


@pytest.fixture(scope="session")
def hub(git_server: GitServer, docker_client: docker.DockerClient) -> Iterator[HubProcess]:
    """One hub for all; what was built for it goes with it."""
    with HubProcess(_CONFIG) as running:
        yield running
    remove_builds(docker_client, f":{git_server.port}/")


@pytest.fixture(scope="session")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=chromium, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(params=[True])
def page(request: pytest.FixtureRequest, browser: Browser, hub: HubProcess) -> Iterator[Page]:
    """A window of a new person, logged in; a dialog or a breach of the policy fails the test.

    Parametrized indirectly: whether the browser runs scripts.
    """
    context = browser.new_context(java_script_enabled=request.param)
    breaches = watch_policy(context)
    window = context.new_page()
    dialogs: list[str] = []

    def seen(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    window.on("dialog", seen)
    log_in(window, hub, f"user-{secrets.token_hex(3)}")
    yield window
    context.close()
    assert dialogs == []
    assert breaches == []


# --- launches that do what a test says


@pytest.fixture(scope="session")
def hubs() -> Iterator[Hubs]:
    with scripted_hubs() as get:
        yield get


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
def scripted_hub(hubs: Hubs) -> HubProcess:
    return hubs()


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
