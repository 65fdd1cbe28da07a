"""A19: what the engine says of a running build container, and what can't be done in it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import docker
import pytest
from testbed.builds import Bench
from testbed.names import SINGLEUSER_IMAGE
from testbed.scripted import ScriptBench, printed, ready_image, scripted_plan
from testbed.waiting import until

from repo2dockerspawner.builds import sweeping
from repo2dockerspawner.builds.plan import CONFIG_DIR, BuildPlan
from repo2dockerspawner.errors import BuildError

SOCKET = "/var/run/docker.sock"

# Each key of the engine's answer that could open the container; what is not here is a mere figure.
CLOSED: dict[str, Any] = {
    "Privileged": False,
    "CapAdd": None,
    "CapDrop": ["ALL"],
    "SecurityOpt": ["no-new-privileges"],
    "ReadonlyRootfs": True,
    "PidsLimit": 1024,
    "PidMode": "",
    "IpcMode": "private",
    "UTSMode": "",
    "UsernsMode": "",
    "Cgroup": "",
    "CgroupParent": "",
    "NetworkMode": "default",
    "Binds": [f"{SOCKET}:{SOCKET}:rw"],
    "VolumesFrom": None,
    "Devices": None,
    "DeviceCgroupRules": None,
    "DeviceRequests": None,
    "GroupAdd": None,
    "PortBindings": None,
    "PublishAllPorts": False,
    "Links": None,
    "ExtraHosts": None,
    "AutoRemove": False,
    "RestartPolicy": {"Name": "", "MaximumRetryCount": 0},
    "OomKillDisable": False,
    "Runtime": "runc",
    "Memory": 2**30,
    "MemorySwap": 2**30,
    "NanoCpus": 10**9,
    "LogConfig": {"Type": "local", "Config": {"max-size": "64m", "max-file": "2"}},
    "Ulimits": [{"Name": "core", "Hard": 0, "Soft": 0}],
}
# What these held when the test was written: masked by the engine itself, unless it is told not to.
MASKED = {"/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware"}


def volumes(client: docker.DockerClient, container: str) -> list[str]:
    mounts = client.api.inspect_container(container)["Mounts"]
    return [mount["Name"] for mount in mounts if mount["Type"] == "volume"]


def there(client: docker.DockerClient, names: list[str]) -> list[str]:
    known = {volume["Name"] for volume in client.api.volumes()["Volumes"] or ()}
    return [name for name in names if name in known]


async def test_the_engine_says_that_a_running_build_has_the_least(
    bench: Bench, docker_client: docker.DockerClient
) -> None:
    url, commit = bench.repository(
        Dockerfile=f"FROM {SINGLEUSER_IMAGE}\nRUN sleep 2 # {asyncio.get_running_loop().time()}\n"
    )
    plan = replace(bench.plan(url, commit), memory_limit=2**30, host_config={"nano_cpus": 10**9})
    task = asyncio.create_task(bench.build(plan))
    await until(lambda: _running(docker_client, plan), 30)
    info = docker_client.api.inspect_container(plan.container)
    said = {name: info["HostConfig"][name] for name in CLOSED}
    assert said == CLOSED
    assert set(info["HostConfig"]["MaskedPaths"]) >= MASKED
    assert [(one["Type"], one["Destination"]) for one in info["Mounts"] if one["Type"] == "bind"]
    mounts = {(one["Type"], one["Destination"]) for one in info["Mounts"]}
    written = {("volume", folder) for folder in (CONFIG_DIR, "/root", "/tmp")}
    assert mounts == {("bind", SOCKET), *written}
    assert list(info["NetworkSettings"]["Networks"]) == ["bridge"]
    assert not info["Config"].get("ExposedPorts")
    assert not info["Config"]["Tty"]
    held = volumes(docker_client, plan.container)
    assert len(held) == 3
    image, _ = await task
    assert image == plan.image
    await until(lambda: not there(docker_client, held))


def _running(client: docker.DockerClient, plan: BuildPlan) -> bool:
    try:
        return bool(client.api.inspect_container(plan.container)["State"]["Running"])
    except docker.errors.NotFound:
        return False


INSIDE = f"""
status=/proc/self/status
sed -n 's/^\\(CapEff\\|CapPrm\\|CapBnd\\|NoNewPrivs\\|Seccomp\\):[[:space:]]*/\\1 /p' $status
for folder in / /etc /usr/bin /opt /var /run /dev/shm /root /tmp {CONFIG_DIR}; do
    (: > $folder/canary) 2> /dev/null && echo written $folder
done
mount -t tmpfs none /mnt 2> /dev/null && echo mounted
mknod /tmp/disk b 8 0 2> /dev/null && echo made a device
chown 1000 /tmp/canary 2> /dev/null && echo given away
su -s /bin/sh nobody -c true 2> /dev/null && echo became another
test -r {CONFIG_DIR}/settings.json && echo our settings are there
ulimit -c
grep -c . /proc/self/mountinfo > /dev/null && echo done
exit 1
"""


async def test_what_it_could_do_it_can_not(
    scripts: ScriptBench, docker_client: docker.DockerClient
) -> None:
    plan = replace(scripted_plan(INSIDE), retention=600)
    build = scripts.pool.join(plan, "somebody")
    events = [event async for event in build.follow()]
    scripts.pool.leave(build)
    assert printed(events) == [
        "CapPrm 0000000000000000",
        "CapEff 0000000000000000",
        "CapBnd 0000000000000000",
        "NoNewPrivs 1",
        # a filter is on: the engine's own, since ours names none
        "Seccomp 2",
        "written /dev/shm",
        "written /root",
        "written /tmp",
        f"written {CONFIG_DIR}",
        "our settings are there",
        "0",
        "done",
    ]
    # kept for its log; whoever removes it leaves nothing
    held = volumes(docker_client, plan.container)
    assert there(docker_client, held) == held
    assert len(held) == 3
    docker_client.api.remove_container(plan.container, v=True)
    assert not there(docker_client, held)


@pytest.mark.parametrize("ending", ["swept", "cancelled"])
async def test_no_volume_is_left(
    scripts: ScriptBench,
    docker_client: docker.DockerClient,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
) -> None:
    monkeypatch.setattr(sweeping, "_MARGIN", 0.0)
    script = "exit 1" if ending == "swept" else "exec sleep 60"
    plan = replace(scripted_plan(f"echo content > /tmp/x; {script}"), retention=1)
    build = scripts.pool.join(plan, "somebody")
    await until(lambda: scripts.state(plan) in {"running", "exited"})
    held = volumes(docker_client, plan.container)
    assert there(docker_client, held) == held
    assert len(held) == 3
    if ending == "swept":
        with pytest.raises(BuildError):
            await build.result()
        await asyncio.sleep(1.1)
        await scripts.builder.sweep([])
    scripts.pool.leave(build)
    await until(lambda: not there(docker_client, held), 5)


async def test_a_process_too_many_is_the_builds_own_trouble(scripts: ScriptBench) -> None:
    bomb = "i=0; while [ $i -lt 60 ]; do sleep 5 & i=$((i+1)); done; echo not stopped"
    plan = replace(scripted_plan(bomb), host_config={"pids_limit": 40})
    with ready_image(scripts.client, plan), pytest.raises(BuildError) as caught:
        await scripts.build(plan)
    assert caught.value.status < 500
    assert "not stopped" not in " ".join(caught.value.lines)
