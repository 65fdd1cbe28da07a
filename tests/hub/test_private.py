"""Private repositories on a real hub: who reads them, who starts what was built, what is kept."""

from __future__ import annotations

import base64
import secrets
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import docker
import psutil  # type: ignore[import-untyped]
import pytest
import requests
from bs4 import BeautifulSoup
from testbed.gitserver import GitServer
from testbed.hub import HubProcess
from testbed.hubclient import Event, HubClient, SpawnFailedError, error_text, form_fields
from testbed.kinds import LogIn, MakeHub, MakeRepo
from testbed.ready import ReadyImage, make_ready_image
from testbed.recipes import Repository
from testbed.watch import build_containers, built_images, server_container

from repo2dockerspawner.keys import read_labels

ALICES, LOGINS, HUBS = (f"{name}-{secrets.token_hex(12)}" for name in ("tok", "login", "hub"))

CONFIG = """
from jupyterhub.auth import DummyAuthenticator


class Login(DummyAuthenticator):
    async def authenticate(self, handler, data):
        found = await super().authenticate(handler, data)
        name = found if isinstance(found, str) else found["name"]
        tokens = {{"git": {login!r}}} if name == "carol" else {{}}
        return {{"name": name, "auth_state": {{"tokens": tokens}}}}


c.JupyterHub.authenticator_class = Login
c.Authenticator.enable_auth_state = True
c.JupyterHub.load_groups = {{"staff": {{"users": ["dave", "erin"]}}}}
c.DockerSpawner.allowed_images = "*"
c.Repo2DockerSpawner.auth_state_credentials = {{{host!r}: "tokens.git"}}
c.Repo2DockerSpawner.credentials = [
    {{"place": {place!r}, "username": "hub", "password": {hub!r}, "groups": ["staff"]}}
]
"""


@dataclass(frozen=True)
class Alices:
    """Alice's private repository and the image that she has built of it."""

    repo: Repository
    events: list[Event]
    key: str
    name: str
    id: str


@pytest.fixture(scope="module")
def hub(make_hub: MakeHub, git_server: GitServer) -> HubProcess:
    host = git_server.url("").removesuffix("/.git")
    config = CONFIG.format(host=host, place=f"{host}/staff", login=LOGINS, hub=HUBS)
    return make_hub(config, env={"JUPYTERHUB_CRYPT_KEY": secrets.token_hex(32)})


@pytest.fixture(scope="module")
def alices(
    hub: HubProcess, make_repo: MakeRepo, git_server: GitServer, docker_client: docker.DockerClient
) -> Alices:
    """Built with what she types into the form; her server is stopped again."""
    # a Dockerfile's own labels don't make it anybody's
    own = 'LABEL repo2dockerspawner.owner="bob" repo2dockerspawner.place="https://h.example"'
    repo = make_repo({"exam.txt": "not for Bob"}, own, name="exam")
    git_server.require_auth(repo.name, "alice", ALICES)
    with HubClient(hub.url) as alice:
        alice.login("alice")
        fields = {"repo": repo.url, "username": "alice", "password": ALICES}
        answer = alice.spawn_form(fields)
        assert alice.started(answer), error_text(answer.text)
        pending = alice.pending_page().text
        events = alice.wait_ready()
        assert alice.get("files/exam.txt").text == "not for Bob"
        _is_nowhere(ALICES, "alice", _places(hub, docker_client, alice, repo, events, pending))
        alice.stop_server()
    (image,) = built_images(docker_client, repo.url)
    words = read_labels(image["Labels"])
    assert (words["owner"], words["place"]) == ("alice", "")
    name = image["RepoTags"][0].removesuffix(":latest")
    return Alices(repo, events, words["key"], name, image["Id"])


