"""Serves the pages until told to stop, or until the daemon that started it is gone."""

import logging
import os
import socket
import threading
from datetime import UTC, datetime
from typing import Final

import pydicom.config
import uvicorn

from screener.config import Config, ConfigError
from screener.store import Store
from screener.tls import make_web_tls
from screener.web.ask_provider import try_provider
from screener.web.hurry_connections import HurriedConnection
from screener.web.know_patients import know_patients
from screener.web.read_stack import leave_out_gdcm
from screener.web.site import make_site

MAX_REQUESTS: Final = 200
"""At the same time; the next one is told to come again."""
KEEP_ALIVE_SECONDS: Final = 30
STOP_SECONDS: Final = 5
PARENT_SECONDS: Final = 1.0

logger = logging.getLogger(__name__)


def serve(config: Config, store: Store, *, parent: int = 0) -> None:
    """Listen as [web] says; ConfigError where the address cannot be listened on. `parent`: ends with that process."""
    # A value that breaks a rule of its VR is a warning of pydicom's that quotes the value.
    pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
    leave_out_gdcm()
    app = make_site(config, store, lambda: datetime.now(UTC))
    server = uvicorn.Server(_make_settings(app, config))
    listening = _listen(config)
    is_over = threading.Event()
    site = app.state.site
    worker = threading.Thread(target=know_patients, args=(site.reader, site.store, site.patients, is_over), daemon=True)
    worker.start()
    if site.provider is not None:
        threading.Thread(target=try_provider, args=(site.provider,), daemon=True).start()
    if parent:
        threading.Thread(target=_end_with, args=(parent, server), daemon=True).start()
    scheme = "https" if config.web.tls_certificate else "http"
    logger.info("serving the pages at %s://%s:%d", scheme, *listening.getsockname()[:2])
    try:
        server.run(sockets=[listening])
    finally:
        is_over.set()
        worker.join(STOP_SECONDS)
        store.engine.dispose()


def _make_settings(app: object, config: Config) -> uvicorn.Config:
    # What it says of an error quotes the error's words, which may be a patient's: `site` tells errors in its own.
    for name in ("uvicorn", "uvicorn.error", "uvicorn.asgi"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    settings = uvicorn.Config(
        app,  # type: ignore[arg-type]  # FastAPI is one
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(config.web.proxies),
        forwarded_allow_ips=list(config.web.proxies),
        limit_concurrency=MAX_REQUESTS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=STOP_SECONDS,
        lifespan="off",
        ws="none",
        http=HurriedConnection,
        loop="asyncio",
    )
    settings.load()
    settings.ssl = make_web_tls(config)
    return settings


def _listen(config: Config) -> socket.socket:
    web = config.web
    try:
        family = socket.getaddrinfo(web.host, web.port, type=socket.SOCK_STREAM)[0][0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((web.host, web.port))
    except OSError as error:
        raise ConfigError(f"web.port: {web.host}:{web.port}: {error.strerror}") from error
    return listening


def _end_with(parent: int, server: uvicorn.Server) -> None:
    """Stop once the daemon is gone, however it went: a page must not speak for a daemon that is not there."""
    beat = threading.Event()
    while os.getppid() == parent:
        beat.wait(PARENT_SECONDS)
    server.should_exit = True
