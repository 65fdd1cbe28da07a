"""Our pages of the hub, put on top of whatever other packages and administrators have there.

JupyterHub looks a template up in its `template_paths`, the first that has it wins, and a template
can extend only JupyterHub's own (``templates/NAME``), never the next in line. So of two packages
that change ``spawn_pending.html`` one would be lost. `ChainedTemplates` makes a chain of them:
ours extends what would have been shown without it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from jinja2 import BaseLoader, ChoiceLoader, Environment, FileSystemLoader
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream

from .dangers import warn_once
from .pagepolicy import GLOBALS, with_nonces

__all__ = ["EXTENSION", "TEMPLATES", "ChainedTemplates"]

TEMPLATES = str(Path(__file__).parent / "templates" / "hub")
"""The directory of our templates for the hub's pages, for `JupyterHub.template_paths`."""

EXTENSION = "repo2dockerspawner.templating.ChainedTemplates"
"""For ``JupyterHub.jinja_environment_options = {"extensions": [EXTENSION]}``."""

_NEXT = "repo2dockerspawner-next/"


class ChainedTemplates(Extension):
    """Jinja extension: our templates come first, and extend the ones they stand in front of.

    It works in whatever order paths and options are configured. Without it our templates, found
    by `JupyterHub.template_paths`, extend JupyterHub's own, and have no policy (`pagepolicy`).
    """

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        if environment.loader is not None:
            environment.loader = _OursFirst(environment.loader)
            environment.globals["repo2dockerspawner_next"] = _NEXT
        environment.globals.update(GLOBALS)
        # the hub makes its templates when it starts, all its settings read
        warn_once()

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        """Give the scripts in any template the nonce that those of our pages run by."""
        return with_nonces(stream)


class _OursFirst(BaseLoader):
    def __init__(self, others: BaseLoader) -> None:
        self._ours = FileSystemLoader(TEMPLATES)
        self._others = others
        self._without_ours = _without_ours(others)
        self._names = frozenset(self._ours.list_templates())

    def get_source(
        self, environment: Environment, template: str
    ) -> tuple[str, str | None, Callable[[], bool] | None]:
        if template.startswith(_NEXT):
            return self._without_ours.get_source(environment, template.removeprefix(_NEXT))
        if template in self._names:
            return self._ours.get_source(environment, template)
        return self._others.get_source(environment, template)

    def list_templates(self) -> list[str]:
        return sorted({*self._names, *self._others.list_templates()})


def _without_ours(loader: BaseLoader) -> BaseLoader:
    """Return the loader, our directory taken out of it: else ours would extend itself."""
    if isinstance(loader, ChoiceLoader):
        return ChoiceLoader([_without_ours(one) for one in loader.loaders])
    if isinstance(loader, FileSystemLoader):
        settings: dict[str, Any] = {
            "encoding": loader.encoding,
            "followlinks": loader.followlinks,
        }
        paths = [path for path in loader.searchpath if Path(path) != Path(TEMPLATES)]
        return FileSystemLoader(paths, **settings)
    return loader
