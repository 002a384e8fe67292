"""Signing in through the hospital's OpenID Connect provider: authorization code flow with PKCE, state and nonce.

What binds the answer to the browser that asked is one secret in a cookie of
its own; state, nonce and verifier are derived from it, so that none of them
is kept here. The provider's tokens open nothing here and are not kept, but for
the ID token, which the provider wants to see at the sign-out.
"""

import base64
import hashlib
import hmac
import logging
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote, unquote

from fastapi import Request
from starlette.responses import RedirectResponse, Response

from screener.store.web_accounts import Account, Role
from screener.web.ask_provider import Provider
from screener.web.begin_session import (
    TooManyFailuresError,
    ask_to_sign_in,
    begin_attempt,
    begin_session,
    own_path,
)
from screener.web.check_id_token import Expected, TokenError, TokenTimeError, UnknownKeyError, check_id_token
from screener.web.fetch_json import ProviderError, ProviderRefusal, clean_word
from screener.web.gate import RefusedError
from screener.web.grant_role import digest_subject, grant_role, read_name
from screener.web.visit import Visit, visit_of

BEGIN_PATH: Final = "/sign-in/openid"
RETURN_PATH: Final = "/sign-in/openid/return"
COOKIE: Final = "__Host-screener-openid"
TIME_TO_SIGN_IN: Final = timedelta(minutes=10)
MAX_NEXT_CHARACTERS: Final = 1000
_AWAY: Final = "The hospital's sign-in cannot be used at the moment, and the log says why: try again in a minute."
_NOT_BEGUN: Final = "This sign-in was not begun in this browser, took too long, or is over already: begin again."
_UNBELIEVED: Final = "The hospital's sign-in gave an answer that cannot be believed; the log says why. Begin again."
_NO_ROLE: Final = (
    "You have signed in at the hospital, but have no role here: ask whoever looks after the screener for one."
)
_OWN_FAULTS: Final = {"invalid_client", "unauthorized_client"}
"""Of the hospital's settings, here or at the provider (RFC 6749 5.2): whoever signs in can do nothing about them."""

logger = logging.getLogger(__name__)


class CannotSignInError(Exception):
    """A person is known and may not come in; the message is shown to them."""

    def __init__(self, sentence: str, name: str, why: str) -> None:
        super().__init__(sentence)
        self.name = name
        self.why = why
        """For the audit trail."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnderWay:
    """A sign-in that a browser has begun, as its cookie holds it."""

    secret: str
    begun_at: datetime
    next_path: str

    def derive(self, role: str) -> str:
        """A value of 64 characters that only this browser's answer can carry; it does not tell the secret."""
        return hmac.new(self.secret.encode(), f"screener openid {role}".encode(), hashlib.sha256).hexdigest()

    @property
    def challenge(self) -> str:
        """Digest of the verifier, S256 (RFC 7636 4.2)."""
        digest = hashlib.sha256(self.derive("verifier").encode()).digest()
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def write(self) -> str:
        """As the cookie holds it."""
        return f"{self.secret}.{int(self.begun_at.timestamp())}.{quote(self.next_path, safe='')}"


def begin_openid(request: Request, next: str = "/") -> Response:
    """Send the browser to the provider; a link, for a form may lead to pages of ours alone (form-action)."""
    visit = visit_of(request)
    provider = _provider_of(visit)
    if visit.session is not None:
        return RedirectResponse(own_path(next), status_code=303)
    next_path = own_path(next) if len(next) <= MAX_NEXT_CHARACTERS else "/"
    under_way = UnderWay(secret=secrets.token_urlsafe(32), begun_at=visit.site.clock(), next_path=next_path)
    try:
        address = provider.sign_in_address(
            state=under_way.derive("state"),
            nonce=under_way.derive("nonce"),
            challenge=under_way.challenge,
            back=_own_address(visit, RETURN_PATH),
        )
    except ProviderError as error:
        return _tell_away(visit, next_path, error)
    answer = RedirectResponse(address, status_code=303)
    seconds = int(TIME_TO_SIGN_IN.total_seconds())
    answer.set_cookie(COOKIE, under_way.write(), max_age=seconds, secure=True, httponly=True, samesite="lax", path="/")
    return answer


