"""One line in the hub's configuration, and what it sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jupyterhub
import pytest
from jinja2 import ChoiceLoader, Environment, FileSystemLoader, PrefixLoader
from jupyterhub.app import JupyterHub
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from traitlets import TraitError
from traitlets.config import Config

from repo2dockerspawner import Repo2DockerSpawner, configure
from repo2dockerspawner.configuring import BODY_LIMIT
from repo2dockerspawner.startup import STARTUP_EXTENSION
from repo2dockerspawner.templating import EXTENSION, TEMPLATES

STOCK = Path(jupyterhub.__file__).parent / "templates"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    HTTPServer.configure(None)


def hub_of(c: Config) -> JupyterHub:
    return JupyterHub(config=c)


def test_it_sets_the_spawner_and_its_pages() -> None:
    c = Config()
    configure(c)
    hub = hub_of(c)
    assert hub.spawner_class is Repo2DockerSpawner
    assert hub.template_paths[0] == TEMPLATES
    assert hub.jinja_environment_options == {"extensions": [STARTUP_EXTENSION, EXTENSION]}


def test_what_is_configured_already_stays() -> None:
    c = Config()
    c.JupyterHub.template_paths = ["/mine"]
    c.JupyterHub.jinja_environment_options = {"trim_blocks": True, "extensions": ["jinja2.ext.do"]}
    configure(c)
    hub = hub_of(c)
    assert hub.template_paths == [TEMPLATES, "/mine"]
    assert hub.jinja_environment_options == {
        "trim_blocks": True,
        "extensions": ["jinja2.ext.do", STARTUP_EXTENSION, EXTENSION],
    }


def test_what_is_added_before_in_other_ways_stays() -> None:
    c = Config()
    c.JupyterHub.template_paths.append("/mine")
    c.JupyterHub.jinja_environment_options.update({"extensions": ["jinja2.ext.do"]})
    configure(c)
    hub = hub_of(c)
    assert hub.template_paths[0] == TEMPLATES
    assert "/mine" in hub.template_paths
    assert hub.jinja_environment_options == {
        "extensions": ["jinja2.ext.do", STARTUP_EXTENSION, EXTENSION]
    }


def test_each_part_can_be_left_out() -> None:
    c = Config()
    configure(c, spawner=None, templates=False)
    assert "spawner_class" not in c.JupyterHub
    assert "template_paths" not in c.JupyterHub
    assert hub_of(c).jinja_environment_options == {"extensions": [STARTUP_EXTENSION]}


def test_twice_is_once() -> None:
    c = Config()
    c.JupyterHub.template_paths = []
    configure(c)
    configure(c)
    assert c.JupyterHub.template_paths == [TEMPLATES]
    hub = hub_of(c)
    assert hub.jinja_environment_options == {"extensions": [STARTUP_EXTENSION, EXTENSION]}


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({}, ""),
        ({"Repo2DockerSpawner": {"build_timeout": 86400}}, ""),
        ({"Spawner": {"start_timeout": 1860}}, ""),
        (
            {"Spawner": {"start_timeout": 60}},
            r"Spawner.start_timeout \(60 s\) .* Repo2DockerSpawner.build_timeout \(1800 s\)",
        ),
        (
            {"DockerSpawner": {"start_timeout": 600}, "Repo2DockerMixin": {"build_timeout": 600}},
            (
                r"DockerSpawner.start_timeout \(600 s\) .* Repo2DockerMixin.build_timeout \(600 s\)"
                r".* build_timeout to 540 or less"
            ),
        ),
        (
            {
                "Spawner": {"start_timeout": 60},
                "Repo2DockerSpawner": {"start_timeout": 400, "build_timeout": 300},
            },
            "",
        ),
    ],
    ids=["nothing", "follows", "enough", "default", "both", "ours wins"],
)
def test_timeouts_that_contradict_are_refused_when_the_configuration_is_read(
    settings: dict[str, Any], sentence: str
) -> None:
    c = Config(settings)
    if not sentence:
        configure(c)
        return
    with pytest.raises(TraitError, match=sentence):
        configure(c)


# --- templates that extend each other

Make = Callable[..., Environment]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Make the hub's environment: ``make(paths, chained, {path: {name: text}})``."""

    def environment(
        paths: list[str], chained: bool, files: dict[str, dict[str, str]]
    ) -> Environment:
        for directory, found in files.items():
            (tmp_path / directory).mkdir()
            for name, text in found.items():
                (tmp_path / directory / name).write_text(text, encoding="utf-8")
        stock = str(tmp_path / "stock")
        searched = [path if path == TEMPLATES else str(tmp_path / path) for path in paths]
        # as JupyterHub makes it (app.py, init_tornado_settings)
        loader = ChoiceLoader(
            [
                PrefixLoader({"templates": FileSystemLoader([stock])}, "/"),
                FileSystemLoader([*searched, stock]),
            ]
        )
        return Environment(
            loader=loader, autoescape=True, extensions=[EXTENSION] if chained else []
        )

    return environment


