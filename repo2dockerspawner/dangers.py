"""Settings that open what ought to be closed: one sentence each, in the hub's log at its start.

They are warnings, since each of them can be meant: in a test, or on a closed network.
docs/security.md tells of all of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from weakref import WeakSet

import jupyterhub
from jupyterhub.app import JupyterHub
from traitlets.config import Config

from .traits import Traits, our_traits

__all__ = ["dangers", "warn_once"]

_SECRET_LENGTH = 32
"""Characters of `image_secret`: 128 bits where it is hexadecimal."""


def dangers(
    hub: Any, spawner: Any, *, version: tuple[Any, ...] = jupyterhub.version_info
) -> list[str]:
    """Return a sentence for each dangerous setting, which it names with what to do about it.

    Args:
        hub: with JupyterHub's own settings, its ``authenticator`` and ``cookie_secret``.
        spawner: one of ours, as configured for everybody.
        version: of JupyterHub.
    """
    return [
        *_of_the_hub(hub, spawner, version),
        *_of_what_is_fetched(spawner),
        *_of_containers(spawner),
        *_of_secrets(hub, spawner),
    ]


def _of_the_hub(hub: Any, spawner: Any, version: tuple[Any, ...]) -> Iterator[str]:
    if not hub.subdomain_host:
        yield (
            "JupyterHub.subdomain_host is not set: people choose what their servers send to "
            "browsers, and on one domain such a page can act as anybody who looks at it. Set it "
            "to a domain that has a wildcard certificate."
        )
    authenticator = getattr(hub, "authenticator", None)
    kinds = {cls.__name__ for cls in type(authenticator).__mro__}
    if "DummyAuthenticator" in kinds and not getattr(authenticator, "password", ""):
        yield (
            "JupyterHub.authenticator_class is the dummy one without a password: whoever reaches "
            "this hub runs any code on its Docker engine. Set an authenticator."
        )
    limit = spawner.consecutive_failure_limit
    if version[0] < 6 and limit:  # noqa: PLR2004 - JupyterHub's
        yield (
            f"Spawner.consecutive_failure_limit is {limit}: JupyterHub 5 counts what people get "
            f"wrong too, so {limit} bad repositories in a row end the hub. Set it to 0, or use "
            "JupyterHub 6."
        )


def _of_what_is_fetched(spawner: Any) -> Iterator[str]:
    plain = [scheme for scheme in ("http", "git") if scheme in spawner.allowed_schemes]
    if plain:
        yield (
            f"Repo2DockerSpawner.allowed_schemes has {' and '.join(plain)}: who sits on the way "
            "can change what is built and run. Leave it at https and ssh."
        )
    if not spawner.block_private_networks:
        yield (
            "Repo2DockerSpawner.block_private_networks is off: people make this hub and its "
            "builds ask any address inside your network, cloud metadata too. Leave it on, and "
            "name in allowed_networks what may be reached."
        )
    for pattern in spawner.trusted_repos:
        owner = pattern.partition("/")[2].partition("/")[0]
        if not re.search(r"[^*?\[\]!]", owner):
            yield (
                f"Repo2DockerSpawner.trusted_repos has {pattern!r}: a link to anybody's "
                "repository on that host starts it as whoever follows it. Name the owners."
            )


def _of_containers(spawner: Any) -> Iterator[str]:
    if getattr(spawner, "allowed_images", None) == "*":
        yield (
            'DockerSpawner.allowed_images is "*": people start any image that the engine has or '
            "can pull. Leave it unset, or list the images."
        )
    if spawner.build_network == "host":
        yield (
            'Repo2DockerSpawner.build_network is "host": what fetches people\'s repositories '
            "reaches all that listens on this machine alone. Use a network of the engine's."
        )
    for name, value in spawner.build_host_config.items():
        if _OPENS.get(name, _never)(value):
            yield (
                f"Repo2DockerSpawner.build_host_config has {name} = {value!r}: the container that "
                "fetches people's repositories gets more of this machine than it needs. Leave it "
                "out."
            )
    if spawner.build_docker_host.startswith("tcp:") and not spawner.build_tls_config:
        yield (
            "Repo2DockerSpawner.build_docker_host is reached without TLS: whoever can connect to "
            "it is root on that machine. Set build_tls_config."
        )
    if _mounts_the_socket(spawner):
        yield (
            "DockerSpawner.volumes has the Docker socket: each person who starts a server is root "
            "on this machine. Leave it out."
        )


def _of_secrets(hub: Any, spawner: Any) -> Iterator[str]:
    if 0 < len(spawner.image_secret) < _SECRET_LENGTH:
        yield (
            f"Repo2DockerSpawner.image_secret has {len(spawner.image_secret)} characters: the "
            "names of private images can be guessed. Make one with `openssl rand -hex 32`."
        )
    if not spawner.image_secret and not getattr(hub, "cookie_secret", b""):
        yield (
            "JupyterHub.cookie_secret is missing, and Repo2DockerSpawner.image_secret is not set: "
            "the names of private images can be worked out. Set one of them."
        )
    places = [str(one.get("place", "")) for one in spawner.credentials]
    if any(place.startswith("http://") for place in places):
        yield (
            "Repo2DockerSpawner.credentials has a place with http: the token can be read on the "
            "way. Use https."
        )
    if any(host.startswith("http://") for host in spawner.auth_state_credentials):
        yield (
            "Repo2DockerSpawner.auth_state_credentials has a host with http: people's tokens can "
            "be read on the way. Use https."
        )


def _never(_value: object) -> bool:
    return False


def _is_host(value: object) -> bool:
    return value == "host"


def _writable(binds: Any) -> bool:
    """Whether a folder of the machine can be written to: ``/here:/there`` without ``:ro``."""
    if isinstance(binds, Mapping):
        modes = [
            one.get("mode", "rw") if isinstance(one, Mapping) else "" for one in binds.values()
        ]
    else:
        modes = [str(one).rpartition(":")[2] for one in binds or ()]
    return any("ro" not in str(mode).split(",") for mode in modes)


_OPENS: Mapping[str, Callable[[Any], bool]] = {
    "privileged": bool,
    "cap_add": bool,
    "devices": bool,
    "device_cgroup_rules": bool,
    "binds": _writable,
    "mounts": bool,
    "volumes_from": bool,
    "pid_mode": _is_host,
    "network_mode": _is_host,
    "ipc_mode": _is_host,
    "uts_mode": _is_host,
    "security_opt": lambda value: any("unconfined" in str(one) for one in value or ()),
}
"""Of docker-py's ``create_host_config``: what opens a container, and when it does."""