def end_openid(request: Request, code: str = "", state: str = "", error: str = "", iss: str = "") -> Response:
    """Take the provider's answer from the browser: begin a session, or say why not. Each sign-in comes back once."""
    visit = visit_of(request)
    provider = _provider_of(visit)
    under_way = _read_cookie(request.cookies.get(COOKIE, ""), visit.site.clock())
    answer: Response
    if under_way is None or not _is_its_answer(visit, under_way, state):
        answer = _tell_not_begun(visit)
    elif error:
        answer = _tell_refused(visit, under_way.next_path, clean_word(error))
    else:
        answer = _sign_in(visit, provider, under_way, code, iss)
    answer.delete_cookie(COOKIE, secure=True, httponly=True, samesite="lax", path="/")
    return answer


def leave_provider(visit: Visit, id_token: str) -> Response:
    """Say that the session here has ended, and lead to the provider's own sign-out where it has one.

    The page leads on by itself: browsers follow no redirect to another site
    after a form (form-action).
    """
    provider, address = visit.site.provider, ""
    if provider is not None:
        try:
            address = provider.sign_out_address(id_token, _own_address(visit, "/sign-in"))
        except ProviderError as error:
            logger.warning("sign-out: the OpenID provider cannot be asked: %s", error)
    signed_out = Visit(site=visit.site, address=visit.address, session=None, token="", path=visit.path)
    page: Response = signed_out.page("signed_out.html", {"leads_to": address})
    return page


def _sign_in(visit: Visit, provider: Provider, under_way: UnderWay, code: str, iss: str) -> Response:
    next_path = under_way.next_path
    try:
        attempt = begin_attempt(visit)
    except TooManyFailuresError as error:
        return ask_to_sign_in(visit, next_path, str(error), status=429)
    try:
        claims, id_token = _believe(visit, provider, under_way, code, iss)
        visit.site.store.sign_in_succeeded(attempt)
        account, detail = _find_account(visit, provider, claims)
    except ProviderError as error:
        visit.site.store.sign_in_succeeded(attempt)
        return _tell_away(visit, next_path, error)
    except (ProviderRefusal, TokenError) as error:
        return _tell_unbelieved(visit, next_path, attempt, error)
    except CannotSignInError as error:
        visit.audit("sign-in failed", detail=f"OpenID: {error.why}", account=error.name)
        return ask_to_sign_in(visit, next_path, str(error), status=403)
    return begin_session(visit, account, next_path, detail=detail, id_token=id_token)


def _believe(visit: Visit, provider: Provider, under_way: UnderWay, code: str, iss: str) -> tuple[dict[str, Any], str]:
    """Exchange the code and check what comes; gives the claims and the ID token."""
    issuer = provider.settings.issuer
    if iss != issuer and (iss or provider.endpoints().names_itself):  # RFC 9207 2.4
        raise TokenError("the answer came from another issuer")
    tokens = provider.exchange(code, under_way.derive("verifier"), _own_address(visit, RETURN_PATH))
    expected = Expected(
        issuer=issuer,
        client_id=provider.settings.client_id,
        nonce=under_way.derive("nonce"),
        access_token=tokens.access_token,
        now=visit.site.clock(),
    )
    try:
        return check_id_token(tokens.id_token, provider.keys(), expected), tokens.id_token
    except UnknownKeyError:
        return check_id_token(tokens.id_token, provider.keys(is_unknown=True), expected), tokens.id_token


