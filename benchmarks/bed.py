"""What the cases share: repositories, hubs, builds through the spawner's rooms and by hand."""

from __future__ import annotations

import contextlib
import io
import os
import secrets
import shutil
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import docker.errors
from testbed import engine, names
from testbed.gitserver import Content, GitServer
from testbed.hub import HubProcess
from testbed.hubclient import Event, HubClient

from repo2dockerspawner.builds.plan import CONFIG_DIR, USER_ID, USER_NAME, BuildPlan, archive
from repo2dockerspawner.builds.plan import arguments as plan_arguments
from repo2dockerspawner.keys import BuildInputs, build_key, container_name, image_name, labels

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SERVER", "Bed", "CaseError", "Options", "launch", "stepped"]

# Our config restricts repo2docker to one provider; stock repo2docker gets the same in two lines,
# because without them it asks a host on the internet first.
_STOCK_CONFIG = """\
from repo2docker import contentproviders
c.Repo2Docker.content_providers = [contentproviders.Git]
"""
_LABEL = f"{names.LABEL_PREFIX}bench=1"
_BUILD_SECONDS = 600

SERVER = """\
#!/usr/bin/env python3
# Stands for jupyterhub-singleuser where many are started: answers, and costs next to nothing.
import os, signal
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")
    def log_message(self, *arguments):
        pass
signal.signal(signal.SIGTERM, lambda *arguments: os._exit(0))
ThreadingHTTPServer(("", 8888), Handler).serve_forever()
"""
"""A server of a few lines, in place of ``jupyterhub-singleuser``."""


class CaseError(RuntimeError):
    """A case can't be measured; the message says why."""


@dataclass(frozen=True)
class Options:
    """How much is measured.

    Attributes:
        runs: of each side; ``None`` for what the case has by itself.
        quick: whether to look only that the case works.
    """

    runs: int | None = None
    quick: bool = False

    def repeat(self, usual: int) -> int:
        """How often to run."""
        return self.runs or (2 if self.quick else usual)

    def size(self, usual: int, quick: int) -> int:
        """How large a case is that is not told by its runs."""
        return quick if self.quick else usual


def stepped(steps: int, *, seconds: float = 0.4, base: str = names.BASE_IMAGE) -> str:
    """A Dockerfile whose steps take some time each and are never in the engine's cache."""
    run = f'RUN for i in 1 2 3 4 5; do echo "step $i"; sleep {seconds / 5:g}; done'
    lines = [f"FROM {base}", "COPY nonce /nonce"]
    lines += [f"{run}; echo {step} >> /done" for step in range(steps)]
    return "\n".join(lines) + "\n"


def launch(
    client: HubClient, options: Mapping[str, str] | None, timeout: float = _BUILD_SECONDS
) -> tuple[float, Iterator[Event]]:
    """Start a server over REST.

    Returns:
        When it was asked for (seconds since 1970), and the progress events as they come.

    Raises:
        CaseError: the hub refused.
    """
    posted = time.time()
    answer = client.start_server(options)
    if not answer.ok:
        raise CaseError(f"The hub refused to start ({answer.status_code}): {answer.text[:300]}")
    return posted, client.progress(timeout=timeout)


