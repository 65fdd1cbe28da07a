"""Who starts, ends and reads what: other sites with a person's cookies, and other people."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from urllib.parse import urljoin

import docker
import pytest
import requests
from testbed.containerevents import ContainerEvents
from testbed.gitserver import GitServer
from testbed.hub import HubProcess
from testbed.hubclient import HubClient, form_fields
from testbed.kinds import LogIn, MakeHub, MakeRepo
from testbed.watch import build_containers, builds_begun, server_container

MARKER = "only-for-alice"
CONFIG = """
from repo2dockerspawner import configure

configure(c)
# else a start over REST that takes long is waited for, for ten seconds
c.JupyterHub.tornado_settings = {"slow_spawn_timeout": 1}
c.JupyterHub.load_roles = [
    *c.JupyterHub.load_roles,
    {"name": "reads-lab", "users": ["rita"], "scopes": ["read:servers!server=alice/lab"]},
    {"name": "reads-all", "services": ["auditor"], "scopes": ["read:servers"]},
    {"name": "counts", "services": ["counter"], "scopes": ["read:users", "list:users"]},
]
c.JupyterHub.services = [
    *c.JupyterHub.services,
    {"name": "auditor", "api_token": "auditor-auditor-auditor"},
    {"name": "counter", "api_token": "counter-counter-counter"},
]
"""


@pytest.fixture(scope="module")
def hub(make_hub: MakeHub, git_server: GitServer) -> HubProcess:
    trusted = [f"{git_server.host}:{git_server.port}/*"]
    return make_hub(f"{CONFIG}c.Repo2DockerSpawner.trusted_repos = {trusted!r}\n")


# What a browser sends with a request that a page of another site makes it send.
FOREIGN = {"Origin": "https://evil.example", "Referer": "https://evil.example/page"}


def fetched(mode: str, dest: str, site: str = "cross-site") -> dict[str, str]:
    return {"Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": dest, "Sec-Fetch-Site": site}


# --- other sites


def nothing_began(client: HubClient) -> bool:
    model = client.server_model()
    return model is None or not (model.get("ready") or model.get("pending"))


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(fetched("no-cors", "image"), id="an image"),
        pytest.param(fetched("no-cors", "script"), id="a script"),
        pytest.param(fetched("no-cors", "image", "same-origin"), id="an image of this origin"),
        pytest.param(fetched("navigate", "iframe"), id="a frame"),
        pytest.param(fetched("navigate", "iframe", "same-origin"), id="a frame of this origin"),
        pytest.param(fetched("cors", "empty"), id="fetch"),
        pytest.param(fetched("cors", "empty", "same-origin"), id="fetch of this origin"),
        pytest.param(
            {**fetched("navigate", "document"), "Sec-Purpose": "prefetch;prerender"},
            id="fetched ahead",
        ),
        pytest.param({}, id="an old browser"),
    ],
)
def test_no_get_but_a_visit_starts_what_is_trusted(
    client: HubClient,
    make_repo: MakeRepo,
    engine_events: ContainerEvents,
    headers: dict[str, str],
) -> None:
    repo = make_repo()
    client.visit("hub/home")
    began = time.time()

    answer = client.session.get(
        urljoin(client.base_url, "hub/spawn"),
        params={"opt-repo": repo.url},
        headers={"Referer": FOREIGN["Referer"], **headers},
        allow_redirects=True,
        timeout=30,
    )

    assert answer.status_code in {200, 403}
    assert "/hub/spawn-pending/" not in answer.url
    assert nothing_began(client)
    assert builds_begun(engine_events, repo.url, began) == 0


def test_a_visit_from_another_site_starts_what_is_trusted_and_fills_in_what_is_not(
    client: HubClient, make_repo: MakeRepo, engine_events: ContainerEvents
) -> None:
    repo = make_repo(None, "RUN sleep 30")
    headers = {**fetched("navigate", "document"), "Referer": FOREIGN["Referer"]}
    began = time.time()

    def visit(**query: str) -> requests.Response:
        return client.session.get(
            urljoin(client.base_url, "hub/spawn"),
            params=query,
            headers=headers,
            allow_redirects=True,
            timeout=30,
        )

    # a commit may be anybody's
    page = visit(**{"opt-repo": repo.url, "opt-ref": repo.commit})
    assert form_fields(page.text, "form#spawn_form")[1]["ref"] == repo.commit
    assert nothing_began(client)
    assert builds_begun(engine_events, repo.url, began) == 0
    # documented: this is what trusted_repos is for
    page = visit(**{"opt-repo": repo.url})
    assert "/hub/spawn-pending/" in page.url
    client.stop_server()


def test_a_form_of_another_site_starts_nothing(
    hub: HubProcess,
    client: HubClient,
    make_repo: MakeRepo,
    docker_client: docker.DockerClient,
    engine_events: ContainerEvents,
) -> None:
    repo = make_repo()
    client.spawn_page()
    address = urljoin(client.base_url, "hub/spawn")
    began = time.time()
    for query in ({}, {"_xsrf": "x"}, {"_xsrf": "2|a|b|1"}):
        for headers in (
            {**FOREIGN, **fetched("navigate", "document")},
            {**FOREIGN, **fetched("no-cors", "empty")},
            {**fetched("navigate", "document", "same-origin"), "Referer": address},
            {},
        ):
            for body in ({"data": {"repo": repo.url}}, {"files": {"repo": (None, repo.url)}}):
                answer = client.session.post(
                    address,
                    params=query,
                    headers=headers,
                    allow_redirects=False,
                    timeout=30,
                    **body,  # type: ignore[arg-type]
                )
                assert answer.status_code == 403, (query, headers)
    assert nothing_began(client)
    assert builds_begun(engine_events, repo.url, began) == 0
    assert server_container(docker_client, hub, client.username) is None


def test_another_person_s_token_of_a_form_starts_nothing(
    log_in: LogIn, make_repo: MakeRepo, engine_events: ContainerEvents
) -> None:
    mallory, ann = log_in(), log_in()
    repo = make_repo()
    action, fields = form_fields(mallory.spawn_page().text, "form#spawn_form")
    ann.spawn_page()
    began = time.time()
    answer = ann.session.post(
        urljoin(ann.base_url, action.replace(mallory.username, ann.username)),
        data={**fields, "repo": repo.url},
        headers={**FOREIGN, **fetched("navigate", "document")},
        allow_redirects=False,
        timeout=30,
    )
    assert answer.status_code == 403
    assert nothing_began(ann)
    assert builds_begun(engine_events, repo.url, began) == 0


@pytest.mark.parametrize("path", ["server", "servers/lab"], ids=["default", "named"])
def test_a_request_of_another_site_to_the_api_starts_and_ends_nothing(
    client: HubClient, make_repo: MakeRepo, engine_events: ContainerEvents, path: str
) -> None:
    repo = make_repo(None, "RUN sleep 60")
    address = urljoin(client.base_url, f"hub/api/users/{client.username}/{path}")
    client.spawn_page()
    began = time.time()
    body = json.dumps({"repo": repo.url})
    kinds: list[Mapping[str, str]] = [
        {**FOREIGN, **fetched("cors", "empty")},
        {**FOREIGN, **fetched("no-cors", "empty"), "Content-Type": "text/plain"},
        {**FOREIGN, **fetched("navigate", "document"), "Content-Type": "text/plain"},
        {"Referer": FOREIGN["Referer"]},
        FOREIGN,
    ]
    for headers in kinds:
        answer = client.session.post(address, data=body, headers=headers, timeout=30)
        assert answer.status_code == 403, headers
    assert nothing_began(client)
    assert builds_begun(engine_events, repo.url, began) == 0

    name = "lab" if "lab" in path else ""
    assert client.start_server({"repo": repo.url}, name).status_code in {201, 202}
    for headers in kinds:
        assert client.session.delete(address, headers=headers, timeout=30).status_code == 403
        if headers.get("Sec-Fetch-Mode") in {"cors", "no-cors"}:
            # a browser that says nothing shows the answer to no other site either
            read = client.session.get(f"{address}/progress", headers=headers, timeout=30)
            assert read.status_code == 403
    model = client.server_model(name)
    assert model is not None
    assert model["pending"] == "spawn"
    client.stop_server(name)


# --- other people


def progress(answer: requests.Response) -> str:
    """``log`` where the marker is read, ``none`` where the events have none, else the status."""
    with answer:
        if not answer.ok:
            return str(answer.status_code)
        deadline = time.monotonic() + 5
        for line in answer.iter_lines(chunk_size=None):
            if MARKER.encode() in line:
                return "log"
            if time.monotonic() > deadline or b'"failed"' in line:
                break
        return "none"


def page(answer: requests.Response) -> str:
    if MARKER in answer.text:
        return "log"
    return str(answer.status_code) if answer.is_redirect or not answer.ok else "none"


# Of alice's servers: the default one has failed, lab is being built.
READS = {
    "failed events": "api/users/alice/server/progress",
    "events": "api/users/alice/servers/lab/progress",
    "failed page": "spawn-pending/alice",
    "page": "spawn-pending/alice/lab",
    "server's page": "../user/alice/lab/",
    "model": "api/users/alice",
}
WRITES = {
    "start": ("POST", "api/users/alice/server"),
    "end": ("DELETE", "api/users/alice/servers/lab"),
}
EVERYTHING = dict.fromkeys(READS, "log") | {"model": "none"}
# To a browser what it may not see is not there. Programs have no pages (they are sent to log in),
# and are told that a scope is lacking.
NOTHING = dict.fromkeys([*READS, *WRITES], "404")
NO_PAGES = {"failed page": "302", "page": "302", "server's page": "302"}
FORBIDDEN = dict.fromkeys([*READS, *WRITES], "403") | NO_PAGES
TABLE = {
    "alice": EVERYTHING,
    "admin": EVERYTHING,
    "bob": NOTHING,
    "rita, who reads lab": NOTHING | {"events": "log"},
    "auditor, who reads servers": FORBIDDEN
    | {"failed events": "log", "events": "log", "model": "none"},
    "counter, who reads users": FORBIDDEN | {"model": "none"},
    "alice's token that reads servers": FORBIDDEN
    | {"failed events": "log", "events": "log", "model": "none"},
    "alice's token of her name": FORBIDDEN | {"model": "none"},
    "nobody": FORBIDDEN,
}


Ask = Callable[[str, str], requests.Response]


def browser(client: HubClient) -> Ask:
    """The requests of a person's browser, from the hub's own pages."""

    def ask(method: str, path: str) -> requests.Response:
        headers = {"X-XSRFToken": client._xsrf(client._hub()), **fetched("cors", "empty")}
        if not path.startswith("api/"):
            headers = fetched("navigate", "document", "same-origin")
        return client.session.request(
            method, urljoin(client._hub(), path), headers=headers, stream=True, timeout=30
        )

    return ask


def by_token(hub: HubProcess, token: str = "") -> Ask:
    """The requests of a program."""

    def ask(method: str, path: str) -> requests.Response:
        return requests.request(
            method,
            urljoin(f"{hub.url}hub/", path),
            headers={"Authorization": f"token {token}"} if token else {},
            stream=True,
            allow_redirects=False,
            timeout=30,
        )

    return ask


def cells(who: str, ask: Ask) -> dict[str, str]:
    found = {
        what: (progress if "progress" in path else page)(ask("GET", path))
        for what, path in READS.items()
    }
    if who not in {"alice", "admin"}:
        found |= {what: str(ask(*how).status_code) for what, how in WRITES.items()}
    return found


def test_who_reads_and_changes_a_start(
    hub: HubProcess, log_in: LogIn, make_repo: MakeRepo, docker_client: docker.DockerClient
) -> None:
    alice, bob, rita, admin = (log_in(name) for name in ("alice", "bob", "rita", "admin"))
    failing = make_repo(None, f"RUN echo {MARKER} && exit 3")
    lasting = make_repo(None, f"RUN echo {MARKER} && sleep 90")
    assert alice.started(alice.spawn_form({"repo": lasting.url}, "lab"))
    assert alice.started(alice.spawn_form({"repo": failing.url}))
    for server in ("", "lab"):
        next(one for one in alice.progress(server) if MARKER in str(one.get("message")))
    while not nothing_began(alice):
        time.sleep(0.2)

    def token(scope: str) -> Ask:
        made = alice.api("POST", "users/alice/tokens", {"scopes": [scope]})
        return by_token(hub, made.json()["token"])

    people = {
        "alice": browser(alice),
        "admin": browser(admin),
        "bob": browser(bob),
        "rita, who reads lab": browser(rita),
        "auditor, who reads servers": by_token(hub, "auditor-auditor-auditor"),
        "counter, who reads users": by_token(hub, "counter-counter-counter"),
        "alice's token that reads servers": token("read:servers!user"),
        "alice's token of her name": token("read:users:name!user"),
        "nobody": by_token(hub),
    }
    found = {who: cells(who, ask) for who, ask in people.items()}

    model = alice.server_model("lab")
    alice.stop_server("lab")
    assert found == TABLE
    assert model is not None
    assert model["pending"] == "spawn"
    assert len(build_containers(docker_client, failing.url)) == 1
