"""An ultrasound run on the real database: what it leaves, what is told of it, and what `explain` says."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from screener.channels.message import compose_message
from screener.dispatch import dispatch_study
from screener.explain import describe_study
from screener.journey import Ending, Queue
from screener.recover import recover_expired_leases
from screener.replay import describe_replay, replay
from screener.store import LeaseLostError, Result, Run, Store
from screener.store.values import LesionLine, OwedNotice, UltrasoundOutcome
from screener.us_study import Answer, FrameChoice
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance
from tests.unit.test_store import LEASE, MAX_WAIT, QUIET, START, THRESHOLDS

ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    url = f"sqlite:///{tmp_path}/screener.sqlite"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgresql")
    opened = open_new_store(url)
    yield opened
    with opened.engine.begin() as connection:
        if request.param == "postgresql":
            connection.exec_driver_sql("DROP SCHEMA public CASCADE")
            connection.exec_driver_sql("CREATE SCHEMA public")
    opened.engine.dispose()


def claimed(store: Store, number: int) -> tuple[Run, datetime]:
    """Run `number` of the study, an hour after the one before, once its images are quiet."""
    now = START + timedelta(hours=number)
    store.record_instance(an_instance(number, sop_class_uid=ULTRASOUND, modality="US"), now)
    now += QUIET
    for study in store.quiet_studies(now, quiet=QUIET, max_wait=MAX_WAIT):
        dispatch_study(store, study, THRESHOLDS, now)
    run = store.claim_run(Queue.US, "worker", now, LEASE)
    assert run is not None
    store.record_frames(run, [a_frame(1)])
    return run, now


def a_frame(number: int, *, is_taken: bool = True) -> FrameChoice:
    """A frame of picture `number`; the first shows the lesion."""
    reason = "B-mode" if is_taken else "the pixels are cut short"
    return FrameChoice(sop_instance_uid=f"1.2.3.1.{number}", frame_number=7, is_taken=is_taken, reason=reason)


def a_lesion(malignancy: float | None) -> LesionLine:
    if malignancy is None:
        return LesionLine(answer=Answer.NO_LESION, probability=None, reason="No lesion found, 2 frames searched.")
    return LesionLine(
        learned_from="The ultrasound models learned from lesions of a test: from no parotid tumor.",
        answer=Answer.MALIGNANT if malignancy >= 0.5 else Answer.BENIGN,
        probability=malignancy,
        reason=f"The largest lesion: probability of malignancy {malignancy:.2f}.",
        sop_instance_uid="1.2.3.1.1",
        frame_number=7,
        area_px=5400,
        longest_diameter_mm=23.4,
        mean_probability=0.9,
    )


def finish(store: Store, run: Run, malignancy: float | None, now: datetime) -> None:
    lesion = a_lesion(malignancy)
    store.finish_ultrasound_run(
        run,
        UltrasoundOutcome(
            lesion=lesion,
            is_flagged=lesion.answer is Answer.MALIGNANT,
            results=(Result(role="sr", sop_class_uid="1.2", sop_instance_uid="2.25.7", path="results/sr", sha256="0"),),
            model_identity="2.25.99",
        ),
        destinations=["pacs"],
        recipients=[("email", "ent@hospital.test")],
        seconds=1.0,
        now=now,
    )


def told(store: Store, now: datetime) -> list[OwedNotice]:
    owed = list(store.owed_notices(now))
    for notice in owed:
        store.notice_sent(notice, now)
    return owed


def test_a_malignant_lesion_is_flagged_stored_and_told(store: Store) -> None:
    run, now = claimed(store, 1)
    frames = [
        a_frame(1),
        FrameChoice(sop_instance_uid="1.2.3.1.2", frame_number=0, is_taken=False, reason="color Doppler"),
    ]
    store.record_frames(run, frames)
    store.record_frames(run, frames)
    finish(store, run, 0.83, now)
    (notice,) = told(store, now)
    assert notice.lesion == a_lesion(0.83)
    message = compose_message(notice)
    assert message.subject == "Parotid screener: study 1, ultrasound lesion called malignant"
    assert "probability of malignancy 0.83" in message.text
    assert "23 mm" in message.text
    assert "learned from lesions of a test: from no parotid tumor." in message.text
    assert "Research use, not validated for clinical diagnosis." in message.text
    assert "voxel" not in message.text
    report = store.study_report(1)
    assert report is not None
    (reported,) = report.runs
    assert (reported.is_flagged, reported.frames, reported.lesion) == (True, tuple(frames), a_lesion(0.83))
    text = describe_study(report)
    assert "frame 7 taken: B-mode" in text
    assert "image refused: color Doppler" in text
    assert "malignant: The largest lesion" in text
    assert "thresholds: probability of malignancy 0.5, config revision abc" in text


@pytest.mark.parametrize("malignancy", [None, 0.2])
def test_nobody_is_told_of_what_is_not_malignant(store: Store, malignancy: float | None) -> None:
    run, now = claimed(store, 1)
    finish(store, run, malignancy, now)
    assert told(store, now) == []
    delivery = store.claim_delivery("sender", now, LEASE)
    assert delivery is not None, "the report goes to the PACS all the same"
    store.delivery_sent(delivery, seconds=0.1, now=now)
    report = store.study_report(1)
    assert report is not None
    assert report.ending is Ending.DONE
    assert report.runs[0].is_flagged is False


def test_what_a_later_run_no_longer_finds_is_withdrawn_once(store: Store) -> None:
    texts = []
    for number, malignancy in enumerate((0.9, 0.8, 0.1, None, 0.7), start=1):
        run, now = claimed(store, number)
        finish(store, run, malignancy, now)
        texts.append([compose_message(notice).subject for notice in told(store, now)])
    flagged = "Parotid screener: study 1, ultrasound lesion called malignant"
    withdrawn = "Parotid screener: study 1, earlier notice withdrawn: no probability of malignancy above the threshold"
    assert texts == [[flagged], [], [withdrawn], [], [flagged]]


def test_a_run_that_was_lost_leaves_nothing(store: Store) -> None:
    run, now = claimed(store, 1)
    recover_expired_leases(store, 3, now + 2 * LEASE)
    with pytest.raises(LeaseLostError):
        store.record_frames(run, ())
    with pytest.raises(LeaseLostError):
        finish(store, run, 0.9, now)
    report = store.study_report(1)
    assert report is not None
    assert report.runs[0].lesion is None


def test_a_replay_of_the_ct_settings_leaves_ultrasound_out(store: Store) -> None:
    run, now = claimed(store, 1)
    finish(store, run, 0.83, now)
    assert list(store.decided_runs()) == []
    assert "0 studies" in describe_replay(replay(store.decided_runs(), THRESHOLDS))
