"""What a browser may do with our pages, and which scripts run there."""

from __future__ import annotations

import base64
import hashlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from bs4 import BeautifulSoup
from jinja2 import ChoiceLoader, DictLoader, Environment, FileSystemLoader, PrefixLoader
from traitlets import TraitError
from traitlets.config import Config

from repo2dockerspawner import Repo2DockerSpawner
from repo2dockerspawner.launch import render
from repo2dockerspawner.pagepolicy import DIRECTIVES, content_security_policy
from repo2dockerspawner.templating import EXTENSION, TEMPLATES

STOCK = Path(sys.prefix) / "share/jupyterhub/templates"
EVIL = "<script>evil()</script>"


def directives(policy: str) -> dict[str, str]:
    return {
        name: sources for name, _, sources in (part.partition(" ") for part in policy.split("; "))
    }


# --- the policy


def test_it_lets_nothing_of_others_run_and_nothing_out() -> None:
    policy = directives(content_security_policy("N", {}))
    assert policy == {
        "default-src": "'self'",
        "script-src": "'nonce-N'",
        "style-src": "* 'unsafe-inline'",
        "img-src": "* data: blob:",
        "font-src": "* data:",
        "connect-src": "'self'",
        "object-src": "'none'",
        "base-uri": "'none'",
        "form-action": "'self'",
    }
    assert list(policy) == list(DIRECTIVES)


def test_scripts_by_hash_stand_beside_the_nonce() -> None:
    policy = content_security_policy("N", {}, hashes=["'sha256-A'", "'sha256-B'"])
    assert directives(policy)["script-src"] == "'nonce-N' 'sha256-A' 'sha256-B'"


def test_the_form_s_answer_may_lead_to_the_person_s_own_subdomain() -> None:
    servers = "https://ann.hub.example.org"
    policy = content_security_policy("N", {}, servers=servers)
    assert directives(policy)["form-action"] == f"'self' {servers}"
    mine = content_security_policy("N", {"form-action": "'self' https://x"}, servers=servers)
    assert directives(mine)["form-action"] == "'self' https://x"


@pytest.mark.parametrize(
    ("changes", "directive", "sources"),
    [
        ({"connect-src": "'self' https://s.example"}, "connect-src", "'self' https://s.example"),
        ({"connect-src": ""}, "connect-src", None),
        ({"frame-src": "https://video.example"}, "frame-src", "https://video.example"),
        ({"script-src": "https://s.example"}, "script-src", "'nonce-N' https://s.example"),
        ({"script-src": ""}, "script-src", None),
        ({"style-src": "'self'"}, "style-src", "'self'"),
    ],
)
def test_an_administrator_changes_a_directive_and_the_others_stay(
    changes: dict[str, str], directive: str, sources: str | None
) -> None:
    policy = directives(content_security_policy("N", changes))
    assert policy.pop(directive, None) == sources
    rest = directives(content_security_policy("N", {}))
    rest.pop(directive, None)
    assert policy == rest


@pytest.mark.parametrize(
    "value",
    [
        {"connect-src": "'self'; script-src *"},
        {"connect-src": "'self', x"},
        {"connect-src": "'self'\n"},
        {"connect-src": "ü"},
        {"connect-src;": "'self'"},
        {"": "'self'"},
        {"connect src": "'self'"},
    ],
    ids=str,
)
def test_what_would_be_another_directive_is_refused(value: dict[str, str]) -> None:
    config = Config({"Repo2DockerSpawner": {"content_security_policy": value}})
    with pytest.raises(TraitError, match=r"Repo2DockerSpawner\.content_security_policy"):
        _ = Repo2DockerSpawner(config=config).content_security_policy


# --- which scripts get the nonce

FILES = {
    "page.html": (
        "<head>{% block meta %}{% endblock %}</head>{% block main %}{% endblock %}"
        "<script>stock()</script>"
    ),
    "spawn_pending.html": '{% extends "page.html" %}{% block main %}{{ told }}{% endblock %}',
    "not_running.html": '{% extends "page.html" %}{% block main %}{{ told }}{% endblock %}',
    "spawn.html": (
        '{% extends "page.html" %}{% block main %}{{ spawner_options_form | safe }}'
        "<script>of_spawn()</script>{% endblock %}"
    ),
}
OTHERS = {
    "spawn.html": (
        '{% extends "templates/spawn.html" %}{% block main %}'
        '<SCRIPT\nsrc="/x.js"></SCRIPT><scripted>{# <script> #}{{ super() }}{% endblock %}'
    )
}


def environment(*others: dict[str, str], stock: Any = None) -> Environment:
    loader = ChoiceLoader(
        [
            PrefixLoader({"templates": stock or DictLoader(FILES)}, "/"),
            FileSystemLoader([TEMPLATES]),
            *(DictLoader(other) for other in others),
            stock or DictLoader(FILES),
        ]
    )
    return Environment(loader=loader, autoescape=True, extensions=[EXTENSION])


