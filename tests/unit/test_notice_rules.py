"""Rules at work on the real store: who is told, what waits, what is passed on, and that nobody is told twice."""

import logging
import ssl
import time as clock_time
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from screener.channels.email import EmailChannel
from screener.channels.hl7 import Hl7Channel
from screener.channels.message import Channel, Message
from screener.channels.webhook import WebhookChannel
from screener.decide import decide
from screener.escalate import escalate_unacknowledged
from screener.journey import Ending
from screener.link_notices import make_linker
from screener.list_notices import describe_notices
from screener.match_rules import find_on_ct, match_rules
from screener.notice_settings import Notices
from screener.notify import send_owed_digests, send_owed_notices
from screener.outcomes import TryAgain
from screener.store import Store
from screener.study import Side
from tests.conftest import PATIENT
from tests.peers.certificates import make_certificate
from tests.peers.mailbox import Mailbox, open_mailbox
from tests.peers.ports import free_port
from tests.peers.values import BOTH_ASSESSED, a_candidate, an_instance
from tests.peers.webhook import Receiver, open_receiver
from tests.unit.test_notify import write_image
from tests.unit.test_store import QUIET, THRESHOLDS, a_screening, claimed, dispatch

NOON = datetime(2031, 5, 6, 12, 0).astimezone()
MINUTE = timedelta(minutes=1)
DIGEST_AT = time(6, 30)


class Box:
    """A channel that keeps what it is given, or refuses."""

    def __init__(self, name: str = "email") -> None:
        self.name = name
        self.told: list[tuple[str, Message]] = []
        self.is_away = False

    def send(self, message: Message, recipient: str) -> None:
        if self.is_away:
            raise TryAgain("away", code="away")
        self.told.append((recipient, message))

    @property
    def recipients(self) -> list[str]:
        return [recipient for recipient, _ in self.told]


def rule(name: str, *emails: str, **keys: Any) -> dict[str, Any]:
    return {"name": name, "emails": list(emails)} | keys


def settings(*rules: dict[str, Any], people: tuple[dict[str, Any], ...] = (), **more: Any) -> Notices:
    email = {"host": "smtp.test", "recipients": more.pop("recipients", [])}
    return Notices.model_validate({"email": email, "rules": list(rules), "people": list(people)} | more)


def find(store: Store, notices: Notices, *sides: Side, study: int = 1, now: datetime = NOON, voxels: int = 900) -> int:
    """Receive one more image of a study and screen it: a mass on each of these sides; our study number."""
    number = int(now.timestamp())
    uid = f"1.2.{study}"
    store.record_instance(
        an_instance(number, study_instance_uid=uid, sop_instance_uid=f"{uid}.{number}", path=f"image-{study}.dcm"),
        now - QUIET,
    )
    dispatch(store, now)
    run = claimed(store, now)
    masses = tuple(a_candidate(place, voxels, side) for place, side in enumerate(sides, start=1))
    screening = replace(a_screening(), candidates=masses, verdict=decide(BOTH_ASSESSED, masses, THRESHOLDS), results=())
    recipients = match_rules(notices, find_on_ct(masses), {}, now.astimezone())
    store.finish_run(run, screening, destinations=[], recipients=recipients, seconds=1.0, now=now)
    return run.study_id


def tell(store: Store, notices: Notices, channels: Channel | list[Channel], now: datetime, **more: Any) -> int:
    """One round of the daemon: escalate, tell, and send the digests."""
    several = channels if isinstance(channels, list) else [channels]
    escalate_unacknowledged(store, notices, now)
    folder = more.pop("folder", Path())
    taken = send_owed_notices(store, several, notices, now, storage_folder=folder, **more)
    return taken + send_owed_digests(store, several, notices, now, digest_at=DIGEST_AT)


CHAIN = (
    rule("first", "a@x", "b@x", escalate_after_minutes=30, escalate_to="second"),
    rule("second", "chief@x", otherwise=True, escalate_after_minutes=60, escalate_to="third"),
    rule("third", "last@x", otherwise=True),
)


