"""A private repository's token is nowhere but where it opens the repository (case A7)."""

from __future__ import annotations

import asyncio
import base64
import tarfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import docker
import docker.errors
import pytest
from testbed.builds import Bench
from testbed.hostileserver import HostileServer
from testbed.marker import Marker, Watch, left_by
from testbed.names import REPO2DOCKER_IMAGE, REPO2DOCKER_OLD_IMAGE

from repo2dockerspawner.builds import handing
from repo2dockerspawner.builds.events import Event
from repo2dockerspawner.builds.inside.redaction import forms
from repo2dockerspawner.builds.plan import BuildPlan
from repo2dockerspawner.credentials import Credential
from repo2dockerspawner.errors import BuildError

if TYPE_CHECKING:
    pass

USER = "ann"


def test_the_search_finds_every_form_also_in_pieces() -> None:
    marker = Marker()
    texts = forms(marker.secret) | forms(f"{USER}:{marker.secret}")
    for text in (one.encode() for one in texts if len(one) > 50):
        assert marker.is_in(b"-" + text + b"-")
        assert marker.is_in_stream(iter([text[:30], text[30:]]))
    assert not marker.is_in_stream(iter([base64.b64encode(bytes(1000)), b"text"]))


@pytest.fixture
def marker() -> Marker:
    return Marker()


@pytest.fixture
def canary() -> Iterator[HostileServer]:
    with HostileServer("172.17.0.1") as server:
        yield server


def private(bench: Bench, marker: Marker, **files: str) -> tuple[str, str, Credential]:
    """A repository that wants the token, with a submodule that wants it too."""
    url, _ = bench.repository(**files)
    name = urlsplit(url).path.strip("/").removesuffix(".git")
    inner = bench.git.create(f"{name}-inner", {"inner-file": "inner"})
    modules = f'[submodule "inner"]\n\tpath = inner\n\turl = {bench.git.url(f"{name}-inner")}\n'
    commit = bench.git.commit(
        name,
        {".gitmodules": modules, "inner": inner},
        modes={"inner": "160000"},
    )
    for one in (name, f"{name}-inner"):
        bench.git.require_auth(one, USER, marker.secret)
    return url, commit, Credential(f"http://{bench.git.host}:{bench.git.port}", USER, marker.secret)


async def failed(bench: Bench, plan: BuildPlan) -> tuple[BuildError, list[Event]]:
    """The end of a build that fails, and its events."""
    build = bench.pool.join(plan, "somebody")
    try:
        events = [event async for event in build.follow()]
        with pytest.raises(BuildError) as caught:
            await build.result()
        return caught.value, events
    finally:
        bench.pool.leave(build)


def said(error: BuildError, events: list[Event]) -> bytes:
    texts = [error.message, repr(error), *error.lines, *(event.text for event in events)]
    return "\n".join(texts).encode()


@pytest.mark.parametrize("build_image", [REPO2DOCKER_IMAGE, REPO2DOCKER_OLD_IMAGE])
async def test_a_token_opens_the_repository_and_is_in_none_of_sixteen_places(  # noqa: PLR0917
    bench: Bench,
    docker_client: docker.DockerClient,
    marker: Marker,
    build_image: str,
    caplog: pytest.LogCaptureFixture,
    tmp_path: Path,
) -> None:
    caplog.set_level(0)
    api: Any = docker_client.api
    url, commit, credential = private(bench, marker)
    plan = replace(
        bench.plan(url, commit, build_image),
        credentials=(credential,),
        guarded=True,
        allowed_networks=(bench.git.host,),
        retention=60,
    )
    with Watch(docker_client, plan.container) as watch:
        image, events = await bench.build(plan)
    try:
        places = left_by(docker_client, plan, watch, events, tmp_path)
        places["image: .git/config"] = b"".join(_git_configs(tmp_path / "image.tar"))
        places["hub: log"] = caplog.text.encode()
    finally:
        api.remove_container(plan.container, force=True)
        docker_client.images.remove(image, force=True)
    # the search finds what is there: the address is in all of these
    needle = url.encode()
    for name in (
        "running: inspect",
        "ended: inspect",
        "ended: log",
        "image: inspect",
        "image: .git/config",
    ):
        assert needle in places[name], name  # type: ignore[operator]
    assert b"include.path=/proc/" in places["running: cmdline"]  # type: ignore[operator]
    assert b"submodule" in places["image: .git/config"]  # type: ignore[operator]
    assert len(places) == 16
    assert marker.found_in(places) == []
    # and it was sent, for both repositories
    name = urlsplit(url).path.strip("/").removesuffix(".git")
    for one in (name, f"{name}-inner"):
        assert any("POST" in line for line in bench.git.requests_of(one))


def _git_configs(archive: Path) -> Iterator[bytes]:
    """The git configuration files in all layers of a saved image."""
    with tarfile.open(archive) as image:
        for member in image:
            # not the large ones, which are the image's that ours stands on
            if not member.name.endswith("layer.tar") or member.size > 2**24:
                continue
            with tarfile.open(fileobj=image.extractfile(member)) as layer:
                for one in layer:
                    if ".git" in one.name.split("/") and one.name.endswith("/config"):
                        file = layer.extractfile(one)
                        yield file.read() if file else b""


