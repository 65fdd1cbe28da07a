"""A real browser on a real hub."""

from __future__ import annotations

import secrets
from collections.abc import Iterator

import docker
import pytest
from playwright.sync_api import Browser, Dialog, Page, sync_playwright
from testbed import names
from testbed.browsing import FLAGS, log_in, watch_policy
from testbed.gitserver import GitServer
from testbed.hub import HubProcess
from testbed.watch import remove_builds

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