def _places(  # noqa: PLR0917 - all of them are looked into
    hub: HubProcess,
    engine: docker.DockerClient,
    client: HubClient,
    repo: Repository,
    events: list[Event],
    pending: str,
) -> dict[str, str]:
    """All that is kept or shown of a launch."""
    server = server_container(engine, hub, client.username)
    (image,) = built_images(engine, repo.url)
    builds = [engine.api.inspect_container(one["Id"]) for one in build_containers(engine, repo.url)]
    logs = [engine.api.logs(one["Id"]) for one in builds]
    files = sorted(hub.directory.rglob("*"))
    own = {file: file.read_bytes() for file in files if file.is_file() and file != hub.config_file}
    main = psutil.Process(hub.pid)
    processes = [main, *main.children(recursive=True)]
    assert server is not None
    assert any(file.name == "hub.sqlite" for file in own)
    assert builds, "the build's container is kept, and so can be looked into"
    found = {
        "files of the hub, its database and log among them": repr(own),
        "what the hub says of the user": hub.api("GET", f"users/{client.username}").text,
        "what the hub says to the user": client.api("GET", f"users/{client.username}").text,
        "progress": repr(events),
        "page of the progress": pending,
        "home page": client.visit("hub/home").text,
        "the server": repr(server),
        "its files": client.get("api/contents/").text,
        "the image": repr(engine.api.inspect_image(image["Id"])),
        "its history": repr(engine.api.history(image["Id"])),
        "build containers": repr(builds),
        "their logs": repr(logs),
        "command lines": repr([_told(one.cmdline) for one in processes]),
        "environments": repr([_told(one.environ) for one in processes]),
        "metrics": requests.get(f"{hub.url}hub/metrics", timeout=10).text,
    }
    assert len(found) >= 12
    return found


def _told(ask: Callable[[], Any]) -> Any:
    with suppress(psutil.Error):
        return ask()


def _is_nowhere(token: str, user: str, places: dict[str, str]) -> None:
    forms = [
        token,
        quote(token, safe="").replace("-", "%2D"),
        # the last digits depend on what follows
        base64.b64encode(token.encode()).decode()[:-4],
        base64.b64encode(f"{user}:{token}".encode()).decode()[:-4],
    ]
    for place, text in places.items():
        assert not [form for form in forms if form in text], place


# --- typed


def test_what_was_typed_is_for_its_owner_and_is_kept_nowhere(
    alices: Alices, log_in: LogIn, git_server: GitServer
) -> None:
    """What was searched is in the fixture, while the server runs."""
    alice = log_in("alice")
    page = alice.spawn_page().text
    assert alices.key in page
    before = len(git_server.requests_of(alices.repo.name))

    assert alice.started(alice.spawn_form({"environment": alices.key[:12]}))
    alice.wait_ready()

    assert alice.get("files/exam.txt").text == "not for Bob"
    assert len(git_server.requests_of(alices.repo.name)) == before, "no credentials are needed"


def test_the_owner_starts_a_commit_in_full_with_what_is_typed_and_nothing_is_built(
    alices: Alices, log_in: LogIn
) -> None:
    alice = log_in("alice")
    fields = {"repo": alices.repo.url, "ref": alices.repo.commit}
    assert alice.started(alice.spawn_form(fields | {"password": "whatever it is now"}))
    events = alice.wait_ready()
    assert "building" not in {event.get("phase") for event in events}


def test_a_refused_entry_comes_back_without_the_token(hub: HubProcess, log_in: LogIn) -> None:
    token = f"tok-{secrets.token_hex(12)}"
    client = log_in()
    fields = {"repo": "https://h.example/o/r", "username": "me", "password": token}

    answer = client.spawn_form({**fields, "ref": "--x"})

    assert answer.status_code == 400
    page = BeautifulSoup(answer.text, "html.parser")
    entries = form_fields(answer.text, "form#spawn_form")[1]
    assert (entries["username"], entries["password"]) == ("me", "")
    assert page.select_one("#repo2docker-private[open] #repo2docker-retype") is not None
    assert token not in answer.text
    assert token not in _files(hub)


