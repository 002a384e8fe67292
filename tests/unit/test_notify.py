"""Notices: their text, and that each is told at least once."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

from screener.channels.email import EmailChannel
from screener.channels.message import Message, compose_message
from screener.delays import next_delay
from screener.notice_settings import Email, Notices
from screener.notify import send_owed_notices
from screener.outcomes import NeedsPerson, TryAgain
from screener.store.values import OwedNotice
from screener.study import Candidate, GlandVerdict, Presence, Side
from tests.peers.mailbox import open_mailbox

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
SETTINGS = Notices(retry_seconds=30, max_retry_seconds=900)
MASS = Candidate(
    side=Side.LEFT,
    number=1,
    voxels=8123,
    volume_mm3=8123.0,
    longest_diameter_mm=26.4,
    mean_hu=41.0,
    max_probability=0.99,
    mean_probability=0.9,
    center_mm=(60.0, 10.0, -5.0),
)


RIGHT = GlandVerdict(side=Side.RIGHT, presence=Presence.UNDETERMINED, reason="cut off at the top", candidate_numbers=())
LEFT = GlandVerdict(side=Side.LEFT, presence=Presence.PRESENT, reason="one mass", candidate_numbers=(1,))


def owed(
    notice_id: int = 1, *, recipient: str = "ent@hospital.example", attempts: int = 0, channel: str = "email"
) -> OwedNotice:
    return OwedNotice(
        notice_id=notice_id,
        study_id=12,
        run_id=3,
        channel=channel,
        recipient=recipient,
        attempts=attempts,
        owed_since=NOW,
        glands=(RIGHT, LEFT),
        candidates=(MASS,),
        example_path="image.dcm",
    )


class Outbox:
    """The notices table, in memory, that can be broken."""

    def __init__(self, *notices: OwedNotice) -> None:
        self.rows = {notice.notice_id: notice for notice in notices}
        self.not_before = dict.fromkeys(self.rows, NOW)
        self.errors: dict[int, str] = {}
        self.is_broken = False

    def owed_notices(self, now: datetime, longest_wait: timedelta) -> list[OwedNotice]:  # noqa: ARG002 - the store's shape
        return [notice for notice_id, notice in self.rows.items() if self.not_before[notice_id] <= now]

    def owed_notice(self, notice_id: int) -> OwedNotice | None:
        return self.rows.get(notice_id)

    def begin_telling(self, notices: Sequence[OwedNotice], now: datetime) -> tuple[OwedNotice, ...]:  # noqa: ARG002 - the store's shape
        return tuple(notices)

    def telling_refused(self, notices: Sequence[OwedNotice]) -> None:
        pass

    def notice_sent(self, notice: OwedNotice, now: datetime) -> None:  # noqa: ARG002 - the store's shape
        if self.is_broken:
            raise ConnectionError("the database is away")
        del self.rows[notice.notice_id]

    def notice_failed(
        self,
        notice_id: int,
        error: str,
        not_before: datetime,
        now: datetime,  # noqa: ARG002 - the store's shape
    ) -> None:
        self.errors[notice_id] = error
        self.not_before[notice_id] = not_before


class Recorder:
    """A channel that fails as told."""

    name = "email"

    def __init__(self, failures: dict[str, Exception] | None = None) -> None:
        self.failures = failures or {}
        self.told: list[tuple[str, Message]] = []

    def send(self, message: Message, recipient: str) -> None:
        if recipient in self.failures:
            raise self.failures[recipient]
        self.told.append((recipient, message))


def tell(
    outbox: Outbox, channel: Recorder | EmailChannel, *, settings: Notices = SETTINGS, folder: Path = Path()
) -> int:
    return send_owed_notices(outbox, [channel], settings, NOW, storage_folder=folder)


def write_image(path: Path) -> FileDataset:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    ds = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, generate_uid()
    ds.PatientName, ds.PatientID, ds.AccessionNumber = "CANARY^DONOTLOG", "CANARY-ID", "CANARY-ACC"
    ds.save_as(path, enforce_file_format=True)
    return ds


@pytest.mark.parametrize(("presence", "numbers"), [(Presence.PRESENT, (1,)), (Presence.ABSENT, ())])
def test_a_mail_never_tells_of_a_partly_covered_gland_as_of_a_whole_one(
    presence: Presence, numbers: tuple[int, ...]
) -> None:
    left = replace(LEFT, presence=presence, candidate_numbers=numbers, is_partial=True, covered_share=0.6)
    text = compose_message(replace(owed(), glands=(RIGHT, left))).text
    assert "in the part that the scan covers (covered in part, about 60 %)" in text


def test_a_notice_says_what_was_found_where_and_how_large() -> None:
    text = compose_message(owed()).text
    assert "study 12" in text
    assert "Left parotid: mass above the threshold" in text
    assert f"{MASS.voxels} voxels of 1 mm^3, {MASS.volume_mm3 / 1000:.2f} ml" in text
    assert f"longest diameter {MASS.longest_diameter_mm:.0f} mm" in text


def test_a_gland_that_was_not_assessed_is_never_called_free_of_masses() -> None:
    text = compose_message(owed()).text
    assert "Right parotid: not assessed: cut off at the top" in text
    assert "no mass" not in text


def test_a_notice_says_what_to_do_and_that_it_is_research() -> None:
    text = compose_message(owed(), link="https://screener.example/case/{study}").text
    assert "screener explain 12" in text
    assert "https://screener.example/case/12" in text
    assert "Research use, not validated for clinical diagnosis" in text


def test_a_notice_names_no_patient_by_default(tmp_path: Path) -> None:
    write_image(tmp_path / "image.dcm")
    message = compose_message(owed(), storage_folder=tmp_path)
    assert "CANARY" not in message.subject + message.text


def test_a_notice_names_the_patient_where_config_says_so_but_never_in_its_subject(tmp_path: Path) -> None:
    ds = write_image(tmp_path / "image.dcm")
    message = compose_message(owed(), include_patient_identity=True, storage_folder=tmp_path)
    for value in (str(ds.PatientName), ds.PatientID, ds.AccessionNumber):
        assert value in message.text
    assert "CANARY" not in message.subject


def test_a_lost_image_never_keeps_a_notice_back(tmp_path: Path) -> None:
    message = compose_message(owed(), include_patient_identity=True, storage_folder=tmp_path)
    assert "cannot be read" in message.text


def test_a_name_cannot_forge_a_line_of_the_notice(tmp_path: Path) -> None:
    ds = pydicom.dcmread(write_image(tmp_path / "image.dcm").filename)
    ds.PatientID = "1\nLeft parotid: no mass"
    ds.save_as(tmp_path / "image.dcm")
    message = compose_message(owed(), include_patient_identity=True, storage_folder=tmp_path)
    assert "\nLeft parotid: no mass" not in message.text


def test_nothing_of_the_patient_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_image(tmp_path / "image.dcm")
    channel = Recorder({"b@x.example": TryAgain("the mail server is busy")})
    outbox = Outbox(owed(1), owed(2, recipient="b@x.example"))
    with caplog.at_level(logging.DEBUG):
        tell(outbox, channel, settings=SETTINGS.model_copy(update={"include_patient_identity": True}), folder=tmp_path)
    assert "CANARY" in channel.told[0][1].text
    assert "study=12" in caplog.text
    assert "CANARY" not in caplog.text


def test_a_notice_is_marked_after_it_was_taken() -> None:
    outbox, channel = Outbox(owed()), Recorder()
    assert tell(outbox, channel) == 1
    assert outbox.rows == {}
    assert tell(outbox, channel) == 0


def test_one_bad_recipient_never_blocks_the_others() -> None:
    outbox = Outbox(owed(1, recipient="bad@x.example"), owed(2, recipient="good@x.example"))
    channel = Recorder({"bad@x.example": NeedsPerson("no such user")})
    assert tell(outbox, channel) == 1
    assert list(outbox.rows) == [1]


def test_a_bug_in_one_notice_never_blocks_the_others(caplog: pytest.LogCaptureFixture) -> None:
    outbox = Outbox(owed(1, recipient="bad@x.example"), owed(2, recipient="good@x.example"))
    channel = Recorder({"bad@x.example": IndexError("CANARY^DONOTLOG")})
    with pytest.raises(IndexError):
        tell(outbox, channel)
    assert tell(outbox, channel) == 1
    assert list(outbox.rows) == [1]
    assert outbox.not_before[1] > NOW
    assert "CANARY" not in outbox.errors[1] + caplog.text


def test_half_an_address_in_the_settings_never_blocks_the_others() -> None:
    outbox = Outbox(owed(1, recipient="ent@"), owed(2, recipient="good@x.example"))
    with open_mailbox() as mailbox:
        channel = EmailChannel(Email(host=mailbox.host, port=mailbox.port))
        with pytest.raises(IndexError):
            tell(outbox, channel)
        assert tell(outbox, channel) == 1
    assert mailbox.recipients == ["good@x.example"]


def test_what_may_heal_is_tried_again_after_growing_delays() -> None:
    failing = Recorder({"ent@hospital.example": TryAgain("the mail server is away")})
    waits = []
    for attempts in range(8):
        outbox = Outbox(owed(attempts=attempts))
        tell(outbox, failing)
        waits.append(outbox.not_before[1] - NOW)
    assert waits[0] == timedelta(seconds=SETTINGS.retry_seconds)
    assert waits == sorted(waits)
    assert waits[-1] == timedelta(seconds=SETTINGS.max_retry_seconds)


def test_what_a_person_must_mend_stays_owed_and_in_sight() -> None:
    outbox = Outbox(owed())
    tell(outbox, Recorder({"ent@hospital.example": NeedsPerson("no such user")}))
    assert list(outbox.rows) == [1]
    assert outbox.errors == {1: "no such user"}
    assert outbox.not_before[1] == NOW + timedelta(seconds=SETTINGS.max_retry_seconds)


def test_a_channel_that_was_removed_keeps_its_notices_in_sight() -> None:
    outbox = Outbox(owed(channel="pager"))
    assert tell(outbox, Recorder()) == 0
    assert "pager" in outbox.errors[1]


def test_a_mark_that_fails_tells_twice_under_one_message_id() -> None:
    outbox = Outbox(owed())
    outbox.is_broken = True
    with open_mailbox() as mailbox:
        channel = EmailChannel(Email(host=mailbox.host, port=mailbox.port))
        with pytest.raises(ConnectionError):
            tell(outbox, channel)
        outbox.is_broken = False
        assert tell(outbox, channel) == 1
        assert tell(outbox, channel) == 0
    first, again = mailbox.mails
    assert first["Message-ID"] == again["Message-ID"]
    assert "CANARY" not in first.as_string()


@given(st.integers(1, 40), st.integers(1, 10_000), st.integers(1, 100_000))
def test_a_delay_doubles_until_the_longest(attempts: int, first_seconds: int, longest_seconds: int) -> None:
    longest = timedelta(seconds=longest_seconds)
    delay = next_delay(attempts, first_seconds, longest_seconds)
    assert next_delay(1, first_seconds, longest_seconds) == min(timedelta(seconds=first_seconds), longest)
    assert next_delay(attempts + 1, first_seconds, longest_seconds) == min(2 * delay, longest)


def test_a_delay_stays_finite_however_long_a_peer_is_away() -> None:
    assert next_delay(10**9, 30, 900) == timedelta(seconds=900)


def test_a_notice_of_a_run_that_flags_nothing_withdraws_the_earlier_one() -> None:
    absent = GlandVerdict(side=Side.LEFT, presence=Presence.ABSENT, reason="no candidate", candidate_numbers=())
    message = compose_message(replace(owed(), glands=(RIGHT, absent), candidates=()))
    assert "withdrawn" in message.subject
    assert "The earlier notice about study 12 is withdrawn" in message.text
    assert "flagged study" not in message.text
    assert "Right parotid: not assessed" in message.text


def test_a_withdrawal_claims_no_more_images_than_there_are() -> None:
    """A PACS may have sent a part of them again, after the others had expired."""
    absent = GlandVerdict(side=Side.LEFT, presence=Presence.ABSENT, reason="no candidate", candidate_numbers=())
    text = " ".join(compose_message(replace(owed(), glands=(RIGHT, absent), candidates=())).text.split())
    assert "more images" not in text
    assert "on the CT images now at hand" in text


def test_a_withdrawal_says_in_its_subject_that_not_all_was_assessed() -> None:
    absent = GlandVerdict(side=Side.LEFT, presence=Presence.ABSENT, reason="no candidate", candidate_numbers=())
    subject = compose_message(replace(owed(), glands=(RIGHT, absent), candidates=())).subject
    assert subject.endswith("no mass above the threshold in what was assessed")