async def test_a_repository_that_links_to_the_process_reads_nothing(
    bench: Bench, marker: Marker, docker_client: docker.DockerClient
) -> None:
    targets = ["/proc/self/environ", "/proc/1/environ", "/proc/self/fd/0", "/proc/self/cmdline"]
    targets += [f"/proc/self/fd/{number}" for number in range(3, 7)]
    plans = []
    for target in targets:
        url, _, credential = private(bench, marker)
        name = urlsplit(url).path.strip("/").removesuffix(".git")
        commit = bench.git.commit(
            name, {"Dockerfile": None, "runtime.txt": target}, modes={"runtime.txt": "120000"}
        )
        plans.append(replace(bench.plan(url, commit), credentials=(credential,), timeout=30))
    ends = await asyncio.gather(*(_ended(bench, plan) for plan in plans))
    for target, text in zip(targets, ends, strict=True):
        assert not marker.is_in(text), target
        # nor had anything to be taken out of what was read, but the proof among the arguments
        assert b"***" not in text.replace(b"repo2dockerspawner.proof=***", b""), target
    # the first one is what a repository gets by this: its own log shows the environment
    assert b"Invalid runtime.txt" in ends[0]
    assert b"HOME=/root" in ends[0]


async def _ended(bench: Bench, plan: BuildPlan) -> bytes:
    """All that a build says that can't go well here: there is no conda."""
    build = bench.pool.join(plan, "somebody")
    texts: list[str] = []
    try:
        async for event in build.follow():
            texts.append(event.text)
            # far enough: all of the repository has been read
            if "Using" in event.text and "builder" in event.text:
                break
        else:
            with pytest.raises(BuildError) as caught:
                await build.result()
            texts += [caught.value.message, *caught.value.lines]
    finally:
        bench.pool.leave(build)
    return "\n".join(texts).encode()


@pytest.mark.parametrize("way", ["submodule", "redirect", "look-alike"])
async def test_another_host_that_asks_for_a_password_gets_nothing_and_the_build_says_so(
    bench: Bench, marker: Marker, canary: HostileServer, way: str
) -> None:
    url, commit, credential = private(bench, marker)
    name = urlsplit(url).path.strip("/").removesuffix(".git")
    reason = "repo_not_found"
    with HostileServer("172.17.0.1") as first:
        if way == "submodule":
            modules = f'[submodule "inner"]\n\tpath = inner\n\turl = {canary.url("inner.git")}\n'
            commit = bench.git.commit(name, {".gitmodules": modules})
            reason = "submodule_failed"
        elif way == "redirect":
            first.redirects["/away.git/"] = canary.url("away.git/")
            url = first.url("away.git")
            credential = replace(credential, place=first.url("").rstrip("/"))
        else:
            url = canary.url("one.git")
            credential = replace(credential, place=canary.url("on"))
        plan = replace(bench.plan(url, commit), credentials=(credential,))
        error, events = await failed(bench, plan)
        asked = [*first.requests, *canary.requests]
    assert error.reason == reason
    assert error.message.endswith(("there.", "right."))
    assert canary.requests
    assert [one for one in asked if one.authorization] == []
    assert not any(marker.is_in(one.text.encode()) for one in asked)
    assert not marker.is_in(said(error, events))


async def test_a_log_that_prints_the_token_has_it_redacted_on_the_engine_and_here(
    bench: Bench, marker: Marker, docker_client: docker.DockerClient
) -> None:
    pair = base64.b64encode(f"{USER}:{marker.secret}".encode()).decode()
    text = f"token {marker.secret} and Basic {pair}"
    url, _, credential = private(bench, marker)
    name = urlsplit(url).path.strip("/").removesuffix(".git")
    commit = bench.git.commit(name, {"Dockerfile": None, "runtime.txt": text})
    plan = replace(bench.plan(url, commit), credentials=(credential,), retention=60)
    error, events = await failed(bench, plan)
    raw = docker_client.api.logs(plan.container)
    docker_client.api.remove_container(plan.container, force=True)
    assert b"Invalid runtime.txt" in raw
    assert b"token *** and Basic ***" in raw
    assert not marker.is_in(raw)
    assert "token *** and Basic ***" in said(error, events).decode()
    assert not marker.is_in(said(error, events))


async def test_a_build_whose_credentials_do_not_arrive_ends_at_once_and_says_so(
    bench: Bench, marker: Marker, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what the engine does where the process that started the container is killed before
    monkeypatch.setattr(handing, "document", lambda credentials: b"")
    url, commit, credential = private(bench, marker)
    began = time.monotonic()
    error, _ = await failed(bench, replace(bench.plan(url, commit), credentials=(credential,)))
    assert error.reason == "credentials_lost"
    assert time.monotonic() - began < 20


async def test_a_key_for_a_build_image_without_ssh_is_an_administrators_business(
    bench: Bench, marker: Marker
) -> None:
    url, commit, _ = private(bench, marker)
    key = Credential("ssh://git@172.17.0.1", key=marker.secret, known_hosts="172.17.0.1 key")
    error, events = await failed(bench, replace(bench.plan(url, commit), credentials=(key,)))
    assert error.reason == "build_image_unusable"
    assert "it has no ssh" in error.message
    assert not marker.is_in(said(error, events))
