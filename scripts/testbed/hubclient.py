"""A browser's part of the conversation with a hub, over plain HTTP."""

from __future__ import annotations

import contextlib
import json as json_module
import re
import time
from collections.abc import Iterator, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urljoin, urlsplit

import requests
from bs4 import BeautifulSoup, Tag

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["ClientError", "Event", "HubClient", "SpawnFailedError", "error_text", "form_fields"]

_TIMEOUT = 60.0
# What the page of a failed spawn says around the message.
_STOCK_FAILURE = re.compile(
    r"The latest attempt to start your server .*?has failed\.|Would you like to retry starting it\?"
)
_NAVIGATE = {
    "Accept": "text/html,application/xhtml+xml",
    "Sec-Fetch-Mode": "navigate",
    "Sec-Fetch-Dest": "document",
    "Sec-Fetch-Site": "same-origin",
}


class ClientError(RuntimeError):
    """The hub answered what no hub should; the message says what."""


class SpawnFailedError(ClientError):
    """A spawn ended without a server.

    Attributes:
        events: all progress events up to the last.
    """

    def __init__(self, message: str, events: list[Event]) -> None:
        super().__init__(message)
        self.events = events


class Event(dict[str, Any]):
    """One progress event as the hub sent it.

    Attributes:
        arrived: when it was read, seconds since 1970 (the clock that containers have too).
    """

    def __init__(self, data: Mapping[str, Any], arrived: float) -> None:
        super().__init__(data)
        self.arrived = arrived


def error_text(html: str) -> str:
    """The sentence that a hub's page shows about an error; ``""`` where it shows none.

    Understands the spawn form's alert, the error page, and the page of a failed spawn.
    """
    page = BeautifulSoup(html, "html.parser")
    alert = page.select_one(".spawn-error-msg, .login_error, form .alert-danger, form [role=alert]")
    if alert is not None:
        return _words(alert).removeprefix("Error: ")
    if page.select_one("div.error") is not None:
        return " ".join(_words(part) for part in page.select("div.error > p"))
    heading = page.find("h1")
    if isinstance(heading, Tag) and "failed" in _words(heading):
        around = heading.parent or page
        for part in around.select("h1, #start"):
            part.decompose()
        return _STOCK_FAILURE.sub("", _words(around)).strip() or "Spawn failed"
    return ""


def form_fields(html: str, selector: str = "form") -> tuple[str, dict[str, str]]:
    """What a browser would send if a page's form were submitted untouched.

    Returns:
        The form's ``action`` and its fields.

    Raises:
        ClientError: the page has no such form.
    """
    form = BeautifulSoup(html, "html.parser").select_one(selector)
    if form is None:
        raise ClientError(f"The page has no form: {error_text(html) or html[:300]}")
    fields: dict[str, str] = {}
    for element in form.select("input[name], textarea[name], select[name]"):
        if element.has_attr("disabled"):
            continue
        name, kind = str(element["name"]), str(element.get("type", "text")).lower()
        if element.name == "select":
            chosen = element.select_one("option[selected]") or element.select_one("option")
            if chosen is not None:
                fields[name] = str(chosen.get("value", chosen.get_text()))
        elif element.name == "textarea":
            fields[name] = element.get_text()
        elif kind in {"radio", "checkbox"}:
            if element.has_attr("checked"):
                fields[name] = str(element.get("value", "on"))
        elif kind not in {"submit", "button", "image", "reset", "file"}:
            fields[name] = str(element.get("value", ""))
    return str(form.get("action", "")), fields


def _words(element: Tag) -> str:
    return " ".join(element.get_text(" ").split())


def _as_browsers_read(answer: requests.Response, *_: Any, **__: Any) -> None:
    """The hub's pages say their encoding in a meta tag alone, which requests does not look for."""
    if "charset" not in answer.headers.get("Content-Type", ""):
        answer.encoding = "utf-8"


