"""The hospital's OpenID provider: where it is asked what, its keys, and the exchange of a code for an ID token.

What it publishes is fetched when it is first needed and kept for an hour;
past that an older copy serves where it is away.
"""

import base64
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from threading import BoundedSemaphore
from typing import Any, Final, Generic, NamedTuple, TypeVar
from urllib.parse import quote_plus, urlencode

from joserfc.jwk import KeySet

from screener.config import Config
from screener.notice_settings import is_web_address
from screener.tls import make_openid_tls
from screener.web.check_id_token import read_keys
from screener.web.fetch_json import JsonFetcher, ProviderAwayError, ProviderError, ProviderRefusal
from screener.web_settings import OpenId

logger = logging.getLogger(__name__)

What = TypeVar("What")

DISCOVERY_PATH: Final = "/.well-known/openid-configuration"
KEPT: Final = timedelta(hours=1)
LEFT_ALONE: Final = timedelta(seconds=10)
"""After it was away the provider is not asked for so long: nobody waits for what has just failed."""
KEYS_STEP: Final = timedelta(minutes=1)
"""A key that is not known makes us fetch the keys, but not more often than this."""
AT_ONCE: Final = 4
"""So many requests wait for it at the same time: a slow provider must not hold up the pages."""
MAX_SIGN_OUT_CHARACTERS: Final = 6000
"""Of an address with an ID token in it: servers take 8 KiB and more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoints:
    """What the discovery document says (OpenID Connect Discovery 3)."""

    authorization: str
    token: str
    keys: str
    end_session: str
    """Empty: the provider has no sign-out."""
    names_itself: bool
    """True: every answer through the browser carries `iss` (RFC 9207)."""
    takes_basic: bool
    """True: the client's secret goes into a header. False: into the form."""


class Tokens(NamedTuple):
    """What a code was exchanged for."""

    id_token: str
    access_token: str
    """Empty for none; it is used for nothing but `at_hash`, and kept nowhere."""


class _Published(Generic[What]):
    """Something that the provider publishes; any number of threads may ask."""

    def __init__(self, fetch: Callable[[], What]) -> None:
        self._fetch = fetch
        self._kept: tuple[datetime, What] | None = None

    def ask(self, now: datetime, kept_for: timedelta) -> What:
        """Give it, fetched anew once it is as old as `kept_for`; where that fails the older one serves, if any."""
        if self._kept is not None and now - self._kept[0] < kept_for:
            return self._kept[1]
        try:
            self._kept = (now, self._fetch())
        except ProviderError:
            if self._kept is None:
                raise
        return self._kept[1]


