"""What the radiology report mentions beyond doubt may wait for the digest; whatever is in doubt is told at once."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from screener.channels.message import Message
from screener.list_notices import describe_notices
from screener.notice_settings import Notices
from screener.notify import send_owed_notices
from screener.read_reports import add_report
from screener.store import Store
from screener.study import Side
from tests.unit.test_notice_rules import CHAIN, MINUTE, NOON, Box, find, rule, settings, tell

TEXTS = {
    "none": b"",
    "silent": b"The lungs are clear.",
    "other side": b"There is a mass of 2 cm in the right parotid.",
    "no side": b"There is a parotid mass of 2 cm.",
    "this side": b"There is a mass of 2 cm in the left parotid.",
}
SENTENCES = {
    "silent": "No mention of a parotid mass was found in the radiology report.",
    "this side": "The radiology report mentions a parotid mass in the left parotid (sentence 1).",
}
NEXT_MORNING = (NOON + timedelta(days=1)).replace(hour=6, minute=30)
DENIAL = b"The parotid glands are unremarkable."


def report(store: Store, study: int, which: str) -> None:
    if TEXTS[which]:
        add_report(store, study, TEXTS[which], NOON)


def put_off(**more: object) -> Notices:
    return settings(rule("all", "a@x"), mentioned_in_report="digest", **more)


def open_digest(store: Store) -> tuple[Box, Notices, int]:
    """A finding that its report mentions stands in a digest that the mail server, away, has not taken; its study."""
    box, notices = Box(), put_off()
    study = find(store, notices, Side.LEFT)
    report(store, study, "this side")
    tell(store, notices, box, NOON)
    box.is_away = True
    tell(store, notices, box, NEXT_MORNING)
    return box, notices, study


@pytest.mark.parametrize("which", TEXTS)
def test_only_what_is_mentioned_beyond_doubt_waits_for_the_digest(store: Store, which: str) -> None:
    box, notices = Box(), put_off()
    report(store, find(store, notices, Side.LEFT), which)
    tell(store, notices, box, NOON)
    assert len(box.told) == (0 if which == "this side" else 1)
    tell(store, notices, box, NEXT_MORNING)
    assert len(box.told) == 1, "told once, in the digest at the latest"


@pytest.mark.parametrize("which", TEXTS)
def test_without_the_setting_every_finding_is_told_at_once(store: Store, which: str) -> None:
    box, notices = Box(), settings(rule("all", "a@x"))
    report(store, find(store, notices, Side.LEFT), which)
    tell(store, notices, box, NOON)
    ((_, message),) = box.told
    assert ("radiology report" in message.text) is (which != "none")
    assert SENTENCES.get(which, "") in message.text.replace("\n", " ")


def test_the_list_of_notices_says_what_the_notice_waits_for(store: Store) -> None:
    box, notices = Box(), put_off()
    study = find(store, notices, Side.LEFT)
    report(store, study, "this side")
    tell(store, notices, box, NOON)
    told = describe_notices(store.notice_stories(study_id=study))
    assert "in the next digest" in told
    assert "waits: the radiology report mentions it" in told
    tell(store, notices, box, NEXT_MORNING)
    assert "mentions a parotid mass in the left parotid" in box.told[0][1].text.replace("\n", " ")


def test_a_report_that_puts_it_in_doubt_takes_the_finding_out_of_the_digest(store: Store) -> None:
    box, notices = Box(), put_off()
    study = find(store, notices, Side.LEFT)
    report(store, study, "this side")
    tell(store, notices, box, NOON)
    add_report(store, study, DENIAL, NOON)
    tell(store, notices, box, NOON + MINUTE)
    assert len(box.told) == 1
    tell(store, notices, box, NEXT_MORNING)
    assert len(box.told) == 1, "and the digest does not tell it again"


def test_a_notice_that_was_told_is_not_withdrawn_by_a_later_report(store: Store) -> None:
    box, notices = Box(), put_off()
    study = find(store, notices, Side.LEFT)
    tell(store, notices, box, NOON)
    report(store, study, "this side")
    tell(store, notices, box, NEXT_MORNING)
    assert len(box.told) == 1


def test_what_nobody_acknowledges_is_passed_on_though_the_report_mentions_it(store: Store) -> None:
    box, notices = Box(), settings(*CHAIN, mentioned_in_report="digest")
    study = find(store, notices, Side.LEFT)
    tell(store, notices, box, NOON)
    report(store, study, "this side")
    tell(store, notices, box, NOON + 31 * MINUTE)
    assert sorted(box.recipients) == ["a@x", "b@x", "chief@x"]


def test_what_no_report_mentions_is_told_first_and_the_daily_limit_holds_back_the_rest(store: Store) -> None:
    person = {"name": "dr-a", "emails": ["a@x"], "daily_limit": 1}
    box, notices = Box(), settings(rule("all", "a@x"), people=(person,))
    studies = [find(store, notices, Side.LEFT, study=number) for number in (1, 2, 3)]
    report(store, studies[0], "this side")
    report(store, studies[2], "silent")
    tell(store, notices, box, NOON)
    assert [message.notices[0].study_id for _, message in box.told] == [studies[2]]


def test_the_digest_begins_with_what_no_report_mentions(store: Store) -> None:
    box, notices = Box(), settings(rule("all", "a@x", urgency="digest"))
    studies = [find(store, notices, Side.LEFT, study=number) for number in (1, 2, 3)]
    report(store, studies[0], "this side")
    report(store, studies[2], "silent")
    tell(store, notices, box, NEXT_MORNING)
    text = box.told[0][1].text
    assert text.index(f"Study {studies[2]}:") < text.index(f"Study {studies[0]}:") < text.index(f"Study {studies[1]}:")


@pytest.mark.parametrize("second", [None, b"Again: there is a mass of 2 cm in the left parotid."])
def test_a_document_that_says_nothing_new_leaves_the_finding_in_the_digest_of_today(
    store: Store, second: bytes | None
) -> None:
    box, notices, study = open_digest(store)
    if second is None:  # a worksheet, no report at all
        store.add_mention(study, None, source="document", sha256="f" * 64, now=NEXT_MORNING)
    else:
        add_report(store, study, second, NEXT_MORNING)
    box.is_away = False
    tell(store, notices, box, NEXT_MORNING + 60 * MINUTE)
    assert len(box.told) == 1, "today, once the mail server is back"


def test_the_digest_does_not_say_that_the_report_mentions_what_it_denies_by_now(store: Store) -> None:
    box, notices, study = open_digest(store)
    store.remove_report(study, store.read_reports(study)[0].report_id, NEXT_MORNING)
    add_report(store, study, DENIAL, NEXT_MORNING)
    box.is_away = False
    tell(store, notices, box, NEXT_MORNING + 60 * MINUTE)
    text = " ".join(box.told[0][1].text.split())
    assert "the radiology report mentions it" not in text
    assert "Put into the digest as a radiology report mentioned it then. The radiology report denies a parotid" in text


def test_a_denial_that_comes_while_a_notice_is_held_keeps_it_out_of_the_digest(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    box, notices = Box(), put_off()
    study = find(store, notices, Side.LEFT)
    report(store, study, "this side")
    hold = store.hold_notice

    def deny_and_hold(*args: Any, **more: Any) -> None:
        add_report(store, study, DENIAL, NOON)
        hold(*args, **more)

    monkeypatch.setattr(store, "hold_notice", deny_and_hold)
    tell(store, notices, box, NOON)
    tell(store, notices, box, NOON + MINUTE)
    assert len(box.told) == 1, "the reports were weighed before the denial came"


def test_a_denial_that_comes_while_the_digest_is_sent_does_not_tell_its_finding_twice(store: Store) -> None:
    notices = put_off()
    study = find(store, notices, Side.LEFT)

    class Slow(Box):
        """While it sends the digest a denial is read, and the round of single notices comes."""

        def send(self, message: Message, recipient: str) -> None:
            super().send(message, recipient)
            if len(self.told) == 1:
                add_report(store, study, DENIAL, NEXT_MORNING)
                send_owed_notices(store, [self], notices, NEXT_MORNING + MINUTE, storage_folder=Path())

    box = Slow()
    report(store, study, "this side")
    tell(store, notices, box, NOON)
    tell(store, notices, box, NEXT_MORNING)
    tell(store, notices, box, NEXT_MORNING + 60 * MINUTE)
    assert len(box.told) == 1
    assert store.owed_notices(NEXT_MORNING + 60 * MINUTE) == []
