"""Where a build container may fetch from: real repo2docker, real git, and canaries.

One is on the Docker bridge, where the hub's API and other containers are; one is in the build
container itself. The git server is on the bridge too, and allowed by a name alone.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from testbed import engine
from testbed.builds import Bench
from testbed.canary import Canary

from repo2dockerspawner.builds.confinement import VOLUMES, host_settings
from repo2dockerspawner.builds.plan import CONFIG_DIR, BuildPlan, archive
from repo2dockerspawner.errors import BuildError

if TYPE_CHECKING:
    import docker
    from testbed.gitserver import GitServer

ALLOWED = "git.test"

# Fetches each address as a build of it would, in one container because each costs a second.
SCRIPT = """
import http.server, json, logging, pathlib, sys, tempfile, threading
from types import SimpleNamespace

hits = []
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        hits.append(self.path)
        self.send_error(404)
    def log_message(self, *arguments):
        pass
inner = http.server.ThreadingHTTPServer(("", 8080), Handler)
threading.Thread(target=inner.serve_forever, daemon=True).start()

path = pathlib.Path("/repo2dockerspawner/repo2docker_config.py")
config = SimpleNamespace(Repo2Docker=SimpleNamespace())
exec(compile(path.read_text(), str(path), "exec"),
     {"__file__": str(path), "get_config": lambda: config})
[provider] = config.Repo2Docker.content_providers
logging.disable(logging.CRITICAL)
said = {}
for url, commit in json.loads(sys.argv[1]):
    before = len(hits)
    with tempfile.TemporaryDirectory() as folder:
        try:
            lines = list(provider().fetch({"repo": url, "ref": commit}, folder, True))
            said[url] = "fetched"
        except Exception as error:
            said[url] = str(error)
    if len(hits) > before:
        said[url] += " REACHED"
    if provider.way is not None:
        provider.way._guard.refused.clear()
