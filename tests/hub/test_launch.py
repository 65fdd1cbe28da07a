"""From a pasted address to a running server, on a real hub with a real engine."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
import pytest
from testbed import names
from testbed.containerevents import ContainerEvents
from testbed.gitserver import GitServer
from testbed.hub import HubProcess
from testbed.hubclient import Event, HubClient, error_text
from testbed.kinds import LogIn, MakeHub, MakeRepo
from testbed.quickbuilds import QuickImages
from testbed.recipes import Repository
from testbed.watch import builds_begun, builds_going_on, built_images, server_container

from repo2dockerspawner.keys import LABEL_PREFIX

OTHER_IMAGE = f"{names.TESTBED_PREFIX}other:latest"

ONLY_IN_BUILDS = "canary-of-builds"

# Labels of an administrator's own, which DockerSpawner fills in.
LABELS = """
c.DockerSpawner.extra_create_kwargs = {"labels": {"course": "of {username}"}}
"""
HUB_CONFIG = f"""{LABELS}
c.DockerSpawner.allowed_images = {{"Other": {OTHER_IMAGE!r}}}
c.Repo2DockerSpawner.build_environment = {{"ONLY_IN_BUILDS": {ONLY_IN_BUILDS!r}}}
c.Repo2DockerSpawner.build_host_config = {{"binds": ["/usr/share:/{ONLY_IN_BUILDS}:ro"]}}
"""


@pytest.fixture(scope="module", autouse=True)
def _other_image(docker_client: docker.DockerClient, base_image: str) -> Iterator[None]:
    docker_client.api.tag(base_image, *OTHER_IMAGE.split(":"))
    yield
    docker_client.api.remove_image(OTHER_IMAGE, noprune=True)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(
            name,
            id=f"repo2docker-{name.rpartition(':')[2]}",
            marks=[] if name == names.REPO2DOCKER_IMAGE else pytest.mark.any_jupyterhub,
        )
        for name in names.REPO2DOCKER_IMAGES
    ],
)
def versioned_hub(request: pytest.FixtureRequest, make_hub: MakeHub, hub: HubProcess) -> HubProcess:
    if request.param == names.REPO2DOCKER_IMAGE:
        return hub
    return make_hub(f"c.Repo2DockerSpawner.build_image = {request.param!r}")


def launch(client: HubClient, fields: Mapping[str, str], server_name: str = "") -> list[Event]:
    answer = client.spawn_form(fields, server_name)
    assert client.started(answer), error_text(answer.text)
    events = client.wait_ready(server_name)
    client.visit(client.server_url(server_name))
    return events


def texts(events: list[Event]) -> str:
    return "\n".join(str(event.get("message", "")) for event in events)


def container(client: HubClient, hub: HubProcess, engine: docker.DockerClient) -> dict[str, Any]:
    found = server_container(engine, hub, client.username)
    assert found is not None
    return found


def ls_remote(git_server: GitServer, repo: Repository) -> list[str]:
    """Return the requests that one `git ls-remote` makes."""
    before = len(git_server.requests_of(repo.name))
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", "ls-remote", repo.url], check=True, capture_output=True, env=environment)
    return git_server.requests_of(repo.name)[before:]


# --- the way from the form to the server


def test_a_pasted_address_is_built_and_opens_where_it_was_asked(
    versioned_hub: HubProcess, log_in: LogIn, make_repo: MakeRepo, git_server: GitServer
) -> None:
    files = {"which.txt": "the tip", "notes/a b.ipynb": "{}"}
    repo = make_repo(files, "RUN echo built-$((40 + 2))")
    client = log_in(hub=versioned_hub)

    events = launch(client, {"repo": repo.url, "path": "notes/a b.ipynb"})

    assert f"Fetching commit {repo.commit[:7]}" in texts(events)
    assert "built-42" in texts(events)
    assert client.get("files/which.txt").text == "the tip"
    assert client.default_url() == f"/user/{client.username}/lab/tree/notes/a%20b.ipynb"


@pytest.mark.any_jupyterhub
def test_a_second_person_gets_the_same_image_with_no_second_build(  # noqa: PLR0917 - fixtures
    versioned_hub: HubProcess,
    log_in: LogIn,
    make_quick_repo: MakeRepo,
    git_server: GitServer,
    docker_client: docker.DockerClient,
    engine_events: ContainerEvents,
) -> None:
    repo = make_quick_repo({"which.txt": "ours"})
    first, second = log_in(hub=versioned_hub), log_in(hub=versioned_hub)
    began = time.time()
    launch(first, {"repo": repo.url})
    built = container(first, versioned_hub, docker_client)["Image"]
    asked = len(git_server.requests_of(repo.name))

    # the same thing by other words
    events = launch(second, {"repo": repo.url + "/", "ref": "main"})

    assert second.get("files/which.txt").text == "ours"
    assert container(second, versioned_hub, docker_client)["Image"] == built
    assert builds_begun(engine_events, repo.url, began) == 1
    assert "Fetching commit" not in texts(events)
    # nothing was fetched: the server was asked for its refs and no more
    requests = git_server.requests_of(repo.name)[asked:]
    assert requests == ls_remote(git_server, repo)


@pytest.mark.any_jupyterhub
def test_two_people_at_once_wait_for_one_build(
    hub: HubProcess, log_in: LogIn, make_quick_repo: MakeRepo, engine_events: ContainerEvents
) -> None:
    repo = make_quick_repo({"which.txt": "ours"}, "RUN echo once && sleep 3")
    first, second = log_in(), log_in()
    began = time.time()
    assert first.started(first.spawn_form({"repo": repo.url}))
    assert second.started(second.spawn_form({"repo": repo.url}))

    # at once, since who comes when all is ready is not shown the past
    with ThreadPoolExecutor(2) as threads:
        for events in threads.map(HubClient.wait_ready, (first, second)):
            assert "Fetching commit" in texts(events)
    for client in (first, second):
        assert client.get("files/which.txt").text == "ours"

    assert builds_begun(engine_events, repo.url, began) == 1


# --- refs


@pytest.fixture(scope="module")
def branched(make_quick_repo: MakeRepo, git_server: GitServer) -> Repository:
    """`which.txt` says what has been checked out."""
    repo = make_quick_repo({"which.txt": "old"})
    for branch in ("main", "feature/x", "feature/main", "same", "v1"):
        git_server.commit(
            repo.name, {"which.txt": f"branch {branch}"}, branch=branch, parent=repo.commit
        )
    tagged = git_server.commit(
        repo.name, {"which.txt": "tag same"}, branch="gone", parent=repo.commit
    )
    git_server.tag(repo.name, "same", tagged, annotated=True)
    git_server.delete_ref(repo.name, "refs/heads/gone")
    return repo


@pytest.mark.any_jupyterhub
@pytest.mark.parametrize(
    ("ref", "which"),
    [
        pytest.param("", "branch main", id="no ref is the default branch"),
        pytest.param("feature/x", "branch feature/x", id="a slash in the branch's name"),
        pytest.param("feature/main", "branch feature/main", id="a branch that ends like another"),
        pytest.param("same", "tag same", id="the tag of two of that name"),
        pytest.param("refs/heads/same", "branch same", id="the branch of two of that name"),
        pytest.param("OLD", "old", id="a commit that is no branch's last"),
    ],
)
def test_the_ref_that_was_asked_for_is_what_one_gets(
    client: HubClient, branched: Repository, ref: str, which: str
) -> None:
    ref = branched.commit if ref == "OLD" else ref
    events = launch(client, {"repo": branched.url, "ref": ref})

    assert client.get("files/which.txt").text == which
    says_so = "tag" in texts(events[:4]) and "branch" in texts(events[:4])
    assert says_so == (ref == "same"), texts(events)


@pytest.mark.any_jupyterhub
def test_a_branch_that_moves_is_built_anew(
    client: HubClient, make_quick_repo: MakeRepo, git_server: GitServer
) -> None:
    repo = make_quick_repo({"which.txt": "first"})
    first = launch(client, {"repo": repo.url, "ref": "main"})
    assert client.get("files/which.txt").text == "first"
    client.stop_server()
    git_server.commit(repo.name, {"which.txt": "second"})

    second = launch(client, {"repo": repo.url, "ref": "main"})

    assert client.get("files/which.txt").text == "second"
    # and now it is known about how long that takes
    assert not [event for event in first if "about" in event]
    assert {0 < event["about"] < 120 for event in second if "about" in event} == {True}


@pytest.mark.any_jupyterhub
def test_a_subdirectory_is_what_is_built(
    client: HubClient, make_quick_repo: MakeRepo, quick: QuickImages
) -> None:
    good = f"FROM {quick.server}\nCOPY --chown=1000:1000 . /home/jovyan/\n"
    repo = make_quick_repo(
        {
            "Dockerfile": f"FROM {quick.server}\nRUN exit 7\n",
            "course/Dockerfile": good,
            "course/which.txt": "the course",
            "course/week 1/one.ipynb": "{}",
        }
    )

    launch(client, {"repo": repo.url, "subdir": "course", "path": "course/week 1/one.ipynb"})

    assert client.get("files/which.txt").text == "the course"
    assert client.default_url().endswith("/lab/tree/week%201/one.ipynb")


def test_a_url_is_opened_as_it_was_given(client: HubClient, make_repo: MakeRepo) -> None:
    repo = make_repo({"which.txt": "x"})

    launch(client, {"repo": repo.url, "urlpath": "tree/sub?a=b"})

    # JupyterHub's log-in on the way adds an empty argument
    opened = client.default_url().rstrip("&")
    assert opened == f"/user/{client.username}/tree/sub?a=b"


# --- ready images


@pytest.fixture(scope="module")
def plain_hub(make_hub: MakeHub) -> HubProcess:
    return make_hub(LABELS, spawner_class="dockerspawner.DockerSpawner")


def test_nothing_chosen_is_what_dockerspawner_starts(
    hub: HubProcess, plain_hub: HubProcess, log_in: LogIn, docker_client: docker.DockerClient
) -> None:
    ours, plain = log_in("same-person"), log_in("same-person", hub=plain_hub)

    events = launch(ours, {})
    plain.start_server()
    plain.wait_ready()

    ours_is = container(ours, hub, docker_client)
    plain_is = container(plain, plain_hub, docker_client)
    assert ours_is["Image"] == plain_is["Image"]
    assert ours_is["Config"]["Image"] == hub.image
    for part in ("Cmd", "Entrypoint", "WorkingDir", "User"):
        assert ours_is["Config"][part] == plain_is["Config"][part], part
    assert ours_is["Config"]["Labels"].keys() == plain_is["Config"]["Labels"].keys()
    assert not [name for name in ours_is["Config"]["Labels"] if name.startswith(LABEL_PREFIX)]
    assert environment_names(ours_is) == environment_names(plain_is)
    assert ours_is["HostConfig"] == plain_is["HostConfig"]
    assert not [event for event in events if "html_message" in event and not event.get("ready")]
    assert "Fetching" not in texts(events)
    assert ours.default_url() == plain.default_url()


def environment_names(found: dict[str, Any]) -> set[str]:
    return {item.partition("=")[0] for item in found["Config"]["Env"]}


def test_an_image_that_the_admin_lists_can_be_chosen(
    hub: HubProcess, client: HubClient, docker_client: docker.DockerClient
) -> None:
    launch(client, {"image": "Other"})

    assert container(client, hub, docker_client)["Config"]["Image"] == OTHER_IMAGE


def test_an_image_that_is_not_listed_is_refused(
    hub: HubProcess, client: HubClient, docker_client: docker.DockerClient
) -> None:
    answer = client.spawn_form({"image": names.BASE_IMAGE})

    assert not client.started(answer)
    assert names.BASE_IMAGE in error_text(answer.text)
    assert server_container(docker_client, hub, client.username) is None


def test_a_repository_and_an_image_is_one_too_many(client: HubClient, make_repo: MakeRepo) -> None:
    repo = make_repo()

    answer = client.spawn_form({"repo": repo.url, "image": "Other"})

    assert not client.started(answer)
    assert answer.status_code == 400
    assert "Choose one of them" in error_text(answer.text)


# --- the ways to start


def test_a_named_server_is_started_from_a_repository(
    client: HubClient, make_repo: MakeRepo
) -> None:
    repo = make_repo({"which.txt": "named"})

    launch(client, {"repo": repo.url, "path": "which.txt"}, "lab")

    assert client.get("files/which.txt", "lab").text == "named"
    assert client.default_url("lab").endswith("/lab/lab/tree/which.txt")


@pytest.mark.parametrize(
    "wording",
    [
        pytest.param({"repo": "URL", "ref": "v1"}, id="our names"),
        pytest.param({"use_r2d": "yes", "repourl": "URL", "reporef": "v1"}, id="the old names"),
    ],
)
def test_rest_starts_a_repository(
    client: HubClient, branched: Repository, wording: dict[str, str]
) -> None:
    options = {name: branched.url if text == "URL" else text for name, text in wording.items()}

    answer = client.start_server(options)

    assert answer.status_code in (201, 202), answer.text
    client.wait_ready()
    assert client.get("files/which.txt").text == "branch v1"


def test_rest_with_nothing_or_with_use_r2d_no_starts_the_default_image(
    hub: HubProcess, client: HubClient, docker_client: docker.DockerClient
) -> None:
    answer = client.start_server({"use_r2d": "no", "repourl": "left over", "reporef": "x"})

    assert answer.status_code in (201, 202), answer.text
    client.wait_ready()
    assert container(client, hub, docker_client)["Config"]["Image"] == hub.image


def test_each_launch_gets_the_image_it_asked_for(
    hub: HubProcess,
    client: HubClient,
    make_quick_repo: MakeRepo,
    docker_client: docker.DockerClient,
) -> None:
    for content in ("one", "two"):
        repo = make_quick_repo({"which.txt": content})
        launch(client, {"repo": repo.url, "path": "which.txt"})
        assert client.get("files/which.txt").text == content
        client.stop_server()

    launch(client, {})

    assert container(client, hub, docker_client)["Config"]["Image"] == hub.image
    assert client.get("files/which.txt").status_code == 404
    assert client.default_url() == f"/user/{client.username}/lab"


@pytest.mark.any_jupyterhub
def test_a_kept_container_is_only_used_again_for_its_own_image(
    make_hub: MakeHub,
    log_in: LogIn,
    make_quick_repo: MakeRepo,
    docker_client: docker.DockerClient,
    quick: QuickImages,
) -> None:
    keeping = make_hub("c.DockerSpawner.remove = False", image=quick.server)
    client = log_in(hub=keeping)
    repo = make_quick_repo({"which.txt": "one"})
    seen = []
    for fields in ({"repo": repo.url}, {"repo": repo.url}, {}, {}):
        launch(client, fields)
        seen.append(container(client, keeping, docker_client))
        client.stop_server()

    of_repo = built_images(docker_client, repo.url)[0]["Id"]
    default = docker_client.api.inspect_image(keeping.image)["Id"]
    assert [found["Image"] for found in seen] == [of_repo, of_repo, default, default]
    # DockerSpawner's own way with one that fits: it is started again
    assert seen[0]["Id"] == seen[1]["Id"]
    assert seen[2]["Id"] == seen[3]["Id"]


@pytest.mark.any_jupyterhub
def test_an_ended_build_leaves_an_image_and_nothing_that_runs(
    client: HubClient, make_quick_repo: MakeRepo, docker_client: docker.DockerClient
) -> None:
    repo = make_quick_repo()

    launch(client, {"repo": repo.url})

    assert builds_going_on(docker_client, repo.url) == []
    assert len(built_images(docker_client, repo.url)) == 1


def test_a_server_has_nothing_of_a_build(
    client: HubClient, make_repo: MakeRepo, docker_client: docker.DockerClient, hub: HubProcess
) -> None:
    """A20: but for its image, it is as DockerSpawner makes one without us."""
    repo = make_repo()
    launch(client, {})
    default = container(client, hub, docker_client)
    client.stop_server()
    launch(client, {"repo": repo.url})
    ours = container(client, hub, docker_client)

    assert ours["HostConfig"] == default["HostConfig"]
    assert [one["Destination"] for one in ours["Mounts"]] == [
        one["Destination"] for one in default["Mounts"]
    ]
    assert list(ours["NetworkSettings"]["Networks"]) == list(default["NetworkSettings"]["Networks"])
    assert _variables(ours) == _variables(default)
    # it has its image's labels, and nothing in those of ours
    (image,) = built_images(docker_client, repo.url)
    of_image = {name: text for name, text in image["Labels"].items() if LABEL_PREFIX in name}
    assert of_image[f"{LABEL_PREFIX}proof"]
    labels = ours["Config"]["Labels"]
    assert {name: text for name, text in labels.items() if LABEL_PREFIX in name} == dict.fromkeys(
        of_image, ""
    )
    assert labels["course"] == default["Config"]["Labels"]["course"]
    assert labels["course"].startswith("of user-")
    said = json.dumps(ours)
    secrets = (names.IMAGE_SECRET, of_image[f"{LABEL_PREFIX}key"], of_image[f"{LABEL_PREFIX}proof"])
    for foreign in ("docker.sock", ONLY_IN_BUILDS, "/repo2dockerspawner", *secrets):
        assert foreign not in said


def _variables(found: dict[str, Any]) -> set[str]:
    return {variable.partition("=")[0] for variable in found["Config"]["Env"]}
