"""The engine's errors as sentences, and an engine that isn't there."""

from __future__ import annotations

import gc
import ssl
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import docker.errors
import pytest
import requests
import urllib3

from repo2dockerspawner.engine import APIError, Engine, NotFound, engine_error, split_image
from repo2dockerspawner.errors import EngineError


class Answer(requests.Response):
    """An answer of the engine's."""

    def __init__(self, status: int) -> None:
        super().__init__()
        self.status_code = status


def asked_first(error: Exception) -> Exception:
    """As docker-py raises what comes of asking for the engine's version."""
    made = docker.errors.DockerException(f"Error while fetching server API version: {error}")
    made.__cause__ = error
    return made


def tls_error(error: ssl.SSLError, *, reason: str = "", verify: str = "") -> Exception:
    """As requests and urllib3 raise it: a value in a value."""
    error.reason = reason
    if isinstance(error, ssl.SSLCertVerificationError):
        error.verify_message = verify
    # one of a connection that was tried anew has itself in it
    error.__context__ = made = requests.exceptions.SSLError(urllib3.exceptions.SSLError(error))
    return made


@pytest.mark.parametrize(
    ("error", "reason", "part"),
    [
        pytest.param(
            APIError("409", explanation="No space left\n on device."),
            "engine_refused",
            "refused: No space left on device. An",
            id="refused",
        ),
        pytest.param(APIError("boom"), "engine_refused", "boom", id="refused without a word"),
        pytest.param(
            APIError("x", explanation="y" * 5000), "engine_refused", "y" * 300 + ".", id="long"
        ),
        pytest.param(requests.exceptions.ReadTimeout(), "engine_timeout", "in time", id="slow"),
        pytest.param(requests.exceptions.ConnectTimeout(), "engine_timeout", "in time", id="away"),
        pytest.param(
            requests.exceptions.ConnectionError("/secret/path"),
            "engine_unavailable",
            "can't be reached",
            id="gone",
        ),
        pytest.param(
            docker.errors.DockerException("/secret/path"),
            "engine_unavailable",
            "can't be reached",
            id="never there",
        ),
        pytest.param(
            asked_first(APIError("400", Answer(400), explanation="Client sent HTTP to HTTPS.")),
            "engine_refused",
            "refused: Client sent HTTP to HTTPS. An",
            id="refused at the first question",
        ),
        pytest.param(
            asked_first(APIError("503", Answer(503), explanation="/secret/path")),
            "engine_unavailable",
            "can't be reached",
            id="not ready yet at the first question",
        ),
        pytest.param(
            asked_first(tls_error(ssl.SSLCertVerificationError(1, "/secret"), verify="too old.")),
            "engine_tls",
            "by TLS: its certificate is not accepted here (too old). An",
            id="the engine is not trusted",
        ),
        pytest.param(
            tls_error(ssl.SSLError(1, "/secret"), reason="TLSV13_ALERT_CERTIFICATE_REQUIRED"),
            "engine_tls",
            "by TLS: it wants a certificate that it trusts (tlsv13 alert certificate required). An",
            id="the hub has no certificate",
        ),
        pytest.param(
            tls_error(ssl.SSLError(1, "/secret"), reason="TLSV1_ALERT_UNKNOWN_CA"),
            "engine_tls",
            "it wants a certificate that it trusts (tlsv1 alert unknown ca). An",
            id="the hub is not trusted",
        ),
        pytest.param(
            tls_error(ssl.SSLError(1, "/secret"), reason="WRONG_VERSION_NUMBER"),
            "engine_tls",
            "by TLS: wrong version number. An",
            id="the engine has no TLS",
        ),
        pytest.param(
            tls_error(ssl.SSLEOFError(8, "/secret"), reason="UNEXPECTED_EOF_WHILE_READING"),
            "engine_unavailable",
            "can't be reached. Try",
            id="it hung up",
        ),
    ],
)
def test_each_error_of_the_engine_is_a_sentence(error: Exception, reason: str, part: str) -> None:
    made = engine_error(error)
    assert (made.reason, made.status) == (reason, 503)
    assert part in made.message
    assert made.message.endswith(".")
    assert "\n" not in made.message
    assert "secret" not in made.message
    assert len(made.message) < 500


@pytest.mark.parametrize(
    ("image", "repository", "tag"),
    [
        ("ubuntu", "ubuntu", "latest"),
        ("ubuntu:24.04", "ubuntu", "24.04"),
        ("quay.io/jupyterhub/repo2docker:2026.4.0", "quay.io/jupyterhub/repo2docker", "2026.4.0"),
        ("localhost:5000/a", "localhost:5000/a", "latest"),
        ("localhost:5000/a:1", "localhost:5000/a", "1"),
        ("a@sha256:0123", "a@sha256:0123", ""),
        ("localhost:5000/a:1@sha256:0123", "localhost:5000/a:1@sha256:0123", ""),
    ],
)
def test_an_image_is_split_as_a_pull_wants_it(image: str, repository: str, tag: str) -> None:
    assert split_image(image) == (repository, tag)


# docker-py leaves a socket that found nobody to the garbage collector
LEAK = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")


