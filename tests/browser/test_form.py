"""The spawn page in a browser: by mouse, by keyboard, with and without scripts."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import docker
import pytest
from playwright.sync_api import Browser, Page, Request, expect
from testbed import names
from testbed.browsing import watch_policy
from testbed.hub import HubProcess
from testbed.ready import ReadyImage, make_ready_image

HUB5 = names.ROOT / ".venv-hub5/bin/python"
AXE = names.ROOT / ".testbed/axe/node_modules/axe-core/axe.min.js"
REPO = "https://github.com/geo/course"
CONFIG = """
from repo2dockerspawner import configure
configure(c)
c.Repo2DockerSpawner.default_image_name = "Python"
c.DockerSpawner.allowed_images = {"Julia": "julia:1", "R": "r:1"}
c.Repo2DockerSpawner.profiles = [
    {"display_name": "Small", "description": "1 GB", "default": True},
    {"display_name": "Large", "description": "8 GB"},
]
"""

Open = Callable[..., Page]


@pytest.fixture(scope="module")
def ready(docker_client: docker.DockerClient) -> Iterator[list[ReadyImage]]:
    repos = [f"geo/week-{number}" for number in range(1, 9)]
    made = [make_ready_image(docker_client, repo) for repo in repos]
    yield made
    for image in made:
        docker_client.api.remove_image(image.name, force=True)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(sys.executable, id="hub"),
        pytest.param(
            str(HUB5),
            id="hub5",
            marks=pytest.mark.skipif(not HUB5.exists(), reason="no .venv-hub5 here"),
        ),
    ],
)
def hub(request: pytest.FixtureRequest, ready: list[ReadyImage]) -> Iterator[HubProcess]:
    with HubProcess(CONFIG, base_url="/hub%20prefix/", python=request.param) as running:
        yield running


@pytest.fixture
def visit(browser: Browser, hub: HubProcess) -> Iterator[Open]:
    """The spawn page of somebody new: ``visit(query="", server="", **of the context)``."""
    contexts: list[Any] = []
    errors: list[str] = []
    asked: list[str] = []
    breaches: list[list[str]] = []

    def enter(query: str = "", server: str = "", **of_context: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 1000, "height": 800}, **of_context})
        contexts.append(context)
        breaches.append(watch_policy(context))
        context.set_default_timeout(15_000)
        page = context.new_page()
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        name = f"ann-{secrets.token_hex(3)}"
        page.goto(f"{hub.url}hub/login")
        page.fill("#username_input", name)
        page.fill("#password_input", "password")
        page.click("#login_submit")
        page.wait_for_url("**/hub/**")
        path = f"/{name}/{server}" if server else ""
        page.goto(f"{hub.url}hub/spawn{path}{f'?{query}' if query else ''}")
        return page

    yield enter
    for context in contexts:
        context.close()
    assert not errors
    assert not any(breaches)
    hosts = {urlsplit(url).netloc for url in asked if url.startswith("http")}
    assert hosts <= {urlsplit(hub.url).netloc}, "nothing outside the hub"


def violations(page: Page) -> list[str]:
    page.evaluate(AXE.read_text(encoding="utf-8"))  # a tag would need the page's nonce
    # what the hub's own frame has is the hub's, as is its Start button
    run = "() => axe.run({exclude: [['nav'], ['.feedback-container']]})"
    return [
        f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
        for one in page.evaluate(run)["violations"]
        for node in one["nodes"]
    ]


def sent(page: Page) -> dict[str, str]:
    """Press Start, and return what the browser sends of ours; nothing is started."""
    posts: list[Request] = []

    def hold(route: Any) -> None:
        posts.append(route.request)
        route.fulfill(status=200, body="held")

    page.route(lambda url: "/hub/spawn" in url, hold)
    page.click("button[type=submit]")
    page.wait_for_function("document.body.innerText === 'held'")
    text = posts[0].post_data or ""
    parts = [part for part in text.split("\r\n--") if 'name="' in part]
    pairs = [
        (part.split('name="', 1)[1].split('"', 1)[0], part.split("\r\n\r\n", 1)[1].strip())
        for part in parts
    ]
    return {name: value for name, value in pairs if value and name != "_xsrf"}


def chosen(page: Page) -> str | None:
    box = page.locator("[name=environment]:checked")
    return box.get_attribute("value") if box.count() else None


# -- one of the two


def test_a_repository_is_typed_and_started(visit: Open) -> None:
    page = visit()
    expect(page.locator("#repo2docker-repo")).to_be_focused()
    assert chosen(page) == ""
    page.keyboard.type(REPO)
    assert chosen(page) is None
    assert sent(page) == {"repo": REPO, "profile": "small"}


def test_a_ready_environment_is_chosen_in_place_of_what_was_typed(
    visit: Open, ready: list[ReadyImage]
) -> None:
    page = visit()
    page.fill("#repo2docker-repo", REPO)
    page.get_by_label("geo/week-3").check()
    # it stays to be seen, struck out
    expect(page.locator("#repo2docker-repo")).to_have_value(REPO)
    expect(page.locator("#repo2docker-repo")).to_have_css("text-decoration-line", "line-through")
    assert sent(page) == {"environment": ready[2].key, "profile": "small"}


def test_typing_again_goes_back_to_the_repository(visit: Open) -> None:
    page = visit()
    page.get_by_label("Julia").check()
    page.fill("#repo2docker-repo", REPO)
    assert chosen(page) is None
    page.fill("#repo2docker-repo", "")
    assert chosen(page) == ""
    page.fill("#repo2docker-repo", REPO)
    page.get_by_label("Julia").check()
    page.fill("#repo2docker-repo", REPO + "/tree/main")
    assert sent(page) == {"repo": REPO + "/tree/main", "profile": "small"}


# -- the list


def test_the_search_leaves_what_fits(visit: Open) -> None:
    page = visit()
    rows = page.locator(".repo2docker-choice:visible")
    total = rows.count()
    search = page.get_by_label("Search the ready environments")
    search.fill("WEEK-7 geo")
    expect(page.locator("#repo2docker-found")).to_have_text(f"1 of {total}")
    # what is chosen stays in sight
    expect(rows).to_have_count(2)
    search.press("Enter")
    assert "/hub/spawn" in page.url
    expect(search).to_be_visible()
    search.fill("")
    expect(rows).to_have_count(total)


def test_all_of_it_goes_by_keyboard(visit: Open, ready: list[ReadyImage]) -> None:
    page = visit()
    reached = []
    for _ in range(7):
        reached.append(
            page.evaluate("document.activeElement.id || document.activeElement.innerText")
        )
        page.keyboard.press("Tab")
    assert reached[:6] == [
        "repo2docker-repo",
        "Or a ready environment",
        "repo2docker-search",
        "repo2docker-environment-0",
        "Private repository",
        "Options",
    ]
    page.locator("#repo2docker-environment-0").focus()
    page.keyboard.press("ArrowDown")
    assert chosen(page) == "Julia"
    page.locator("#repo2docker-options > summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator("#repo2docker-ref")).to_be_focused()


# -- options


def test_options_are_folded_away_and_sent_where_they_are_filled_in(visit: Open) -> None:
    page = visit()
    expect(page.locator("#repo2docker-ref")).to_be_hidden()
    page.fill("#repo2docker-repo", REPO)
    page.click("#repo2docker-options > summary")
    page.fill("#repo2docker-ref", "main")
    page.fill("#repo2docker-path", "a b.ipynb")
    page.get_by_label("Large").check()
    assert sent(page) == {"repo": REPO, "ref": "main", "path": "a b.ipynb", "profile": "large"}


# -- a private repository


@pytest.mark.parametrize("scripts", [True, False], ids=["with scripts", "without"])
def test_a_token_is_typed_by_keyboard_and_never_comes_back(visit: Open, scripts: bool) -> None:
    page = visit(java_script_enabled=scripts)
    page.locator("#repo2docker-repo").focus()
    page.keyboard.type(REPO)
    expect(page.get_by_label("Token or password")).to_be_hidden()
    page.locator("#repo2docker-private > summary").focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.get_by_label("User name")).to_be_focused()
    page.keyboard.type("ann:x")
    page.keyboard.press("Tab")
    page.keyboard.type("tok-3c5a1f")
    page.keyboard.press("Enter")
    expect(page.locator("#repo2docker-username-error")).to_contain_text("no colon")
    expect(page.locator("#repo2docker-retype")).to_contain_text("Type the token again")
    expect(page.get_by_label("User name")).to_be_focused()
    expect(page.get_by_label("User name")).to_have_value("ann:x")
    expect(page.get_by_label("Token or password")).to_have_value("")
    assert "tok-3c5a1f" not in page.content()
    if scripts:
        assert not violations(page)
        assert "ann" not in page.locator("#repo2docker-share").inner_html()
        page.get_by_label("User name").fill("ann")
        page.get_by_label("Token or password").fill("tok-3c5a1f")
        assert sent(page) == {
            "repo": REPO,
            "profile": "small",
            "username": "ann",
            "password": "tok-3c5a1f",
        }


# -- to share


def test_a_link_and_badges_are_made_of_what_is_filled_in(visit: Open, hub: HubProcess) -> None:
    page = visit()
    expect(page.locator("#repo2docker-share")).to_be_hidden()
    page.fill("#repo2docker-repo", f"{REPO}/tree/main/a (1)")
    page.click("#repo2docker-share > summary")
    link = page.locator("#repo2docker-share-link").inner_text()
    parts = urlsplit(link)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{hub.url}hub/spawn"
    assert parse_qs(parts.query) == {"opt-repo": [f"{REPO}/tree/main/a (1)"]}
    for kind, begins in (("markdown", "[![Launch]("), ("html", "<a href="), ("rst", ".. image::")):
        text = page.locator(f"#repo2docker-share-{kind}").inner_text()
        assert text.startswith(begins)
        assert link in text
    page.get_by_label("Julia").check()
    expect(page.locator("#repo2docker-share-link")).to_have_text(
        f"{hub.url}hub/spawn?opt-image=Julia"
    )


def test_the_script_makes_the_same_link_as_the_server(visit: Open) -> None:
    query = f"opt-repo={quote(REPO)}&opt-ref=a%2Bb&opt-path={quote('ü (1)&2.ipynb')}"
    with_script = visit(query)
    without = visit(query, java_script_enabled=False)
    for kind in ("link", "markdown", "html", "rst"):
        selector = f"#repo2docker-share-{kind}"
        assert (
            with_script.locator(selector).text_content() == without.locator(selector).text_content()
        )


@pytest.mark.parametrize("clipboard", [True, False], ids=["clipboard", "without"])
def test_it_is_copied_with_one_click(visit: Open, clipboard: bool) -> None:
    page = visit(f"opt-repo={quote(REPO)}")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    if not clipboard:
        # as on a hub without https
        page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.click("#repo2docker-share > summary")
    page.click("#repo2docker-copy-markdown")
    expect(page.locator("#repo2docker-copy-markdown")).to_have_text("Copied")
    expect(page.locator("#repo2docker-copied")).to_have_text("Copied")
    text = page.locator("#repo2docker-share-markdown").inner_text()
    other = page.context.new_page()
    other.goto(page.url)
    other.fill("#repo2docker-repo", "")
    other.locator("#repo2docker-repo").focus()
    other.keyboard.press("Control+V")
    expect(other.locator("#repo2docker-repo")).to_have_value(text)


# -- links and refusals


@pytest.mark.parametrize("server", ["", "lab-2"], ids=["default", "named"])
def test_a_link_waits_for_a_person(visit: Open, server: str) -> None:
    page = visit(f"opt-repo={quote(REPO)}&opt-ref=main", server)
    expect(page.locator("#repo2docker-link")).to_contain_text(
        "This link starts geo/course at main from github.com"
    )
    # Start is in sight, the list is folded
    expect(page.locator("button[type=submit]")).to_be_visible()
    expect(page.get_by_label("geo/week-3")).to_be_hidden()
    assert sent(page) == {"repo": REPO, "ref": "main", "profile": "small"}


@pytest.mark.parametrize("server", ["", "lab-2"], ids=["default", "named"])
def test_a_refused_entry_has_the_focus_and_its_sentence_once(visit: Open, server: str) -> None:
    page = visit("", server)
    page.fill("#repo2docker-repo", REPO)
    page.click("#repo2docker-options > summary")
    page.fill("#repo2docker-ref", "--x")
    page.click("button[type=submit]")
    refused = page.locator("#repo2docker-ref-error")
    expect(refused).to_contain_text("hyphen")
    expect(page.locator("#repo2docker-ref")).to_be_focused()
    expect(page.locator("#repo2docker-repo")).to_have_value(REPO)
    # the hub's own alert would say the same again
    expect(page.locator(".spawn-error-msg")).to_be_hidden()
    page.fill("#repo2docker-ref", "main")
    assert sent(page) == {"repo": REPO, "ref": "main", "profile": "small"}


def test_what_cannot_be_found_when_it_starts_comes_back_to_the_form(visit: Open) -> None:
    page = visit()
    page.evaluate("document.getElementById('repo2docker-environment-3').value = '0123456789ab'")
    page.locator("#repo2docker-environment-3").check()
    page.click("button[type=submit]")
    expect(page.locator("#repo2docker-environment-error")).to_contain_text("no ready environment")
    expect(page.locator("#repo2docker-environment-lost")).to_be_focused()
    assert not violations(page)


# -- for everybody


def test_without_scripts_all_of_it_works(visit: Open, ready: list[ReadyImage]) -> None:
    page = visit(java_script_enabled=False)
    expect(page.locator("#repo2docker-search-box")).to_be_hidden()
    page.get_by_label("geo/week-8").check()
    page.click("#repo2docker-options > summary")
    page.fill("#repo2docker-subdir", "x")
    page.click("button[type=submit]")
    expect(page.locator("#repo2docker-subdir-error")).to_contain_text("one commit and folder")
    expect(page.get_by_label("geo/week-8")).to_be_checked()
    page.goto(page.url.partition("?")[0] + f"?opt-repo={quote(REPO)}")
    expect(page.locator("#repo2docker-link")).to_contain_text("geo/course")
    page.click("#repo2docker-share > summary")
    expect(page.locator("#repo2docker-share-link")).to_contain_text(f"?opt-repo={REPO}")
    expect(page.locator("#repo2docker-copy-link")).to_be_hidden()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [400, 1000])
def test_axe_finds_nothing(visit: Open, scheme: str, width: int) -> None:
    view = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}}
    page = visit(**view)
    assert page.locator("html").get_attribute("data-bs-theme") == scheme
    page.click("#repo2docker-options > summary")
    page.fill("#repo2docker-repo", REPO)
    page.click("#repo2docker-share > summary")
    page.click("#repo2docker-private > summary")
    assert not violations(page)
    page.get_by_label("Julia").check()
    assert not violations(page), "struck out"
    page.fill("#repo2docker-repo", REPO)
    page.fill("#repo2docker-ref", "--x")
    page.click("button[type=submit]")
    expect(page.locator("#repo2docker-ref-error")).to_be_visible()
    assert not violations(page), "refused"
    page.goto(page.url.partition("?")[0] + f"?opt-repo={quote(REPO)}")
    assert not violations(page), "by a link"
    # nothing is wider than the window
    assert page.evaluate("document.documentElement.scrollWidth") <= width
