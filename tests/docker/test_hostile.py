"""Hostile repositories, images and entries on the real engine (A1, A4, A11)."""

from __future__ import annotations

import io
import json
import tarfile
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import docker
import docker.errors
import pytest
from testbed.builds import DOCKERFILE, Bench
from testbed.gitserver import GitServer
from testbed.hostile import texts
from testbed.names import BASE_IMAGE, REPO2DOCKER_IMAGES

from repo2dockerspawner.builds.container import ContainerBuilder
from repo2dockerspawner.builds.plan import CONFIG_DIR, BuildPlan, archive, arguments
from repo2dockerspawner.builds.pool import BuildPool
from repo2dockerspawner.credentials import Reader
from repo2dockerspawner.engine import Engine
from repo2dockerspawner.images import Images
from repo2dockerspawner.keys import (
    LABEL_PREFIX,
    BuildInputs,
    build_key,
    container_name,
    encode_label,
    image_name,
    image_proof,
    labels,
    read_labels,
)

ANN = Reader("ann")
SECRET = b"the hub's"
CANARY = "/canary"
# As a shell, Mercurial and git would run it.
TOUCH = f"touch${{IFS}}{CANARY}"

# Under repo2docker's own Python, with its own reading of a command line and our configuration: for
# each hostile text, as repository and as ref, which providers would take it, and what their
# fetching does.
INSIDE = """
import json, os, sys, tempfile
from repo2docker.__main__ import make_r2d

job = json.loads(open("/job.json").read())
found = {"providers": [], "detected": [], "passed": []}
for words in job["commands"]:
    try:
        r2d = make_r2d(words)
    except BaseException as error:
        if not isinstance(error, (Exception, SystemExit)):
            raise
        continue
    found["passed"].append(words[-1])
    names = [provider.__name__ for provider in r2d.content_providers]
    if names not in found["providers"]:
        found["providers"].append(names)
    for provider in r2d.content_providers:
        one = provider()
        try:
            spec = one.detect(r2d.repo, ref=r2d.ref)
        except BaseException:
            continue
        if spec is None:
            continue
        found["detected"].append([provider.__name__, r2d.repo])
        try:
            for _ in one.fetch(spec, tempfile.mkdtemp(), yield_output=True):
                pass
        except BaseException:
            pass
found["canary"] = os.path.exists("/canary") or os.path.exists("canary")
with open("/found.json", "w") as file:
    json.dump(found, file)
"""

HOSTILE = [
    *("-x", "--config=/x", f"--config=alias.identify=!{TOUCH}", f"--config alias.x=!{TOUCH}"),
    *(f"--upload-pack={TOUCH}", f"-u{TOUCH}", f"--exec={TOUCH}", "--", "-", "--help", "-oX=y"),
    *(f"ssh://-oProxyCommand={TOUCH}/x", f"git@-oProxyCommand={TOUCH}:x", f"ext::sh -c {TOUCH}"),
    *(f"ext::{TOUCH}", "fd::17", "file:///repository", "/repository", "/", "/root", ".", "~"),
    *("hg+/repository", "hg+file:///repository", f"hg+--config=alias.identify=!{TOUCH}"),
    *(f"$({TOUCH})", f"`{TOUCH}`", f";{TOUCH};", f"|{TOUCH}", f"x\n{TOUCH}", f"'{TOUCH}'"),
    *(f"https://127.0.0.1:1/$({TOUCH})", f"https://127.0.0.1:1/x;{TOUCH}", "svn://127.0.0.1:1/x"),
    *("10.5281/zenodo.1", f"swh:1:dir:{'a' * 40}", "https://zenodo.org/records/1"),
    *("https://127.0.0.1:1/dataset/x", "https://figshare.com/articles/x/1"),
]


def plan(url: str, ref: str, subdir: str = "", provider: str = "git") -> BuildPlan:
    return BuildPlan("k", "c", "r2d-x", {}, provider, url, ref, subdir, protocols=("http", "https"))


