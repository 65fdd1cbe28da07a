"""The least that repo2docker's container gets, and what an administrator may change of it."""

from __future__ import annotations

from typing import Any

import pytest
from docker.types import HostConfig
from hypothesis import given
from hypothesis import strategies as st

from repo2dockerspawner.builds.confinement import SOCKET_TARGET, VOLUMES, host_settings
from repo2dockerspawner.builds.plan import CONFIG_DIR, BuildPlan

SOCKET = "/run/user/1000/docker.sock"


def plan_of(**values: Any) -> BuildPlan:
    return BuildPlan("k" * 64, "c", "i", {}, "git", "https://x/y", "c" * 40, **values)


def made(**values: Any) -> dict[str, Any]:
    """Return the settings as the engine gets them."""
    return dict(HostConfig(version="1.41", **host_settings(plan_of(**values), SOCKET)))


def test_nothing_is_given_that_is_not_needed() -> None:
    settings = made()
    assert settings["CapDrop"] == ["ALL"]
    assert "CapAdd" not in settings
    assert settings["SecurityOpt"] == ["no-new-privileges"]
    assert settings["ReadonlyRootfs"] is True
    assert settings["PidsLimit"] == 1024
    assert settings["IpcMode"] == "private"
    assert settings["Ulimits"] == [{"Name": "core", "Soft": 0, "Hard": 0}]
    assert settings["LogConfig"]["Type"] == "local"
    assert settings["Binds"] == [f"{SOCKET}:{SOCKET_TARGET}:rw"]
    assert not {"Privileged", "Devices", "PidMode", "UsernsMode", "Tmpfs"} & set(settings)


def test_only_volumes_can_be_written() -> None:
    assert sorted(VOLUMES) == [CONFIG_DIR, "/root", "/tmp"]


def test_a_limit_of_memory_is_one_without_swap() -> None:
    settings = made(memory_limit=2**30)
    assert (settings["Memory"], settings["MemorySwap"]) == (2**30, 2**30)
    settings = made(memory_limit=2**30, host_config={"mem_limit": "2g"})
    assert (settings["Memory"], settings["MemorySwap"]) == (2**31, 2**31)
    assert "Memory" not in made()


@pytest.mark.parametrize(
    ("given", "name", "value"),
    [
        ({"nano_cpus": 10**9}, "NanoCpus", 10**9),
        ({"pids_limit": 50}, "PidsLimit", 50),
        ({"cap_add": ["CHOWN"]}, "CapAdd", ["CHOWN"]),
        ({"read_only": False}, "ReadonlyRootfs", False),
        ({"userns_mode": "host"}, "UsernsMode", "host"),
        ({"security_opt": ["label=disable"]}, "SecurityOpt", ["label=disable"]),
    ],
    ids=lambda value: "" if not isinstance(value, dict) else next(iter(value)),
)
def test_what_the_administrator_sets_wins(given: dict[str, Any], name: str, value: object) -> None:
    before = made()
    settings = made(host_config=given)
    assert settings.get(name) == value
    assert {k: v for k, v in settings.items() if k != name} == {
        k: v for k, v in before.items() if k != name
    }


@pytest.mark.parametrize(
    "binds",
    [
        {"/etc/ca.pem": {"bind": "/ca.pem", "mode": "ro"}},
        ["/etc/ca.pem:/ca.pem:ro"],
    ],
    ids=["dict", "list"],
)
def test_further_binds_leave_the_socket_in_its_place(binds: Any) -> None:
    assert made(host_config={"binds": binds})["Binds"] == [
        f"{SOCKET}:{SOCKET_TARGET}:rw",
        "/etc/ca.pem:/ca.pem:ro",
    ]


@pytest.mark.parametrize(
    "binds",
    [
        {"/srv/docker.sock": {"bind": SOCKET_TARGET}},
        {"/srv/docker.sock": SOCKET_TARGET},
        [f"/srv/docker.sock:{SOCKET_TARGET}:rw"],
    ],
    ids=["dict", "short dict", "list"],
)
def test_a_socket_elsewhere_takes_the_place_of_ours(binds: Any) -> None:
    assert made(host_config={"binds": binds})["Binds"] == [f"/srv/docker.sock:{SOCKET_TARGET}:rw"]


@given(
    st.builds(
        plan_of,
        memory_limit=st.integers(0, 2**40),
        network=st.sampled_from(["", "builds"]),
        environment=st.dictionaries(st.text(), st.text()),
        guarded=st.booleans(),
    )
)
def test_nothing_of_a_plan_opens_the_container(plan: BuildPlan) -> None:
    settings = dict(HostConfig(version="1.41", **host_settings(plan, SOCKET)))
    closed = {"CapDrop", "SecurityOpt", "ReadonlyRootfs", "PidsLimit", "IpcMode", "Ulimits"}
    before = made()
    assert {k: settings[k] for k in closed} == {k: before[k] for k in closed}
    assert settings["Binds"] == before["Binds"]
