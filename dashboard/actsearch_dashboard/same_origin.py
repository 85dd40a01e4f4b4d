"""Only pages of this very server may talk to it: each request's headers are checked before Streamlit sees them.

Streamlit lets the origin of every port of this machine in, and serves the page to any Host.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from streamlit.web.server.starlette import starlette_app

__all__ = ["install"]

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_POLICY_VIOLATION = 1008  # RFC 6455; before the handshake it is answered by 403


class _SameOrigin:
    """An ASGI application behind a check of ``Host`` and, for a WebSocket, of ``Origin``.

    The host has to be a name of this server, which a page of another name is not even if that leads here (DNS
    rebinding). Its port may be another one, as behind ``ssh -L``; the origin has to have the same. A browser sets both
    headers by itself; another program may leave the origin out.
    """

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]], names: list[str]):
        self._app = app
        self._names = names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Hand a request on, or refuse it."""
        if scope["type"] not in ("http", "websocket"):  # the server starts or ends
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        is_ours = len(hosts) == 1 and self._is_name_of_this(hosts[0])
        if scope["type"] == "websocket":
            is_ours = is_ours and origins in ([], [f"http://{hosts[0]}"])
            if not is_ours:
                await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
                return
        if is_ours:
            await self._app(scope, receive, send)
        else:
            refusal = PlainTextResponse(
                f"The dashboard answers at http://{self._names[0]} only.", status_code=403
            )
            await refusal(scope, receive, send)

    def _is_name_of_this(self, host: str) -> bool:
        name, colon, port = host.partition(":")
        is_port = port.isascii() and port.isdigit() if colon else True
        return is_port and name.lower() in self._names


def install(names: list[str]) -> None:
    """Put the check before whatever Streamlit does with a request.

    Args:
        names: of this server, without a port.
    """
    make = starlette_app.create_streamlit_middleware

    def with_check() -> list[Middleware]:
        return [Middleware(_SameOrigin, names=names), *make()]

    vars(starlette_app).update(create_streamlit_middleware=with_check)
