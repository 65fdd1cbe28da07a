"""The spawn page of a real hub, as a browser without scripts has it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import docker
import pytest
from bs4 import BeautifulSoup, Tag
from testbed.hub import HubProcess
from testbed.hubclient import HubClient, form_fields
from testbed.kinds import LogIn, MakeHub
from testbed.quickbuilds import QuickImages
from testbed.ready import ReadyImage, make_ready_image
from testbed.watch import server_container

CONFIG = """
c.JupyterHub.load_groups = {"staff": {"users": ["anna"]}}
c.Repo2DockerSpawner.default_image_name = "Python"
c.Repo2DockerSpawner.profiles = [
    {"display_name": "Small", "default": True, "settings": {"mem_limit": "512M"}},
    {"display_name": "Large", "groups": ["staff"], "settings": {"mem_limit": "768M"}},
]
c.Repo2DockerSpawner.trusted_repos = ["github.com/no-such-owner-of-ours/*"]
"""
REPO = "https://github.com/owner/repo"


@pytest.fixture(scope="module")
def hub(make_hub: MakeHub, quick: QuickImages) -> HubProcess:
    return make_hub(CONFIG, base_url="/@/hub%20prefix/", image=quick.server)


@pytest.fixture(scope="module")
def ready(docker_client: docker.DockerClient, hub: HubProcess) -> Iterator[dict[str, ReadyImage]]:
    made = {
        "free": make_ready_image(docker_client, "geo/course", base=hub.image),
        "bert's": make_ready_image(docker_client, "geo/secret-exam", owner="bert"),
    }
    yield made
    for image in made.values():
        docker_client.api.remove_image(image.name, force=True)


def page_of(answer: Any) -> BeautifulSoup:
    return BeautifulSoup(answer.text, "html.parser")


def said(page: BeautifulSoup, id_: str) -> str:
    found = page.find(id=f"repo2docker-{id_}")
    return " ".join(found.get_text(" ").split()) if isinstance(found, Tag) else ""


def container_of(engine: docker.DockerClient, hub: HubProcess, client: HubClient) -> dict[str, Any]:
    found = server_container(engine, hub, client.username)
    assert found is not None
    return found


def nothing_runs(client: HubClient, server_name: str = "") -> bool:
    model = client.server_model(server_name)
    return model is None or not (model.get("ready") or model.get("pending"))


# --- ready environments


def test_the_page_lists_what_this_person_may_use_and_nothing_else(
    log_in: LogIn, ready: dict[str, ReadyImage]
) -> None:
    other = log_in().spawn_page()
    assert ready["free"].key in other.text
    assert "secret-exam" not in other.text
    assert ready["bert's"].key not in other.text
    own = log_in("bert").spawn_page()
    assert ready["bert's"].key in own.text


def test_a_ready_environment_starts_without_a_build(
    hub: HubProcess,
    client: HubClient,
    ready: dict[str, ReadyImage],
    docker_client: docker.DockerClient,
) -> None:
    fields = {"environment": ready["free"].key[:12], "urlpath": "lab/tree/x"}
    answer = client.spawn_form(fields)
    assert client.started(answer)
    events = client.wait_ready()
    assert container_of(docker_client, hub, client)["Image"] == ready["free"].id
    assert "building" not in {event.get("phase") for event in events}
    assert client.default_url().endswith("/lab/tree/x")


@pytest.mark.parametrize("whose", ["bert's", "nobody's"])
def test_anothers_environment_is_refused_like_one_that_is_not_there(
    client: HubClient, ready: dict[str, ReadyImage], whose: str
) -> None:
    asked = ready[whose].key if whose in ready else "0123456789ab"
    answer = client.spawn_form({"environment": asked})
    page = page_of(answer)
    assert f"There is no ready environment {asked} here" in said(page, "environment-error")
    assert form_fields(answer.text, "form#spawn_form")[1]["environment"] == asked
    assert nothing_runs(client)


# --- launch links


@pytest.mark.parametrize("prefix", ["opt-", ""], ids=["with opt-", "without"])
@pytest.mark.parametrize("server_name", ["", "lab-2"], ids=["default", "named"])
def test_a_link_fills_in_the_form_and_starts_nothing(
    client: HubClient, hub: HubProcess, prefix: str, server_name: str
) -> None:
    query = f"{prefix}repo={quote(REPO)}&{prefix}ref=main&{prefix}path=a%20b.ipynb"
    answer = client.spawn_page(server_name, query)
    assert answer.status_code == 200
    action, fields = form_fields(answer.text, "form#spawn_form")
    assert (fields["repo"], fields["ref"], fields["path"]) == (REPO, "main", "a b.ipynb")
    assert "environment" not in fields
    summary = "This link starts owner/repo at main from github.com with the profile Small"
    assert said(page_of(answer), "link").startswith(summary)
    assert urlsplit(action).path == urlsplit(answer.url).path
    assert nothing_runs(client, server_name)
    assert "Traceback" not in hub.log.partition(quote(client.username))[2]


@pytest.mark.parametrize("server_name", ["", "lab-2"], ids=["default", "named"])
def test_what_is_refused_comes_back_filled_in_with_the_sentence_beside_its_field(
    client: HubClient, server_name: str
) -> None:
    page = client.spawn_page(server_name, f"opt-repo={quote(REPO)}&opt-ref=main")
    for ref in ("--x", "a..b"):
        action, fields = form_fields(page.text, "form#spawn_form")
        fields |= {"ref": ref, "path": "a b.ipynb"}
        page = client.session.post(
            f"{urlsplit(client.base_url).scheme}://{urlsplit(client.base_url).netloc}{action}",
            files={name: (None, value) for name, value in fields.items()},
            allow_redirects=False,
            timeout=30,
        )
        assert page.status_code == 400
        soup = page_of(page)
        entries = form_fields(page.text, "form#spawn_form")[1]
        assert (entries["repo"], entries["ref"], entries["path"]) == (REPO, ref, "a b.ipynb")
        assert said(soup, "ref-error").endswith(".")
        assert [tag["id"] for tag in soup.select("[autofocus]")] == ["repo2docker-ref"]
    assert nothing_runs(client, server_name)


def test_a_link_to_a_trusted_repository_starts_at_once(client: HubClient) -> None:
    query = "opt-repo=https://github.com/no-such-owner-of-ours/course"
    answer = client.visit(f"hub/spawn/{client.username}?{query}", follow=False)
    # it began: either it goes on, or it has already found out that it can't
    if not client.started(answer):
        assert "no-such-owner-of-ours" in answer.text
    assert (client.api("GET", f"users/{client.username}")).ok
    deadline = time.monotonic() + 30
    while not nothing_runs(client) and time.monotonic() < deadline:
        time.sleep(0.2)


def test_the_link_to_share_leads_back_to_the_same(client: HubClient) -> None:
    query = f"opt-repo={REPO}&opt-subdir=a%26b&opt-profile=small"
    page = client.spawn_page("", query)
    link = said(page_of(page), "share-link")
    assert link.startswith(f"{client.base_url}hub/spawn?opt-repo={REPO}&")
    again = form_fields(client.visit(link).text, "form#spawn_form")[1]
    assert (again["repo"], again["subdir"], again["profile"]) == (REPO, "a&b", "small")


# --- profiles


def test_a_profile_is_for_its_group_and_for_one_launch(
    hub: HubProcess, log_in: LogIn, docker_client: docker.DockerClient
) -> None:
    staff = log_in("anna")
    for profile, memory in (("large", 768), ("", 512)):
        assert staff.started(staff.spawn_form({"profile": profile}))
        staff.wait_ready()
        config = container_of(docker_client, hub, staff)["HostConfig"]
        assert config["Memory"] == memory * 2**20
        staff.stop_server()


def test_a_profile_of_a_group_is_not_shown_to_others_and_refused(client: HubClient) -> None:
    assert "Large" not in client.spawn_page().text
    answer = client.spawn_form({"profile": "large"})
    assert "can't choose the profile large" in said(page_of(answer), "profile-error")
    answer = client.start_server({"profile": "large"})
    assert not answer.ok
    assert "can't choose the profile large" in answer.text
    assert nothing_runs(client)