def inside(client: docker.DockerClient, image: str, plans: list[BuildPlan]) -> dict[str, Any]:
    """Run INSIDE in a container of the image, with the first plan's configuration."""
    container = client.containers.create(
        image, ["/inside.py"], entrypoint="python3", network_mode="none", volumes=[CONFIG_DIR]
    )
    # what a local path would lead to
    repository = {"repository/.git/HEAD": "ref: refs/heads/main\n", "repository/.hg/x": ""}
    job = json.dumps({"commands": [arguments(one)[1:] for one in plans]})
    files = {"inside.py": INSIDE, "job.json": job, **repository}
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(text.encode())
            tar.addfile(entry, io.BytesIO(text.encode()))
    try:
        container.put_archive(CONFIG_DIR, archive(plans[0]))
        container.put_archive("/", stream.getvalue())
        container.start()
        container.wait(timeout=60)
        try:
            data, _ = container.get_archive("/found.json")
        except docker.errors.NotFound:
            pytest.fail(container.logs().decode()[-2000:])
        with tarfile.open(fileobj=io.BytesIO(b"".join(data))) as tar:
            file = tar.extractfile("found.json")
            assert file is not None
            found: dict[str, Any] = json.loads(file.read())
    finally:
        container.remove(force=True, v=True)
    return found


@pytest.mark.parametrize("image", REPO2DOCKER_IMAGES)
def test_no_hostile_text_runs_anything_inside_even_where_it_got_there(
    docker_client: docker.DockerClient, image: str
) -> None:
    """The hub refuses all of them long before (tests/test_hostile_text.py): this is behind it."""
    plans = [plan(text, "c" * 40) for text in HOSTILE]
    plans += [plan("https://127.0.0.1:1/x", text) for text in HOSTILE]
    plans += [plan("https://127.0.0.1:1/x", "c" * 40, text) for text in HOSTILE]
    found = inside(docker_client, image, plans)
    assert found["canary"] is False
    assert found["providers"] == [["OneCommit"]], "one provider, and it is ours"
    # so that this test tells something: most of it comes as far as that
    assert len(found["passed"]) > 60
    assert {name for name, _ in found["detected"]} == {"OneCommit"}


@pytest.mark.parametrize("image", REPO2DOCKER_IMAGES)
@pytest.mark.parametrize(
    ("provider", "names"),
    [
        ("git", ["OneCommit"]),
        ("zenodo", ["Zenodo"]),
        ("swhid", ["Swhid"]),
        ("mercurial", ["Mercurial"]),
    ],
)
def test_repo2docker_has_the_one_provider_of_the_build_and_none_for_local_paths(
    docker_client: docker.DockerClient, image: str, provider: str, names: list[str]
) -> None:
    local = ["/repository", "/", ".", "file:///repository"]
    plans = [plan("https://127.0.0.1:1/x", "c" * 40, provider=provider)]
    plans += [replace(plans[0], url=text) for text in local]
    found = inside(docker_client, image, plans)
    assert found["providers"] == [names]


# -- A11: images that somebody has made to look like ours --------------------------------------


@pytest.fixture
async def hub(git_server: GitServer) -> AsyncIterator[Bench]:
    """A pool whose images are proved by a secret."""
    engine = Engine()
    images = Images(engine, SECRET)
    pool = BuildPool(ContainerBuilder(engine), images, limit=4)
    yield Bench(engine, images, pool, git_server)
    await pool.close()
    engine.close()


def secret_plan(bench: Bench, url: str, commit: str) -> BuildPlan:
    key = build_key(
        BuildInputs("git", url, commit, "", bench.plan(url, commit).build_image), SECRET
    )
    return replace(
        bench.plan(url, commit),
        key=key,
        container=container_name(key),
        image=image_name(key, "victim", prefix="r2d-test-"),
        labels=labels(key, repo=url, ref="main", commit=commit, subdir="", secret=SECRET),
    )


@pytest.fixture
def remove_images(docker_client: docker.DockerClient) -> Iterator[list[str]]:
    names: list[str] = []
    yield names
    for name in names:
        with suppress(docker.errors.ImageNotFound):
            docker_client.images.remove(name, force=True)


def forge(client: docker.DockerClient, name: str, said: dict[str, str]) -> str:
    """Make an image with that name and these labels; return its id."""
    lines = [f"FROM {BASE_IMAGE}", f"ENV MALLORY={uuid.uuid4().hex}"]
    lines += [f'LABEL {label}="{value}"' for label, value in said.items()]
    made, _ = client.images.build(fileobj=io.BytesIO("\n".join(lines).encode()), tag=name, rm=True)
    return str(made.id)