class Bed:
    """Repositories, hubs and builds of one run of the benchmarks; all of it goes with it."""

    def __init__(self) -> None:
        self.client = engine.client(timeout=_BUILD_SECONDS)
        self._folder = tempfile.TemporaryDirectory(prefix="testbed-bench-")
        self.folder = Path(self._folder.name)
        self.git = GitServer(self.folder / "git", engine.bridge_gateway())
        self.prefix = f"r2d-bench-{secrets.token_hex(4)}-"
        self._docker = shutil.which("docker") or ""
        if not self._docker:
            raise CaseError("The builds by hand need the docker command: install Docker's CLI.")

    def __enter__(self) -> Self:
        self.git.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.git.close()
        self.remove_built()
        self.client.close()
        self._folder.cleanup()

    def say(self, text: str) -> None:
        """Tell whoever waits."""
        print(f"  {text}", flush=True)

    # -- repositories

    def repository(self, name: str, files: Mapping[str, Content]) -> str:
        """Make a repository and return its address."""
        self.git.create(name, files, message="A repository to measure with")
        return self.git.url(name)

    def new_commit(self, name: str) -> str:
        """Add a commit that nobody has built yet, and return it."""
        return self.git.commit(name, {"nonce": secrets.token_hex(8)})

    # -- hubs

    @contextlib.contextmanager
    def hub(
        self, config: str = "", *, spawner: str = "repo2docker", image: str | None = None
    ) -> Iterator[HubProcess]:
        """A hub as both sides have it: the same settings but for the spawner's class."""
        text = f"""
c.JupyterHub.tornado_settings = {{"slow_spawn_timeout": 0}}
c.DockerSpawner.cmd = ["jupyterhub-singleuser"]
c.Spawner.http_timeout = 300
{config}
"""
        if spawner == "repo2docker":
            text += f"""
c.Repo2DockerSpawner.allowed_schemes = ["https", "ssh", "http"]
c.Repo2DockerSpawner.image_name_prefix = {self.prefix!r}
if "build_image" not in c.Repo2DockerSpawner:
    c.Repo2DockerSpawner.build_image = {names.REPO2DOCKER_IMAGE!r}
"""
        else:
            text += "c.Spawner.start_timeout = 600\n"
        paths = [str(names.ROOT), os.environ.get("PYTHONPATH", "")]
        with HubProcess(
            text,
            spawner_class=spawner,
            image=image,
            env={"PYTHONPATH": os.pathsep.join(path for path in paths if path)},
        ) as hub:
            yield hub

    @contextlib.contextmanager
    def user(self, hub: HubProcess, name: str = "ada") -> Iterator[HubClient]:
        """A person who is logged in; what they have running is stopped."""
        with HubClient(hub.url) as client:
            client.login(name)
            try:
                yield client
            finally:
                client.stop_all()

    # -- builds

    def plan(self, name: str, commit: str, build_image: str = names.REPO2DOCKER_IMAGE) -> BuildPlan:
        """What the spawner would build for a commit of one of our repositories."""
        url = self.git.url(name)
        secret = names.IMAGE_SECRET.encode()
        key = build_key(BuildInputs("git", url, commit, "", build_image), secret)
        return BuildPlan(
            key=key,
            container=container_name(key),
            image=image_name(key, name, prefix=self.prefix),
            labels=labels(
                key, repo=url, ref="", commit=commit, subdir="", name=name, secret=secret
            ),
            provider="git",
            url=url,
            content_id=commit,
            build_image=build_image,
            protocols=("https", "ssh", "http"),
            guarded=True,
            allowed_networks=names.NETWORKS,
            size_limit=10 * 2**30,
            timeout=_BUILD_SECONDS,
            title=f"{name} at {commit[:7]}",
        )

    def by_hand(self, plan: BuildPlan) -> float:
        """Run repo2docker as the spawner would, but by ``docker run``; returns the seconds.

        The same image, arguments and configuration.
        """
        folder = self.folder / secrets.token_hex(4)
        with tarfile.open(fileobj=io.BytesIO(archive(plan))) as tar:
            tar.extractall(folder, filter="data")
        return self._docker_run(plan.build_image, folder, plan_arguments(plan), plan.image)

    def stock(self, plan: BuildPlan, ref: str) -> float:
        """Run stock repo2docker by ``docker run``, as its manual has it; returns the seconds."""
        folder = self.folder / secrets.token_hex(4)
        folder.mkdir()
        (folder / "repo2docker_config.py").write_text(_STOCK_CONFIG, encoding="utf-8")
        name = f"{plan.image}-stock"
        command = ["jupyter-repo2docker", f"--config={CONFIG_DIR}/repo2docker_config.py"]
        command += ["--no-run", f"--user-id={USER_ID}", f"--user-name={USER_NAME}"]
        command += [f"--image-name={name}", f"--ref={ref}", plan.url]
        return self._docker_run(plan.build_image, folder, command, name)

    def _docker_run(self, image: str, config: Path, command: list[str], made: str) -> float:
        binds = ["-v", "/var/run/docker.sock:/var/run/docker.sock", "-v", f"{config}:{CONFIG_DIR}"]
        run = [self._docker, "run", "--rm", "--label", _LABEL, *binds, image, *command]
        started = time.monotonic()
        done = subprocess.run(run, capture_output=True, check=False)
        if done.returncode:
            said = (done.stdout + done.stderr).decode(errors="replace")[-1000:]
            raise CaseError(f"repo2docker by hand failed ({done.returncode}): {said}")
        self.client.images.get(made)
        return time.monotonic() - started

    def remove_built(self) -> None:
        """Remove what was built here by whichever side, and the containers that are kept of it."""
        api: Any = self.client.api
        label = f"{names.LABEL_PREFIX}repo"
        kept = [
            one["Id"]
            for one in api.containers(all=True, filters={"label": label})
            if one["Labels"][label].startswith(self.git.url("")[: -len(".git")])
        ]
        engine.remove_containers(self.client, kept)
        for image in api.images():
            for tag in image.get("RepoTags") or ():
                if tag.startswith(self.prefix):
                    with contextlib.suppress(docker.errors.APIError):
                        api.remove_image(tag, force=True)