FILES = {
    "stock": {
        "spawn_pending.html": "{% block main %}stock {% block message %}told{% endblock %}"
        "{% endblock %}",
        "page.html": "stock page",
    },
    "other": {
        "spawn_pending.html": '{% extends "templates/spawn_pending.html" %}'
        "{% block message %}other {{ super() }}{% endblock %}",
        "page.html": "other page",
    },
}


class Spawner:
    """Not one of ours, so that our page adds nothing."""


@pytest.mark.parametrize(
    ("paths", "chained", "text"),
    [
        ([TEMPLATES], True, "stock told"),
        ([TEMPLATES], False, "stock told"),
        ([TEMPLATES, "other"], True, "stock other told"),
        (["other", TEMPLATES], True, "stock other told"),
        (["other"], True, "stock other told"),
        # by hand, without the extension: the first wins
        ([TEMPLATES, "other"], False, "stock told"),
    ],
)
def test_our_page_extends_what_would_have_been_shown(
    make: Make, paths: list[str], chained: bool, text: str
) -> None:
    environment = make(paths, chained, FILES)
    page = environment.get_template("spawn_pending.html").render(spawner=Spawner())
    assert " ".join(page.split()) == text
    other = "other page" if "other" in paths else "stock page"
    assert environment.get_template("page.html").render() == other
    assert environment.list_templates()


@pytest.mark.parametrize("paths", [[TEMPLATES, "other"], ["other"]], ids=["front", "absent"])
def test_ours_is_the_one_that_is_found_first(make: Make, paths: list[str]) -> None:
    found = make(paths, True, FILES).get_template("spawn_pending.html")
    assert str(found.filename).startswith(TEMPLATES)


class Takes(RequestHandler):
    def post(self) -> None:
        self.write(str(len(self.request.body)))


@pytest.mark.parametrize(
    ("arguments", "size", "status"),
    [
        ({}, BODY_LIMIT, 200),
        ({}, BODY_LIMIT + 1, 400),
        ({"body_limit": 10}, 11, 400),
        ({"body_limit": None}, BODY_LIMIT + 1, 200),
    ],
)
async def test_the_hubs_server_takes_bodies_up_to_the_limit(
    arguments: dict[str, Any], size: int, status: int
) -> None:
    configure(Config(), **arguments)
    # as JupyterHub makes its own
    server = HTTPServer(Application([("/", Takes)]), xheaders=True, trusted_downstream=[])
    socket, port = bind_unused_port()
    server.add_socket(socket)
    try:
        answer = await AsyncHTTPClient().fetch(
            f"http://127.0.0.1:{port}/", method="POST", body=b"x" * size, raise_error=False
        )
        assert answer.code == status
    finally:
        server.stop()
        await server.close_all_connections()
