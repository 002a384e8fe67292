"""A notice that cannot be told is put back with its reason and stops no other."""

import logging
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from screener.channels.hl7 import Hl7Channel
from screener.config import Retention
from screener.expire import expire
from screener.match_rules import Recipient
from screener.notice_settings import Hl7Receiver, Notices
from screener.notify import send_owed_digests, send_owed_notices
from screener.store import tables as t
from screener.store.owe import owe_notices
from tests.peers.mllp import Inbox, open_inbox
from tests.peers.scanner import make_ct
from tests.unit.test_digest import DIGEST_AT
from tests.unit.test_expire import World
from tests.unit.test_store import a_screening
from tests.unit.test_taken_back import Mail

ENT, ONC, EHR = "ent@hospital.test", "onc@hospital.test", ("hl7", "ehr")
SETTINGS = Notices(max_retry_seconds=900)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World(tmp_path)
    yield opened
    opened.listener.stop()
    opened.store.engine.dispose()


def a_ct() -> Dataset:
    """An image of a study of its own."""
    return make_ct(StudyInstanceUID=generate_uid())


def move_images(world: World, *recipients: tuple[str, str]) -> None:
    """Flag study 1, let its images go, and let the PACS send them again under another Study Instance UID."""
    image = a_ct()
    world.screen(image)
    world.now += timedelta(days=40)
    expire(world.store, world.archive, Retention(received_days=30, results_days=0, history_days=0), world.now)
    image.StudyInstanceUID = generate_uid()
    world.receive(image)
    owe(world, 1, *recipients)


def owe(world: World, run_id: int, *recipients: tuple[str, str]) -> None:
    """Owe what an escalation would."""
    with world.store.engine.begin() as connection:
        run = connection.execute(t.runs.select().where(t.runs.c.id == run_id)).one()
        owe_notices(connection, run, ["right"], [Recipient(*one) for one in recipients], world.now)


def spoil(world: World, study_id: int) -> None:
    """Let a candidate of the study be no candidate."""
    mine = sa.select(t.runs.c.id).where(t.runs.c.study_id == study_id)
    with world.store.engine.begin() as connection:
        connection.execute(t.candidates.update().where(t.candidates.c.run_id.in_(mine)).values(features={"side": "up"}))


def tell(world: World, mail: Mail, hl7: Hl7Channel | None = None) -> int:
    channels = [mail] if hl7 is None else [mail, hl7]
    return send_owed_notices(world.store, channels, SETTINGS, world.now, storage_folder=world.archive.folder)


def last_error(world: World, study_id: int) -> str:
    (notice,) = world.store.notice_stories(study_id=study_id)
    assert notice.state == "owed"
    assert notice.not_before == world.now + timedelta(seconds=SETTINGS.max_retry_seconds)
    return notice.last_error


def test_a_notice_whose_images_have_gone_to_another_study_is_told(world: World) -> None:
    move_images(world, ("email", ENT))
    world.screen(a_ct(), recipients=(ONC,))
    mail = Mail()
    assert tell(world, mail) == 2
    assert (mail.heard(ENT), mail.heard(ONC)) == (["right"], ["right"])


def test_what_must_name_the_patient_and_cannot_waits_with_its_reason_and_stops_no_other(world: World) -> None:
    with open_inbox(Inbox()) as inbox:
        ehr = {"name": "ehr", "host": inbox.host, "port": inbox.port, "include_patient_identity": True}
        hl7 = Hl7Channel([Hl7Receiver.model_validate(ehr)], world.archive.folder)
        move_images(world, EHR)
        world.receive(a_ct())
        run = world.run()
        world.store.finish_run(run, a_screening(), destinations=[], recipients=[EHR], seconds=1.0, now=world.now)
        assert tell(world, Mail(), hl7) == 1
    assert len(inbox.messages) == 1
    assert "no image of study 1 is here" in last_error(world, 1)


def test_a_notice_that_cannot_be_read_is_put_back_and_the_others_are_told(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    spoiled = world.screen(a_ct(), recipients=(ENT,))
    world.screen(a_ct(), recipients=(ONC,))
    spoil(world, spoiled)
    mail = Mail()
    with caplog.at_level(logging.ERROR):
        assert tell(world, mail) == 1
    assert mail.heard(ONC) == ["right"]
    assert "cannot be read from the database" in last_error(world, spoiled)
    assert f"study={spoiled}" in caplog.text
    assert tell(world, mail) == 0  # not due


def test_a_digest_leaves_out_a_notice_that_cannot_be_read(world: World) -> None:
    spoiled = world.screen(a_ct(), recipients=(ENT,))
    world.screen(a_ct(), recipients=(ENT,))
    spoil(world, spoiled)
    with world.store.engine.begin() as connection:
        connection.execute(t.notices.update().values(is_in_digest=True))
    world.store.open_digests(date(2026, 1, 1), world.now)
    mail = Mail()
    assert send_owed_digests(world.store, [mail], SETTINGS, world.now, digest_at=DIGEST_AT) == 1
    ((message, _),) = mail.taken
    assert [notice.study_id for notice in message.notices] == [2]
    (left,) = world.store.notice_stories(study_id=spoiled)
    assert (left.state, "cannot be read from the database" in left.last_error) == ("owed", True)
