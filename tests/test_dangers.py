"""Which settings are warned of, and that a well-set hub has none."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jupyterhub.app import JupyterHub
from jupyterhub.auth import DummyAuthenticator, PAMAuthenticator
from traitlets.config import Config

from repo2dockerspawner import Repo2DockerSpawner
from repo2dockerspawner.dangers import dangers, warn_once
from repo2dockerspawner.traits import our_traits

PAGE = Path(__file__).resolve().parents[1] / "docs/security.md"
SECRET = "0123456789abcdef" * 2


def _id(value: object) -> str:
    """The same in every process: nothing of where in memory it is."""
    return re.sub(r"<(?:[\w.]+\.)?(\w+) object at 0x[0-9a-f]+>", r"\1", str(value))


class WithPassword(DummyAuthenticator):  # type: ignore[misc]
    password = "a password"


def told(
    *, hub: dict[str, Any] | None = None, version: tuple[int, ...] = (6, 1), **settings: Any
) -> list[str]:
    """What is said of a well-set hub with these settings, ``Class__name`` or ours."""
    config = Config()
    for name, value in settings.items():
        cls, _, trait = name.rpartition("__")
        config[cls or "Repo2DockerSpawner"][trait] = value
    well = {
        "subdomain_host": "https://hub.example.org",
        "authenticator": PAMAuthenticator(),
        "cookie_secret": b"0" * 32,
    }
    found = SimpleNamespace(**{**well, **(hub or {})})
    return dangers(found, Repo2DockerSpawner(config=config), version=version)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"version": (5, 5)},
        {"Spawner__consecutive_failure_limit": 5},
        {"hub": {"authenticator": WithPassword()}},
        {"allowed_schemes": ["https"]},
        {"trusted_repos": ["github.com/our-university/*", "git.example.org:8443/a/b"]},
        {"DockerSpawner__allowed_images": ["quay.io/jupyter/scipy-notebook"]},
        {"build_network": "builds"},
        {"build_host_config": {"nano_cpus": 1, "privileged": False, "pid_mode": ""}},
        {"build_host_config": {"security_opt": ["no-new-privileges"]}},
        # docs/build-engine.md
        {"build_host_config": {"binds": ["/our-ca.pem:/our-ca.pem:ro"], "userns_mode": "host"}},
        {"build_host_config": {"binds": {"/a": {"bind": "/a", "mode": "ro"}}}},
        {"build_docker_host": "unix:///run/user/1000/docker.sock"},
        {"build_docker_host": "tcp://b:2376", "build_tls_config": {"ca_cert": "ca.pem"}},
        {"image_secret": SECRET, "hub": {"cookie_secret": b""}},
        {"credentials": [{"place": "https://git.example.org", "password": "x"}]},
        {"auth_state_credentials": {"github.com": "access_token"}},
        {"DockerSpawner__volumes": {"home-{username}": "/home/jovyan"}},
    ],
    ids=_id,
)
def test_of_a_well_set_hub_nothing_is_said(settings: dict[str, Any]) -> None:
    assert told(**settings) == []


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"hub": {"subdomain_host": ""}}, "JupyterHub.subdomain_host"),
        ({"hub": {"authenticator": DummyAuthenticator()}}, "JupyterHub.authenticator_class"),
        (
            {"Spawner__consecutive_failure_limit": 5, "version": (5, 5)},
            "Spawner.consecutive_failure_limit",
        ),
        ({"allowed_schemes": ["https", "http"]}, "Repo2DockerSpawner.allowed_schemes"),
        ({"allowed_schemes": ["git"]}, "Repo2DockerSpawner.allowed_schemes"),
        ({"block_private_networks": False}, "Repo2DockerSpawner.block_private_networks"),
        ({"trusted_repos": ["github.com/*"]}, "Repo2DockerSpawner.trusted_repos"),
        ({"trusted_repos": ["github.com/*/*"]}, "Repo2DockerSpawner.trusted_repos"),
        ({"trusted_repos": ["github.com/?*/course"]}, "Repo2DockerSpawner.trusted_repos"),
        ({"DockerSpawner__allowed_images": "*"}, "DockerSpawner.allowed_images"),
        ({"build_network": "host"}, "Repo2DockerSpawner.build_network"),
        *(
            ({"build_host_config": one}, "Repo2DockerSpawner.build_host_config")
            for one in (
                {"privileged": True},
                {"cap_add": ["SYS_ADMIN"]},
                {"pid_mode": "host"},
                {"network_mode": "host"},
                {"ipc_mode": "host"},
                {"binds": ["/:/host"]},
                {"binds": ["/a:/b:ro", "/c:/d:rw"]},
                {"binds": {"/": {"bind": "/host", "mode": "rw"}}},
                {"devices": ["/dev/kvm"]},
                {"security_opt": ["seccomp=unconfined"]},
            )
        ),
        ({"build_docker_host": "tcp://b:2375"}, "Repo2DockerSpawner.build_docker_host"),
        ({"image_secret": "short"}, "Repo2DockerSpawner.image_secret"),
        ({"hub": {"cookie_secret": b""}}, "JupyterHub.cookie_secret"),
        (
            {"credentials": [{"place": "http://git.example.org", "password": "x"}]},
            "Repo2DockerSpawner.credentials",
        ),
        (
            {"auth_state_credentials": {"http://git.example.org": "access_token"}},
            "Repo2DockerSpawner.auth_state_credentials",
        ),
        (
            {"DockerSpawner__volumes": {"/var/run/docker.sock": "/var/run/docker.sock"}},
            "DockerSpawner.volumes",
        ),
    ],
    ids=_id,
)
def test_a_dangerous_setting_is_named_with_what_to_do(settings: dict[str, Any], named: str) -> None:
    (sentence,) = told(**settings)
    assert sentence.startswith(named)
    assert re.search(r"\. (Set|Leave|Use|Name|Make) [^.]+", sentence), "what to do"
    assert "\n" not in sentence
    for name in re.findall(r"Repo2DockerSpawner\.(\w+)", sentence):
        assert name in our_traits()
    page = PAGE.read_text(encoding="utf-8")
    assert re.search(rf"`(c\.\w+\.)?{named.rpartition('.')[2]}[` ]", page)


def test_each_wide_pattern_is_named() -> None:
    wide = told(trusted_repos=["github.com/*", "github.com/ann/*", "codeberg.org/*"])
    assert [re.findall(r"'(.+?)'", sentence)[0] for sentence in wide] == [
        "github.com/*",
        "codeberg.org/*",
    ]


# --- when it is said


@pytest.fixture
def hub() -> Iterator[JupyterHub]:
    JupyterHub.clear_instance()
    found = JupyterHub.instance(
        config=Config(
            {
                "JupyterHub": {
                    "spawner_class": Repo2DockerSpawner,
                    "cookie_secret": b"0" * 32,
                    "log_level": "WARN",
                },
                "Repo2DockerSpawner": {"build_network": "host"},
                # which asks a spawner for its user's name
                "DockerSpawner": {"image": "one", "prefix": "p"},
            }
        )
    )
    found.log.propagate = True
    yield found
    JupyterHub.clear_instance()


def test_it_is_said_once(hub: JupyterHub, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        warn_once()
        warn_once()
        warn_once(Repo2DockerSpawner)
    said = [text for text in caplog.messages if "docs/security.md" in text]
    assert [text.split()[0] for text in said] == [
        "JupyterHub.subdomain_host",
        "Repo2DockerSpawner.build_network",
    ]
    assert hub.spawner_class is Repo2DockerSpawner


def test_settings_that_make_no_spawner_do_not_keep_the_hub_from_starting(
    hub: JupyterHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.config.Repo2DockerSpawner.start_timeout = 1
    with caplog.at_level(logging.WARNING):
        warn_once()
    assert "can't be looked at" in caplog.text


def test_a_hub_of_another_spawner_is_left_alone(
    hub: JupyterHub, caplog: pytest.LogCaptureFixture
) -> None:
    hub.spawner_class = "simple"
    with caplog.at_level(logging.WARNING):
        warn_once()
    assert caplog.messages == []


def test_without_a_hub_nothing_is_said(caplog: pytest.LogCaptureFixture) -> None:
    JupyterHub.clear_instance()
    warn_once()
    assert caplog.messages == []
