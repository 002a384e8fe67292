"""Signing in with a local account, and signing out."""

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from screener.web.begin_session import (
    TooManyFailuresError,
    ask_to_sign_in,
    begin_attempt,
    begin_session,
    find_named,
    own_path,
)
from screener.web.gate import COOKIE, RefusedError
from screener.web.passwords import MAX_CHARACTERS, is_password
from screener.web.sign_in_openid import leave_provider
from screener.web.visit import visit_of


def show_sign_in(request: Request, next: str = "/") -> Response:
    """The form."""
    visit = visit_of(request)
    if visit.session is not None:
        return RedirectResponse(own_path(next), status_code=303)
    return ask_to_sign_in(visit, next)


def do_sign_in(
    request: Request,
    name: Annotated[str, Form()] = "",
    password: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Begin a session, or say that it was not the right name and password, and never which of them."""
    visit = visit_of(request)
    site = visit.site
    if not site.config.web.local_accounts:
        raise RefusedError(403, "There are no local accounts here: sign in with the hospital's account.")
    try:
        attempt = begin_attempt(visit, name)
    except TooManyFailuresError as error:
        return ask_to_sign_in(visit, next, str(error), status=429)
    account = find_named(visit, name)
    is_right = is_password(password[: MAX_CHARACTERS + 1], account.password_hash if account is not None else None)
    if account is None or account.is_disabled or not is_right:
        visit.audit("sign-in failed", account=account.name if account is not None else "")
        return ask_to_sign_in(visit, next, "That is not the name and the password of an account.", status=401)
    site.store.sign_in_succeeded(attempt)
    return begin_session(visit, account, next)


def do_sign_out(request: Request) -> Response:
    """End the session, and the one at the OpenID provider where it began there."""
    visit = visit_of(request)
    answer: Response = RedirectResponse("/sign-in", status_code=303)
    if visit.session is not None:
        visit.site.store.end_session(visit.session.session_id)
        visit.audit("signed out")
        if visit.session.id_token is not None:
            answer = leave_provider(visit, visit.session.id_token)
    answer.headers["Clear-Site-Data"] = '"cache"'  # browsers that know it forget the pictures
    answer.delete_cookie(COOKIE, secure=True, httponly=True, samesite="lax", path="/")
    return answer
