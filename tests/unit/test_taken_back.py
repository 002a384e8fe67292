"""What a newer run decides while a mail is on its way: what is no longer so is not told, or set right where it was."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, time, timedelta
from pathlib import Path

import pytest

from screener.channels.message import Message
from screener.decide import decide
from screener.journey import Ending
from screener.link_notices import make_linker
from screener.notice_settings import Notices
from screener.notify import send_owed_digests, send_owed_notices
from screener.outcomes import NeedsPerson, TryAgain
from screener.store import BackfillOrder, OwedNotice, Screening, Store
from screener.study import Side
from tests.peers.stores import open_new_store
from tests.peers.values import BOTH_ASSESSED, a_candidate, an_instance
from tests.unit import test_digest as digests
from tests.unit.test_store import LEASE, QUIET, START, THRESHOLDS, a_screening, claimed, dispatch

ENT, ONC = ("email", "ent@hospital.test"), ("email", "onc@hospital.test")
SECONDS = timedelta(seconds=30)
NOTHING = 100
"""Voxels of what is below the threshold."""


class Mail:
    """A channel; `meanwhile` happens once, while its first message is on its way."""

    name = "email"

    def __init__(self, meanwhile: Callable[[], object] = lambda: None) -> None:
        self.meanwhile = meanwhile
        self.taken: list[tuple[Message, str]] = []

    def send(self, message: Message, recipient: str) -> None:
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        self.taken.append((message, recipient))

    def heard(self, recipient: str = ENT[1]) -> list[str]:
        """What each message said, in a word."""
        return [_summarize(message.text) for message, to in self.taken if to == recipient]


LOST = TryAgain("the mail server cannot be reached: SMTPServerDisconnected", code="mail_unreachable")
REFUSED = NeedsPerson("the mail server refused the recipient (reply 550)", code="recipient_refused")


class LosesAnswers(Mail):
    """A channel whose other side takes every message; the answers to the first are not heard, or never come."""

    def __init__(self, *failures: BaseException) -> None:
        super().__init__()
        self.failures = list(failures or [LOST])

    def send(self, message: Message, recipient: str) -> None:
        super().send(message, recipient)
        if self.failures:
            raise self.failures.pop(0)


def _summarize(text: str) -> str:
    if "withdrawn" in text:
        return "withdrawn"
    return "+".join(
        side for side in ("left", "right") if f"{side} parotid: mass" in text.lower() or f"in the {side}" in text
    )


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_new_store(f"sqlite:///{tmp_path}/screener.sqlite")
    opened.record_instance(an_instance(1), START)
    dispatch(opened, START + QUIET)
    yield opened
    opened.engine.dispose()


def find(
    store: Store,
    *sides: Side,
    now: datetime = START + QUIET,
    recipients: tuple[tuple[str, str], ...] = (ENT,),
    voxels: int = 900,
) -> None:
    """Let the waiting run find a mass on each of these sides."""
    candidates = tuple(a_candidate(number, voxels, side) for number, side in enumerate(sides, start=1))
    screening = Screening(
        assessments=BOTH_ASSESSED,
        candidates=candidates,
        verdict=decide(BOTH_ASSESSED, candidates, THRESHOLDS),
        results=(),
        model_identity="2.25.99",
    )
    store.finish_run(claimed(store, now), screening, destinations=[], recipients=recipients, seconds=1.0, now=now)


def find_anew(
    store: Store, *sides: Side, now: datetime, recipients: tuple[tuple[str, str], ...] = (ENT,), voxels: int = 900
) -> None:
    """Let an image come, and the run that it opens find masses on these sides."""
    store.record_instance(an_instance(1 + len(store.study_report(1).runs)), now - QUIET)
    dispatch(store, now)
    find(store, *sides, now=now, recipients=recipients, voxels=voxels)


def tell(store: Store, mail: Mail, now: datetime) -> int:
    return send_owed_notices(store, [mail], Notices(), now, storage_folder=Path())


LATER = START + timedelta(hours=1)


def test_a_flag_that_is_taken_back_while_another_mail_is_on_its_way_is_not_told(store: Store) -> None:
    find(store, Side.RIGHT, recipients=(ENT, ONC))
    mail = Mail(lambda: find_anew(store, now=LATER, recipients=(ENT, ONC)))
    tell(store, mail, LATER)
    assert mail.heard(ONC[1]) == []


def test_a_flag_that_is_taken_back_while_its_own_mail_is_on_its_way_is_withdrawn(store: Store) -> None:
    find(store, Side.RIGHT)
    mail = Mail(lambda: find_anew(store, now=LATER))
    tell(store, mail, LATER)
    report = store.study_report(1)
    assert (mail.heard(), report.ending) == (["right"], None)
    assert tell(store, mail, LATER + SECONDS) == 1
    assert tell(store, mail, LATER + 2 * SECONDS) == 0
    assert mail.heard() == ["right", "withdrawn"]
    assert store.study_report(1).ending is Ending.DONE
    assert len({message.key for message, _ in mail.taken}) == 2


def test_a_finding_that_moves_while_its_mail_is_on_its_way_is_told_once_more_as_it_is(store: Store) -> None:
    find(store, Side.RIGHT)
    mail = Mail(lambda: find_anew(store, Side.LEFT, now=LATER))
    tell(store, mail, LATER)
    tell(store, mail, LATER + SECONDS)
    assert tell(store, mail, LATER + 2 * SECONDS) == 0
    assert mail.heard() == ["right", "left"]


def test_a_flag_that_comes_while_its_withdrawal_is_on_its_way_is_told_again(store: Store) -> None:
    find(store, Side.RIGHT)
    mail = Mail()
    tell(store, mail, START + QUIET)
    find_anew(store, now=LATER)
    mail.meanwhile = lambda: find_anew(store, Side.RIGHT, now=LATER + 2 * QUIET)
    tell(store, mail, LATER)
    tell(store, mail, LATER + 3 * QUIET)
    assert tell(store, mail, LATER + 4 * QUIET) == 0
    assert mail.heard() == ["right", "withdrawn", "right"]
    assert store.study_report(1).ending is Ending.DONE


def test_the_same_finding_of_a_newer_run_is_told_once(store: Store) -> None:
    find(store, Side.RIGHT)
    mail = Mail(lambda: find_anew(store, Side.RIGHT, now=LATER))
    assert tell(store, mail, LATER) == 1
    assert tell(store, mail, LATER + SECONDS) == 0


def test_figures_that_change_while_another_mail_is_on_its_way_are_told_as_they_are(store: Store) -> None:
    find(store, Side.RIGHT, recipients=(ENT, ONC))
    mail = Mail(lambda: find_anew(store, Side.RIGHT, Side.LEFT, now=LATER, recipients=(ENT, ONC)))
    tell(store, mail, LATER)
    tell(store, mail, LATER + SECONDS)
    assert mail.heard() == ["right", "left+right"]
    assert mail.heard(ONC[1]) == ["left+right"]


def test_what_was_heard_last_is_known_although_the_clock_was_set_back(store: Store) -> None:
    find(store, Side.RIGHT, now=LATER)
    mail = Mail()
    tell(store, mail, LATER)
    for hours, sides in ((-3, ()), (-2, (Side.RIGHT,))):
        now = LATER + timedelta(hours=hours)
        find_anew(store, *sides, now=now)
        tell(store, mail, now)
    assert mail.heard() == ["right", "withdrawn", "right"]


def test_a_message_keeps_its_identifier_where_its_answer_was_lost(store: Store) -> None:
    find(store, Side.RIGHT)
    mail = LosesAnswers()
    tell(store, mail, LATER)
    tell(store, mail, LATER + SECONDS)
    (first, _), (again, _) = mail.taken
    assert first.identifier == again.identifier


def test_another_content_is_not_taken_for_a_repeat_of_what_was_told_before(store: Store) -> None:
    """Who drops repeats by the identifier would never hear of the larger mass."""
    find(store, Side.RIGHT, voxels=600)
    mail = LosesAnswers()
    tell(store, mail, START + QUIET)
    find_anew(store, Side.RIGHT, now=LATER, voxels=9000)
    tell(store, mail, LATER + SECONDS)
    (small, _), (large, _) = mail.taken
    assert ("600 voxels" in small.text, "9000 voxels" in large.text) == (True, True)
    assert small.identifier != large.identifier
    link = make_linker("https://pages.test", b"k" * 32, 14)
    assert link(small.notices[0]) != link(large.notices[0])


def test_what_the_next_run_finds_too_is_owed_since_it_was_found(store: Store) -> None:
    find(store, Side.RIGHT)
    find_anew(store, Side.RIGHT, now=LATER)
    (notice,) = store.owed_notices(LATER)
    assert notice.owed_since == START + QUIET


def test_what_is_found_again_long_after_it_was_taken_back_is_owed_since_then(store: Store) -> None:
    """Nobody was told of the first: its time is over, and a link that began with it would have expired."""
    find(store, Side.RIGHT)
    find_anew(store, now=LATER)
    again = LATER + timedelta(days=30)
    find_anew(store, Side.RIGHT, now=again)
    (notice,) = store.owed_notices(again)
    assert notice.owed_since == again


def test_what_may_have_been_heard_is_withdrawn_where_its_answer_was_lost(store: Store) -> None:
    find(store, Side.RIGHT)
    mail = LosesAnswers()
    tell(store, mail, START + QUIET)
    find_anew(store, now=LATER)
    assert tell(store, mail, LATER) == 1
    assert tell(store, mail, LATER + SECONDS) == 0
    assert mail.heard() == ["right", "withdrawn"]
    assert "That notice may not have reached you." in mail.taken[-1][0].text
    assert store.study_report(1).ending is Ending.DONE


def test_what_may_have_been_heard_is_withdrawn_where_the_daemon_was_killed_before_it_could_tell(store: Store) -> None:
    find(store, Side.RIGHT)
    with pytest.raises(KeyboardInterrupt):
        tell(store, LosesAnswers(KeyboardInterrupt()), START + QUIET)
    find_anew(store, now=LATER)
    mail = Mail()
    tell(store, mail, LATER)
    assert mail.heard() == ["withdrawn"]


@pytest.mark.parametrize("failures", [(REFUSED,), (REFUSED, REFUSED)])
def test_what_was_refused_for_good_was_not_heard_and_is_not_withdrawn(
    store: Store, failures: tuple[NeedsPerson, ...]
) -> None:
    find(store, Side.RIGHT)
    mail = LosesAnswers(*failures)
    for number in range(len(failures)):
        tell(store, mail, START + QUIET + number * timedelta(minutes=20))
    find_anew(store, now=LATER)
    assert tell(store, Mail(), LATER) == 0
    assert store.study_report(1).ending is Ending.DONE


def test_what_was_refused_after_a_lost_answer_may_have_been_heard(store: Store) -> None:
    find(store, Side.RIGHT)
    mail = LosesAnswers(LOST, REFUSED)
    tell(store, mail, START + QUIET)
    tell(store, mail, START + QUIET + timedelta(minutes=20))
    find_anew(store, now=LATER)
    tell(store, mail, LATER)
    assert mail.heard()[-1] == "withdrawn"


def test_what_was_withdrawn_by_a_mail_whose_answer_was_lost_is_withdrawn_again(store: Store) -> None:
    find(store, Side.RIGHT)
    mail = LosesAnswers(LOST, LOST)
    tell(store, mail, START + QUIET)
    for hours in range(2):
        find_anew(store, now=LATER + timedelta(hours=hours))
        tell(store, mail, LATER + timedelta(hours=hours))
    assert mail.heard() == ["right", "withdrawn", "withdrawn"]


def test_a_flag_is_told_again_where_another_may_have_been_heard_in_between(store: Store) -> None:
    find(store, Side.RIGHT)
    told = Mail()
    tell(store, told, START + QUIET)
    find_anew(store, Side.LEFT, now=LATER)
    mail = LosesAnswers()
    tell(store, mail, LATER)
    find_anew(store, Side.RIGHT, now=LATER + timedelta(hours=1))
    tell(store, mail, LATER + timedelta(hours=1))
    assert (told.heard(), mail.heard()) == (["right"], ["left", "right"])


def test_what_is_taken_back_at_the_last_moment_does_not_leave(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newer run ends after the notice was read and before it leaves: it would be heard, and nobody would know."""
    find(store, Side.RIGHT)
    read = store.owed_notice

    def read_then_find_otherwise(notice_id: int) -> OwedNotice | None:
        notice = read(notice_id)
        find_anew(store, now=LATER)
        return notice

    monkeypatch.setattr(store, "owed_notice", read_then_find_otherwise)
    mail = Mail()
    assert tell(store, mail, LATER) == 0
    assert mail.taken == []


