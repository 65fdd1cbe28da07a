"""What the pending page and the page after a failure are sent by a real hub, of a real build."""

from __future__ import annotations

import json
import uuid
from urllib.parse import parse_qs, urlsplit

import pytest
from bs4 import BeautifulSoup
from testbed import names
from testbed.gitserver import GitServer
from testbed.hub import HubError
from testbed.hubclient import HubClient, SpawnFailedError
from testbed.kinds import MakeHub

HUB_CONFIG = """
from repo2dockerspawner import configure
configure(c, spawner=None)
# so that a start over REST is answered at once
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 0}
"""

NAME = "geo/course"


def create(git_server: GitServer, *steps: str) -> tuple[str, str]:
    """A repository that nobody has built before: its address and its commit."""
    name = f"{NAME}-{uuid.uuid4().hex[:6]}"
    lines = [f"FROM {names.SINGLEUSER_IMAGE}", *steps]
    commit = git_server.create(name, {"Dockerfile": "\n".join(lines) + "\n"})
    return git_server.url(name), commit


@pytest.mark.parametrize("server", ["", "lab"], ids=["default", "named"])
def test_a_failing_build_is_followed_told_and_kept(
    client: HubClient, git_server: GitServer, server: str
) -> None:
    # else the engine has it, and prints nothing
    mark = uuid.uuid4().hex
    url, commit = create(
        git_server,
        f"RUN echo {mark} $((20 + 22))",
        "RUN echo '<b>E: no frobnicate</b>' && sleep 2 && exit 3",
    )
    assert client.start_server({"repo": url, "path": "x.ipynb"}, server).ok
    page = BeautifulSoup(client.pending_page(server).text, "html.parser")
    data = json.loads(page.select_one("#repo2docker-data").get_text())
    assert urlsplit(data["progress"]).path == urlsplit(data["server"]).path + "/progress"
    with pytest.raises(SpawnFailedError) as failed:
        client.wait_ready(server)

    events = [one for one in failed.value.events if "index" in one]
    assert [one["index"] for one in events] == list(range(len(events)))
    lines = [len(str(one["message"]).split("\n")) for one in events]
    assert [one["line"] for one in events] == [sum(lines[: at + 1]) for at in range(len(lines))]
    phases = list(dict.fromkeys(one["phase"] for one in events))
    assert phases == ["waiting", "fetching", "building", "failed"]
    steps = [tuple(one["step"]) for one in events if "step" in one]
    assert steps == sorted(steps)
    assert steps[-1][0] >= 3
    targets = [one["launch"] for one in events if "launch" in one]
    assert (targets[-1]["commit"], targets[-1]["short"]) == (commit, commit[:7])
    assert targets[-1]["url"] == ""
    assert events[-1]["failure"]["reason"]
    assert any("E: no frobnicate" in line for line in events[-1]["failure"]["lines"])

    page = BeautifulSoup(client.pending_page(server).text, "html.parser")
    assert not page.select("b")
    assert f"{mark} 42" in page.select_one("#repo2docker-log").get_text()
    change = urlsplit(str(page.select_one("#repo2docker-change")["href"]))
    assert parse_qs(change.query) == {
        "opt-repo": [url],
        "opt-path": ["x.ipynb"],
        "opt-edit": ["1"],
    }
    form = page.select_one("form:has(#repo2docker-again)")
    sent = {field["name"]: field["value"] for field in form.select("input")}
    assert sent == {"repo": url, "path": "x.ipynb"}
    assert urlsplit(str(form["action"])).path == change.path

    # a GET starts nothing
    filled = client.visit(str(page.select_one("#repo2docker-change")["href"]))
    assert url in filled.text
    model = client.server_model(server)
    assert model is None or not model["pending"]


@pytest.mark.any_jupyterhub
def test_a_hub_with_contradicting_timeouts_says_so_and_does_not_start(make_hub: MakeHub) -> None:
    config = """
from repo2dockerspawner import configure
c.Repo2DockerSpawner.start_timeout = 300
c.Repo2DockerSpawner.build_timeout = 600
configure(c)
"""
    with pytest.raises(HubError) as refused:
        make_hub(config)
    assert "Repo2DockerSpawner.start_timeout (300 s)" in str(refused.value)
    assert "Repo2DockerSpawner.build_timeout (600 s)" in str(refused.value)
