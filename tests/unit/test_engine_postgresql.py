"""PostgreSQL at the other end: given up when it is silent, and refused where a commit of its need not last."""

import re
import socket
from collections.abc import Iterator

import psycopg
import pytest
import sqlalchemy as sa

from screener.config import ConfigError
from screener.store import open_store
from screener.store.engine import open_engine
from tests.peers.servers import open_postgresql


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with open_postgresql() as url:
        yield url


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screener.store.engine.CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        engine = open_engine(f"postgresql+psycopg://screener@127.0.0.1:{silent.getsockname()[1]}/screener")
        with pytest.raises(sa.exc.OperationalError, match="timeout"):
            engine.connect()
        engine.dispose()


def test_a_server_whose_machine_is_gone_is_noticed(url: str) -> None:
    engine = open_engine(url)
    with engine.connect() as connection:
        driver = connection.connection.dbapi_connection
        assert isinstance(driver, psycopg.Connection)
        parameters = driver.info.get_parameters()
    engine.dispose()
    assert int(parameters["tcp_user_timeout"]) <= 30_000
    assert int(parameters["keepalives_idle"]) + 5 * int(parameters["keepalives_interval"]) <= 60


def test_a_server_that_need_not_keep_what_it_has_committed_is_refused(url: str) -> None:
    server = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text("CREATE DATABASE careless"))
        connection.execute(sa.text("ALTER DATABASE careless SET synchronous_commit = off"))
    server.dispose()
    careless = sa.make_url(url).set(database="careless").render_as_string(hide_password=False)
    sentence = "database.url: the server has synchronous_commit off: a committed row need not survive a power cut"
    with pytest.raises(ConfigError, match=re.escape(sentence)):
        open_store(careless, is_migrating=True)


def test_a_server_that_keeps_what_it_has_committed_is_taken(url: str) -> None:
    open_store(url, is_migrating=True).engine.dispose()
