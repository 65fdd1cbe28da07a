"""Where a server's pages are, on every JupyterHub."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from repo2dockerspawner.errors import BuildError, EngineError, LaunchError, Repo2DockerError
from repo2dockerspawner.hubcompat import LaunchFailed, hub_links


def spawner(name: str = "") -> Any:
    where = f"servers/{name}" if name else "server"
    return SimpleNamespace(
        name=name,
        hub=SimpleNamespace(base_url="/a%20b/hub/"),
        user=SimpleNamespace(
            escaped_name="ann%40x",
            progress_url=lambda _: f"/a%20b/hub/api/users/ann%40x/{where}/progress",
        ),
    )


@pytest.mark.parametrize(
    ("name", "form", "server"),
    [
        ("", "/a%20b/hub/spawn/ann%40x", "/a%20b/hub/api/users/ann%40x/server"),
        ("lab", "/a%20b/hub/spawn/ann%40x/lab", "/a%20b/hub/api/users/ann%40x/servers/lab"),
        (
            "a b/c",
            "/a%20b/hub/spawn/ann%40x/a%20b%2Fc",
            "/a%20b/hub/api/users/ann%40x/servers/a b/c",
        ),
    ],
)
def test_links_are_of_this_server_and_below_the_hubs_base_url(
    name: str, form: str, server: str
) -> None:
    links = hub_links(spawner(name), {})
    assert (links.form, links.change, links.server) == (form, form, server)


def test_the_link_to_the_form_has_the_entries_and_asks_for_the_form() -> None:
    options = {"repo": "https://x/a?b=c&d#e", "ref": "", "path": 'x "y".ipynb', "other": "1"}
    change = urlsplit(hub_links(spawner(), options).change)
    assert parse_qs(change.query) == {
        "opt-repo": [options["repo"]],
        "opt-path": [options["path"]],
        "opt-edit": ["1"],
    }
    assert not change.fragment


def test_the_link_to_the_form_may_unfold_the_part_for_a_private_repository() -> None:
    change = urlsplit(hub_links(spawner(), {"repo": "https://x/a"}, private=True).change)
    assert parse_qs(change.query)["opt-edit"] == ["private"]


def test_a_failure_shows_its_sentence_its_lines_and_the_way_on_and_all_of_it_is_text() -> None:
    error = BuildError("It <i>failed</i>.", lines=["E: <b>no</b>"])
    html = LaunchFailed(error, change='/hub/spawn?opt-repo="><script>').jupyterhub_html_message
    assert "It &lt;i&gt;failed&lt;/i&gt;." in html
    assert "E: &lt;b&gt;no&lt;/b&gt;" in html
    assert 'href="/hub/spawn?opt-repo=&#34;&gt;&lt;script&gt;"' in html
    assert "Change the entry" not in LaunchFailed(error).jupyterhub_html_message


@pytest.mark.parametrize(
    ("error", "headers"),
    [
        (LaunchError("Too many.", status=429), {"Retry-After": "60"}),
        (EngineError("Not there."), {"Retry-After": "60"}),
        (LaunchError("Wrong."), {}),
        (BuildError("Failed."), {}),
    ],
)
def test_a_refusal_for_now_says_when_to_ask_again(
    error: Repo2DockerError, headers: dict[str, str]
) -> None:
    assert LaunchFailed(error).headers == headers
