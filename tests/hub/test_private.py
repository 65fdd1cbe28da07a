"""Private repositories on a real hub: who reads them, who starts what was built, what is kept."""

from __future__ import annotations

import secrets
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urljoin

import docker
import pytest
from bs4 import BeautifulSoup
from testbed.gitserver import GitServer
from testbed.hub import HubProcess
from testbed.hubclient import HubClient, SpawnFailedError, error_text, form_fields
from testbed.kinds import LogIn, MakeHub, MakeRepo
from testbed.recipes import Repository, dockerfile
from testbed.traces import BUILD_LOG, found_in, traces
from testbed.watch import built_images

from repo2dockerspawner.keys import read_labels

ALICES, LOGINS, HUBS = (f"{name}-{secrets.token_hex(12)}" for name in ("tok", "login", "hub"))

CONFIG = """
from jupyterhub.auth import DummyAuthenticator


class Login(DummyAuthenticator):
    # what GitHubOAuthenticator keeps of a log-in
    async def authenticate(self, handler, data):
        found = await super().authenticate(handler, data)
        name = found if isinstance(found, str) else found["name"]
        token = {login!r} if name == "carol" else "another-token-of-" + name
        auth_state = {{
            "access_token": token,
            "token_response": {{"access_token": token, "token_type": "bearer", "scope": "repo"}},
            "scope": ["repo"],
            "github_user": {{"login": name}},
        }}
        return {{"name": name, "auth_state": auth_state}}


c.JupyterHub.authenticator_class = Login
c.Authenticator.enable_auth_state = True
c.JupyterHub.load_groups = {{"staff": {{"users": ["dave", "erin"]}}}}
c.DockerSpawner.allowed_images = "*"
c.Repo2DockerSpawner.build_log_file = {log!r}
c.Repo2DockerSpawner.auth_state_credentials = {{{host!r}: "access_token"}}
c.Repo2DockerSpawner.credentials = [
    {{"place": {place!r}, "username": "hub", "password": {hub!r}, "groups": ["staff"]}}
]
"""


@dataclass(frozen=True)
class Built:
    """Somebody's private repository and the image that they have built of it.

    Attributes:
        repo: the repository; its ``which.txt`` says its name.
        key: the build key.
        name: the image's name.
        id: its id.
        owner: whose it is, by its label.
        place: who may use the hub's credential of it may use it, by its label.
    """

    repo: Repository
    key: str
    name: str
    id: str
    owner: str
    place: str


@pytest.fixture(scope="module")
def host(git_server: GitServer) -> str:
    return git_server.url("").removesuffix("/.git")


@pytest.fixture(scope="module")
def hub(make_hub: MakeHub, host: str) -> HubProcess:
    config = CONFIG.format(host=host, place=f"{host}/staff", login=LOGINS, hub=HUBS, log=BUILD_LOG)
    return make_hub(config, env={"JUPYTERHUB_CRYPT_KEY": secrets.token_hex(32)})


def build(  # noqa: PLR0917 - who builds what, and where
    hub: HubProcess,
    engine: docker.DockerClient,
    username: str,
    repo: Repository,
    account: tuple[str, str],
    typed: dict[str, str] | None = None,
) -> Built:
    """Build it to the end, and see that the account's token is nowhere; the server is stopped."""
    user, token = account
    with HubClient(hub.url) as client:
        client.login(username)
        answer = client.spawn_form({"repo": repo.url, **(typed or {})})
        assert client.started(answer), error_text(answer.text)
        pending = client.pending_page().text
        events = client.wait_ready()
        assert "building" in {event.get("phase") for event in events}
        assert client.get("files/which.txt").text == repo.name
        shown = {"progress": repr(events), "page of the progress": pending}
        places = traces(hub, engine, client, repo.url, shown)
        assert len(places) >= 12
        assert found_in(places, token, user) == []
        # it would be found
        assert found_in(places | {"a copy": f"x{token}x"}, token, user) == ["a copy"]
        client.stop_server()
    (image,) = built_images(engine, repo.url)
    words = read_labels(image["Labels"])
    name = image["RepoTags"][0].removesuffix(":latest")
    return Built(repo, words["key"], name, image["Id"], words["owner"], words["place"])


