"""A real JupyterHub in a directory of its own, with its proxy, as a process."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import psutil  # type: ignore[import-untyped]
import requests

from testbed import engine, names

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["HubError", "HubProcess", "free_port", "hub_major"]

_CONFIG = """\
# Written by the test bed, for one hub.
c = get_config()  # noqa: F821

c.JupyterHub.bind_url = {bind_url!r}
c.JupyterHub.hub_ip = "0.0.0.0"
c.JupyterHub.hub_port = {hub_port}
c.JupyterHub.hub_connect_ip = {gateway!r}
c.ConfigurableHTTPProxy.api_url = {proxy_api!r}
c.ConfigurableHTTPProxy.pid_file = "proxy.pid"
c.JupyterHub.db_url = "sqlite:///hub.sqlite"
c.JupyterHub.cookie_secret_file = "cookie_secret"
c.JupyterHub.allow_named_servers = True

c.JupyterHub.authenticator_class = "dummy"
c.Authenticator.allow_all = True
c.Authenticator.admin_users = {{"admin"}}

# What a test asks of the hub itself, beside what it does as a browser.
c.JupyterHub.services = [{{"name": "testbed", "api_token": {api_token!r}}}]
c.JupyterHub.load_roles = [
    {{
        "name": "testbed",
        "services": ["testbed"],
        "scopes": ["admin:users", "admin:servers", "read:hub", "read:metrics", "shutdown"],
    }}
]

c.JupyterHub.spawner_class = {spawner_class!r}
c.Repo2DockerSpawner.image_secret = {image_secret!r}
c.Repo2DockerSpawner.allowed_networks = {networks!r}
c.DockerSpawner.image = {image!r}
c.DockerSpawner.prefix = {prefix!r}
c.DockerSpawner.network_name = "bridge"
c.DockerSpawner.use_internal_ip = True
c.DockerSpawner.remove = True
"""


class HubError(RuntimeError):
    """The hub does not do what it should; the message ends with the tail of its log."""


def free_port() -> int:
    """A TCP port that nobody listens on right now."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def hub_major(python: str = sys.executable) -> int:
    """The major version of the JupyterHub that a Python executable has."""
    code = "import jupyterhub; print(jupyterhub.version_info[0])"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return int(done.stdout)


