"""What every answer carries, and how much a request may bring."""

from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MAX_BODY_BYTES: Final = 64 << 10
"""A form with a comment; nothing larger is ever sent to a page."""

POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "img-src 'self'",
        "style-src 'self'",
        "script-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
_HTTPS_ONLY = "max-age=31536000"


def add_headers(headers: MutableHeaders, *, is_https: bool) -> None:
    """Add what keeps an answer to itself; one that says how long it may be kept keeps its word."""
    for name, value in _HEADERS.items():
        headers[name] = value
    headers.setdefault("Cache-Control", "no-store")
    if is_https:
        headers["Strict-Transport-Security"] = _HTTPS_ONLY


class SafeHeaders:
    """Around all pages: no answer leaves without the headers. (An unexpected error is answered outside: see `site`.)"""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a large body, add the headers, and let no page be kept in a cache."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_headers(MutableHeaders(scope=message), is_https=scope["scheme"] == "https")
            await send(message)

        refusal = _refuse_body(scope)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, receive, send_with_headers)


def _refuse_body(scope: Scope) -> PlainTextResponse | None:
    """An answer for a request whose body is too large, or does not say how large it is."""
    headers = Headers(scope=scope)
    if "transfer-encoding" in headers:
        return PlainTextResponse("Say the length of the form.", status_code=411)
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
        return PlainTextResponse("The form is too large.", status_code=413)
    return None