@pytest.fixture
def nights(tmp_path: Path) -> Iterator[Store]:
    opened = open_new_store(f"sqlite:///{tmp_path}/nights.sqlite")
    order = BackfillOrder(sources=("old",), from_date=digests.FIRST, to_date=digests.FIRST)
    opened.add_backfill(order, digests.NIGHT)
    yield opened
    opened.engine.dispose()


def reprocess(store: Store, number: int, voxels: int, now: datetime) -> None:
    """Let a person ask for another run, which finds so much."""
    store.reprocess(number, now)
    digests.dispatch(store, now + QUIET)
    digests.screen(store, voxels=voxels, now=now + QUIET)


def tell_digests(store: Store, mail: Mail, now: datetime) -> int:
    return send_owed_digests(store, [mail], Notices(), now, digest_at=time(6, 30))


def test_a_finding_that_is_taken_back_while_another_digest_is_on_its_way_is_not_told(nights: Store) -> None:
    digests.fetch(nights, "1.2.1")
    number = digests.screen(nights)
    mail = Mail(lambda: reprocess(nights, number, NOTHING, digests.MORNING))
    tell_digests(nights, mail, digests.MORNING)
    assert len(mail.taken) == 1


def test_a_finding_that_is_taken_back_while_its_digest_is_on_its_way_is_withdrawn_in_the_next(nights: Store) -> None:
    digests.fetch(nights, "1.2.1", "1.2.2")
    number, _ = digests.screen(nights), digests.screen(nights)
    mail = Mail(lambda: reprocess(nights, number, NOTHING, digests.MORNING))
    tell_digests(nights, mail, digests.MORNING)
    (_, first), *_ = mail.taken
    assert nights.study_report(number).ending is None
    tell_digests(nights, mail, digests.MORNING + timedelta(days=1))
    assert mail.heard(first)[1:] == ["withdrawn"]
    message = mail.taken[-1][0]
    assert f"Study {number}: earlier notice withdrawn" in message.text
    assert "withdrawn" in message.subject
    assert nights.study_report(number).ending is Ending.DONE