class HubProcess:
    """A hub with DummyAuthenticator: any name, any password; ``admin`` is an administrator.

    ``start()`` after ``stop()`` or ``kill()`` is the same hub again: its database, ports and
    proxy stay. ``close()`` ends all of it; a ``with`` block does both.

    Args:
        config: Python text appended to the generated ``jupyterhub_config.py``.
        spawner_class: an entry point's name or ``package.Class``.
        image: the default image; by default the test bed's that fits the hub's version.
        base_url: begins and ends with a slash.
        python: the executable of the virtual environment that has JupyterHub.
        ip: where the proxy listens; for people, not for containers.
        port: the proxy's port; 0 for a free one.
        prefix: of the containers' names; unique unless given.
        directory: for its files; a temporary one that ``close()`` removes unless given.
        env: variables on top of this process's.

    Attributes:
        url: where a browser goes, with ``base_url``, ends with a slash.
        api_token: a token of a service that may administrate users and servers.
        directory: the hub's working directory.
    """

    def __init__(
        self,
        config: str = "",
        *,
        spawner_class: str = "repo2docker",
        image: str | None = None,
        base_url: str = "/",
        python: str = sys.executable,
        ip: str = "127.0.0.1",
        port: int = 0,
        prefix: str | None = None,
        directory: Path | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self._temporary = directory is None
        self.directory = directory or Path(tempfile.mkdtemp(prefix="testbed-hub-"))
        self.directory.mkdir(parents=True, exist_ok=True)
        self.python = str(Path(python).absolute())
        self.base_url = base_url
        self.prefix = prefix or f"testbed-{secrets.token_hex(4)}"
        self.api_token = secrets.token_hex(16)
        self.hub_port = free_port()
        self.url = f"http://{ip}:{port or free_port()}{base_url}"
        self._env = env or {}
        self._process: subprocess.Popen[bytes] | None = None
        if image is None:
            fits = {5: names.SINGLEUSER_HUB5_IMAGE}
            image = fits.get(hub_major(self.python), names.SINGLEUSER_IMAGE)
        self.image = image
        text = _CONFIG.format(
            bind_url=self.url,
            hub_port=self.hub_port,
            gateway=engine.bridge_gateway(),
            proxy_api=f"http://127.0.0.1:{free_port()}",
            api_token=self.api_token,
            spawner_class=spawner_class,
            image_secret=names.IMAGE_SECRET,
            networks=list(names.NETWORKS),
            image=image,
            prefix=self.prefix,
        )
        self.config_file = self.directory / "jupyterhub_config.py"
        self.config_file.write_text(f"{text}\n{config}\n", encoding="utf-8")
        self.log_file = self.directory / "hub.log"

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The hub's process id.

        Raises:
            HubError: it is not running.
        """
        return self.check()

    @property
    def log(self) -> str:
        """All that hub and proxy have printed so far."""
        if not self.log_file.exists():
            return ""
        return self.log_file.read_text(encoding="utf-8", errors="replace")

    def log_tail(self, lines: int = 30) -> str:
        """The last lines of :attr:`log`."""
        return "\n".join(self.log.splitlines()[-lines:])

    def check(self) -> int:
        """See to it that the hub still runs.

        Returns:
            Its process id.

        Raises:
            HubError: it does not.
        """
        if self._process is None or self._process.poll() is not None:
            raise HubError(f"The hub is not running.\n{self.log_tail()}")
        return self._process.pid

    def start(self, timeout: float = 60) -> None:
        """Start the hub and wait until it answers through its proxy.

        Raises:
            HubError: it ended, or did not answer within ``timeout`` seconds.
        """
        tools = [str(Path(self.python).parent), str(names.ROOT / ".testbed/node/node_modules/.bin")]
        path = os.pathsep.join([*tools, os.environ.get("PATH", os.defpath)])
        with self.log_file.open("ab") as log:
            self._process = subprocess.Popen(
                [self.python, "-m", "jupyterhub", "--config", str(self.config_file)],
                cwd=self.directory,
                env={**os.environ, **self._env, "PATH": path},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # Ctrl-C on a terminal is for us, who then end the hub in order.
                start_new_session=True,
            )
        deadline = time.monotonic() + timeout
        while not self._answers():
            if self._process.poll() is not None:
                raise HubError(f"The hub ended while it started.\n{self.log_tail()}")
            if time.monotonic() > deadline:
                raise HubError(f"The hub did not answer in {timeout:g} s.\n{self.log_tail()}")
            time.sleep(0.1)

    def _answers(self) -> bool:
        with contextlib.suppress(requests.RequestException):
            return requests.get(f"{self.url}hub/health", timeout=5).ok
        return False

    def stop(self, timeout: float = 30) -> float:
        """End the hub as an init system does: TERM, then KILL after ``timeout`` seconds.

        Returns:
            How long it took, in seconds.
        """
        started = time.monotonic()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        return time.monotonic() - started

    def kill(self) -> None:
        """End the hub with KILL: proxy and servers stay, as they do after a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        """End the hub, its proxy and its users' servers; remove what it wrote."""
        self.stop()
        self._end_proxy()
        client = engine.client()
        try:
            engine.remove_containers(client, [entry["Id"] for entry in self.servers(client)])
        finally:
            client.close()
        if self._temporary:
            shutil.rmtree(self.directory, ignore_errors=True)

    def _end_proxy(self) -> None:
        """A killed hub's proxy lives on; its pid file says which process that is."""
        with contextlib.suppress(OSError, ValueError, psutil.NoSuchProcess):
            process = psutil.Process(int((self.directory / "proxy.pid").read_text()))
            if "configurable-http-proxy" in " ".join(process.cmdline()):
                process.send_signal(signal.SIGTERM)
                with contextlib.suppress(psutil.TimeoutExpired):
                    process.wait(5)
                    return
                process.kill()

    def servers(self, client: Any) -> list[dict[str, Any]]:
        """The engine's list entries of this hub's user containers, whatever their state."""
        return [
            entry
            for entry in client.api.containers(all=True, filters={"name": f"^/{self.prefix}-"})
            if entry["Names"]
        ]

    def api(self, method: str, path: str, json: Any = None, timeout: float = 60) -> Any:
        """A request to the hub's REST API with :attr:`api_token`.

        Args:
            method: ``GET`` and so on.
            path: below ``hub/api/``, without a slash before it.
            json: the body.
            timeout: in seconds.

        Returns:
            A :class:`requests.Response`.
        """
        return requests.request(
            method,
            f"{self.url}hub/api/{path}",
            json=json,
            headers={"Authorization": f"token {self.api_token}"},
            timeout=timeout,
        )
