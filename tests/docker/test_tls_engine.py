"""Builds on a real engine that is reached by TLS, with certificates on both sides."""

from __future__ import annotations

import tempfile
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker
import pytest
from testbed.certificates import Authority
from testbed.enginelink import EngineLink, link_possible
from testbed.scripted import printed, said
from testbed.secondengine import SecondEngine, second_engine_possible
from testbed.socketbuilds import add_socket_builder, socket_plan
from testbed.twoengines import Two

from repo2dockerspawner.credentials import Credential
from repo2dockerspawner.errors import EngineError

pytestmark = [
    pytest.mark.skipif(
        not (second_engine_possible() and link_possible()), reason="needs root, dockerd and ip"
    ),
    # docker-py leaves a socket that was refused to the garbage collector
    pytest.mark.filterwarnings("ignore:unclosed <s:ResourceWarning"),
]

PORT = 2376


@dataclass
class Remote:
    """An engine as if on another machine, and the authority that both sides trust."""

    engine: SecondEngine
    authority: Authority
    host: str
    folder: Path

    def tls(self, **more: Any) -> dict[str, Any]:
        """What an administrator sets as `build_tls_config`."""
        cert, key = self.authority.issue(f"hub-{uuid.uuid4().hex[:8]}")
        return {
            "client_cert": (str(cert), str(key)),
            "ca_cert": str(self.authority.certificate),
            "verify": True,
            **more,
        }

    def stranger(self) -> Authority:
        """An authority that nobody has heard of."""
        return Authority(self.folder / uuid.uuid4().hex)


@pytest.fixture(scope="module")
def remote(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Remote]:
    folder = tmp_path_factory.mktemp("tls")
    authority, link = Authority(folder / "authority"), EngineLink()
    cert, key = authority.issue("engine", link.there)
    options = (
        f"--host=tcp://0.0.0.0:{PORT}",
        "--tlsverify",
        f"--tlscacert={authority.certificate}",
        f"--tlscert={cert}",
        f"--tlskey={key}",
    )
    engine = SecondEngine(Path(tempfile.mkdtemp(prefix="r2d-", dir="/tmp")), options, link)
    try:
        engine.start()
        add_socket_builder(engine)
        yield Remote(engine, authority, f"tcp://{link.there}:{PORT}", folder)
    finally:
        engine.close()


async def test_what_is_built_there_starts_here_and_credentials_arrive(
    remote: Remote, docker_client: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what many machines have for the web is not what the engine is known by
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(remote.stranger().certificate))
    secret = uuid.uuid4().hex
    plan = replace(
        socket_plan('read -r given; case $given in *"$END"*) echo "they came" ;; esac', 10**7),
        credentials=(Credential("https://host", "ann", secret),),
        host_config={"binds": [f"{remote.engine.socket}:/var/run/docker.sock"]},
    )
    plan = replace(plan, environment={**plan.environment, "END": secret[-8:]})
    client = remote.engine.client()
    two = Two(Two.shared_of(remote.host, remote.tls()), docker_client, client)
    try:
        events = await two.build(plan)
        found = await two.here.images.find(plan.key, plan.image)
        assert found is not None
        assert "they came" in printed(events)
        assert "Copying the image to the engine that runs the servers." in said(events)
        assert docker_client.containers.run(plan.image, ["echo", "here"], remove=True) == b"here\n"
        assert not two.images(client, plan)
    finally:
        await two.here.close()
        client.close()
        docker_client.images.remove(plan.image, force=True)


def _refusals(remote: Remote) -> Mapping[str, tuple[dict[str, Any], str]]:
    authority, stranger = remote.authority, remote.stranger()
    ca = str(authority.certificate)
    expired = tuple(map(str, authority.issue("old", expired=True)))
    refused = "it wants a certificate that it trusts ("
    unknown = tuple(map(str, stranger.issue("stranger")))
    return {
        "the engine's certificate is of another authority": (
            remote.tls(ca_cert=str(stranger.certificate)),
            "its certificate is not accepted here (",
        ),
        "no certificate of the hub's": ({"ca_cert": ca, "verify": True}, refused),
        "the hub's certificate is of another authority": (
            remote.tls(client_cert=unknown),
            refused,
        ),
        "the hub's certificate has run out": (remote.tls(client_cert=expired), refused),
    }


@pytest.mark.parametrize(
    "case",
    [
        "the engine's certificate is of another authority",
        "no certificate of the hub's",
        "the hub's certificate is of another authority",
        "the hub's certificate has run out",
    ],
)
async def test_who_is_not_trusted_is_told_so_at_once(remote: Remote, case: str) -> None:
    tls, part = _refusals(remote)[case]
    here = Two.shared_of(remote.host, tls)
    try:
        build = here.pool.join(socket_plan(), "somebody")
        with pytest.raises(EngineError) as caught:
            await build.result()
        here.pool.leave(build)
    finally:
        await here.close()
    assert caught.value.reason == "engine_tls"
    assert part in caught.value.message
    assert caught.value.message.startswith(
        "The Docker engine that builds can't be reached by TLS: "
    )


async def test_an_engine_with_tls_that_is_asked_without_says_so_itself(remote: Remote) -> None:
    here = Two.shared_of(remote.host)
    try:
        build = here.pool.join(socket_plan(), "somebody")
        with pytest.raises(EngineError) as caught:
            await build.result()
        here.pool.leave(build)
    finally:
        await here.close()
    assert "HTTP request to an HTTPS server" in caught.value.message
