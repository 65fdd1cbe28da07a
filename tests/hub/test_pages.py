"""What the hub's pages show: the form, the progress, and nothing that a repository made."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlencode

import docker
import pytest
from bs4 import BeautifulSoup
from testbed.containerevents import ContainerEvents
from testbed.hub import HubProcess
from testbed.hubclient import Event, HubClient, SpawnFailedError, error_text, form_fields
from testbed.kinds import LogIn, MakeRepo
from testbed.watch import builds_begun, server_container

HUB_ARGUMENTS = {"base_url": "/hub-prefix/"}
PAYLOAD = "<img src=x onerror=alert(1)><script>alert(2)</script>"


def follow(client: HubClient) -> list[Event]:
    """Return all events, whether the server came or not."""
    try:
        return client.wait_ready()
    except SpawnFailedError as error:
        return error.events


def log_of(events: list[Event]) -> str:
    return "\n".join(str(event.get("message", "")) for event in events)


# --- links


@pytest.mark.parametrize("prefix", ["opt-", ""], ids=["opt-repo", "repo"])
@pytest.mark.parametrize("server_name", ["", "lab"], ids=["default server", "named server"])
def test_a_link_fills_in_the_form_and_starts_nothing(  # noqa: PLR0917 - fixtures
    hub: HubProcess,
    client: HubClient,
    make_repo: MakeRepo,
    docker_client: docker.DockerClient,
    engine_events: ContainerEvents,
    prefix: str,
    server_name: str,
) -> None:
    repo = make_repo()
    began = time.time()
    linked = {"repo": repo.url, "ref": 'x"><b>', "subdir": "a/b", "path": "c d.ipynb"}

    page = client.spawn_page(
        server_name, urlencode({prefix + name: value for name, value in linked.items()})
    )

    assert page.status_code == 200
    assert error_text(page.text) == ""
    assert "Traceback" not in page.text
    _, fields = form_fields(page.text, "form#spawn_form")
    assert {name: fields[name] for name in linked} == linked
    time.sleep(0.5)
    assert builds_begun(engine_events, repo.url, began) == 0
    assert server_container(docker_client, hub, client.username) is None
    model = client.server_model(server_name)
    assert model is None or model.get("pending") is None
    # a link is of one visit
    _, fields = form_fields(client.spawn_page(server_name).text, "form#spawn_form")
    assert fields["repo"] == ""


def test_a_link_leads_to_the_server_once_start_is_pressed(
    client: HubClient, make_quick_repo: MakeRepo
) -> None:
    repo = make_quick_repo({"which.txt": "linked"})
    page = client.spawn_page(query=urlencode({"opt-repo": repo.url, "opt-path": "which.txt"}))
    action, fields = form_fields(page.text, "form#spawn_form")
    assert "/hub/spawn" in (action or page.url)

    answer = client.spawn_form(fields)

    assert client.started(answer), error_text(answer.text)
    client.wait_ready()
    assert client.default_url().endswith("/lab/tree/which.txt")


# --- progress


def test_every_tab_shows_the_same_from_the_start(log_in: LogIn, make_quick_repo: MakeRepo) -> None:
    repo = make_quick_repo(None, "RUN for i in 1 2 3 4 5 6 7 8; do echo line-$i; sleep 0.4; done")
    tabs = [log_in("two-tabs") for _ in range(3)]
    assert tabs[0].started(tabs[0].spawn_form({"repo": repo.url}))

    with ThreadPoolExecutor(len(tabs)) as threads:
        following = []
        for tab in tabs:
            following.append(threads.submit(follow, tab))
            time.sleep(1)
        seen = [future.result() for future in following]

    for event in (event for tab in seen for event in tab):
        event.pop("elapsed", None)  # how old the launch is when the tab is told
    assert seen[0] == seen[1] == seen[2]
    assert seen[0][-1].get("ready")
    assert re.findall(r"line-\d$", log_of(seen[0]), re.MULTILINE)
    numbers = [event["progress"] for event in seen[0]]
    assert numbers == sorted(numbers)
    assert all(number < 100 for number in numbers[:-1])
    assert len(set(numbers)) > 4


@pytest.mark.any_jupyterhub
def test_lines_come_while_the_build_runs(client: HubClient, make_repo: MakeRepo) -> None:
    repo = make_repo(None, "RUN echo early-$((1 + 1)) && sleep 2 && echo late-$((1 + 1))")
    assert client.started(client.spawn_form({"repo": repo.url}))

    events = follow(client)

    early = next(event for event in events if "early-2" in event.get("message", ""))
    late = next(event for event in events if "late-2" in event.get("message", ""))
    assert 1.2 < late.arrived - early.arrived < 2.8


@pytest.mark.any_jupyterhub
def test_the_last_lines_before_a_failing_end_all_arrive(log_in: LogIn, make_repo: MakeRepo) -> None:
    repo = make_repo(None, "RUN sleep 2; for i in $(seq 300); do echo line-$i-end; done; exit 3")
    tabs = [log_in("last-lines") for _ in range(2)]
    assert tabs[0].started(tabs[0].spawn_form({"repo": repo.url}))

    with ThreadPoolExecutor(len(tabs)) as threads:
        seen = list(threads.map(follow, tabs))

    assert seen[0] == seen[1]
    assert seen[0][-1].get("failed")
    found = re.findall(r"line-(\d+)-end$", log_of(seen[0]), re.MULTILINE)
    lines = [int(number) for number in found]
    # BuildKit repeats the last ones below its error
    assert list(dict.fromkeys(lines)) == list(range(1, 301))
    numbers = [event["progress"] for event in seen[0] if not event.get("failed")]
    assert numbers == sorted(numbers)
    assert max(numbers) < 100


def test_what_a_build_prints_never_arrives_as_html(client: HubClient, make_repo: MakeRepo) -> None:
    repo = make_repo(None, f"RUN echo '{PAYLOAD}' && sleep 1 && echo '{PAYLOAD}' && exit 3")
    assert client.started(client.spawn_form({"repo": repo.url}))

    events = follow(client)
    page = client.pending_page()

    assert PAYLOAD in log_of(events)
    html = [str(event["html_message"]) for event in events if "html_message" in event]
    assert any("onerror" in text for text in html)
    for text in html:
        assert BeautifulSoup(text, "html.parser").select("img, script, [onerror]") == []
    shown = BeautifulSoup(page.text, "html.parser")
    assert "onerror" in shown.get_text()
    assert shown.select("img[src=x], [onerror]") == []
    assert "alert(2)" not in "".join(script.get_text() for script in shown.select("script"))


def test_what_is_typed_in_never_comes_back_as_html(client: HubClient) -> None:
    typed = {"repo": PAYLOAD, "ref": PAYLOAD, "subdir": PAYLOAD, "path": PAYLOAD}

    shown = BeautifulSoup(client.spawn_form(typed).text, "html.parser")

    assert shown.select("img[src=x], [onerror]") == []
    for name in typed:
        field = shown.select_one(f"[name={name}]")
        assert field is not None
        assert field["value"] == PAYLOAD


# --- the hub around it


@pytest.mark.parametrize("page", ["home", "spawn", "token", "admin", "health"])
def test_every_page_of_the_hub_is_served(log_in: LogIn, page: str) -> None:
    admin = log_in("admin")

    answer = admin.visit(f"hub/{page}")

    assert answer.status_code == 200
    assert error_text(answer.text) == ""


def test_a_hub_below_a_prefix_works_to_the_end(client: HubClient, make_repo: MakeRepo) -> None:
    repo = make_repo({"which.txt": "prefixed"})
    assert client.started(client.spawn_form({"repo": repo.url, "path": "which.txt"}))

    client.wait_ready()

    assert client.get("files/which.txt").text == "prefixed"
    assert client.default_url() == f"/hub-prefix/user/{client.username}/lab/tree/which.txt"
