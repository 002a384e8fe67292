"""Findings in past studies: one message a night for each recipient, owed until it is taken."""

from collections.abc import Iterator
from datetime import datetime, time, timedelta
from pathlib import Path

import pytest

from screener.channels.message import Message
from screener.journey import Ending, Queue
from screener.notice_settings import Notices
from screener.notify import send_owed_digests, send_owed_notices
from screener.outcomes import TryAgain
from screener.store import BackfillOrder, ListedStudy, Store
from tests.conftest import PATIENT
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance
from tests.unit.test_pull import FIRST, LEASE, NIGHT, QUIET, a_series, dispatch, receive
from tests.unit.test_store import a_screening

MORNING = (NIGHT + timedelta(days=1)).replace(hour=6, minute=30)
DIGEST_AT = time(6, 30)


class Box:
    """A channel that keeps what it is given, or refuses."""

    name = "email"

    def __init__(self) -> None:
        self.taken: list[tuple[Message, str]] = []
        self.is_away = False

    def send(self, message: Message, recipient: str) -> None:
        if self.is_away:
            raise TryAgain("the mail server cannot be reached", code="mail_unreachable")
        self.taken.append((message, recipient))


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_new_store(f"sqlite:///{tmp_path}/screener.sqlite")
    opened.add_backfill(BackfillOrder(sources=("old",), from_date=FIRST, to_date=FIRST), NIGHT)
    yield opened
    opened.engine.dispose()


def fetch(store: Store, *studies: str) -> None:
    """Have the backfill fetch these studies at NIGHT."""
    search = store.next_search(["old"], NIGHT.date(), is_open=True)
    assert search is not None
    store.record_listing(search, studies, NIGHT)
    for number, study in enumerate(studies):
        item: ListedStudy | None = store.take_listed(["old"], NIGHT, is_open=True, with_new=True)
        assert item is not None
        store.begin_fetch(item, NIGHT)
        receive(store, study, a_series(number), NIGHT)
        store.end_fetch(item, "fetched", code="", reason="", now=NIGHT)
    dispatch(store, NIGHT + QUIET)


def screen(store: Store, voxels: int = 900, now: datetime = NIGHT + QUIET) -> int:
    run = store.claim_run(Queue.CT, "worker", now, LEASE)
    assert run is not None
    recipients = [("email", "ent@hospital.test"), ("email", "onc@hospital.test")]
    store.finish_run(run, a_screening(voxels), destinations=[], recipients=recipients, seconds=1.0, now=now)
    return run.study_id


def tell(store: Store, box: Box, now: datetime = MORNING) -> int:
    alone = send_owed_notices(store, [box], Notices(), now, storage_folder=Path())
    assert alone == 0, "a finding in a past study was told by itself"
    return send_owed_digests(store, [box], Notices(link="https://case/{study}"), now, digest_at=DIGEST_AT)


def test_all_findings_of_a_night_are_one_message_for_each_recipient(store: Store) -> None:
    fetch(store, "1.2.1", "1.2.2", "1.2.3")
    numbers = [screen(store, voxels) for voxels in (900, 100, 1500)]
    box = Box()
    assert tell(store, box, MORNING - timedelta(minutes=1)) == 0
    assert tell(store, box) == 2
    assert sorted(recipient for _, recipient in box.taken) == ["ent@hospital.test", "onc@hospital.test"]
    message, _ = box.taken[0]
    assert "2 past studies" in message.subject
    for number, voxels in ((numbers[0], 900), (numbers[2], 1500)):
        assert f"Study {number}: mass in the right parotid" in message.text
        assert f"{voxels} voxels" in message.text
        assert f"https://case/{number}" in message.text
    assert f"Study {numbers[1]}:" not in message.text
    assert not PATIENT.search(message.text)


def test_a_flagged_past_study_is_in_flight_until_its_digest_is_taken(store: Store) -> None:
    fetch(store, "1.2.1")
    number = screen(store)
    box = Box()
    box.is_away = True
    tell(store, box)
    assert store.study_report(number).ending is None
    assert store.counts().notices_owed == 2
    box.is_away = False
    assert tell(store, box, MORNING + timedelta(hours=1)) == 2
    assert store.study_report(number).ending is Ending.DONE
    assert len({message.key for message, _ in box.taken}) == 2


def test_what_is_found_after_the_digest_waits_for_the_next(store: Store) -> None:
    fetch(store, "1.2.1", "1.2.2")
    screen(store)
    box = Box()
    tell(store, box)
    late = screen(store, now=MORNING + timedelta(hours=1))
    assert tell(store, box, MORNING + timedelta(hours=2)) == 0
    assert tell(store, box, MORNING + timedelta(days=1)) == 2
    assert f"Study {late}:" in box.taken[-1][0].text


def test_a_digest_that_went_out_before_a_crash_goes_out_again_as_the_same_message(store: Store) -> None:
    fetch(store, "1.2.1", "1.2.2")
    screen(store)
    store.open_digests(MORNING.date(), MORNING)
    before = [digest.digest_id for digest in store.owed_digests(MORNING)]
    screen(store, now=MORNING)
    again = store.owed_digests(MORNING)
    assert [digest.digest_id for digest in again] == before
    assert [len(digest.notices) for digest in again] == [1, 1]


def test_a_finding_that_is_taken_back_before_the_digest_is_not_told(store: Store) -> None:
    fetch(store, "1.2.1")
    number = screen(store)
    store.reprocess(number, MORNING)
    dispatch(store, MORNING + QUIET)
    screen(store, voxels=100, now=MORNING + QUIET)
    box = Box()
    tell(store, box, MORNING + timedelta(hours=1))
    assert box.taken == []
    assert store.study_report(number).ending is Ending.DONE


def test_a_finding_that_is_taken_back_after_the_digest_is_withdrawn_in_the_next(store: Store) -> None:
    fetch(store, "1.2.1")
    number = screen(store)
    box = Box()
    tell(store, box)
    store.reprocess(number, MORNING)
    dispatch(store, MORNING + QUIET)
    screen(store, voxels=100, now=MORNING + QUIET)
    tell(store, box, MORNING + timedelta(days=1))
    text = box.taken[-1][0].text
    assert "withdrawn" in text
    assert str(number) in text


def test_a_study_from_a_scanner_is_told_by_itself_and_at_once(store: Store) -> None:
    store.record_instance(an_instance(), NIGHT)
    dispatch(store, NIGHT + QUIET)
    screen(store)
    box = Box()
    assert send_owed_notices(store, [box], Notices(), NIGHT + QUIET, storage_folder=Path()) == 2
    assert send_owed_digests(store, [box], Notices(), MORNING, digest_at=DIGEST_AT) == 0


def test_a_digest_that_waits_is_due_at_once_where_the_clock_was_set_back(store: Store) -> None:
    fetch(store, "1.2.1")
    screen(store)
    box = Box()
    box.is_away = True
    tell(store, box)
    box.is_away = False
    assert tell(store, box) == 0
    assert tell(store, box, MORNING - timedelta(hours=1)) == 2
