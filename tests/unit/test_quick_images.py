"""The short way into SQLite writes what the long way writes, and leaves to it whatever is not plain."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from screener.sop_classes import DOCUMENTS
from screener.store import Kind, ReceivedInstance, Store
from screener.store import tables as t
from screener.store.engine import open_engine
from screener.store.values import Receipt
from tests.peers.values import an_instance

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(seconds=7, microseconds=5)


@pytest.fixture
def long_way(store: Store) -> Store:
    """The same database, as if there were no short way."""
    other = Store(store.engine)
    other.__dict__["_quick_images"] = None
    return other


def rows(store: Store, table: sa.Table) -> list[dict[str, Any]]:
    with store.engine.connect() as connection:
        return [dict(row._mapping) for row in connection.execute(sa.select(table).order_by(table.c.id))]


def take(store: Store, *arrived: ReceivedInstance, now: datetime = NOW) -> bool:
    assert store._quick_images is not None
    return store._quick_images.record([(received, now) for received in arrived])


def test_both_ways_write_the_same_rows(store: Store, long_way: Store) -> None:
    for number, uid in ((1, "1.2.3"), (101, "1.2.4")):
        long_way.record_instance(an_instance(number, study_instance_uid=uid), NOW)
    with store.engine.begin() as connection:  # as an ending would leave them, were it not for the news
        connection.execute(t.studies.update().values(ending="failed", ended_at=NOW, code="x", reason="y", stage="sent"))
    assert take(store, an_instance(2), an_instance(3, modality="a modality longer than sixteen"), now=LATER)
    several = [
        an_instance(102, study_instance_uid="1.2.4"),
        an_instance(103, study_instance_uid="1.2.4", modality="a modality longer than sixteen"),
    ]
    long_way.record_instances([(received, LATER) for received in several])
    long_way.record_instance(an_instance(104, study_instance_uid="1.2.4"), LATER)
    assert take(store, an_instance(4, calling_ae_title="AE TITLE, LONGER THAN 16"), now=LATER)
    first, second = rows(store, t.studies)
    assert {**first, "id": 2, "study_instance_uid": "1.2.4"} == second
    assert (first["news_at"], first["news_since_at"]) == (LATER, NOW)
    assert (first["ending"], first["ended_at"], first["code"], first["reason"]) == (None, None, "", "")
    written = {row["sop_instance_uid"]: row for row in rows(store, t.instances)}
    ours, theirs = written["1.2.3.1.2"], written["1.2.3.1.102"]
    told_apart = {"id", "study_id", "sop_instance_uid", "path", "sha256"}
    alike = ours.keys() - told_apart
    assert {key: ours[key] for key in alike} == {key: theirs[key] for key in alike}
    assert written["1.2.3.1.3"]["modality"] == written["1.2.3.1.103"]["modality"] == "a modality longe"
    assert written["1.2.3.1.4"]["calling_ae_title"] == "AE TITLE, LONGER"
    assert ours["received_at"] == LATER
    assert ours["expired_at"] is None


def test_no_column_has_a_value_that_only_sqlalchemy_knows() -> None:
    assert [column.name for column in t.instances.columns if column.default is not None] == []


def test_an_older_image_does_not_turn_the_clock_back(store: Store) -> None:
    store.record_instance(an_instance(1), LATER)
    assert take(store, an_instance(2), now=NOW)
    assert rows(store, t.studies)[0]["news_at"] == LATER


def again(store: Store) -> list[ReceivedInstance]:
    store.record_instance(an_instance(2), NOW)
    return [an_instance(2)]


def of_other_content(store: Store) -> list[ReceivedInstance]:
    store.record_instance(an_instance(2), NOW)
    return [an_instance(3), an_instance(2, sha256="f" * 64)]


def of_an_unknown_study(_: Store) -> list[ReceivedInstance]:
    return [an_instance(2), an_instance(4, study_instance_uid="1.2.5")]


def a_document(_: Store) -> list[ReceivedInstance]:
    return [an_instance(2), an_instance(3, kind=Kind.DOCUMENT, sop_class_uid=min(DOCUMENTS))]


def of_a_dispatched_study(store: Store) -> list[ReceivedInstance]:
    with store.engine.begin() as connection:
        connection.execute(t.studies.update().values(news_since_at=None, news_at=None))
    return [an_instance(2)]


@pytest.mark.parametrize("make", [again, of_other_content, of_an_unknown_study, a_document, of_a_dispatched_study])
def test_what_is_not_plain_is_left_alone(store: Store, make: Callable[[Store], list[ReceivedInstance]]) -> None:
    store.record_instance(an_instance(1), NOW)
    arrived = make(store)
    before = {table.name: rows(store, table) for table in (t.studies, t.instances, t.steps)}
    assert not take(store, *arrived, now=LATER)
    assert {table.name: rows(store, table) for table in (t.studies, t.instances, t.steps)} == before


def test_the_store_takes_the_long_way_then(store: Store) -> None:
    arrived = [(received, NOW) for received in (an_instance(1), an_instance(2), an_instance(2), an_instance(1))]
    assert store.record_instances(arrived) == [Receipt.NEW, Receipt.NEW, Receipt.RESENT, Receipt.RESENT]
    assert store.record_instance(an_instance(1, sha256="f" * 64), NOW) is Receipt.CONFLICT
    assert len(rows(store, t.instances)) == 2


def test_a_database_that_stays_locked_is_an_error_of_the_store(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screener.store.engine.BUSY_SECONDS", 0.05)
    impatient = Store(open_engine(store.engine.url.render_as_string()))
    store.record_instance(an_instance(1), NOW)
    with store.engine.begin(), pytest.raises(OperationalError, match="locked"):
        take(impatient, an_instance(2))
    assert take(impatient, an_instance(2))
    impatient.engine.dispose()


def test_other_databases_have_no_short_way() -> None:
    assert Store(sa.create_engine("postgresql+psycopg://nobody@localhost/nowhere"))._quick_images is None


def test_an_old_sqlite_takes_the_long_way(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screener.store.quick_images.sqlite3.sqlite_version_info", (3, 34, 1))
    assert store._quick_images is None
    assert [store.record_instance(an_instance(number), NOW) for number in (1, 2)] == [Receipt.NEW] * 2


def test_numbers_grow_with_the_arrivals(store: Store) -> None:
    record = partial(store.record_instance, now=NOW)
    assert [record(an_instance(number)) for number in (5, 3, 9)] == [Receipt.NEW] * 3
    assert [row["sop_instance_uid"] for row in rows(store, t.instances)] == [
        f"1.2.3.1.{number}" for number in (5, 3, 9)
    ]