@pytest.mark.parametrize("lost", [LOST, KeyboardInterrupt()])
def test_a_digest_whose_answer_was_lost_may_have_been_heard(nights: Store, lost: BaseException) -> None:
    digests.fetch(nights, "1.2.1")
    number = digests.screen(nights)
    mail = LosesAnswers(lost)
    with suppress(KeyboardInterrupt):
        tell_digests(nights, mail, digests.MORNING)
    reprocess(nights, number, NOTHING, digests.MORNING)
    later = Mail()
    tell_digests(nights, later, digests.MORNING + timedelta(days=1))
    tell(nights, later, digests.MORNING + timedelta(days=1))
    assert later.heard(mail.taken[0][1]) == ["withdrawn"]


def test_a_finding_that_a_later_run_takes_over_while_its_digest_is_on_its_way_can_be_withdrawn(nights: Store) -> None:
    digests.fetch(nights, "1.2.1")
    number = digests.screen(nights)
    nights.record_instance(an_instance(77, study_instance_uid="1.2.1"), digests.MORNING)
    digests.dispatch(nights, digests.MORNING + QUIET)

    def find_the_same() -> None:
        run = nights.claim_run(digests.Queue.CT, "worker", digests.MORNING + QUIET, LEASE)
        assert run is not None
        nights.finish_run(
            run, a_screening(), destinations=[], recipients=[ENT, ONC], seconds=1.0, now=digests.MORNING + QUIET
        )

    mail = Mail(find_the_same)
    later = digests.MORNING + timedelta(hours=1)
    tell_digests(nights, mail, digests.MORNING)
    tell(nights, mail, later)
    reprocess(nights, number, NOTHING, later)
    for hours in (2, 24):
        tell(nights, mail, later + timedelta(hours=hours))
        tell_digests(nights, mail, later + timedelta(hours=hours))
    for recipient in (ENT[1], ONC[1]):
        assert mail.heard(recipient)[-1] == "withdrawn"
