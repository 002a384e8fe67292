"""Asks the OpenID provider: one request, JSON back, within a time and a size, from no other address than asked."""

import json
import ssl
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any, Final

from screener.channels.webhook import NoRedirects
from screener.web_settings import OpenId

MAX_BYTES: Final = 1 << 20
"""Keys, metadata and tokens are a few KiB."""
_MAY_HEAL: Final = {408, 425, 429}  # RFC 9110 15.5.9, RFC 8470 5.2, RFC 6585 4; and every 5xx


class ProviderError(Exception):
    """The provider cannot be asked, or answers what makes no sense; the message says what, and is for the log."""


class ProviderAwayError(ProviderError):
    """The provider cannot be reached, whatever it is asked."""


class ProviderRefusal(Exception):  # noqa: N818 - an answer, not a failure
    """The provider answers that it will not; the message is its own word for why (RFC 6749 5.2)."""


class JsonFetcher:
    """Requests to the provider, with the authorities, the proxy and the patience of the settings."""

    def __init__(self, settings: OpenId, ssl_context: ssl.SSLContext) -> None:
        proxies = {"http": settings.proxy, "https": settings.proxy} if settings.proxy else {}
        self._opener = urllib.request.build_opener(
            NoRedirects(), urllib.request.ProxyHandler(proxies), urllib.request.HTTPSHandler(context=ssl_context)
        )
        self._timeout_seconds = settings.timeout_seconds

    def fetch(self, address: str, form: bytes | None = None, authorization: str = "") -> dict[str, Any]:
        """GET `address`, or POST `form` to it; ProviderError where no JSON object comes, ProviderRefusal for a 4xx."""
        headers = {"Accept": "application/json", "User-Agent": "parotid-screener"}
        if authorization:
            headers["Authorization"] = authorization
        # The settings and `read_endpoints` admit https, and http to this machine.
        request = urllib.request.Request(address, data=form, headers=headers)  # noqa: S310
        try:
            with self._opener.open(request, timeout=self._timeout_seconds) as answer:
                return _parse(answer.read(MAX_BYTES + 1))
        except urllib.error.HTTPError as error:
            raise _refusal(error) from None
        except urllib.error.URLError as error:
            raise ProviderAwayError(_describe(error.reason)) from None
        except (OSError, HTTPException, ValueError, OverflowError) as error:  # the last two: no such host, no such port
            raise ProviderAwayError(_describe(error)) from None


def _parse(content: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        answer = None
    if len(content) > MAX_BYTES or not isinstance(answer, dict):
        raise ProviderError("it answers something else than a JSON object")
    return answer


def _refusal(error: urllib.error.HTTPError) -> Exception:
    """What a status that is no success means; the word for it is the provider's, if it is one."""
    with error:
        if error.code >= 500 or error.code < 400 or error.code in _MAY_HEAL:
            return ProviderError(f"it answers with status {error.code}")
        try:
            word = _parse(error.read(MAX_BYTES + 1)).get("error")
        except (ProviderError, OSError, HTTPException):
            word = None
    return ProviderRefusal(clean_word(word) or f"status {error.code}")


def clean_word(word: object) -> str:
    """Give an error's code (RFC 6749 4.1.2.1) as it may stand in a sentence; empty for anything else."""
    if isinstance(word, str) and len(word) <= 60 and word.replace("_", "").isalnum() and word.isascii():
        return word
    return ""


def _describe(error: object) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    return f"it cannot be reached ({type(error).__name__})"