def spawner_of(policy: dict[str, str] | None = None, **more: Any) -> Any:
    host = "https://ann.hub.example.org"
    return SimpleNamespace(
        launch_links=SimpleNamespace(form="/f", change="/c", server="/s"),
        content_security_policy={} if policy is None else policy,
        user=SimpleNamespace(host=host),
        **more,
    )


def policy_of(page: BeautifulSoup) -> dict[str, str]:
    (meta,) = page.select("head meta[http-equiv=Content-Security-Policy]")
    return directives(str(meta["content"]))


def allowed(page: BeautifulSoup, script: Any) -> bool:
    sources = policy_of(page)["script-src"].split()
    digest = hashlib.sha256(script.get_text().encode()).digest()
    return (
        f"'nonce-{script.get('nonce')}'" in sources
        or f"'sha256-{base64.b64encode(digest).decode()}'" in sources
    )


def test_scripts_of_all_templates_run_and_those_of_values_do_not() -> None:
    form = f"{render('options_form_script.html')}{EVIL}"
    html = (
        environment(OTHERS)
        .get_template("spawn.html")
        .render(spawner=spawner_of(), spawner_options_form=form)
    )
    page = BeautifulSoup(html, "html.parser")
    of_policy, others, form_s, evil, of_spawn, stock = page.select("script")
    runs = [allowed(page, one) for one in (of_policy, others, form_s, of_spawn, stock)]
    assert runs == [True] * 5
    assert others["src"] == "/x.js"
    assert not allowed(page, evil)
    assert "<scripted>" in html
    assert "ann.hub.example.org" in policy_of(page)["form-action"]


def test_a_text_in_a_template_s_expression_or_comment_is_left_alone() -> None:
    own = {"one.html": "{# <script> #}{{ '<script>' }}{% raw %}{{ x }}<script>{% endraw %}"}
    spawner = spawner_of()
    made = environment(own)
    made.get_template("spawn.html").render(spawner=spawner, spawner_options_form="")
    told = made.get_template("one.html").render()
    assert re.fullmatch(r"&lt;script&gt;\{\{ x \}\}<script nonce=[0-9a-f]{32}>", told)


def test_each_page_has_a_nonce_of_its_own() -> None:
    made = environment().get_template("spawn.html")
    pages = [made.render(spawner=spawner_of(), spawner_options_form="") for _ in range(20)]
    nonces = {re.findall(r"nonce-([0-9a-f]{32})&#39;", page)[0] for page in pages}
    assert len(nonces) == 20
    for page in pages:
        assert len(set(re.findall(r"nonce[=-]([0-9a-f]+)", page))) == 1


@pytest.mark.parametrize("name", ["spawn.html", "spawn_pending.html", "not_running.html"])
def test_an_administrator_leaves_it_to_jupyterhub(name: str) -> None:
    without = spawner_of(launch=None)
    without.content_security_policy = None
    user = SimpleNamespace(spawners={"": without})
    page = (
        environment()
        .get_template(name)
        .render(spawner=without, user=user, server_name="", progress_url="/p", xsrf="token")
    )
    assert "Content-Security-Policy" not in page
    assert "nonce" not in page


@pytest.mark.parametrize("name", ["spawn.html", "spawn_pending.html", "not_running.html"])
def test_the_pages_of_others_spawners_have_none(name: str) -> None:
    other = SimpleNamespace(user=None)
    user = SimpleNamespace(spawners={"": other})
    page = environment().get_template(name).render(spawner=other, user=user, server_name="")
    assert "Content-Security-Policy" not in page


def test_without_the_extension_our_pages_are_as_before() -> None:
    loader = ChoiceLoader(
        [PrefixLoader({"templates": DictLoader(FILES)}, "/"), FileSystemLoader([TEMPLATES])]
    )
    loader.loaders = [*loader.loaders, DictLoader(FILES)]
    page = Environment(loader=loader, autoescape=True).get_template("spawn.html")
    told = page.render(spawner=spawner_of(), spawner_options_form="")
    assert "<script>of_spawn()</script>" in told
    assert "Content-Security-Policy" not in told


@pytest.mark.parametrize("name", ["spawn.html", "spawn_pending.html", "not_running.html"])
def test_every_script_after_the_policy_on_jupyterhub_s_own_pages_runs(name: str) -> None:
    found = environment(stock=FileSystemLoader([STOCK])).get_template(name)
    spawner = spawner_of(launch=None, launch_entries={})
    page = found.render(
        spawner=spawner,
        user=SimpleNamespace(spawners={"": spawner}, spawner=spawner, json_escaped_name="ann"),
        server_name="",
        static_url=lambda path, **_: f"/static/{path}",
        spawner_options_form=render("options_form_script.html"),
        xsrf="token",
        progress_url="/progress",
    )
    shown = BeautifulSoup(page, "html.parser")
    (meta,) = shown.select("head meta[http-equiv=Content-Security-Policy]")
    scripts = [one for one in meta.find_all_next("script") if one.get("type") != "application/json"]
    assert len(scripts) >= 2
    assert all(allowed(shown, one) for one in scripts)
    # an attribute that runs would need 'unsafe-inline'
    assert not [one for one in shown.find_all(True) for name in one.attrs if name.startswith("on")]
