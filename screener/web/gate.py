"""Lets a request in, or refuses it with a sentence: session, role, and the token of a form."""

import hashlib
from datetime import timedelta
from typing import Annotated
from urllib.parse import quote

from fastapi import Form, Request

from screener.store.web_accounts import Role, Session
from screener.web.csrf import is_csrf_token
from screener.web.visit import Site, Visit, site_of

COOKIE = "__Host-screener"
"""The prefix makes browsers hold to Secure, Path=/ and no Domain (RFC 6265bis 4.1.3.2)."""


class RefusedError(Exception):
    """A request is refused; the message is shown."""

    def __init__(self, status: int, sentence: str, *, redirect: str = "") -> None:
        super().__init__(sentence)
        self.status = status
        self.redirect = redirect
        """Where the browser is sent instead; empty: the sentence is shown."""


class Gate:
    """One route's guard, run before its handler."""

    def __init__(self, role: Role | None, path: str) -> None:
        """No role: the page needs no sign-in. `path` is the route's own, with the names of its parts in braces."""
        self._role = role
        self._path = path

    def __call__(self, request: Request) -> None:
        """Leave a Visit in the request, or raise RefusedError."""
        self._let_in(request)

    def _let_in(self, request: Request) -> Visit:
        site = site_of(request)
        token = request.cookies.get(COOKIE, "")
        session = _find_session(site, token, is_used=not asks_by_itself(request))
        visit = Visit(
            site=site,
            address=address_of(request),
            session=session,
            token=token if session is not None else "",
            path=request.url.path,
        )
        request.state.visit = visit
        if self._role is None:
            return visit
        if session is None:
            raise _ask_to_sign_in(request)
        if not visit.may(self._role):
            detail = f"{request.method} {self._path}, which takes the role {self._role}"
            visit.audit("refused", _find_study(request, site), detail)
            raise RefusedError(403, f"This takes an account with the role {self._role}; yours is not.")
        return visit


class FormGate(Gate):
    """The guard of a route that changes something."""

    def __call__(self, request: Request, csrf_token: Annotated[str, Form()] = "") -> None:
        """As Gate; the form must come from a page of ours, and, signed in, from one of this session."""
        if request.headers.get("sec-fetch-site", "same-origin") not in {"same-origin", "none"}:
            raise RefusedError(403, "The form comes from another site.")
        visit = self._let_in(request)
        if visit.token and not is_csrf_token(csrf_token, visit.token):
            raise RefusedError(403, "The form is out of date: load the page again, then repeat what you did.")


def digest_token(token: str) -> str:
    """What is kept of a session's secret."""
    return hashlib.sha256(token.encode()).hexdigest()


def address_of(request: Request) -> str:
    """Where a request comes from; behind a proxy of ours what it says in X-Forwarded-For."""
    return request.client.host if request.client is not None else ""


def asks_by_itself(request: Request) -> bool:
    """True: the worklist asks for news, whoever may be before it; that keeps nobody signed in."""
    return request.url.path == "/worklist.json" or request.query_params.get("part") == "rows"


def _find_session(site: Site, token: str, *, is_used: bool) -> Session | None:
    if not token:
        return None
    idle = timedelta(minutes=site.config.web.idle_minutes)
    return site.reader.find_session(digest_token(token), site.clock(), idle, is_used=is_used)


def _find_study(request: Request, site: Site) -> int | None:
    """The study that the address names; None where there is none of it: what else was typed is not kept."""
    study_id = str(request.path_params.get("study_id", ""))
    return site.reader.find_study(study_id) if study_id.isdigit() else None


def _ask_to_sign_in(request: Request) -> RefusedError:
    """A page asks for a sign-in and comes back; whatever else says that it needs one."""
    sentence = "Sign in first."
    if request.method != "GET" or "text/html" not in request.headers.get("accept", ""):
        return RefusedError(401, sentence)
    query = f"?{request.url.query}" if request.url.query else ""
    return RefusedError(303, sentence, redirect=f"/sign-in?next={quote(request.url.path + query, safe='')}")