print(json.dumps(said))
"""
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def spellings(gateway: str) -> list[str]:
    """Ways to write the address of the bridge, and of what is in the container itself."""
    parts = [int(part) for part in gateway.split(".")]
    number = int.from_bytes(bytes(parts), "big")
    octal = ".".join(f"0{part:o}" for part in parts)
    wide = "".join(chr(0xFF10 + int(c)) if c.isdigit() else "\u3002" for c in gateway)
    return [
        *(gateway, f"{gateway}.", str(number), hex(number), f"0{number:o}", octal, wide),
        f"{parts[0]}.{parts[1]}.{parts[2] * 256 + parts[3]}",
        *(f"[::ffff:{gateway}]", f"[::ffff:{number >> 16:x}:{number & 0xFFFF:x}]"),
        *(f"[64:ff9b::{gateway}]", f"{ALLOWED}@{gateway}", "canary.test", "CANARY.test."),
    ]


INNER = [
    *("127.0.0.1", "127.1", "0x7f.1", "2130706433", "0177.0.0.1", "127.127.127.127", "localhost"),
    *("LOCALHOST", "localhost.", "0", "0.0.0.0", "[::1]", "[::]", "[::ffff:127.0.0.1]"),
]


@pytest.fixture
def canary() -> Iterator[Canary]:
    with Canary(engine.bridge_gateway()) as running:
        yield running


def fetched(
    client: docker.DockerClient, image: str, ways: list[tuple[str, str]], *, guarded: bool
) -> dict[str, str]:
    """What came of fetching each of these addresses, in one container of repo2docker."""
    gateway = engine.bridge_gateway()
    plan = BuildPlan(
        *("", "", "", {}, "git", "", ""),
        protocols=("http", "git", "ssh"),
        guarded=guarded,
        allowed_networks=(ALLOWED,),
        host_config={"extra_hosts": {ALLOWED: gateway, "canary.test": gateway}},
    )
    # confined as a build is
    made = client.api.create_container(
        image,
        ["-c", SCRIPT, json.dumps(ways)],
        entrypoint="python3",
        environment={"GIT_TERMINAL_PROMPT": "0"},
        volumes=list(VOLUMES),
        host_config=client.api.create_host_config(**host_settings(plan, "/var/run/docker.sock")),
    )
    container = client.containers.get(made["Id"])
    try:
        container.put_archive(CONFIG_DIR, archive(plan))
        container.start()
        container.wait(timeout=100)
        printed = container.logs().decode()
    finally:
        container.remove(force=True, v=True)
    found: dict[str, str] = json.loads(printed.splitlines()[-1])
    return found


def submodule(server: GitServer, url: str) -> str:
    """A repository with one submodule; returns its name."""
    name = f"reach/{uuid.uuid4().hex[:8]}"
    server.create(name, {"file": "1"})
    modules = f'[submodule "inner"]\n\tpath = inner\n\turl = {url}\n'
    server.commit(name, {".gitmodules": modules, "inner": COMMIT}, modes={"inner": "160000"})
    return name


def test_no_canary_is_reached_whatever_the_address(
    docker_client: docker.DockerClient,
    repo2docker_image: str,
    git_server: GitServer,
    canary: Canary,
) -> None:
    gateway = engine.bridge_gateway()
    outside = f"{gateway}:{canary.port}"
    direct = [f"http://{host}:{canary.port}/x.git" for host in spellings(gateway)]
    direct += [f"http://{host}:8080/x.git" for host in INNER]
    direct += [f"git://{outside}/x.git", f"ssh://git@{outside}/x.git"]
    direct += ["http://169.254.169.254/latest/meta-data", "http://[fd00:ec2::254]/latest"]
    targets = {name: f"http://{name}.git" for name in (f"{outside}/sub", "127.0.0.1:8080/sub")}
    allowed = git_server.url("x").replace(gateway, ALLOWED).removesuffix("/x.git")
    ways = [(url, COMMIT) for url in direct]
    for target in targets.values():
        name = submodule(git_server, target)
        ways.append((f"{allowed}/{name}.git", git_server.head(name)))
    to = f"http://{outside}/x.git/info/refs?service=git-upload-pack"
    with Canary(gateway, redirect=(302, to)) as redirecting:
        ways.append((f"http://{ALLOWED}:{redirecting.port}/x.git", COMMIT))
        name = f"reach/{uuid.uuid4().hex[:8]}"
        fine = git_server.create(name, {"file": "1"})
        ways.append((f"{allowed}/{name}.git", fine))
        said = fetched(docker_client, repo2docker_image, ways, guarded=True)
        assert redirecting.requests
        assert canary.requests == []
        assert [url for url, what in said.items() if "REACHED" in what] == []
        assert [url for url, what in said.items() if what == "fetched"] == [ways[-1][0]]
        assert len(said) >= 30
        told = [url for url, what in said.items() if "which is not on the internet" in what]
        # curl itself takes some for no address; ssh is not in every image
        assert len(told) >= len(ways) - 8, said
        # without the guard these get there, so it is the guard that keeps them off
        control = [*ways[:6], *ways[len(spellings(gateway)) :][:4], *ways[-4:]]
        said = fetched(docker_client, repo2docker_image, control, guarded=False)
        assert len([url for url, what in said.items() if "REACHED" in what]) >= 4
        assert len(canary.requests) >= 6


async def refused(bench: Bench, plan: BuildPlan) -> BuildError:
    with pytest.raises(BuildError) as caught:
        await bench.build(plan)
    return caught.value


async def test_a_build_that_is_refused_says_why(
    bench: Bench, canary: Canary, repo2docker_image: str
) -> None:
    # what the bench allows is the bridge's networks
    name = submodule(bench.git, "http://169.254.169.254/latest/x.git")
    plan = bench.plan(bench.git.url(name), bench.git.head(name), repo2docker_image)
    error = await refused(bench, plan)
    assert (error.reason, error.status) == ("address_not_allowed", 403)
    assert "it leads to “169.254.169.254”, which is not on the internet" in error.message
    blocked: dict[str, Any] = {"allowed_networks": ()}
    error = await refused(bench, replace(plan, **blocked))
    assert f"leads to “{engine.bridge_gateway()}”" in error.message


async def test_a_repository_that_is_too_large_ends_before_it_is_built(
    bench: Bench, repo2docker_image: str
) -> None:
    url, commit = bench.repository(data=uuid.uuid4().hex * 100_000)
    plan = replace(bench.plan(url, commit, repo2docker_image), size_limit=2**20)
    error = await refused(bench, plan)
    assert (error.reason, error.status) == ("repo_too_large", 413)
    assert "larger than the 1.0 MiB that this hub allows (clone_size_limit)" in error.message
