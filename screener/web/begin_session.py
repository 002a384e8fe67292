"""What both ways of signing in share: the form, the limit on failures, and the session that begins."""

import secrets
from datetime import timedelta
from typing import Final

from starlette.responses import RedirectResponse, Response

from screener.store.web_accounts import Account, failure_key
from screener.web.gate import COOKIE, digest_token
from screener.web.visit import Visit

MAX_NAME_CHARACTERS: Final = 64
_ADDRESS_SHARE: Final = 5
"""So many times the failures of one account one address may have: a hospital often shows a single one."""


class TooManyFailuresError(Exception):
    """Whoever signs in must wait; the message says for how long."""


def begin_attempt(visit: Visit, name: str | None = None) -> list[int]:
    """Count a sign-in as failed before it is looked at, under its address and `name`; gives what takes that back.

    Without a name it is one of OpenID, whose address is counted by itself: what
    fails at the provider must leave the local accounts. TooManyFailuresError
    where there were too many; the trail tells it once per key and window, for
    each line costs a write.
    """
    site, now = visit.site, visit.site.clock()
    window = timedelta(minutes=site.config.web.failure_minutes)
    most = site.config.web.max_failures
    limits = {} if name is None else {failure_key("account", name): most}
    way = "openid address" if name is None else "address"
    by_address = failure_key(way, visit.address)
    limits[by_address] = most * _ADDRESS_SHARE
    over = [key for key, limit in limits.items() if site.reader.failed_sign_ins(key, now - window) >= limit]
    attempt = [] if over else site.store.begin_sign_in(limits, now, window)
    if attempt:
        return attempt
    if site.refusals.is_first(over[-1] if over else "", now, window):
        account = find_named(visit, name)
        where = " from one address" if by_address in over else " of one account" if over else " at the same time"
        account_name = account.name if account is not None else ""
        visit.audit("sign-in refused", detail=f"too many failures{where}", account=account_name)
    raise TooManyFailuresError(f"Too many failures: wait {site.config.web.failure_minutes:g} minutes, then try again.")


def find_named(visit: Visit, name: str | None) -> Account | None:
    """The account of a name that was typed; None where it is no account's, or none was typed."""
    return visit.site.reader.find_account(name) if name is not None and len(name) <= MAX_NAME_CHARACTERS else None


def begin_session(
    visit: Visit, account: Account, next_path: str, *, detail: str = "", id_token: str | None = None
) -> Response:
    """Sign an account in, and go to a page of ours."""
    site, now = visit.site, visit.site.clock()
    token = secrets.token_urlsafe(32)
    ends_at = now + timedelta(hours=site.config.web.session_hours)
    site.store.begin_session(account.account_id, digest_token(token), now, ends_at, id_token)
    visit.audit("signed in", detail=detail, account=account.name)
    answer = RedirectResponse(own_path(next_path), status_code=303)
    answer.set_cookie(COOKIE, token, secure=True, httponly=True, samesite="lax", path="/")
    return answer


def ask_to_sign_in(visit: Visit, next_path: str, sentence: str = "", *, status: int = 200) -> Response:
    """The page with the ways of signing in that the settings leave."""
    values = {
        "next": own_path(next_path),
        "sentence": sentence,
        "has_form": visit.site.config.web.local_accounts,
        "has_provider": visit.site.provider is not None,
    }
    page: Response = visit.page("sign_in.html", values, status=status)
    return page


def own_path(path: str) -> str:
    """A path of ours, never another site's: browsers read a backslash as a slash, and two begin a host's name."""
    is_ours = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_ours else "/"
