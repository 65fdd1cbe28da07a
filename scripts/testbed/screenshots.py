"""Pictures of the form, the pending page and a failure, taken from the running thing."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
from playwright.sync_api import Page, expect, sync_playwright

from testbed import browsing, engine, names
from testbed.gitserver import GitServer
from testbed.hub import HubProcess
from testbed.ready import make_ready_image
from testbed.recipes import dockerfile
from testbed.watch import remove_builds

_WIDTH, _HEIGHT = 1000, 720
_REPO = "geo/field-course"
# What a browser would show there, for names that mean something to who looks.
_SHOWN = f"https://github.com/{_REPO}"
_READY = ("climate/reanalysis", "geo/rivers-of-europe", "stats/bayes-seminar", _REPO)
_STEPS = (
    "RUN echo 'Collecting geopandas' && sleep 1 && echo 'Collecting rasterio' && sleep 1",
    r"""RUN for name in geopandas rasterio matplotlib; do
    printf '\033[1;32mInstalling\033[0m %s\n' $name; sleep 1; done""".replace("\n", " "),
)


def _config(secret: str) -> str:
    return f"""
from repo2dockerspawner import configure
configure(c)
c.Repo2DockerSpawner.image_secret = {secret!r}
c.Repo2DockerSpawner.default_image_name = "Python"
c.Repo2DockerSpawner.default_image_text = "JupyterLab with NumPy, pandas and Matplotlib"
c.Repo2DockerSpawner.build_image = {names.REPO2DOCKER_IMAGE!r}
c.Repo2DockerSpawner.allowed_schemes = ["https", "ssh", "http"]
c.DockerSpawner.allowed_images = {{
    "R": "quay.io/jupyter/r-notebook",
}}
"""


@contextlib.contextmanager
def _ready_images(client: docker.DockerClient, secret: str) -> Iterator[None]:
    made = [make_ready_image(client, repo, secret=secret).name for repo in _READY]
    try:
        yield
    finally:
        for name in made:
            client.images.remove(name, force=True)


def _form(page: Page, hub: HubProcess, url: str, shot: Path) -> None:
    page.goto(f"{hub.url}hub/spawn")
    page.fill("#spawn_form [name=repo]", _SHOWN)
    page.screenshot(path=shot, full_page=True)
    browsing.fill_in(page, hub, {"repo": url, "ref": "main", "path": "week 1/maps.ipynb"})


def _pending(page: Page, shot: Path) -> None:
    browsing.press_start(page)
    expect(page.locator("#repo2docker-log")).to_contain_text("Installing rasterio")
    page.wait_for_timeout(300)
    page.screenshot(path=shot, full_page=True)
    page.wait_for_url(re.compile("/user/"), timeout=60_000)


def _failure(page: Page, hub: HubProcess, url: str, shot: Path) -> None:
    browsing.fill_in(page, hub, {"repo": url})
    browsing.press_start(page)
    expect(page.locator("#repo2docker-failure")).to_be_visible(timeout=60_000)
    page.screenshot(path=shot, full_page=True)


def take(folder: Path) -> None:
    """Write ``form.png``, ``pending.png`` and ``failure.png`` into a folder."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    chromium = chromium or shutil.which("google-chrome")
    client = engine.client()
    # of a secret of its own, so that the page lists none of other hubs' images
    secret = secrets.token_hex(16)
    with (
        contextlib.closing(client),
        _ready_images(client, secret),
        tempfile.TemporaryDirectory(prefix="testbed-git-") as root,
        GitServer(Path(root), engine.bridge_gateway()) as git,
        HubProcess(_config(secret)) as hub,
        sync_playwright() as playwright,
    ):
        good = {
            "Dockerfile": dockerfile(names.SINGLEUSER_IMAGE, *_STEPS),
            "week 1/maps.ipynb": "{}",
        }
        git.create(_REPO, good)
        wrong = dockerfile(names.SINGLEUSER_IMAGE, "RUN sleep 1; pip install geopandsa-2")
        git.create(f"{_REPO}-draft", {"Dockerfile": wrong})
        browser = playwright.chromium.launch(executable_path=chromium, args=browsing.FLAGS)
        try:
            page = browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT})
            browsing.log_in(page, hub, "ada")
            _form(page, hub, git.url(_REPO), folder / "form.png")
            _pending(page, folder / "pending.png")
            browsing.log_in(page := browser.new_page(viewport=page.viewport_size), hub, "ben")
            _failure(page, hub, git.url(f"{_REPO}-draft"), folder / "failure.png")
        finally:
            browser.close()
            hub.close()
            remove_builds(client, f":{git.port}/")


def _main() -> None:
    folder = names.ROOT / "screenshots"
    folder.mkdir(exist_ok=True)
    take(folder)
    for name in ("form", "pending", "failure"):
        print(f"written: screenshots/{name}.png", file=sys.stdout)


if __name__ == "__main__":
    _main()
