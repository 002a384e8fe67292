"""Signing in and out: local accounts, a limit on failures, a session that the server keeps."""

import hashlib
import secrets
from datetime import timedelta
from typing import Annotated, Final

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from screener.web.gate import COOKIE, digest_token
from screener.web.passwords import MAX_CHARACTERS, is_password
from screener.web.visit import Visit, visit_of

MAX_NAME_CHARACTERS: Final = 64
_ADDRESS_SHARE: Final = 5
"""So many times the failures of one account one address may have: a hospital often shows a single one."""


def show_sign_in(request: Request, next: str = "/") -> Response:
    """The form."""
    visit = visit_of(request)
    if visit.session is not None:
        return RedirectResponse(_own_path(next), status_code=303)
    return visit.page("sign_in.html", {"next": _own_path(next), "sentence": ""})


def do_sign_in(
    request: Request,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Begin a session, or say that it was not the right name and password, and never which of them."""
    visit = visit_of(request)
    site, now = visit.site, visit.site.clock()
    window = timedelta(minutes=site.config.web.failure_minutes)
    most = site.config.web.max_failures
    limits = {_digest(f"account {name}"): most, _digest(f"address {visit.address}"): most * _ADDRESS_SHARE}
    over = [key for key, limit in limits.items() if site.reader.failed_sign_ins(key, now - window) >= limit]
    attempt = [] if over else site.store.begin_sign_in(limits, now, window)
    if not attempt:
        return _refuse(visit, next, over[-1] if over else "")
    account = site.reader.find_account(name) if len(name) <= MAX_NAME_CHARACTERS else None
    is_right = is_password(password[: MAX_CHARACTERS + 1], account.password_hash if account is not None else None)
    if account is None or account.is_disabled or not is_right:
        visit.audit("sign-in failed", account=account.name if account is not None else "")
        return _again(visit, next, "That is not the name and the password of an account.", status=401)
    site.store.sign_in_succeeded(attempt)
    token = secrets.token_urlsafe(32)
    ends_at = now + timedelta(hours=site.config.web.session_hours)
    site.store.begin_session(account.account_id, digest_token(token), now, ends_at)
    visit.audit("signed in", account=account.name)
    answer = RedirectResponse(_own_path(next), status_code=303)
    answer.set_cookie(COOKIE, token, secure=True, httponly=True, samesite="lax", path="/")
    return answer


def do_sign_out(request: Request) -> Response:
    """End the session."""
    visit = visit_of(request)
    if visit.session is not None:
        visit.site.store.end_session(visit.session.session_id)
        visit.audit("signed out")
    answer = RedirectResponse("/sign-in", status_code=303)
    answer.headers["Clear-Site-Data"] = '"cache"'  # browsers that know it forget the pictures
    answer.delete_cookie(COOKIE, secure=True, httponly=True, samesite="lax", path="/")
    return answer


def _refuse(visit: Visit, next_path: str, key: str) -> Response:
    """Say that there were too many failures; the trail tells it once per key and window: each line costs a write."""
    minutes = visit.site.config.web.failure_minutes
    if visit.site.refusals.is_first(key, visit.site.clock(), timedelta(minutes=minutes)):
        visit.audit("sign-in refused", detail="too many failures")
    return _again(visit, next_path, f"Too many failures: wait {minutes:g} minutes, then try again.", status=429)


def _again(visit: Visit, next_path: str, sentence: str, *, status: int) -> Response:
    return visit.page("sign_in.html", {"next": _own_path(next_path), "sentence": sentence}, status=status)


def _own_path(path: str) -> str:
    """A path of ours, never another site's: browsers read a backslash as a slash, and two begin a host's name."""
    is_ours = path.startswith("/") and not path.startswith("//") and "\\" not in path and path.isprintable()
    return path if is_ours else "/"


def _digest(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()