def test_a_wrong_token_is_said_to_be_wrong_and_the_way_back_has_the_fields_unfolded(
    alices: Alices, hub: HubProcess, log_in: LogIn
) -> None:
    bob = log_in()
    token = f"tok-{secrets.token_hex(12)}"
    bob.spawn_form({"repo": alices.repo.url, "username": "alice", "password": token})
    with suppress(SpawnFailedError):
        bob.wait_ready()
    shown = bob.pending_page()
    said = BeautifulSoup(shown.text, "html.parser").get_text(" ")
    assert f"The user name and token don't open {alices.repo.url}" in said
    link = BeautifulSoup(shown.text, "html.parser").select_one(".repo2docker-change a")
    assert link is not None
    assert "opt-edit=private" in str(link["href"])
    way_back = urljoin(bob.base_url, str(link["href"]))
    form = bob.session.get(way_back, headers={"Referer": shown.url}, timeout=30)
    page = BeautifulSoup(form.text, "html.parser")
    assert page.select_one("#repo2docker-private[open]") is not None
    # a stranger's link doesn't ask for a token
    page = BeautifulSoup(bob.visit(way_back).text, "html.parser")
    assert page.select_one("#repo2docker-private:not([open])") is not None
    assert token not in shown.text + form.text + _files(hub)


def _files(hub: HubProcess) -> str:
    names = [path for path in Path(hub.directory).iterdir() if path.is_file()]
    return repr([path.read_bytes() for path in names if path != hub.config_file])


@pytest.mark.parametrize(
    "options",
    [
        {"repo": "https://h.example/o/r", "username": "me", "password": "TOKEN"},
        {"repo": "https://me:TOKEN@h.example/o/r"},
        {"repourl": "https://TOKEN@h.example/o/r", "password": "TOKEN"},
    ],
    ids=["as an option", "in the address", "both, with old names"],
)
def test_a_token_over_rest_is_refused_and_forgotten(
    hub: HubProcess, log_in: LogIn, options: dict[str, str]
) -> None:
    token = f"tok-{secrets.token_hex(12)}"
    client = log_in()

    answer = client.start_server({k: v.replace("TOKEN", token) for k, v in options.items()})

    assert answer.status_code == 400
    assert "can't be sent with a server's options" in answer.json()["message"]
    model = hub.api("GET", f"users/{client.username}?include_stopped_servers").text
    assert "h.example/o/r" in model
    assert token not in model + _files(hub)
    assert token not in client.spawn_page().text


# --- the person's login, the hub's own


def begun(client: HubClient, repo: Repository) -> str:
    """Start it and give up as soon as it is known whether it can be read; return what was said."""
    answer = client.spawn_form({"repo": repo.url})
    if not client.started(answer):
        return error_text(answer.text)
    for event in client.progress():
        said = str(event.get("message", ""))
        if said.startswith("Found ") or event.get("failed"):
            client.stop_server()
            return said
    raise AssertionError("no event came")


def test_a_login_opens_what_it_may(
    log_in: LogIn, make_repo: MakeRepo, git_server: GitServer
) -> None:
    repo = make_repo()
    git_server.require_auth(repo.name, "oauth2", LOGINS)
    assert begun(log_in("carol"), repo).startswith(f"Found {repo.name} at")


def test_the_hubs_credential_is_for_its_group(
    git_server: GitServer, log_in: LogIn, make_repo: MakeRepo, base_image: str
) -> None:
    name = f"staff/{secrets.token_hex(4)}"
    commit = git_server.create(name, {"Dockerfile": f"FROM {base_image}\n"})
    repo = Repository(name, git_server.url(name), commit)
    git_server.require_auth(name, "hub", HUBS)
    assert begun(log_in("dave"), repo).startswith(f"Found {name} at")


@pytest.fixture(scope="module")
def staffs(
    docker_client: docker.DockerClient, hub: HubProcess, git_server: GitServer
) -> Iterator[ReadyImage]:
    place = git_server.url("staff").removesuffix(".git")
    image = make_ready_image(docker_client, "staff/solutions", base=hub.image, place=place)
    yield image
    docker_client.api.remove_image(image.name, force=True)


