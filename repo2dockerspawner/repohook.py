"""The administrator's ``repo_hook``: asked, and its answer understood."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any

from tornado import web

from .errors import PolicyError, Repo2DockerError
from .resolve import Resolved

__all__ = ["ask_hook"]

log = logging.getLogger(__name__)


async def ask_hook(
    hook: Callable[[Any, Resolved], Any], spawner: Any, resolved: Resolved, seconds: float
) -> None:
    """Return if the hook lets this be built and started.

    Whatever isn't clearly a yes is a no.

    Args:
        hook: returns ``None`` or ``True`` for yes, a sentence or ``False`` for no; or an awaitable
            of these.
        spawner: its first argument.
        resolved: its second.
        seconds: how long it may take, where it is a coroutine.

    Raises:
        Repo2DockerError: it says no, with ``reason`` ``repo_hook``, or with what it raised; or
            it doesn't work (``repo_hook_failed``, ``repo_hook_timeout``).
    """
    try:
        answer = hook(spawner, resolved)
        if inspect.isawaitable(answer):
            answer = await _within(seconds, answer)
    except Repo2DockerError:
        raise
    except web.HTTPError as error:
        raise _refused(_sentence_of(error), status=error.status_code) from error
    except Exception as error:
        log.exception("repo_hook failed for %s", resolved.spec.name)
        raise _failed() from error
    if answer is None or answer is True:
        return
    if answer is False or isinstance(answer, str):
        raise _refused(answer or "")
    log.error(
        "repo_hook has to return None, True, False or a sentence; for %s it returned %s.",
        resolved.spec.name,
        type(answer).__name__,
    )
    raise _failed()


async def _within(seconds: float, answer: Any) -> Any:
    # asked whether it is done, because the hook's own code may raise a TimeoutError as well
    task = asyncio.ensure_future(answer)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise PolicyError(
                f"The hub's own check of repositories (repo_hook) gave no answer within "
                f"{seconds:.0f} seconds. Start again, or ask an administrator of this hub.",
                reason="repo_hook_timeout",
                status=504,
                field="repo",
            )
        return task.result()
    finally:
        task.cancel()


def _refused(said: str, status: int = 403) -> PolicyError:
    sentence = " ".join(said.split())
    return PolicyError(
        sentence
        or "This hub doesn't build that repository: a check of its administrator's (repo_hook) "
        "refuses it. Choose another repository, or ask the administrator.",
        reason="repo_hook",
        status=status,
        field="repo",
    )


def _sentence_of(error: web.HTTPError) -> str:
    try:
        # without arguments too: tornado has doubled each "%" of the message then
        message = (error.log_message or "") % error.args
    except (TypeError, ValueError):
        message = ""
    return message or error.reason or ""


def _failed() -> PolicyError:
    return PolicyError(
        "The hub's own check of repositories (repo_hook) doesn't work, so nothing is built. An "
        "administrator of this hub has to look; its log says why.",
        reason="repo_hook_failed",
        status=500,
        field="repo",
    )
