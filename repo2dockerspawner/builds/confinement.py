"""The least that repo2docker's container needs, as the engine is told it.

repo2docker reads what a repository holds, and it has the engine's socket. So whatever else the
container could have is taken away: what a mistake in it, or in git, would have to work with.

Pure: nothing here talks to anybody.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from docker.types import LogConfig, Ulimit

from .plan import CONFIG_DIR, BuildPlan

__all__ = ["SOCKET_TARGET", "VOLUMES", "host_settings"]

SOCKET_TARGET = "/var/run/docker.sock"
"""Where the engine's socket is in the build container."""

VOLUMES = (CONFIG_DIR, "/root", "/tmp")  # noqa: S108 - of the container  # nosec B108
"""What can be written in it: anonymous volumes, which are removed with the container.

No tmpfs, because a clone may be larger than the memory, and because the engine puts files into a
container that isn't started only where they outlive its start. ``/root`` is where the docker
command and buildx keep what they remember; a volume begins with what the image has there.
"""

# The output is bounded inside (inside/repo2docker_config.py). This is for what gets past that:
# a log that is rotated while it is read loses lines (tried on engine 20.10), so it is far above.
_LOG_CONFIG = {"max-size": "64m", "max-file": "2"}
# Processes and threads. git and the docker command take some dozens, more on many processors.
_PIDS = 1024


def host_settings(plan: BuildPlan, socket: str) -> dict[str, Any]:
    """Return docker-py's arguments of ``create_host_config`` for the plan's build container.

    Args:
        plan: the build. Its ``host_config`` wins: what it has takes the place of ours, but for
            ``binds``, to which it adds.
        socket: path of the engine's socket on the engine's machine.
    """
    theirs = dict(plan.host_config)
    memory = theirs.get("mem_limit") or plan.memory_limit or None
    ours = {
        # git, buildx and repo2docker need none, not even to give files another owner
        "cap_drop": ["ALL"],
        # the engine's own profiles of seccomp and AppArmor stay on beside it
        "security_opt": ["no-new-privileges"],
        "read_only": True,
        "pids_limit": _PIDS,
        "ipc_mode": "private",
        # a core file would hold what the memory does: credentials
        "ulimits": [Ulimit(name="core", soft=0, hard=0)],
        "log_config": LogConfig(type="local", config=_LOG_CONFIG),
        "network_mode": plan.network or None,
        "mem_limit": memory,
        # the same figure: no swap, which would only make it slow instead
        "memswap_limit": memory,
    }
    binds = _binds(socket, theirs.pop("binds", None) or ())
    return {**ours, **theirs, "binds": binds}


def _binds(socket: str, more: Mapping[str, Any] | Iterable[str]) -> list[str]:
    """Return the engine's socket and more, as Docker writes it: ``source:target:mode``."""
    if isinstance(more, Mapping):
        more = [_bind(source, how) for source, how in more.items()]
    binds = list(more)
    # theirs may be a socket elsewhere
    if not any(bind.split(":")[1:2] == [SOCKET_TARGET] for bind in binds):
        binds.insert(0, f"{socket}:{SOCKET_TARGET}:rw")
    return binds


def _bind(source: str, how: Any) -> str:
    if isinstance(how, Mapping):
        return f"{source}:{how['bind']}:{how.get('mode', 'rw')}"
    return f"{source}:{how}:rw"