def test_what_the_hubs_credential_has_opened_is_for_the_group(
    staffs: ReadyImage, log_in: LogIn
) -> None:
    erin = log_in("erin")
    assert "staff/solutions" in erin.spawn_page().text
    assert erin.started(erin.spawn_form({"environment": staffs.key}))
    erin.wait_ready()
    bob = log_in("bob")
    assert "staff/solutions" not in bob.spawn_page().text
    assert _refusal(bob, {"environment": staffs.key}) == _refusal(bob, {"environment": "0" * 64})
    assert _refusal(bob, {"image": staffs.name}) == _refusal(bob, {"image": "r2d-no-such-image"})


# --- A9


def _refusal(client: HubClient, options: dict[str, str], *, rest: bool = False) -> str:
    """Try to start and return what is said, without what was asked for."""
    if rest:
        answer = client.start_server(options)
        said = "" if answer.ok else str(answer.json()["message"])
    else:
        answer = client.spawn_form(options)
        said = error_text(answer.text) if not client.started(answer) else ""
    if answer.ok or client.started(answer):
        try:
            client.wait_ready()
        except SpawnFailedError as error:
            # what JupyterHub puts before it where the start took more than a second
            said = str(error).removeprefix("Spawn failed: ")
        else:
            client.stop_server()
            return "it started"
    name = "/".join(options.get("repo", "").removesuffix(".git").rsplit("/", 2)[1:])
    for asked in filter(None, [*options.values(), name]):
        said = said.replace(asked, "…")
    return said


def test_a_private_image_is_out_of_anothers_reach_in_every_way(
    alices: Alices, log_in: LogIn, git_server: GitServer
) -> None:
    bob = log_in("bob")
    repo, digits = alices.repo, alices.id.removeprefix("sha256:")
    none = git_server.url(f"t{secrets.token_hex(4)}/none")
    ways = [
        ({"image": alices.name}, {"image": "r2d-none"}),
        ({"image": f"{alices.name}:latest"}, {"image": "r2d-none:latest"}),
        ({"image": f"docker.io/library/{alices.name}"}, {"image": "docker.io/library/r2d-none"}),
        ({"image": alices.id}, {"image": f"sha256:{'0' * 64}"}),
        ({"image": digits}, {"image": "0" * 64}),
        ({"image": digits[:12]}, {"image": "0" * 12}),
        ({"environment": alices.key}, {"environment": "0" * 64}),
        ({"environment": alices.key[:12]}, {"environment": "0" * 12}),
        ({"environment": alices.name}, {"environment": "r2d-none"}),
        ({"environment": repo.name}, {"environment": "t0/none"}),
        ({"repo": repo.url}, {"repo": none}),
        ({"repo": repo.url, "ref": "main"}, {"repo": none, "ref": "main"}),
        ({"repo": repo.url, "ref": repo.commit}, {"repo": none, "ref": repo.commit}),
        ({"repo": repo.url, "password": "x"}, {"repo": none, "password": "x"}),
    ]
    for private, missing in ways:
        said = _refusal(bob, private)
        assert said == _refusal(bob, missing), private
        assert said not in {"", "it started"}, private
    for name in ("environment", "image"):
        value = alices.key if name == "environment" else alices.name
        rest = _refusal(bob, {name: value}, rest=True)
        assert rest == _refusal(bob, {name: "0" * 64}, rest=True)
        assert rest not in {"", "it started"}
    # nor is it shown
    link = bob.spawn_page("", f"opt-environment={alices.key[:12]}").text
    for shown in (bob.spawn_page().text, link):
        assert alices.name not in shown
        assert alices.key[:13] not in shown
        assert repo.name not in shown
    # nor Alice's server
    for path in ("users/alice", "users/alice/server/progress"):
        assert bob.api("GET", path).status_code in {403, 404}