@pytest.fixture
async def absent(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    for name in ("DOCKER_HOST", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    made = Engine(client_kwargs={"base_url": "unix:///nonexistent.sock"})
    yield made
    made.close()
    gc.collect()  # see LEAK


async def test_an_engine_that_is_not_there_costs_nothing_until_it_is_called(
    absent: Engine,
) -> None:
    assert absent._client is None
    assert not [one for one in threading.enumerate() if one.name.startswith("r2d-call")]


@LEAK
async def test_calling_an_engine_that_is_not_there_says_so_soon(absent: Engine) -> None:
    began = time.monotonic()
    with pytest.raises(EngineError) as raised:
        await absent.call(lambda client: client.ping())
    assert raised.value.reason == "engine_unavailable"
    assert raised.value.message.startswith("The Docker engine can't be reached.")
    assert time.monotonic() - began < 2
    # and the next one tries again
    with pytest.raises(EngineError):
        await absent.call(lambda client: client.ping())


@LEAK
async def test_what_is_not_waited_for_never_raises(absent: Engine) -> None:
    absent.submit(lambda client: client.ping())
    for thread in threading.enumerate():
        if thread.name == "r2d-aside":
            thread.join(5)


@pytest.mark.parametrize(
    ("kwargs", "host", "path"),
    [
        ({}, None, "/var/run/docker.sock"),
        ({"base_url": "unix:///run/user/1000/docker.sock"}, None, "/run/user/1000/docker.sock"),
        ({"base_url": "unix://run/docker.sock"}, None, "/run/docker.sock"),
        ({"base_url": "http+unix:///run/d.sock"}, None, "/run/d.sock"),
        ({}, "unix:///srv/docker.sock", "/srv/docker.sock"),
        ({"base_url": "unix:///one.sock"}, "unix:///other.sock", "/one.sock"),
        ({"base_url": "tcp://swarm:2376"}, None, "/var/run/docker.sock"),
        ({}, "tcp://swarm:2376", "/var/run/docker.sock"),
    ],
)
def test_the_socket_is_the_one_on_the_engines_machine(
    kwargs: dict[str, str], host: str | None, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    monkeypatch.delenv("DOCKER_CERT_PATH", raising=False)
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    if host is not None:
        monkeypatch.setenv("DOCKER_HOST", host)
    engine = Engine(kwargs)
    assert engine.socket == path
    engine.close()


def test_the_authority_of_an_engine_counts_whatever_the_one_of_the_web_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("own.pem", "web.pem"):
        (tmp_path / name).touch()
    own = str(tmp_path / "own.pem")
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "web.pem"))
    tls = {"ca_cert": own, "verify": True}
    kwargs = {"base_url": "tcp://engine.test:2376", "version": "1.41"}
    engine = Engine(kwargs, tls, by_environment=False)
    client: Any = engine.client
    asked = client.merge_environment_settings("https://engine.test:2376/_ping", {}, *3 * [None])
    assert asked["verify"] == own
    engine.close()


async def test_errors_of_a_call_become_sentences_but_what_is_missing_stays_what_it_is(
    absent: Engine,
) -> None:
    client: Any = object()
    absent._client = client

    def raising(error: Exception) -> Any:
        def call(given: object) -> None:
            assert given is client
            raise error

        return call

    with pytest.raises(NotFound):
        await absent.call(raising(NotFound("no such container")))
    with pytest.raises(EngineError, match="refused: conflict"):
        await absent.call(raising(APIError("409", explanation="conflict")))
    with pytest.raises(EngineError, match="in time"):
        await absent.call(raising(requests.exceptions.ReadTimeout()))
    with pytest.raises(ZeroDivisionError):
        await absent.call(raising(ZeroDivisionError()))
    absent._client = None


async def test_calls_run_on_threads_of_their_own_and_the_loop_goes_on(absent: Engine) -> None:
    client: Any = object()
    absent._client = client
    name = await absent.call(lambda _: threading.current_thread().name)
    assert name.startswith("r2d-call")
    absent._client = None


@pytest.mark.parametrize(
    ("host", "here"),
    [
        ("", True),
        ("unix:///run/user/1000/docker.sock", True),
        ("http+unix:///x.sock", True),
        ("tcp://builder:2376", False),
        ("ssh://root@builder", False),
    ],
)
def test_an_address_tells_whether_the_engine_is_on_this_machine(
    monkeypatch: pytest.MonkeyPatch, host: str, here: bool
) -> None:
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    engine = Engine({"base_url": host} if host else {})
    assert engine.is_here == here
    engine.close()


@LEAK
def test_an_engine_that_was_named_is_not_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "unix:///no/such/environment.sock")
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", "/no/such/folder")
    name = "The Docker engine that builds"
    engine = Engine({"base_url": "unix:///no/such/x.sock"}, name=name, by_environment=False)
    assert engine.socket == "/no/such/x.sock"
    with pytest.raises(EngineError) as caught:
        engine.patient_client(5)
    assert caught.value.message.startswith(f"{name} can't be reached.")
    engine.close()
    del caught
    gc.collect()