def test_what_nobody_acknowledges_is_passed_on_step_by_step_and_then_rests(store: Store) -> None:
    notices, box = settings(*CHAIN), Box()
    study = find(store, notices, Side.LEFT)
    told = []
    for minutes in (0, 29, 31, 32, 90, 92, 500, 2000):
        tell(store, notices, box, NOON + minutes * MINUTE)
        told.append((minutes, sorted(box.recipients)))
    assert told[1] == (29, ["a@x", "b@x"])
    assert told[3] == (32, ["a@x", "b@x", "chief@x"])
    assert told[4] == (90, ["a@x", "b@x", "chief@x"])
    assert told[-1][1] == ["a@x", "b@x", "chief@x", "last@x"]
    report = store.study_report(study)
    assert report.ending is Ending.DONE
    (first, _) = [step.sentence for step in report.steps if step.stage == "escalated"]
    assert first == ("nobody has acknowledged within 30 min what rule first told: rule second tells 1 address(es)"), (
        "two addresses of a rule make one step"
    )
    chief = dict(box.told)["chief@x"]
    assert "nobody has acknowledged within 30 min what rule first told" in chief.text


def test_a_study_is_in_flight_while_its_escalation_is_owed(store: Store) -> None:
    notices, box = settings(*CHAIN), Box()
    study = find(store, notices, Side.LEFT)
    tell(store, notices, box, NOON)
    assert store.study_report(study).ending is Ending.DONE
    box.is_away = True
    tell(store, notices, box, NOON + 31 * MINUTE)
    assert store.study_report(study).ending is None
    assert store.counts().is_balanced


def test_one_who_acknowledges_ends_the_escalation(store: Store) -> None:
    notices, box = settings(*CHAIN), Box()
    study = find(store, notices, Side.LEFT)
    tell(store, notices, box, NOON)
    run_id = store.flagged_run(study)
    assert run_id is not None
    store.acknowledge(run_id, by="a@x", how="mail", now=NOON + 5 * MINUTE)
    tell(store, notices, box, NOON + 300 * MINUTE)
    assert sorted(box.recipients) == ["a@x", "b@x"]


def test_a_finding_that_is_withdrawn_escalates_no_more(store: Store) -> None:
    notices, box = settings(*CHAIN), Box()
    find(store, notices, Side.LEFT)
    tell(store, notices, box, NOON)
    find(store, notices, now=NOON + 10 * MINUTE)
    tell(store, notices, box, NOON + 11 * MINUTE)
    tell(store, notices, box, NOON + 300 * MINUTE)
    assert sorted(set(box.recipients)) == ["a@x", "b@x"]
    assert sum("withdrawn" in message.text for _, message in box.told) == 2


def test_a_study_that_is_sent_again_is_told_once_and_escalates_once(store: Store) -> None:
    notices, box = settings(*CHAIN), Box()
    for minutes in (0, 5, 10, 40, 50):
        find(store, notices, Side.LEFT, now=NOON + minutes * MINUTE)
        tell(store, notices, box, NOON + minutes * MINUTE)
    assert sorted(box.recipients) == ["a@x", "b@x", "chief@x"]


def test_an_escalation_on_its_way_outlives_a_later_run_that_finds_the_same(store: Store) -> None:
    notices, box = settings(*CHAIN), Box()
    find(store, notices, Side.LEFT)
    tell(store, notices, box, NOON)
    box.is_away = True
    tell(store, notices, box, NOON + 31 * MINUTE)
    find(store, notices, Side.LEFT, now=NOON + 40 * MINUTE)
    box.is_away = False
    tell(store, notices, box, NOON + 41 * MINUTE)
    assert sorted(box.recipients) == ["a@x", "b@x", "chief@x"]
    tell(store, notices, box, NOON + 200 * MINUTE)
    tell(store, notices, box, NOON + 201 * MINUTE)
    assert "last@x" in box.recipients, "and goes on from there"


def test_what_cannot_be_delivered_is_passed_on_as_well(store: Store) -> None:
    hook = {"name": "hook", "url": "http://127.0.0.1:1/"}
    first = {"name": "first", "webhooks": ["hook"], "escalate_after_minutes": 30, "escalate_to": "second"}
    notices = settings(first, rule("second", "chief@x", otherwise=True), webhooks=[hook])
    away, box = Box("webhook"), Box()
    away.is_away = True
    find(store, notices, Side.LEFT)
    for minutes in (0, 31):
        tell(store, notices, [away, box], NOON + minutes * MINUTE)
    assert box.recipients == ["chief@x"]