class HubClient:
    """One person's browser on one hub.

    ``server_name`` is everywhere the named server, ``""`` for the default one.

    Args:
        base_url: the hub's address with its base_url, as :attr:`testbed.hub.HubProcess.url`.

    Attributes:
        session: the cookies; for requests that have no method here.
        username: set by :meth:`login`.
    """

    def __init__(self, base_url: str) -> None:
        self.base_url = base_url.rstrip("/") + "/"
        self.session = requests.Session()
        self.session.hooks["response"] = [_as_browsers_read]
        self.username = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Forget the cookies and close the connections."""
        self.session.close()

    # --- pages of the hub

    def login(self, username: str, password: str = "password") -> None:
        """Log in through the form.

        Raises:
            ClientError: refused.
        """
        home = urlsplit(self._hub("home")).path
        address = self._hub(f"login?next={quote(home)}")
        _, fields = form_fields(self.visit(address).text)
        fields |= {"username": username, "password": password}
        answer = self.session.post(address, data=fields, headers=_NAVIGATE, timeout=_TIMEOUT)
        if not answer.ok or urlsplit(answer.url).path != home:
            raise ClientError(
                f"The login of {username} failed ({answer.status_code}): {error_text(answer.text)}"
            )
        self.username = username

    def visit(self, address: str, *, follow: bool = True) -> requests.Response:
        """GET as a browser goes to an address (absolute, or relative to the hub's root)."""
        return self.session.get(
            urljoin(self.base_url, address),
            headers=_NAVIGATE,
            allow_redirects=follow,
            timeout=_TIMEOUT,
        )

    def spawn_page(self, server_name: str = "", query: str = "") -> requests.Response:
        """The page with the form. ``query`` is what a launch link has after its ``?``."""
        address = self._hub(self._of_server("spawn", server_name))
        return self.visit(f"{address}?{query}" if query else address)

    def spawn_form(
        self, fields: Mapping[str, str] | None = None, server_name: str = ""
    ) -> requests.Response:
        """Fill in the spawn page's form and press Start.

        Args:
            fields: what is typed in; fields not named are sent as the page has them.
            server_name: which server.

        Returns:
            The answer to the POST, redirects not followed: a 302 where the spawn began (see
            :meth:`started`), else the form again, with :func:`error_text` of its ``text``.
        """
        page = self.spawn_page(server_name)
        action, sent = form_fields(page.text, "form#spawn_form")
        if "_xsrf" not in sent and "_xsrf=" not in action:
            sent["_xsrf"] = self._xsrf(self._hub())
        sent |= fields or {}
        return self.session.post(
            urljoin(page.url, action),
            files={name: (None, value) for name, value in sent.items()},
            headers=_NAVIGATE,
            allow_redirects=False,
            timeout=_TIMEOUT,
        )

    @staticmethod
    def started(answer: requests.Response) -> bool:
        """Whether the answer to :meth:`spawn_form` says that the spawn began."""
        path = urlsplit(answer.headers.get("Location", "")).path
        return answer.is_redirect and ("/spawn-pending/" in path or "/user/" in path)

    def pending_page(self, server_name: str = "") -> requests.Response:
        """The page that shows a spawn's progress."""
        return self.visit(self._hub(self._of_server("spawn-pending", server_name)))

    # --- progress

    def progress(self, server_name: str = "", timeout: float = 120) -> Iterator[Event]:
        """The server-sent events of the pending page, as they come, to their end.

        Raises:
            TimeoutError: they have not ended in ``timeout`` seconds.
            ClientError: there are none to be had.
        """
        deadline = time.monotonic() + timeout
        path = f"{self._api_server(server_name)}/progress"
        with self.session.get(
            self._hub(f"api/{path}"),
            params={"_xsrf": self._xsrf(self._hub())},
            headers={"Accept": "text/event-stream", "Cache-Control": "no-cache"},
            stream=True,
            timeout=(10, min(timeout, 30)),
        ) as answer:
            if not answer.ok:
                raise ClientError(f"No progress ({answer.status_code}): {answer.text[:300]}")
            # The hub sends a keep-alive line every 8 seconds, so the deadline is seen in time.
            for line in answer.iter_lines(chunk_size=None):
                if line.startswith(b"data:"):
                    yield Event(json_module.loads(line[5:]), time.time())
                if time.monotonic() > deadline:
                    raise TimeoutError(f"The spawn has not ended in {timeout:g} s.")

    def wait_ready(self, server_name: str = "", timeout: float = 120) -> list[Event]:
        """Follow the progress until the server is ready.

        Returns:
            All events; the last one has ``ready`` and the server's ``url``.

        Raises:
            SpawnFailedError: it failed, with the last event's message.
            TimeoutError: it has not ended in ``timeout`` seconds.
        """
        events: list[Event] = []
        for event in self.progress(server_name, timeout):
            events.append(event)
            if event.get("ready"):
                return events
        message = str(events[-1].get("message", "")) if events else "no event came"
        raise SpawnFailedError(message, events)

    # --- the running server

    def server_url(self, server_name: str = "") -> str:
        """Where the single-user server is; ends with a slash."""
        path = f"user/{quote(self.username)}/"
        return self.base_url + path + (f"{quote(server_name)}/" if server_name else "")

    def default_url(self, server_name: str = "") -> str:
        """The path (and query) that the server's address leads to in the end."""
        parts = urlsplit(self.visit(self.server_url(server_name)).url)
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def get(self, path: str, server_name: str = "") -> requests.Response:
        """GET from the running server, logging in to it by the hub's OAuth where needed.

        Args:
            path: below the server's address: ``files/README.md``, ``api/contents/``.
            server_name: which server.
        """
        server = self.server_url(server_name)
        if not self._xsrf(server, exact=True):
            self.visit(server)
        return self.session.get(
            urljoin(server, path.lstrip("/")),
            headers={"X-XSRFToken": self._xsrf(server)},
            timeout=_TIMEOUT,
        )

    # --- the hub's API, as its pages use it

    def api(self, method: str, path: str, json: Any = None) -> requests.Response:
        """A request to the hub's REST API with the browser's cookies and XSRF header."""
        return self.session.request(
            method,
            self._hub(f"api/{path}"),
            json=json,
            headers={"X-XSRFToken": self._xsrf(self._hub()), "Referer": self._hub("home")},
            timeout=_TIMEOUT,
        )

    def start_server(
        self, options: Mapping[str, Any] | None = None, server_name: str = ""
    ) -> requests.Response:
        """Start over REST: 201 where it is up at once, 202 where it is pending."""
        return self.api("POST", self._api_server(server_name), dict(options or {}))

    def delete(self, server_name: str = "") -> requests.Response:
        """DELETE the server, running or pending: 204 when it is gone, 202 while it goes."""
        return self.api("DELETE", self._api_server(server_name))

    def server_model(self, server_name: str = "") -> dict[str, Any] | None:
        """What the API says about the server; ``None`` where it neither runs nor is pending."""
        user = self.api("GET", f"users/{quote(self.username)}").json()
        model: dict[str, Any] | None = user.get("servers", {}).get(server_name)
        return model

    def stop_server(self, server_name: str = "", timeout: float = 60) -> None:
        """Stop the server (or a pending spawn) and wait until it is gone.

        Raises:
            ClientError: the hub refused, or the server is still there after ``timeout`` seconds.
        """
        answer = self.delete(server_name)
        if not answer.ok:
            raise ClientError(f"The hub did not stop ({answer.status_code}): {answer.text[:300]}")
        deadline = time.monotonic() + timeout
        while (model := self.server_model(server_name)) is not None:
            if model.get("stopped") or not (model.get("ready") or model.get("pending")):
                return
            if time.monotonic() > deadline:
                raise ClientError(f"The server has not stopped in {timeout:g} s.")
            time.sleep(0.2)

    def stop_all(self) -> None:
        """Stop what this person has running or pending; a hub that is gone has nothing."""
        with contextlib.suppress(requests.ConnectionError):
            answer = self.api("GET", f"users/{quote(self.username)}")
            if answer.ok:
                for name in answer.json().get("servers", {}):
                    self.stop_server(name)

    # --- addresses and tokens

    def _hub(self, path: str = "") -> str:
        return f"{self.base_url}hub/{path}"

    def _of_server(self, page: str, server_name: str) -> str:
        path = f"{page}/{quote(self.username)}"
        return f"{path}/{quote(server_name)}" if server_name else path

    def _api_server(self, server_name: str) -> str:
        path = f"users/{quote(self.username)}"
        return f"{path}/servers/{quote(server_name)}" if server_name else f"{path}/server"

    def _xsrf(self, address: str, *, exact: bool = False) -> str:
        """The XSRF cookie that a browser would send to an address: the longest path wins."""
        path = urlsplit(address).path
        cookies = [
            cookie
            for cookie in self.session.cookies
            if cookie.name == "_xsrf" and (path == cookie.path if exact else True)
            if path.startswith(cookie.path)
        ]
        cookies.sort(key=lambda cookie: len(cookie.path), reverse=True)
        return str(cookies[0].value) if cookies else ""