def _mounts_the_socket(spawner: Any) -> bool:
    config = getattr(spawner, "extra_host_config", None)
    places = [
        getattr(spawner, "volumes", None),
        getattr(spawner, "read_only_volumes", None),
        getattr(spawner, "mounts", None),
        config.get("binds") if isinstance(config, Mapping) else None,
    ]
    return any("docker.sock" in str(place) for place in places)


_OF_OTHERS = frozenset(
    {
        *("consecutive_failure_limit", "start_timeout", "allowed_images"),
        *("volumes", "read_only_volumes", "mounts", "extra_host_config"),
    }
)


def _looked_at(cls: type[Any], config: Config) -> Config:
    """Return the settings that are looked at; for others a spawner has to have a user."""
    names = _OF_OTHERS | our_traits().keys()
    sections = [base.__name__ for base in cls.__mro__ if base.__name__ in config]
    return Config(
        {
            section: {name: value for name, value in config[section].items() if name in names}
            for section in sections
        }
    )


_warned: WeakSet[JupyterHub] = WeakSet()


def warn_once(spawner_class: type[Any] | None = None) -> None:
    """Log the dangers of the hub that runs in this process, the first time this is called.

    Args:
        spawner_class: one of ours; the hub's own where it is left out.
    """
    if not JupyterHub.initialized():
        return
    hub = JupyterHub.instance()
    cls = spawner_class or hub.spawner_class
    if hub in _warned or not issubclass(cls, Traits):
        return
    _warned.add(hub)
    try:
        found = dangers(hub, cls(config=_looked_at(cls, hub.config)))
    except Exception:  # a warning is no reason for a hub not to start
        hub.log.exception("The hub's settings can't be looked at")
        return
    for danger in found:
        hub.log.warning("%s (Repo2DockerSpawner, docs/security.md)", danger)