@pytest.fixture(scope="module")
def alices(
    hub: HubProcess, make_repo: MakeRepo, git_server: GitServer, docker_client: docker.DockerClient
) -> Built:
    """Built with what she types into the form."""
    # a Dockerfile's own labels don't make it anybody's
    own = 'LABEL repo2dockerspawner.owner="bob" repo2dockerspawner.place="https://h.example"'
    repo = named(make_repo(None, own, name="exam"), git_server)
    git_server.require_auth(repo.name, "alice", ALICES)
    typed = {"username": "alice", "password": ALICES}
    made = build(hub, docker_client, "alice", repo, ("alice", ALICES), typed)
    assert (made.owner, made.place) == ("alice", "")
    return made


def named(repo: Repository, git_server: GitServer) -> Repository:
    """Let its ``which.txt`` say its name."""
    return replace(repo, commit=git_server.commit(repo.name, {"which.txt": repo.name}))


# --- typed


def test_what_was_typed_is_for_its_owner_and_is_kept_nowhere(
    alices: Built, log_in: LogIn, git_server: GitServer
) -> None:
    """What was searched is in the fixture, while the server runs."""
    alice = log_in("alice")
    page = alice.spawn_page().text
    assert alices.key in page
    before = len(git_server.requests_of(alices.repo.name))

    assert alice.started(alice.spawn_form({"environment": alices.key[:12]}))
    alice.wait_ready()

    assert alice.get("files/which.txt").text == alices.repo.name
    assert len(git_server.requests_of(alices.repo.name)) == before, "no credentials are needed"


def test_the_owner_starts_a_commit_in_full_with_what_is_typed_and_nothing_is_built(
    alices: Built, log_in: LogIn
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
    alices: Built, hub: HubProcess, log_in: LogIn
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


@pytest.fixture(scope="module")
def carols(
    hub: HubProcess, make_repo: MakeRepo, git_server: GitServer, docker_client: docker.DockerClient
) -> Built:
    """Built with the token of her log-in."""
    repo = named(make_repo(), git_server)
    git_server.require_auth(repo.name, "oauth2", LOGINS)
    return build(hub, docker_client, "carol", repo, ("oauth2", LOGINS))


@pytest.fixture(scope="module")
def staffs(
    hub: HubProcess, git_server: GitServer, docker_client: docker.DockerClient, base_image: str
) -> Built:
    """Built with the hub's credential by one of those who may use it."""
    name = f"staff/{secrets.token_hex(4)}"
    commit = git_server.create(name, {"Dockerfile": dockerfile(base_image), "which.txt": name})
    git_server.require_auth(name, "hub", HUBS)
    repo = Repository(name, git_server.url(name), commit)
    return build(hub, docker_client, "dave", repo, ("hub", HUBS))


def test_a_login_opens_what_it_may_and_what_it_builds_is_its_owners(
    carols: Built, log_in: LogIn
) -> None:
    assert (carols.owner, carols.place) == ("carol", "")
    assert carols.key in log_in("carol").spawn_page().text
    # he has logged in likewise, with a token that doesn't open it
    bob = log_in("bob")
    assert carols.key not in bob.spawn_page().text
    is_not_there(bob, carols)


def test_what_the_hubs_credential_builds_is_for_its_group(
    staffs: Built, host: str, log_in: LogIn
) -> None:
    assert (staffs.owner, staffs.place) == ("", f"{host}/staff")
    erin = log_in("erin")
    assert staffs.key in erin.spawn_page().text
    assert erin.started(erin.spawn_form({"repo": staffs.repo.url}))
    events = erin.wait_ready()
    assert "building" not in {event.get("phase") for event in events}
    bob = log_in("bob")
    assert staffs.key not in bob.spawn_page().text
    is_not_there(bob, staffs)


# --- A9


def is_not_there(client: HubClient, built: Built) -> None:
    """See that what is said of it is what is said of one that isn't there."""
    none = built.repo.url.replace(".git", "-none.git")
    for private, missing in (
        ({"repo": built.repo.url}, {"repo": none}),
        ({"environment": built.key}, {"environment": "0" * 64}),
        ({"image": built.name}, {"image": "r2d-no-such-image"}),
    ):
        said = _refusal(client, private)
        assert said == _refusal(client, missing), private
        assert said not in {"", "it started"}, private


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
    alices: Built, log_in: LogIn, git_server: GitServer
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
