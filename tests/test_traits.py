"""The traits that administrators set."""

from __future__ import annotations

import re
from typing import Any

import pytest
from traitlets import TraitError
from traitlets.config import Config

from repo2dockerspawner import Repo2DockerSpawner
from repo2dockerspawner.keys import image_name
from repo2dockerspawner.traits import our_traits

# a path in Docker's references (distribution/reference)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REFERENCE = re.compile(rf"{_PART}(?:/{_PART})*")


def spawner(**traits: Any) -> Any:
    """Return a spawner of that configuration; one without a user is enough for its traits."""
    return Repo2DockerSpawner(config=Config({"Repo2DockerSpawner": traits}))


OURS = sorted(our_traits())


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("build_image", "quay.io/jupyterhub/repo2docker:2026.4.0"),
        ("concurrent_builds_limit", 20),
        ("build_timeout", 1800),
        ("content_providers", ["git"]),
        ("builds_per_user_limit", 0),
        ("build_idle_timeout", 1200),
        ("build_memory_limit", 0),
        ("build_disk_reserve", 0),
        ("build_log_retention", 3600),
        ("clone_depth", 1),
        ("allowed_schemes", ["https", "ssh"]),
        ("build_args", {}),
        ("build_environment", {}),
        ("build_network", ""),
        ("build_extra_args", []),
        ("image_name_prefix", "r2d-"),
        ("build_log_file", ""),
        ("default_image_name", ""),
        ("default_image_text", ""),
        ("profiles", []),
        ("trusted_repos", []),
        (
            "badge_url",
            "https://img.shields.io/badge/launch-JupyterHub-f37726?logo=jupyter&logoColor=white",
        ),
        ("content_security_policy", {}),
        ("image_secret", ""),
        ("build_docker_host", ""),
        ("build_tls_config", {}),
        ("build_host_config", {}),
        ("builds_per_group_limit", {}),
        ("builds_queue_limit", 500),
        ("allowed_repos", []),
        ("denied_repos", []),
        ("repo_hook", None),
        ("block_private_networks", True),
        ("allowed_networks", []),
        ("clone_size_limit", 10 * 2**30),
        ("private_repos", True),
        ("auth_state_credentials", {}),
        ("credentials", []),
        ("remove", True),
        ("cmd", ["jupyterhub-singleuser"]),
    ],
)
def test_the_defaults(name: str, value: object) -> None:
    assert getattr(spawner(), name) == value


def test_each_trait_is_in_the_table_of_defaults() -> None:
    table = test_the_defaults.pytestmark[0].args[1]  # type: ignore[attr-defined]
    assert set(OURS) <= {name for name, _ in table}


@pytest.mark.parametrize("name", OURS)
def test_each_trait_says_what_it_is(name: str) -> None:
    help_text = our_traits()[name].help.strip()
    first, *more = help_text.split("\n\n")
    assert first.endswith(".")
    assert more, "and why this default"


@pytest.mark.parametrize(
    ("trait", "value"),
    [
        ("content_providers", ["git", "local"]),
        ("content_providers", ["Git"]),
        ("allowed_schemes", ["https", "file"]),
        ("allowed_schemes", ["ext"]),
        ("image_name_prefix", "R2D-"),
        ("image_name_prefix", "-a"),
        ("image_name_prefix", "a"),
        ("image_name_prefix", "/"),
        ("image_name_prefix", "a//"),
        ("image_name_prefix", "a../"),
        ("image_name_prefix", "a.-"),
        ("image_name_prefix", "a___"),
        ("image_name_prefix", "host:5000/"),
        ("image_name_prefix", "a-\n"),
        ("trusted_repos", ["https://github.com/owner/*"]),
        ("trusted_repos", ["owner"]),
        ("trusted_repos", ["*/owner/repo"]),
        ("trusted_repos", ["*.example.org/owner/repo"]),
        ("trusted_repos", ["github.com"]),
        ("trusted_repos", ["github.com/"]),
        ("allowed_networks", ["10.0.0.0/33"]),
        ("allowed_networks", ["https://git.example.org"]),
        ("allowed_repos", ["https://github.com/owner/*"]),
        ("denied_repos", ["owner"]),
        ("denied_repos", ["gist.github.com/someone/*"]),
        ("denied_repos", ["Gist.GitHub.com/*/0a1b"]),
        ("allowed_repos", ["bücher.example/*"]),
        ("allowed_repos", ["@example.org/*"]),
        ("repo_hook", "a name"),
        ("builds_queue_limit", -1),
        ("builds_per_group_limit", {"students": 0}),
        ("build_docker_host", "/run/docker.sock"),
        ("build_docker_host", "builder:2376"),
        ("build_tls_config", {"cert": "x"}),
        ("build_tls_config", {"client_cert": ("no/such/cert.pem", "no/such/key.pem")}),
        ("build_host_config", {"cpus": 2}),
        ("build_host_config", {"pids_limit": "many"}),
        ("profiles", [{"display_name": "x", "settings": {"none_such": 1}}]),
        ("concurrent_builds_limit", -1),
        ("build_timeout", 0),
        ("clone_depth", -1),
    ],
)
def test_a_wrong_value_is_refused_and_the_trait_named(trait: str, value: object) -> None:
    with pytest.raises(TraitError, match=trait):
        spawner(**{trait: value})