class Provider:
    """Talks with the provider that [web.openid] names; any number of threads may ask."""

    def __init__(self, settings: OpenId, fetcher: JsonFetcher, clock: Callable[[], datetime]) -> None:
        self.settings = settings
        self._fetcher = fetcher
        self._clock = clock
        self._places = BoundedSemaphore(AT_ONCE)
        self._endpoints = _Published(self._fetch_endpoints)
        self._keys = _Published(self._fetch_keys)
        self._away_at: datetime | None = None

    def endpoints(self) -> Endpoints:
        """Where the provider is asked what; ProviderError where nothing is known."""
        return self._endpoints.ask(self._clock(), KEPT)

    def keys(self, *, is_unknown: bool = False) -> KeySet:
        """The provider's public keys; `is_unknown`: a token names one that is not among them, they may be new."""
        return self._keys.ask(self._clock(), KEYS_STEP if is_unknown else KEPT)

    def _fetch_endpoints(self) -> Endpoints:
        document = self._ask(self.settings.issuer.rstrip("/") + DISCOVERY_PATH)
        return read_endpoints(document, self.settings.issuer)

    def _fetch_keys(self) -> KeySet:
        return read_keys(self._ask(self.endpoints().keys))

    def exchange(self, code: str, verifier: str, back: str) -> Tokens:
        """Give the tokens for a code (RFC 6749 4.1.3, RFC 7636 4.5); ProviderRefusal where it will not."""
        settings, endpoints = self.settings, self.endpoints()
        secret = settings.secret.get_secret_value() if settings.secret is not None else ""
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": back, "code_verifier": verifier}
        authorization = ""
        if endpoints.takes_basic:
            pair = f"{quote_plus(settings.client_id)}:{quote_plus(secret)}"  # RFC 6749 2.3.1
            authorization = f"Basic {base64.b64encode(pair.encode()).decode()}"
        else:
            form |= {"client_id": settings.client_id, "client_secret": secret}
        answer = self._ask(endpoints.token, urlencode(form).encode(), authorization)
        id_token, access_token = answer.get("id_token"), answer.get("access_token", "")
        if not isinstance(id_token, str) or not isinstance(access_token, str):
            raise ProviderError("it gives no ID token for a code")
        return Tokens(id_token, access_token)

    def sign_in_address(self, *, state: str, nonce: str, challenge: str, back: str) -> str:
        """Where the browser is sent to sign in (OpenID Connect Core 3.1.2.1, RFC 7636 4.3)."""
        asked = {
            "response_type": "code",
            "client_id": self.settings.client_id,
            "redirect_uri": back,
            "scope": " ".join(self.settings.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        if self.settings.prompt:
            asked["prompt"] = self.settings.prompt
        return _with_query(self.endpoints().authorization, asked)

    def sign_out_address(self, id_token: str, back: str) -> str:
        """Where the browser is sent to sign out there (RP-Initiated Logout 2); empty where there is no such page."""
        address = self.endpoints().end_session
        if not address:
            return ""
        asked = {"client_id": self.settings.client_id, "post_logout_redirect_uri": back}
        hinted = _with_query(address, asked | {"id_token_hint": id_token})
        return hinted if len(hinted) <= MAX_SIGN_OUT_CHARACTERS else _with_query(address, asked)

    def _ask(self, address: str, form: bytes | None = None, authorization: str = "") -> dict[str, Any]:
        """Ask it one thing; only what a form asks for may be refused, for what it publishes is for everybody."""
        now = self._clock()
        if self._away_at is not None and timedelta(0) <= now - self._away_at < LEFT_ALONE:
            raise ProviderError("it could not be reached a moment ago")
        if not self._places.acquire(timeout=self.settings.timeout_seconds):
            raise ProviderError("too many wait for it")
        try:
            return self._fetcher.fetch(address, form, authorization)
        except ProviderAwayError:
            self._away_at = now
            raise
        except ProviderRefusal as refusal:
            if form is not None:
                raise
            raise ProviderError(f"it refuses: {refusal}") from None
        finally:
            self._places.release()


def make_provider(config: Config, clock: Callable[[], datetime]) -> Provider | None:
    """The provider that the settings name; None for none. ConfigError where its authorities cannot be read."""
    settings = config.web.openid
    if not settings.issuer:
        return None
    return Provider(settings, JsonFetcher(settings, make_openid_tls(config)), clock)


def try_provider(provider: Provider) -> None:
    """Say in the log whether the provider can be asked, so that who names a wrong one sees it at the start."""
    try:
        provider.keys()
    except ProviderError as error:
        logger.warning("the OpenID provider cannot be asked: %s", error)
    else:
        logger.info("the OpenID provider answers")


def read_endpoints(document: Mapping[str, Any], issuer: str) -> Endpoints:
    """Read a discovery document; ProviderError where it is another issuer's or names no place that may be asked."""
    if document.get("issuer") != issuer:
        raise ProviderError("its discovery document is of another issuer than web.openid.issuer")
    methods = document.get("token_endpoint_auth_methods_supported", ["client_secret_basic"])
    if not isinstance(methods, list) or not ("client_secret_basic" in methods or "client_secret_post" in methods):
        raise ProviderError("it takes no client secret")
    return Endpoints(
        authorization=_read_address(document, "authorization_endpoint"),
        token=_read_address(document, "token_endpoint"),
        keys=_read_address(document, "jwks_uri"),
        end_session=_read_address(document, "end_session_endpoint") if document.get("end_session_endpoint") else "",
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        takes_basic="client_secret_basic" in methods,
    )


def _read_address(document: Mapping[str, Any], name: str) -> str:
    address = document.get(name)
    try:
        if isinstance(address, str) and address.isascii() and address.isprintable() and " " not in address:
            return is_web_address(address)
    except ValueError:
        pass
    raise ProviderError(f"its discovery document names no {name} with https")


def _with_query(address: str, values: Mapping[str, str]) -> str:
    return f"{address}{'&' if '?' in address else '?'}{urlencode(values)}"
