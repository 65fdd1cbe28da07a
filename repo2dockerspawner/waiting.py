"""Wait until a server that was just started answers, or its container has ended."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Coroutine
from typing import Any

from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.simple_httpclient import SimpleAsyncHTTPClient

__all__ = ["server_answers", "wait_until"]

_PAUSE = 0.1
_REQUEST_TIMEOUT = 10.0
_SERVER_ERROR = 500
# Tornado's own, for a request that got no answer.
_NO_ANSWER = 599


async def server_answers(url: str, ssl_context: ssl.SSLContext | None = None) -> None:
    """Return as soon as a request to ``url`` is answered, with anything below 500.

    The same test as JupyterHub's (user.py, ``_wait_up``), but asked ten times a second, where
    JupyterHub's pauses grow to seconds.
    """
    client = SimpleAsyncHTTPClient(force_instance=True)
    request = HTTPRequest(
        url,
        follow_redirects=False,
        connect_timeout=_REQUEST_TIMEOUT,
        request_timeout=_REQUEST_TIMEOUT,
        ssl_options=ssl_context,
    )
    try:
        while True:
            try:
                await client.fetch(request)
            except HTTPClientError as error:
                if error.code < _SERVER_ERROR:
                    return
            except OSError:
                pass
            else:
                return
            await asyncio.sleep(_PAUSE)
    finally:
        client.close()


async def wait_until(
    answered: Coroutine[Any, Any, None], ended: asyncio.Event, timeout: float
) -> bool:
    """Wait for the coroutine ``answered``, at most ``timeout`` seconds or until ``ended``.

    Returns:
        Whether it was answered.
    """
    tasks: list[asyncio.Future[Any]] = [
        asyncio.ensure_future(answered),
        asyncio.ensure_future(ended.wait()),
    ]
    try:
        await asyncio.wait(tasks, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
