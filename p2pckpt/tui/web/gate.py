"""Who may use the terminal interface in a browser: this machine's browser, once it has shown a URL's token.

The token is in the URL's fragment, which no request carries. The door's script takes it out of the address and
exchanges it for a cookie; then it is worth nothing, and another one is made for the next browser. A cookie goes to
every port of a host, so it is bound to a path that only its owner knows: another server on this machine, which the
same browser may visit, is not sent it. Nothing but the door answers without that cookie.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web

from p2pckpt.loopback import ADDRESS

COOKIE: Final = "p2pckpt"
DOOR: Final = "door"
ENTER: Final = "enter"
"""Names of the two routes that are open to who has no cookie yet."""
_SECRET_BYTES: Final = 32
_PATH_BYTES: Final = 16

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Gate:
    """Checks each request to a server on ``port``; ``script`` is the door's, the only one in a page itself."""

    def __init__(self, port: int, script: str) -> None:
        self.host = ADDRESS if port == 80 else f"{ADDRESS}:{port}"
        self.origin = f"http://{self.host}"
        self.path = "/" + secrets.token_urlsafe(_PATH_BYTES)
        """Everything behind the door is below it."""
        self._cookie = secrets.token_urlsafe(_SECRET_BYTES)
        self._token = secrets.token_urlsafe(_SECRET_BYTES)
        self._headers = _headers(self.host, script)

    @property
    def url(self) -> str:
        """Lets one browser in, once."""
        return f"{self.origin}/#{self._token}"

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse what comes under another host's name, from another page, or without the cookie."""
        # a name that somebody lets point here (DNS rebinding) makes their page same-origin; the name gives it away
        if request.headers.getall("Host", []) != [self.host]:
            raise web.HTTPForbidden(text="This is no address of p2pckpt.\n")
        origins = request.headers.getall("Origin", [])
        needs_origin = request.method == "POST" or "Upgrade" in request.headers
        if origins != [self.origin] and (origins or needs_origin):
            raise web.HTTPForbidden(text="Another page may not ask p2pckpt.\n")
        route = request.match_info.route.name
        if route not in (DOOR, ENTER) and not _same(request.cookies.get(COOKIE, ""), self._cookie):
            raise web.HTTPForbidden(text="Open the URL that p2pckpt printed.\n")
        return await handler(request)

    def exchange(self, token: str) -> web.Response:
        """The way in for who has the token, which nobody can use again. ``HTTPForbidden`` for everybody else."""
        if not _same(token, self._token):
            raise web.HTTPForbidden(text="This URL was used, or is of another run.\n")
        self._token = secrets.token_urlsafe(_SECRET_BYTES)
        response = web.Response(text=self.path + "/")
        response.set_cookie(COOKIE, self._cookie, path=self.path + "/", httponly=True, samesite="Strict")
        return response

    async def harden(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Give every response the headers that keep browsers strict; a signal of the app."""
        response.headers.update(self._headers)


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())


def _headers(host: str, script: str) -> dict[str, str]:
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = {
        "default-src": "'none'",
        "script-src": f"'self' 'sha256-{digest}'",
        "style-src": "'self'",  # textual.js would add elements of its own; page.css says what matters of them
        "font-src": "'self'",
        "connect-src": f"'self' ws://{host}",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
    }
    return {
        "Cache-Control": "no-store",
        "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "Cross-Origin-Opener-Policy": "same-origin",
        "Cross-Origin-Resource-Policy": "same-origin",
        # what is drawn may put a link on the clipboard, and never learns what is on it
        "Permissions-Policy": "clipboard-read=(), clipboard-write=(self)",
        "Referrer-Policy": "same-origin",
        "Server": "p2pckpt",
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
    }