@pytest.mark.parametrize("prefix", ["", "r2d-", "hub/", "a.b_c__d---", "my-hub/r2d/"])
def test_every_prefix_that_is_taken_makes_a_valid_reference(prefix: str) -> None:
    assert spawner(image_name_prefix=prefix).image_name_prefix == prefix
    for name in ("owner/repo", ""):
        assert REFERENCE.fullmatch(image_name("0" * 64, name, prefix=prefix))


@pytest.mark.parametrize(
    ("trait", "value"),
    [
        ("content_providers", ["git", "zenodo", "mercurial"]),
        ("content_providers", []),
        ("allowed_schemes", ["https", "http", "git", "ssh"]),
        ("trusted_repos", ["github.com/owner/*", "git.example.org:8443/a/b", "[::1]/a/b"]),
        ("allowed_networks", ["10.20.0.0/16", "fd12::1", "git.example.org"]),
        ("allowed_repos", ["me@git.example.org/*", "doi.org/10.5281/*", "gist.github.com/0a1b"]),
        ("denied_repos", ["gist.github.com/*", "archive.softwareheritage.org/swh:1:dir:*"]),
        ("builds_per_group_limit", {"course": 1}),
        ("builds_queue_limit", 0),
        ("profiles", [{"display_name": "x", "settings": {"mem_limit": "2G"}}]),
        ("concurrent_builds_limit", 0),
        ("clone_depth", 0),
        ("build_docker_host", "unix:///run/user/1000/docker.sock"),
        ("build_docker_host", "tcp://builder.example.org:2376"),
        ("build_tls_config", {"verify": True}),
        ("build_host_config", {"nano_cpus": 10**9, "binds": ["/ca.pem:/ca.pem:ro"]}),
    ],
)
def test_these_values_are_taken(trait: str, value: object) -> None:
    assert getattr(spawner(**{trait: value}), trait) == value


@pytest.mark.parametrize(("build", "start"), [(1800, 2100), (60, 360), (7200, 7500)])
def test_the_start_timeout_follows_the_build_timeout(build: int, start: int) -> None:
    assert spawner(build_timeout=build).start_timeout == start


def test_a_start_timeout_that_is_set_stays() -> None:
    assert spawner(build_timeout=100, start_timeout=160).start_timeout == 160


@pytest.mark.parametrize(
    "traits",
    [
        {"start_timeout": 60},
        {"start_timeout": 1859},
        {"build_timeout": 100, "start_timeout": 159},
        {"build_timeout": 100, "start_timeout": 1},
    ],
    ids=str,
)
def test_a_contradiction_is_refused_when_the_configuration_is_read(traits: dict[str, int]) -> None:
    with pytest.raises(TraitError) as raised:
        spawner(**traits)
    message = str(raised.value)
    assert "Repo2DockerSpawner.start_timeout" in message
    assert "Repo2DockerSpawner.build_timeout" in message


def test_a_start_timeout_for_all_spawners_is_refused_the_same() -> None:
    config = Config({"Spawner": {"start_timeout": 30}})
    with pytest.raises(TraitError, match="build_timeout"):
        Repo2DockerSpawner(config=config)


def test_an_administrators_command_stays() -> None:
    assert spawner(cmd=["start.sh"]).cmd == ["start.sh"]
    assert spawner(remove=False).remove is False