def test_a_rule_that_is_no_longer_in_the_settings_passes_on_to_nobody_and_says_so(store: Store) -> None:
    box = Box()
    study = find(store, settings(*CHAIN), Side.LEFT)
    tell(store, settings(*CHAIN), box, NOON)
    tell(store, settings(rule("other", "o@x")), box, NOON + 31 * MINUTE)
    assert "no next step any more" in store.study_report(study).steps[-1].sentence
    assert store.study_report(study).ending is Ending.DONE


def test_whoever_was_told_hears_of_a_change_that_no_rule_takes(store: Store) -> None:
    notices, box = settings(rule("left", "a@x", sides=["left"])), Box()
    find(store, notices, Side.LEFT)
    tell(store, notices, box, NOON)
    find(store, notices, Side.RIGHT, now=NOON + 10 * MINUTE)
    tell(store, notices, box, NOON + 11 * MINUTE)
    find(store, notices, Side.RIGHT, study=2, now=NOON + 20 * MINUTE)
    tell(store, notices, box, NOON + 21 * MINUTE)
    assert [message.subject.partition(", ")[2] for _, message in box.told] == [
        "mass in the left parotid",
        "mass in the right parotid",
    ]


def night(hour: int, minute: int = 0) -> datetime:
    return datetime(2031, 5, 6, hour, minute).astimezone()


def test_quiet_hours_hold_a_notice_until_they_end_and_say_so(store: Store) -> None:
    person = rule("dr-a", "a@x", quiet_hours="22:00-06:00")
    notices, box = settings(rule("r", "a@x", "b@x"), people=(person,)), Box()
    study = find(store, notices, Side.LEFT, now=night(3))
    for hour, minute in ((3, 0), (3, 1), (4, 30), (5, 59)):
        tell(store, notices, box, night(hour, minute))
    assert box.recipients == ["b@x"]
    report = store.study_report(study)
    assert report.ending is None
    assert [step.sentence for step in report.steps if step.stage == "notice waits"] == [
        "email to a@x waits: quiet hours of dr-a (22:00-06:00)"
    ]
    assert "waits: quiet hours of dr-a (22:00-06:00)" in describe_notices(store.notice_stories())
    tell(store, notices, box, night(6, 1))
    assert box.recipients == ["b@x", "a@x"]
    assert store.study_report(study).ending is Ending.DONE


@pytest.mark.parametrize(
    ("keys", "voxels", "is_told"),
    [({}, 9000, False), ({"quiet_min_voxels": 4000}, 4000, True), ({"quiet_min_voxels": 4000}, 3999, False)],
)
def test_a_large_mass_breaks_the_quiet_where_the_settings_say_so(
    keys: dict[str, Any], voxels: int, store: Store, *, is_told: bool
) -> None:
    person = rule("dr-a", "a@x", quiet_days=["tue"], **keys)
    notices, box = settings(rule("r", "a@x"), people=(person,)), Box()
    find(store, notices, Side.LEFT, voxels=voxels)
    assert tell(store, notices, box, NOON) == int(is_told)


def test_an_escalation_breaks_the_quiet_and_the_time_for_an_answer_begins_when_somebody_was_told(store: Store) -> None:
    quiet = rule("dr-a", "a@x", "chief@x", quiet_hours="22:00-06:00")
    first = rule("first", "a@x", escalate_after_minutes=30, escalate_to="second")
    notices, box = settings(first, rule("second", "chief@x", otherwise=True), people=(quiet,)), Box()
    find(store, notices, Side.LEFT, now=night(3))
    for hour in (3, 4, 5):
        tell(store, notices, box, night(hour))
    assert box.recipients == [], "nobody was told yet: nobody was late"
    tell(store, notices, box, night(6, 1))
    tell(store, notices, box, night(22, 5))
    assert box.recipients == ["a@x", "chief@x"]


