"""Credentials reach a container's standard input, whatever way leads to the engine."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest
from testbed.certificates import Authority
from testbed.names import REPO2DOCKER_IMAGE

from repo2dockerspawner.builds.handing import document, handing_over
from repo2dockerspawner.credentials import Credential

SOCKET = "/var/run/docker.sock"
GIVEN = (Credential("https://host", "ann", "secret" * 600),)


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@contextlib.contextmanager
def relay(context: ssl.SSLContext | None) -> Iterator[int]:
    """A port of this machine that leads to the engine, with TLS or without."""
    threads: list[threading.Thread] = []
    opened: list[socket.socket] = []

    def start(*pair: socket.socket) -> None:
        threads.append(threading.Thread(target=_pump, args=pair))
        threads[-1].start()

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                near = server.accept()[0]
                if context is not None:
                    near = context.wrap_socket(near, server_side=True)
                far = socket.socket(socket.AF_UNIX)
                far.connect(SOCKET)
                opened.extend((near, far))
                start(near, far)
                start(far, near)

    with socket.create_server(("127.0.0.1", 0)) as server:
        accepting = threading.Thread(target=serve)
        accepting.start()
        try:
            yield int(server.getsockname()[1])
        finally:
            server.shutdown(socket.SHUT_RDWR)
            accepting.join()
            for one in opened:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join()
            for one in opened:
                one.close()


@contextlib.contextmanager
def client(way: str, folder: Path) -> Iterator[Any]:
    """docker-py's client, by one of the ways."""
    with contextlib.ExitStack() as stack:
        if way == "unix":
            made = docker.APIClient(f"unix://{SOCKET}", version="auto", timeout=20)
        elif way == "tcp":
            port = stack.enter_context(relay(None))
            made = docker.APIClient(f"tcp://127.0.0.1:{port}", version="auto", timeout=20)
        else:
            authority = Authority(folder)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*authority.issue("engine", "127.0.0.1"))
            port = stack.enter_context(relay(context))
            tls = docker.tls.TLSConfig(ca_cert=str(authority.certificate), verify=True)
            made = docker.APIClient(
                f"https://127.0.0.1:{port}", version="auto", timeout=20, tls=tls
            )
        try:
            yield made
        finally:
            made.close()


@pytest.mark.parametrize("way", ["unix", "tcp", "tls"])
def test_they_arrive_whole_and_the_input_ends(
    way: str,
    tmp_path: Path,
    docker_client: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):  # they win over docker-py's own
        monkeypatch.delenv(name, raising=False)
    with client(way, tmp_path) as api:
        made = api.create_container(REPO2DOCKER_IMAGE, ["cat"], stdin_open=True)["Id"]
        try:
            with handing_over(api, made, GIVEN):
                api.start(made)
            assert api.wait(made, timeout=20)["StatusCode"] == 0
            assert api.logs(made) == document(GIVEN)
        finally:
            api.remove_container(made, force=True)


def test_where_the_process_dies_before_the_input_ends_too(
    docker_client: docker.DockerClient, tmp_path: Path
) -> None:
    with client("unix", tmp_path) as api:
        made = api.create_container(REPO2DOCKER_IMAGE, ["cat"], stdin_open=True)["Id"]
        try:
            handed = handing_over(api, made, GIVEN)
            handed.__enter__()
            api.start(made)
            assert not handed.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)
            assert api.wait(made, timeout=20)["StatusCode"] == 0
            assert api.logs(made) == b""
        finally:
            api.remove_container(made, force=True)
