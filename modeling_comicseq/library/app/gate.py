"""The gate before the app: only what its page needs is answered, requests are small, and browsers may ask no other host.

Gradio serves files by path and fetches addresses for whoever asks (`file=`, `proxy=`, `upload`). The app shows pictures that
its pages carry and takes uploads as text, so it needs none of that, and none of that is answered.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

__all__ = ["MOST_REQUEST_BYTES", "Gate"]

MOST_REQUEST_BYTES = 24 << 20  # an upload is longer as text than as bytes
_API = "/gradio_api"
# What the page asks for, and what `gradio_client` asks for.
_READ = re.compile(
    r"/|/config/?|/theme\.css|/favicon\.ico|/robots\.txt|/manifest\.json|/(static|assets)/[\w.@+/-]+|/[\w-]+\.js"
    rf"|{_API}/(info/?|startup-events|theme\.css|queue/data|heartbeat/[\w-]+|call/[\w-]+/[\w-]+|openapi\.json|app_id/?)"
)
_WRITE = re.compile(rf"{_API}/(queue/join|call/(v2/)?[\w-]+|cancel|reset)/?")
# Gradio's page makes functions of its templates, and its styles are inline; no host but this one, whatever a page says.
_HEADERS = {
    "content-security-policy": (
        "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline';"
        " object-src 'none'; base-uri 'self'; form-action 'self'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}

logger = logging.getLogger(__name__)

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]


class _TooLarge(Exception):
    """A request's body is longer than any that the page sends."""


class Gate:
    """ASGI middleware that answers what is not allowed with one sentence.

    Args:
        app: What answers the rest.
    """

    def __init__(self, app: Callable[[_Message, _Receive, _Send], Awaitable[None]]):
        self.app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Lets a request through or refuses it."""
        if scope["type"] == "websocket":
            return await send({"type": "websocket.close", "code": 1008})
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if not is_allowed(scope["method"], scope["path"]):
            return await _refuse(send, 404, _NOTHING)
        told = dict(scope["headers"]).get(b"content-length", b"0")
        if not told.isdigit() or int(told[:20]) > MOST_REQUEST_BYTES:
            return await _refuse(send, 413, _TOO_LARGE)
        taken, has_begun, is_refused = 0, False, False

        async def counted() -> _Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MOST_REQUEST_BYTES:
                raise _TooLarge
            return message

        async def checked(message: _Message) -> None:
            nonlocal has_begun, is_refused
            if is_refused:  # the rest of what is not told
                return
            if message["type"] == "http.response.start":
                has_begun = True
                if taken > MOST_REQUEST_BYTES:  # which the app takes for a body that ended too early
                    is_refused = True
                    return await _refuse(send, 413, _TOO_LARGE)
                if message["status"] >= 400:
                    is_refused = True
                    is_missing = message["status"] == 404
                    return await _refuse(send, 404 if is_missing else 400, _NOTHING if is_missing else _NOT_UNDERSTOOD)
                message["headers"] = [*message.get("headers", []), *_pairs(_HEADERS)]
            await send(message)

        try:
            await self.app(scope, counted, checked)
        except _TooLarge:
            if not has_begun:
                await _refuse(send, 413, _TOO_LARGE)
        except Exception:  # names and numbers that Gradio does not know, for the most part
            logger.info("a request was not understood", exc_info=True)
            if not has_begun:
                await _refuse(send, 400, _NOT_UNDERSTOOD)


_NOTHING = "There is nothing here: the app serves no files and asks no other host."
_NOT_UNDERSTOOD = "The request is not understood: /gradio_api/info tells what can be asked, and with which values."
_TOO_LARGE = f"The request has more than {MOST_REQUEST_BYTES >> 20} MiB: send a smaller picture."


def is_allowed(method: str, path: str) -> bool:
    """Whether the page, or a client of the API, asks for this."""
    if ".." in path or "\\" in path or "//" in path:
        return False
    if method in ("GET", "HEAD"):
        return _READ.fullmatch(path) is not None
    return method == "POST" and _WRITE.fullmatch(path) is not None


async def _refuse(send: _Send, status: int, sentence: str) -> None:
    body = json.dumps({"error": sentence}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), **_HEADERS}
    await send({"type": "http.response.start", "status": status, "headers": _pairs(headers)})
    await send({"type": "http.response.body", "body": body})


def _pairs(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
