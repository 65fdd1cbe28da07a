"""What a browser lets our pages of the hub do: their Content-Security-Policy.

Scripts run by a nonce alone, new with each page, which every ``<script>`` written in a template
gets (`with_nonces`): JupyterHub's own, other packages' and ours. What a repository or a person
has brought in as text was never in a template, so even if it became an element it would not run.
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextvars import ContextVar
from functools import cache
from typing import Any

from jinja2 import lexer
from jinja2.lexer import Token
from markupsafe import Markup

from .launch import render

__all__ = ["DIRECTIVES", "GLOBALS", "content_security_policy", "with_nonces"]

DIRECTIVES: Mapping[str, str] = {
    "default-src": "'self'",
    "script-src": "",
    # administrators' own pages have pictures, styles and fonts from anywhere
    "style-src": "* 'unsafe-inline'",
    "img-src": "* data: blob:",
    "font-src": "* data:",
    "connect-src": "'self'",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
}
"""Directive → sources; those of scripts are beside the nonce."""

_SCRIPT_TAG = re.compile(r"(<script)(?=[\s>/])", re.IGNORECASE)

# of the page that is being rendered; each request of the hub's is a task of its own
_nonce: ContextVar[str] = ContextVar("nonce", default="")


def content_security_policy(
    nonce: str, changes: Mapping[str, str], *, hashes: Iterable[str] = (), servers: str = ""
) -> str:
    """Return the policy, as the header or meta element has it.

    Args:
        nonce: which scripts may run.
        changes: directive → sources in the place of ours; ``""`` leaves the directive out.
        hashes: of further scripts that may run (``'sha256-…'``).
        servers: origin of the person's servers where it isn't the hub's (`subdomain_host`): the
            form's answer leads there.
    """
    directives = {**DIRECTIVES, **changes}
    if servers and "form-action" not in changes:
        directives["form-action"] += f" {servers}"
    if changes.get("script-src") != "":
        sources = (f"'nonce-{nonce}'", *hashes, directives["script-src"])
        directives["script-src"] = " ".join(sources).strip()
    return "; ".join(f"{name} {sources}" for name, sources in directives.items() if sources)


@cache
def _form_scripts() -> tuple[str, ...]:
    """The hashes of the spawn form's script, which JupyterHub puts into the page as text."""
    scripts = re.findall(
        r"<script>(.*?)</script>", render("options_form_script.html"), flags=re.DOTALL
    )
    digests = (hashlib.sha256(script.encode()).digest() for script in scripts)
    return tuple(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def _policy(spawner: Any) -> str:
    """Begin a page of ours: return its policy, ``""`` where an administrator wants none."""
    changes = spawner.content_security_policy
    if changes is None:
        _nonce.set("")
        return ""
    nonce = secrets.token_hex(16)
    _nonce.set(nonce)
    servers = getattr(spawner.user, "host", "")
    return content_security_policy(nonce, changes, hashes=_form_scripts(), servers=servers)


def _nonce_attribute() -> Markup:
    nonce = _nonce.get()
    # hexadecimal, so it needs no quotes, which would end a text that a script has in quotes
    return Markup(" nonce={}").format(nonce) if nonce else Markup()


GLOBALS = {"repo2docker_policy": _policy, "repo2docker_nonce": _nonce_attribute}
"""What the templates call."""


def with_nonces(stream: Iterable[Token]) -> Iterator[Token]:
    """Yield a template's tokens, each ``<script`` in its text followed by the page's nonce."""
    for token in stream:
        if token.type != lexer.TOKEN_DATA:
            yield token
            continue
        line = token.lineno
        for part in _SCRIPT_TAG.split(token.value):
            if part:
                yield Token(line, lexer.TOKEN_DATA, part)
                line += part.count("\n")
            if _SCRIPT_TAG.match(part + " "):
                yield from (
                    Token(line, lexer.TOKEN_VARIABLE_BEGIN, "{{"),
                    Token(line, lexer.TOKEN_NAME, "repo2docker_nonce"),
                    Token(line, lexer.TOKEN_LPAREN, "("),
                    Token(line, lexer.TOKEN_RPAREN, ")"),
                    Token(line, lexer.TOKEN_VARIABLE_END, "}}"),
                )
