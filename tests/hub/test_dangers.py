"""What a hub says of its settings when it starts."""

from __future__ import annotations

import re

import pytest
from testbed.hub import HubProcess, free_port
from testbed.hubclient import HubClient
from testbed.kinds import MakeHub

CONFIGURE = """
from repo2dockerspawner import configure

configure(c)
"""
DANGEROUS = """
c.DockerSpawner.allowed_images = "*"
c.Repo2DockerSpawner.image_secret = "short"
"""
WELL = """
c.JupyterHub.subdomain_host = "http://127.0.0.1:{port}"
c.JupyterHub.authenticator_class = "jupyterhub.auth.PAMAuthenticator"
c.Repo2DockerSpawner.allowed_schemes = ["https", "ssh"]
c.Repo2DockerSpawner.image_secret = "0123456789abcdef0123456789abcdef"
"""


def told(hub: HubProcess) -> list[str]:
    pattern = r"^\[W .*?\] ([\w.]+) .*\(Repo2DockerSpawner, docs/security\.md\)$"
    return re.findall(pattern, hub.log, re.MULTILINE)


@pytest.mark.parametrize("configure", [CONFIGURE, ""], ids=["our pages", "the spawner alone"])
def test_each_dangerous_setting_is_named_once(make_hub: MakeHub, configure: str) -> None:
    hub = make_hub(configure + DANGEROUS)
    if configure:
        assert told(hub), "before anybody has come"
    for name in ("ann", "ben"):
        with HubClient(hub.url) as client:
            client.login(name)
            client.spawn_page()
    assert told(hub) == [
        "JupyterHub.subdomain_host",
        "JupyterHub.authenticator_class",
        "Repo2DockerSpawner.allowed_schemes",
        "DockerSpawner.allowed_images",
        "Repo2DockerSpawner.image_secret",
    ]


@pytest.mark.any_jupyterhub
def test_of_a_well_set_hub_nothing_is_said(make_hub: MakeHub) -> None:
    port = free_port()
    hub = make_hub(CONFIGURE + WELL.format(port=port), port=port)
    assert "JupyterHub is now running" in hub.log
    assert told(hub) == []