def _find_account(visit: Visit, provider: Provider, claims: dict[str, Any]) -> tuple[Account, str]:
    """The account of whom the claims are about, and what the trail says of it; CannotSignInError for none."""
    settings = provider.settings
    name, role = read_name(claims, settings), grant_role(claims, settings)
    if role is None:
        raise CannotSignInError(_NO_ROLE, name, "no role")
    if not name:
        sentence = "The hospital's sign-in gives you no name that can be used here"
        raise CannotSignInError(f"{sentence} ({settings.name_claim}).", "", "no name")
    account = _enter(visit, digest_subject(settings.issuer, claims["sub"]), name, role)
    if account.is_disabled:
        raise CannotSignInError("Your account here is disabled.", account.name, "disabled")
    return account, f"OpenID, {role}"


def _enter(visit: Visit, subject: str, name: str, role: Role) -> Account:
    account = visit.site.store.account_by_openid(subject, name, role, visit.site.clock())
    if account is None:
        sentence = "An account of your name is here already, and is not known to be yours"
        command = f"`screener users openid {name}` leaves it to you"
        raise CannotSignInError(f"{sentence}: {command}.", name, "the name is another account's")
    return account


def _provider_of(visit: Visit) -> Provider:
    if visit.site.provider is None:
        raise RefusedError(404, "There is no such page.")
    return visit.site.provider


def _own_address(visit: Visit, path: str) -> str:
    """A page of ours as the settings say that people reach it, whatever host a request names."""
    return visit.site.config.web.url.rstrip("/") + path


def _read_cookie(text: str, now: datetime) -> UnderWay | None:
    """The sign-in that the browser has begun; None for none, or for one of too long ago."""
    secret, _, rest = text.partition(".")
    begun, _, next_path = rest.partition(".")
    if not secret or not (begun.isascii() and begun.isdecimal()) or len(begun) > 12:
        return None
    try:
        begun_at = datetime.fromtimestamp(int(begun), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    if not timedelta(seconds=-1) <= now - begun_at <= TIME_TO_SIGN_IN:
        return None
    return UnderWay(secret=secret, begun_at=begun_at, next_path=own_path(unquote(next_path)))


def _is_its_answer(visit: Visit, under_way: UnderWay, state: str) -> bool:
    """True, once: the answer carries the state of this browser's sign-in."""
    if not hmac.compare_digest(state.encode(), under_way.derive("state").encode()):
        return False
    return visit.site.returned.is_first(state, visit.site.clock(), TIME_TO_SIGN_IN)


def _tell_not_begun(visit: Visit) -> Response:
    if visit.session is not None:  # the way back in the browser, or a second click
        return RedirectResponse("/", status_code=303)
    return ask_to_sign_in(visit, "/", _NOT_BEGUN, status=400)


def _tell_refused(visit: Visit, next_path: str, word: str) -> Response:
    """The provider's own word for why, where it is one; the log tells it once a minute for each address."""
    if visit.site.refusals.is_first(f"openid {visit.address}", visit.site.clock(), timedelta(minutes=1)):
        logger.warning("sign-in: the OpenID provider refuses: %s", word or "it does not say why")
    sentence = f"The hospital's sign-in did not let you in{f' ({word})' if word else ''}."
    return ask_to_sign_in(visit, next_path, sentence, status=401)


def _tell_unbelieved(visit: Visit, next_path: str, attempt: list[int], error: ProviderRefusal | TokenError) -> Response:
    """What only the hospital can mend is nobody's failure, and is told once a minute for each address."""
    is_own_fault = isinstance(error, TokenTimeError) or str(error) in _OWN_FAULTS
    if is_own_fault:
        visit.site.store.sign_in_succeeded(attempt)
    key, minute = f"openid unbelieved {visit.address}", timedelta(minutes=1)
    if not is_own_fault or visit.site.refusals.is_first(key, visit.site.clock(), minute):
        logger.error("sign-in: the OpenID provider's answer is not believed: %s", error)
        visit.audit("sign-in failed", detail="OpenID: the answer is not believed")
    return ask_to_sign_in(visit, next_path, _UNBELIEVED, status=401)


def _tell_away(visit: Visit, next_path: str, error: ProviderError) -> Response:
    logger.warning("sign-in: the OpenID provider cannot be asked: %s", error)
    return ask_to_sign_in(visit, next_path, _AWAY, status=503)
