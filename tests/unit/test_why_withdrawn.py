"""A withdrawal says where only the settings have changed: the mass is still there, and nobody may think otherwise."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from screener.channels.message import compose_digest, compose_message
from screener.decide import decide
from screener.decide_us import decide_again
from screener.dispatch import dispatch_study
from screener.store import OwedDigest, OwedNotice, Screening, Store
from screener.store.values import LesionLine
from screener.store.why_withdrawn import _would_flag_lesion
from screener.study import Candidate, Side, Thresholds
from screener.us_study import Answer
from tests.peers.stores import open_new_store
from tests.peers.values import BOTH_ASSESSED, a_candidate, an_instance
from tests.unit.test_store import MAX_WAIT, QUIET, START, THRESHOLDS, claimed
from tests.unit.test_taken_back import ENT, LATER, Mail, tell

STRICTER = replace(THRESHOLDS, min_voxels=1000, config_revision="def")
SENTENCE = "The settings have changed meanwhile (min_voxels 1000 instead of 500): under the earlier ones"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """One study in which a mass of 900 voxels was found, flagged and told."""
    opened = open_new_store(f"sqlite:///{tmp_path}/screener.sqlite")
    find(opened, 1, 900, THRESHOLDS, START + QUIET)
    assert tell(opened, Mail(), START + QUIET) == 1
    yield opened
    opened.engine.dispose()


def find(
    store: Store, number: int, voxels: int, thresholds: Thresholds, now: datetime, found: Candidate | None = None
) -> None:
    """Let an image come, and the run that it opens find one candidate, decided under `thresholds`."""
    store.record_instance(an_instance(number), now - QUIET)
    for study in store.quiet_studies(now, quiet=QUIET, max_wait=MAX_WAIT):
        dispatch_study(store, study, thresholds, now)
    candidates = (found or a_candidate(1, voxels),)
    screening = Screening(
        assessments=BOTH_ASSESSED,
        candidates=candidates,
        verdict=decide(BOTH_ASSESSED, candidates, thresholds),
        results=(),
        model_identity="2.25.99",
    )
    store.finish_run(claimed(store, now), screening, destinations=[], recipients=[ENT], seconds=1.0, now=now)


def withdrawal(store: Store) -> OwedNotice:
    (notice,) = store.owed_notices(LATER)
    assert not notice.is_flagged
    return notice


def say(notice: OwedNotice) -> str:
    return " ".join(compose_message(notice).text.split())


def test_where_only_the_threshold_changed_the_mail_says_so(store: Store) -> None:
    find(store, 2, 900, STRICTER, LATER)
    notice = withdrawal(store)
    assert notice.changed_settings == "min_voxels 1000 instead of 500"
    assert SENTENCE in say(notice)
    assert "is not refuted" in say(notice)


def test_where_the_images_show_less_the_threshold_is_not_blamed(store: Store) -> None:
    find(store, 2, 100, STRICTER, LATER)
    assert withdrawal(store).changed_settings == ""
    assert "settings have changed" not in say(withdrawal(store))


@pytest.mark.parametrize(
    "other", [a_candidate(1, 700, Side.LEFT), replace(a_candidate(1, 700), center_mm=(60.0, -20.0, 5.0))]
)
def test_of_a_mass_that_is_gone_it_is_not_said_that_it_stands(store: Store, other: Candidate) -> None:
    """Under the earlier settings another mass would be flagged; the one that was told is not there."""
    find(store, 2, 700, STRICTER, LATER, other)
    assert withdrawal(store).changed_settings == ""
    assert "not refuted" not in say(withdrawal(store))


def test_where_no_setting_changed_nothing_is_said_of_them(store: Store) -> None:
    find(store, 2, 100, THRESHOLDS, LATER)
    assert withdrawal(store).changed_settings == ""


def test_a_digest_says_it_too(store: Store) -> None:
    find(store, 2, 900, STRICTER, LATER)
    notice = withdrawal(store)
    digest = OwedDigest(digest_id=1, channel="email", recipient=ENT[1], attempts=0, owed_since=LATER, notices=(notice,))
    assert SENTENCE in " ".join(compose_digest(digest).text.split())


@pytest.mark.parametrize(
    ("malignancy", "combined", "settings", "is_flagged"),
    [
        (0.6, None, {}, True),
        (0.4, 0.9, {}, False),
        (0.4, 0.9, {"us_findings": "decide"}, True),
        (0.6, None, {"min_malignancy": 0.7}, False),
        (None, None, {}, False),
    ],
)
def test_a_stored_lesion_is_decided_again(
    malignancy: float | None, combined: float | None, settings: dict[str, object], is_flagged: bool
) -> None:
    assert decide_again(malignancy, combined, replace(THRESHOLDS, **settings)) is is_flagged


@pytest.mark.parametrize(("changes", "is_same"), [
    ({}, True),
    ({"sop_instance_uid": "1.2.9"}, False),
    ({"frame_number": 3}, False),
    ({"answer": Answer.NO_LESION, "probability": None, "sop_instance_uid": "", "frame_number": 0}, False),
])  # fmt: skip
def test_on_ultrasound_what_was_told_is_the_lesion_of_the_same_picture(
    changes: dict[str, object], is_same: bool
) -> None:
    told = LesionLine(answer=Answer.MALIGNANT, probability=0.6, reason="", sop_instance_uid="1.2.3", frame_number=7)
    now = replace(told, **{"answer": Answer.BENIGN} | changes)  # type: ignore[arg-type]
    assert _would_flag_lesion(now, told, THRESHOLDS) is is_same