def test_what_is_above_the_daily_limit_is_in_the_next_digest_and_none_is_lost(store: Store) -> None:
    person = rule("dr-a", "a@x", daily_limit=2)
    notices, box = settings(rule("r", "a@x"), people=(person,)), Box()
    numbers = []
    for study in range(1, 6):
        numbers.append(find(store, notices, Side.LEFT, study=study, now=NOON + study * MINUTE))
        tell(store, notices, box, NOON + study * MINUTE)
    tell(store, notices, box, night(23))
    assert len(box.told) == 2, "what is found after half past six waits for the next morning"
    assert store.counts().notices_owed == 3
    tell(store, notices, box, night(6, 31) + timedelta(days=1))
    told = [notice.study_id for _, message in box.told for notice in message.notices]
    assert sorted(told) == numbers
    assert sum(message.key.startswith("notice") for _, message in box.told) == 2
    assert "the daily limit" in box.told[-1][1].text


def test_a_finding_counts_once_for_a_person_with_two_addresses(store: Store) -> None:
    person = rule("dr-a", "a@x", "pager@x", daily_limit=1)
    notices, box = settings(rule("r", "a@x", "pager@x"), people=(person,)), Box()
    for study in (1, 2):
        find(store, notices, Side.LEFT, study=study, now=NOON + study * MINUTE)
        tell(store, notices, box, NOON + study * MINUTE)
    assert box.recipients == ["a@x", "pager@x"]
    assert {message.notices[0].finding_key for _, message in box.told} == {"left"}
    assert len({message.notices[0].study_id for _, message in box.told}) == 1


def test_a_withdrawal_is_no_finding_for_the_daily_limit(store: Store) -> None:
    person = rule("dr-a", "a@x", daily_limit=1)
    notices, box = settings(rule("r", "a@x"), people=(person,)), Box()
    found = ((1, [Side.LEFT], NOON - timedelta(days=1)), (1, [], NOON), (2, [Side.LEFT], NOON + 5 * MINUTE))
    for study, sides, now in found:
        find(store, notices, *sides, study=study, now=now)
        assert tell(store, notices, box, now) == 1
    assert [message.notices[0].is_flagged for _, message in box.told] == [True, False, True]


def test_a_rule_for_the_digest_tells_once_a_day(store: Store) -> None:
    notices, box = settings(rule("r", "a@x", urgency="digest")), Box()
    for study in (1, 2):
        find(store, notices, Side.LEFT, study=study, now=night(3, study))
        assert tell(store, notices, box, night(3, study)) == 0
    tell(store, notices, box, night(6, 31))
    ((_, message),) = box.told
    assert "findings in 2 studies" in message.subject
    assert [notice.study_id for notice in message.notices] == [1, 2]


def test_the_list_says_what_is_owed_to_whom_and_why_and_what_was_passed_on(store: Store) -> None:
    notices, box = settings(*CHAIN), Box()
    study = find(store, notices, Side.LEFT)
    box.is_away = True
    tell(store, notices, box, NOON)
    listed = describe_notices(store.notice_stories())
    assert f"study {study}, email to a@x" in listed
    assert "rule first: left parotid, 900 voxels" in listed
    assert "away" in listed
    box.is_away = False
    tell(store, notices, box, NOON + 35 * MINUTE)
    listed = describe_notices(store.notice_stories(study_id=study))
    assert "passed on, as nobody had acknowledged" in listed
    assert describe_notices([]) == "no notice is owed"


class Links:
    """The mail's button, as the daemon makes it."""

    secret = b"k" * 32
    make = staticmethod(make_linker("https://pages.test/", b"k" * 32, 14))


