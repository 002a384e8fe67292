"""Builds the application from the table of routes."""

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Final

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy.exc import DataError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles

from screener.config import Config
from screener.logs import describe_error
from screener.store import Store
from screener.store.engine import reading
from screener.web.ask_provider import make_provider
from screener.web.fill_pages import FILTERS
from screener.web.gate import FormGate, Gate, RefusedError, address_of
from screener.web.headers import SafeHeaders, add_headers
from screener.web.read_patient import PatientReader
from screener.web.read_stack import CannotShowError, StackReader
from screener.web.routes import ROUTES
from screener.web.visit import Site, Visit, site_of

STATIC: Final = Path(__file__).resolve().parent / "static"

logger = logging.getLogger(__name__)


def make_site(config: Config, store: Store, clock: Callable[[], datetime]) -> FastAPI:
    """Build the application; what listens is the caller's business."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, title="Parotid screener")
    app.state.site = Site(
        config=config,
        store=store,
        reader=Store(reading(store.engine)),
        clock=clock,
        pages=make_pages(),
        patients=PatientReader(config.storage_folder),
        stacks=StackReader(),
        provider=make_provider(config, clock),
    )
    for route in ROUTES:
        gate = (Gate if route.method == "GET" else FormGate)(route.role, route.path)
        app.add_api_route(
            route.path,
            route.handler,
            methods=[route.method],
            dependencies=[Depends(gate)],
            response_model=None,
        )
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    app.add_exception_handler(RefusedError, _show_refusal)
    app.add_exception_handler(CannotShowError, _show_refusal)
    app.add_exception_handler(HTTPException, _show_refusal)
    app.add_exception_handler(RequestValidationError, _show_refusal)
    app.add_exception_handler(DataError, _show_refusal)  # PostgreSQL takes no NUL in a text and no number beyond bigint
    app.add_exception_handler(OverflowError, _show_refusal)  # nor does SQLite take such a number
    app.add_exception_handler(Exception, _show_error)
    app.add_middleware(SafeHeaders)
    return app


def make_pages() -> Environment:
    """The templates; whatever is filled into them is escaped."""
    pages = Environment(
        loader=PackageLoader("screener.web"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters.update(FILTERS)
    return pages


def _show_refusal(request: Request, error: Exception) -> Response:
    """Say why, as a page or, to a script, as JSON."""
    if isinstance(error, RefusedError) and error.redirect:
        return RedirectResponse(error.redirect, status_code=error.status)
    if isinstance(error, RefusedError):
        status, sentence = error.status, str(error)
    elif isinstance(error, CannotShowError):
        status, sentence = 404, str(error)
    elif isinstance(error, HTTPException):
        status, sentence = error.status_code, "There is no such page."
    else:
        status, sentence = 400, "What was asked for makes no sense: go back, load the page again, and repeat it."
    return _say(request, status, sentence)


def _show_error(request: Request, error: Exception) -> Response:
    logger.error("a page ended in an error: %s", describe_error(error))
    answer = _say(request, 500, "This page has failed. The log says where; the study itself is not touched.")
    add_headers(answer.headers, is_https=request.url.scheme == "https")
    return answer


def _say(request: Request, status: int, sentence: str) -> Response:
    if "text/html" not in request.headers.get("accept", ""):
        return JSONResponse({"sentence": sentence}, status_code=status)
    visit = getattr(request.state, "visit", None)
    if visit is None:
        visit = Visit(site=site_of(request), address=address_of(request), session=None, token="", path=request.url.path)
    page: Response = visit.page("message.html", {"sentence": sentence, "status": status}, status=status)
    return page