@pytest.mark.parametrize("how", ["tagged", "labelled", "proved by another secret"])
async def test_an_image_made_to_look_like_ours_is_not_started_and_built_over(
    hub: Bench, docker_client: docker.DockerClient, remove_images: list[str], how: str
) -> None:
    url, commit = hub.repository(mine__txt="the real one")
    wanted = secret_plan(hub, url, commit)
    remove_images.append(wanted.image)
    proof = LABEL_PREFIX + "proof"
    said = {
        "tagged": {},
        "labelled": {name: value for name, value in wanted.labels.items() if name != proof},
        "proved by another secret": {**wanted.labels, proof: image_proof(wanted.key, b"Mallory's")},
    }[how]
    forged = forge(docker_client, wanted.image, said)
    # so that the image outlives the loss of its name
    docker_client.images.get(forged).tag(f"r2d-test-forged-{uuid.uuid4().hex}")
    try:
        assert await hub.images.find(wanted.key, wanted.image) is None
        listed = await hub.images.environments(ANN)
        assert wanted.image not in {one.image.name for one in listed}
        name, _ = await hub.build(wanted)
        found = await hub.images.find(wanted.key, name)
        assert found is not None
        assert found.id != forged
        env = docker_client.api.inspect_image(found.id)["Config"]["Env"] or []
        assert not [one for one in env if one.startswith("MALLORY=")]
    finally:
        docker_client.images.remove(forged, force=True)


@pytest.mark.parametrize("build_image", REPO2DOCKER_IMAGES)
async def test_labels_in_a_dockerfile_say_nothing_of_ours(
    hub: Bench, docker_client: docker.DockerClient, remove_images: list[str], build_image: str
) -> None:
    victim = "f" * 64
    said = labels(
        victim,
        repo="https://github.com/victim/repo",
        ref="main",
        commit="a" * 40,
        subdir="x",
        name="victim/repo",
        owner="victim",
        place="https://github.com",
        secret=b"Mallory's",
    )
    lines = "".join(f'LABEL {name}="{value}"\n' for name, value in said.items())
    url, commit = hub.repository(Dockerfile=DOCKERFILE + lines)
    wanted = replace(secret_plan(hub, url, commit), build_image=build_image)
    remove_images.append(wanted.image)
    name, _ = await hub.build(wanted)
    told = read_labels(docker_client.api.inspect_image(name)["Config"]["Labels"])
    assert told == read_labels(wanted.labels)
    assert await hub.images.find(victim, name) is None
    [listed] = [one for one in await hub.images.environments(ANN, fresh=True) if one.repo == url]
    assert (listed.owner, listed.place, listed.ref, listed.subdir) == ("", "", "main", "")


# -- labels, as repo2docker writes them and the engine reads them --------------------------------


@pytest.mark.parametrize("image", REPO2DOCKER_IMAGES)
def test_5000_labels_come_through_repo2dockers_dockerfile_as_they_were(
    docker_client: docker.DockerClient, image: str, tmp_path: Path
) -> None:
    values = {
        f"{LABEL_PREFIX}t{number}": encode_label(text) for number, text in enumerate(texts(5000))
    }
    (tmp_path / "labels.json").write_text(json.dumps(values), encoding="utf-8")
    script = (
        "import json\n"
        "from repo2docker.buildpacks.base import TEMPLATE\n"
        "from jinja2 import Template\n"
        "head = '{% for k, v in labels|dictsort %}'\n"
        "assert TEMPLATE.count(head) == 1\n"
        "end = '{%- endfor %}'\n"
        "part = head + TEMPLATE.split(head)[1].split(end)[0] + end\n"
        "print(Template(part).render(labels=json.load(open('/labels.json'))))\n"
    )
    container = docker_client.containers.create(image, ["-c", script], entrypoint="python3")
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(tmp_path / "labels.json", "labels.json")
    try:
        container.put_archive("/", stream.getvalue())
        container.start()
        container.wait(timeout=60)
        written = container.logs().decode()
    finally:
        container.remove(force=True)
    found = [line for line in written.splitlines() if line.strip()]
    assert len(found) == len(values), "each is one line"
    # many to an instruction: the engine makes a layer of each
    pairs = [line.strip().removeprefix("LABEL ") for line in found]
    lines = ["LABEL " + " ".join(pairs[at : at + 500]) for at in range(0, len(pairs), 500)]
    text = "\n".join(["FROM scratch", *lines])
    made, _ = docker_client.images.build(fileobj=io.BytesIO(text.encode()), rm=True)
    try:
        read = docker_client.api.inspect_image(str(made.id))["Config"]["Labels"]
    finally:
        docker_client.images.remove(str(made.id), force=True)
    assert read == values