@pytest.fixture
def mail_tls(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    made = make_certificate(tmp_path, "mail")
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(made.certificate, made.key)
    return serving, ssl.create_default_context(cafile=str(made.certificate))


@pytest.mark.filterwarnings("ignore::DeprecationWarning:hl7apy")
def test_every_peer_that_was_away_is_told_everything_once_it_is_back(
    store: Store, tmp_path: Path, mail_tls: tuple[ssl.SSLContext, ssl.SSLContext], caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("hl7apy")
    from tests.peers.mllp import Inbox, open_inbox

    caplog.set_level(logging.DEBUG)
    serving, trusting = mail_tls
    mailbox, receiver, inbox = Mailbox(), Receiver("s" * 32), Inbox()
    mailbox.port, inbox.port = free_port(), free_port()
    notices = Notices.model_validate({
        "email": {"host": mailbox.host, "port": mailbox.port, "security": "tls", "recipients": ["ent@x.test"]},
        "webhooks": [{"name": "ris", "url": receiver.url}],
        "hl7": [
            {"name": "ehr", "host": "127.0.0.1", "port": inbox.port, "include_patient_identity": True}
            | {"ack_timeout_seconds": 60}
        ],
        "rules": [{"name": "all", "webhooks": ["ris"], "hl7": ["ehr"]}],
    })  # fmt: skip
    notices.webhooks[0]._secret = SecretStr(receiver.secret)
    channels: list[Channel] = [
        EmailChannel(notices.email, ssl_context=trusting, timeout_seconds=5),
        WebhookChannel(notices.webhooks, timeout_seconds=5),
        Hl7Channel(notices.hl7, tmp_path),
    ]
    for study in (1, 2, 3):
        write_image(tmp_path / f"image-{study}.dcm")
        find(store, notices, Side.LEFT, study=study, now=NOON + study * MINUTE)
        assert tell(store, notices, channels, NOON + study * MINUTE, folder=tmp_path) == 0
    assert store.counts().notices_owed == 9
    receiver.answers, inbox.answers = [503, 204], ["", "AA"]  # back, and not yet well
    with (
        open_mailbox(mailbox, port=mailbox.port, tls=serving),
        open_receiver(receiver),
        open_inbox(inbox, port=inbox.port),
    ):
        for hours in range(1, 4):
            find(store, notices, Side.LEFT, study=2, now=NOON + timedelta(hours=hours, minutes=-5))  # sent again
            tell(store, notices, channels, NOON + timedelta(hours=hours), folder=tmp_path, acknowledge=Links.make)
    assert store.counts().notices_owed == 0
    subjects = [mail["Subject"] for mail in mailbox.mails]
    assert len(subjects) == len(set(subjects)) == 3
    assert sorted(notice["studies"][0]["study"] for notice in receiver.notices.values()) == [1, 2, 3]
    assert sorted(message.split("|study-")[1][0] for message in inbox.raw) == ["1", "2", "3"]
    assert inbox.faults == []
    spoken = "".join(mail.as_string() for mail in mailbox.mails) + "".join(str(body) for _, body in receiver.calls)
    assert not PATIENT.search(spoken)
    assert receiver.secret not in caplog.text


def test_a_mail_has_a_text_and_an_html_part_with_the_same_links_and_a_picture_where_it_is_wanted(
    store: Store, tmp_path: Path
) -> None:
    (tmp_path / "key.png").write_bytes(b"\x89PNG picture")
    notices = settings(recipients=["ent@x.test"])
    find(store, notices, Side.LEFT)
    (owed,) = store.owed_notices(NOON)
    from screener.channels.message import compose_message

    told = replace(owed, key_image_path="key.png")
    message = compose_message(told, link="https://pages.test/{study}", storage_folder=tmp_path, acknowledge=Links.make)
    with open_mailbox() as mailbox:
        for has_picture in (False, True):
            email = {"host": mailbox.host, "port": mailbox.port, "key_image": has_picture}
            EmailChannel(notices.email.model_copy(update=email)).send(message, "ent@x.test")
    plain, pictured = mailbox.mails
    text, html = plain.get_body(("plain",)), plain.get_body(("html",))
    assert text is not None
    assert html is not None
    link = Links.make(owed)
    for part in (text.get_content(), html.get_content()):
        assert link in part
        assert "Left parotid: mass above the threshold" in part
        assert "Research use, not validated" in part
    assert "<script" not in html.get_content()
    assert "cid:" not in html.get_content()
    assert [part.get_content() for part in pictured.walk() if part.get_content_type() == "image/png"] == [
        b"\x89PNG picture"
    ]
    assert [part.get_content_type() for part in plain.walk()] == ["multipart/alternative", "text/plain", "text/html"]


def test_what_is_written_into_html_is_escaped(store: Store) -> None:
    from screener.channels.letter import Letter, Link, Part, render_html

    bad = '<img src=x onerror="1">'
    link = Link(label=bad, url=f"https://x/?a=1&b={bad}")
    letter = Letter(title=bad, opening=(bad,), patient=(bad,), parts=(Part(heading=bad, lines=(bad,)),), links=(link,))
    html = render_html(letter)
    assert "<img" not in html
    assert html.count("&lt;img") == 8


@pytest.fixture
def pages(store: Store, tmp_path: Path) -> Any:
    """The site on this store, its clock at noon, a minute after the finding was told."""
    pytest.importorskip("fastapi")
    from starlette.testclient import TestClient

    from screener.config import make_config
    from screener.link_secret import FILE_NAME
    from screener.web.site import make_site

    (tmp_path / "var").mkdir()
    (tmp_path / "var" / FILE_NAME).write_bytes(Links.secret)
    config = make_config({}, base=tmp_path, environment={})
    client = TestClient(make_site(config, store, lambda: NOON.astimezone(UTC) + MINUTE), base_url="https://pages.test")
    client.headers["accept"] = "text/html"
    return client


def told_link(store: Store, notices: Notices) -> str:
    find(store, notices, Side.LEFT)
    (owed, *_) = store.owed_notices(NOON)
    tell(store, notices, Box(), NOON)
    return Links.make(owed).removeprefix("https://pages.test")


@pytest.mark.filterwarnings("ignore:Using `httpx`")
def test_opening_the_link_changes_nothing_and_its_button_acknowledges(store: Store, pages: Any) -> None:
    link = told_link(store, settings(*CHAIN))
    for _ in range(3):  # a mail scanner
        shown = pages.get(link)
        assert shown.status_code == 200
        assert shown.text.count('<form method="post" action="/acknowledge"') == 1
    run_id = store.flagged_run(1)
    assert run_id is not None
    assert store.acknowledgement_of(run_id) is None
    token = link.partition("token=")[2]
    for _ in range(2):
        done = pages.post("/acknowledge", data={"token": token})
        assert done.status_code == 200
        assert "was acknowledged" in done.text
    standing = store.acknowledgement_of(run_id)
    assert standing is not None
    assert (standing.by, standing.how) == ("a@x", "mail")
    assert not PATIENT.search(shown.text + done.text)


@pytest.mark.filterwarnings("ignore:Using `httpx`")
def test_a_link_that_was_changed_or_has_expired_or_is_of_another_notice_is_refused(store: Store, pages: Any) -> None:
    link = told_link(store, settings(*CHAIN))
    assert pages.get("/acknowledge").status_code == 403
    assert pages.get(link[:-3] + "AAA").status_code == 403
    token = link.partition("token=")[2]
    assert pages.post("/acknowledge", data={"token": token[:-3] + "AAA"}).status_code == 403
    (other,) = [
        notice for notice in store.notice_stories(study_id=1) if notice.recipient == "b@x"
    ]  # signed for another address than it names
    forged = replace(a_notice(store, other.notice_id), recipient="c@x")
    assert pages.get(Links.make(forged).removeprefix("https://pages.test")).status_code == 404
    expired = replace(a_notice(store, other.notice_id), owed_since=NOON - timedelta(days=15))
    assert "expired" in pages.get(Links.make(expired).removeprefix("https://pages.test")).text
    run_id = store.flagged_run(1)
    assert run_id is not None
    assert store.acknowledgement_of(run_id) is None


def a_notice(store: Store, notice_id: int) -> Any:
    from screener.store import tables as t
    from screener.store.outbox import notice_of

    with store.engine.begin() as connection:
        return notice_of(connection, connection.execute(t.notices.select().where(t.notices.c.id == notice_id)).one())


def test_many_rounds_of_a_long_day_take_no_longer_than_their_notices(store: Store) -> None:
    notices, box = settings(*CHAIN), Box()
    find(store, notices, Side.LEFT)
    tell(store, notices, box, NOON)
    began = clock_time.perf_counter()
    for second in range(50):
        tell(store, notices, box, NOON + timedelta(seconds=second))
    assert clock_time.perf_counter() - began < 20
    assert len(box.told) == 2
