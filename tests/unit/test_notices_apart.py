"""One receiver that refuses or is silent keeps no other notice back, and past studies are told in the digest only."""

from datetime import timedelta

import pytest

from screener.channels.message import Message
from screener.match_rules import find_on_ct, match_rules
from screener.notify import send_owed_digests
from screener.outcomes import NeedsPerson
from screener.store import Store
from screener.store import tables as t
from screener.study import Side
from tests.peers.values import an_instance
from tests.unit.test_notice_rules import DIGEST_AT, MINUTE, NOON, Box, find, night, rule, settings, tell
from tests.unit.test_store import QUIET, a_screening, claimed, dispatch


class Picky(Box):
    """An inbox that takes every study but the second."""

    def send(self, message: Message, recipient: str) -> None:
        if any(notice.study_id == 2 for notice in message.notices):
            raise NeedsPerson("refused (AE)", code="hl7_refused")
        super().send(message, recipient)


def test_one_study_that_is_refused_holds_back_no_other_of_an_hl7_digest(store: Store) -> None:
    ehr = {"name": "ehr", "host": "127.0.0.1", "port": 1, "include_patient_identity": True}
    notices = settings({"name": "r", "hl7": ["ehr"], "urgency": "digest"}, hl7=[ehr])
    inbox = Picky("hl7")
    for study in (1, 2, 3):
        find(store, notices, Side.LEFT, study=study, now=night(3, study))
    for minutes in (0, 20, 40):
        tell(store, notices, inbox, night(6, 31) + minutes * MINUTE)
    assert [notice.study_id for _, message in inbox.told for notice in message.notices] == [1, 3]
    (owed,) = store.notice_stories()
    assert (owed.study_id, owed.last_error) == (2, "refused (AE)")


class Broken(Box):
    def send(self, message: Message, recipient: str) -> None:
        if recipient == "a@x":
            raise ZeroDivisionError
        super().send(message, recipient)


def test_a_bug_in_one_digest_never_blocks_the_others(store: Store) -> None:
    notices, box = settings(rule("r", "a@x", "b@x", urgency="digest")), Broken()
    find(store, notices, Side.LEFT, now=night(3))
    now = night(6, 31)
    with pytest.raises(ZeroDivisionError):
        send_owed_digests(store, [box], notices, now, digest_at=DIGEST_AT)
    send_owed_digests(store, [box], notices, now + MINUTE, digest_at=DIGEST_AT)
    assert box.recipients == ["b@x"]


def test_a_silent_receiver_is_asked_once_in_a_round_and_every_notice_has_its_turn(store: Store) -> None:
    hook = {"name": "hook", "url": "http://127.0.0.1:1/"}
    notices = settings({"name": "h", "webhooks": ["hook"]}, rule("m", "a@x"), webhooks=[hook])
    asked: list[int] = []

    class Silent(Box):
        def send(self, message: Message, recipient: str) -> None:
            asked.extend(notice.study_id for notice in message.notices)
            super().send(message, recipient)

    hooked, box = Silent("webhook"), Box()
    hooked.is_away = True
    for study in (1, 2, 3):
        find(store, notices, Side.LEFT, study=study, now=NOON + timedelta(seconds=study))
    tell(store, notices, [hooked, box], NOON + MINUTE)
    assert (asked, len(box.told)) == ([1], 3)
    for seconds in (1, 2):
        tell(store, notices, [hooked, box], NOON + MINUTE + timedelta(seconds=seconds))
    assert asked == [1, 2, 3]
    hooked.is_away = False
    tell(store, notices, [hooked, box], NOON + 30 * MINUTE)
    assert len(hooked.told) == 3


def test_what_the_daily_limit_holds_escalates_from_when_it_was_told(store: Store) -> None:
    first = rule("first", "a@x", escalate_after_minutes=30, escalate_to="second")
    person = rule("dr-a", "a@x", daily_limit=1)
    notices, box = settings(first, rule("second", "chief@x", otherwise=True), people=(person,)), Box()
    for study in (1, 2):
        find(store, notices, Side.LEFT, study=study)
    for minutes in (0, 1, 31, 60):
        tell(store, notices, box, NOON + minutes * MINUTE)
    assert [message.notices[0].study_id for to, message in box.told if to == "chief@x"] == [1]
    for minutes in (1120, 1160):
        tell(store, notices, box, NOON + minutes * MINUTE)
    assert [message.notices[0].study_id for to, message in box.told if to == "chief@x"] == [1, 2]


def test_what_a_backfill_found_escalates_never(store: Store) -> None:
    first = rule("first", "a@x", escalate_after_minutes=30, escalate_to="second")
    notices, box = settings(first, rule("second", "chief@x", otherwise=True)), Box()
    store.record_instance(an_instance(), NOON - QUIET)
    dispatch(store, NOON)
    with store.engine.begin() as connection:
        connection.execute(t.runs.update().values(backfill_id=1))
    screening = a_screening()
    found = find_on_ct([candidate for candidate in screening.candidates if candidate.voxels >= 500])
    recipients = match_rules(notices, found, {}, NOON)
    assert recipients[0].escalate_seconds == 1800, "the rule would"
    run = claimed(store, NOON)
    store.finish_run(run, screening, destinations=[], recipients=recipients, seconds=1.0, now=NOON)
    for minutes in (0, 31, 1120, 1160, 2000):
        tell(store, notices, box, NOON + minutes * MINUTE)
    assert box.recipients == ["a@x"]
    assert box.told[0][1].key.startswith("digest")
