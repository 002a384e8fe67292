"""Rows that wait together are committed together, and each learns its own fate."""

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from sqlalchemy.exc import OperationalError

from screener.commit_rows import RowWriter
from screener.store import Store
from screener.store.tables import instances, studies
from screener.store.values import Receipt, ReceivedInstance
from tests.peers.values import an_instance

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
DEADLINE_SECONDS = 120.0


class Gate:
    """Holds the first commit until others wait behind it."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.batches: list[int] = []
        self.is_open = threading.Event()
        self.is_reached = threading.Event()
        self._one, self._many = store.record_instance, store.record_instances
        monkeypatch.setattr(store, "record_instance", self._record)
        monkeypatch.setattr(store, "record_instances", self._record_all)

    def _record(self, received: ReceivedInstance, now: datetime) -> Receipt:
        self.is_reached.set()
        assert self.is_open.wait(DEADLINE_SECONDS)
        self.batches.append(1)
        return self._one(received, now)

    def _record_all(self, arrived: Sequence[tuple[ReceivedInstance, datetime]]) -> list[Receipt]:
        self.batches.append(len(arrived))
        return self._many(arrived)


def record_together(writer: RowWriter, gate: Gate, rows: list[ReceivedInstance]) -> list[Receipt | Exception]:
    """The first row is being committed while all others come."""
    fates: list[Receipt | Exception | None] = [None] * len(rows)

    def record(number: int) -> None:
        try:
            fates[number] = writer.record(rows[number], NOW)
        except (OperationalError, OSError, ValueError) as error:
            fates[number] = error

    threads = [threading.Thread(target=record, args=(number,)) for number in range(len(rows))]
    threads[0].start()
    assert gate.is_reached.wait(DEADLINE_SECONDS)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(writer._waiting) == len(rows) - 1)
    gate.is_open.set()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert None not in fates
    return fates  # type: ignore[return-value]


def wait_until(is_so: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(int(DEADLINE_SECONDS * 100)):
        if is_so():
            return
        pause.wait(0.01)
    pytest.fail("it never came to that")


def count(store: Store, table: sa.Table) -> int:
    with store.engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count()).select_from(table)).scalar_one()


def test_what_comes_while_one_commits_is_committed_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, writer = Gate(store, monkeypatch), RowWriter(store)
    fates = record_together(writer, gate, [an_instance(number) for number in range(1, 11)])
    assert fates == [Receipt.NEW] * 10
    assert gate.batches == [1, 9]
    assert (count(store, instances), count(store, studies)) == (10, 1)


def test_each_row_of_a_batch_has_its_own_receipt(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, writer = Gate(store, monkeypatch), RowWriter(store)
    first, other = an_instance(1), an_instance(1, sha256="f" * 64)
    later_study = an_instance(2, study_instance_uid="1.2.0")
    assert record_together(writer, gate, [first, first, other, later_study]) == [
        Receipt.NEW,
        Receipt.RESENT,
        Receipt.CONFLICT,
        Receipt.NEW,
    ]


def test_one_bad_row_fails_alone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    gate, writer = Gate(store, monkeypatch), RowWriter(store)
    bad = an_instance(2)
    one = gate._one

    def refuse(received: ReceivedInstance, now: datetime) -> Receipt:
        if received is bad:
            raise OperationalError("insert", {}, Exception("refused"))
        return one(received, now)

    gate._one = refuse  # type: ignore[assignment]
    gate._many = lambda arrived: [refuse(*pair) for pair in arrived]  # type: ignore[assignment]
    fates = record_together(writer, gate, [an_instance(1), bad, an_instance(3)])
    assert fates[0] is fates[2] is Receipt.NEW or fates[2] is Receipt.RESENT
    assert isinstance(fates[1], OperationalError)
    assert writer.record(an_instance(4), NOW) is Receipt.NEW


def test_a_failed_turn_is_told_to_its_owner_and_the_next_goes_on(store: Store) -> None:
    turns = iter([OSError(35, "deadlock"), None])

    class Turn:
        def __enter__(self) -> None:
            error = next(turns, None)
            if error:
                raise error

        def __exit__(self, *_: object) -> None:
            pass

    writer = RowWriter(store, Turn)  # type: ignore[arg-type]
    with pytest.raises(OSError, match="deadlock"):
        writer.record(an_instance(1), NOW)
    assert writer.record(an_instance(1), NOW) is Receipt.NEW


def test_many_threads_lose_no_row(store: Store) -> None:
    writer = RowWriter(store)
    receipts: list[Receipt] = []

    def record(start: int) -> None:
        receipts.extend(writer.record(an_instance(start + number), NOW) for number in range(10))

    threads = [threading.Thread(target=record, args=(100 * thread + 1,)) for thread in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert receipts == [Receipt.NEW] * 60
    assert count(store, instances) == 60


def test_who_is_about_to_come_is_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screener.commit_rows.LINGER_SECONDS", DEADLINE_SECONDS)
    gate, writer = Gate(store, monkeypatch), RowWriter(store)
    gate.is_open.set()
    fates: list[Receipt] = []

    def record() -> None:
        with writer.coming():
            fates.append(writer.record(an_instance(1), NOW))

    thread = threading.Thread(target=record)
    with writer.coming():
        thread.start()
        wait_until(lambda: len(writer._waiting) == 1)
        fates.append(writer.record(an_instance(2), NOW))
    thread.join(DEADLINE_SECONDS)
    assert fates == [Receipt.NEW] * 2
    assert gate.batches == [2]


def test_who_does_not_come_after_all_is_not_waited_for(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("screener.commit_rows.LINGER_SECONDS", 2 * DEADLINE_SECONDS)
    writer = RowWriter(store)

    def record() -> None:
        with writer.coming():
            writer.record(an_instance(1), NOW)

    thread = threading.Thread(target=record)

    def give_up() -> None:
        with writer.coming():
            thread.start()
            wait_until(lambda: len(writer._waiting) == 1)
            raise OSError("no space")

    with pytest.raises(OSError, match="no space"):
        give_up()
    thread.join(DEADLINE_SECONDS)
    assert count(store, instances) == 1


def test_who_takes_long_to_come_is_waited_for_a_moment_only(store: Store) -> None:
    writer = RowWriter(store)
    with writer.coming(), writer.coming():
        assert writer.record(an_instance(1), NOW) is Receipt.NEW


class Syncs:
    """A sync of the disk that is held until it is let go, and may fail."""

    def __init__(self) -> None:
        self.count = 0
        self.failures = 0
        self.is_reached = threading.Event()
        self.may_end = threading.Event()

    def __call__(self) -> None:
        self.count += 1
        self.is_reached.set()
        assert self.may_end.wait(DEADLINE_SECONDS)
        if self.failures:
            self.failures -= 1
            raise OSError(5, "broken")


def test_nobody_is_answered_before_the_sync(store: Store) -> None:
    syncs = Syncs()
    writer = RowWriter(store, sync=syncs)
    receipts: list[Receipt] = []
    thread = threading.Thread(target=lambda: receipts.append(writer.record(an_instance(1), NOW)))
    thread.start()
    assert syncs.is_reached.wait(DEADLINE_SECONDS)
    assert count(store, instances) == 1
    assert receipts == []
    syncs.may_end.set()
    thread.join(DEADLINE_SECONDS)
    assert receipts == [Receipt.NEW]


def test_others_commit_while_one_waits_for_the_disk(store: Store) -> None:
    syncs = Syncs()
    writer = RowWriter(store, sync=syncs)
    threads = [threading.Thread(target=writer.record, args=(an_instance(number), NOW)) for number in (1, 2)]
    threads[0].start()
    assert syncs.is_reached.wait(DEADLINE_SECONDS)
    threads[1].start()
    wait_until(lambda: count(store, instances) == 2)
    syncs.may_end.set()
    for thread in threads:
        thread.join(DEADLINE_SECONDS)
    assert syncs.count == 2


def test_a_batch_has_one_sync(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = Syncs()
    syncs.may_end.set()
    gate, writer = Gate(store, monkeypatch), RowWriter(store, sync=syncs)
    assert record_together(writer, gate, [an_instance(number) for number in range(1, 11)]) == [Receipt.NEW] * 10
    assert (gate.batches, syncs.count) == ([1, 9], 2)


def test_where_a_sync_fails_each_of_its_batch_needs_one_of_its_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs = Syncs()
    syncs.may_end.set()
    gate, writer = Gate(store, monkeypatch), RowWriter(store, sync=syncs)
    many = gate._many

    def commit_and_break(arrived: Sequence[tuple[ReceivedInstance, datetime]]) -> list[Receipt]:
        receipts = many(arrived)
        syncs.failures = 2
        return receipts

    gate._many = commit_and_break
    fates = record_together(writer, gate, [an_instance(number) for number in range(1, 5)])
    assert fates[0] is Receipt.NEW or isinstance(fates[0], OSError)  # it may wait for the disk when that breaks
    assert sum(isinstance(fate, OSError) for fate in fates) == 2
    assert writer.record(an_instance(9), NOW) is Receipt.NEW


def test_a_row_that_is_committed_by_itself_is_synced_too(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = Syncs()
    syncs.may_end.set()
    gate, writer = Gate(store, monkeypatch), RowWriter(store, sync=syncs)

    def refuse(_: object) -> list[Receipt]:
        raise OperationalError("insert", {}, Exception("refused"))

    gate._many = refuse
    assert record_together(writer, gate, [an_instance(number) for number in (1, 2, 3)]) == [Receipt.NEW] * 3
    assert syncs.count == 3
