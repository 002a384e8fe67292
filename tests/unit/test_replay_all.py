"""A replay of 500 stored studies comes to what a new decision of every one of them comes to, and the reviews count."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from screener.__main__ import main
from screener.decide import decide
from screener.decide_us import decide_ultrasound
from screener.dispatch import dispatch_study
from screener.journey import Queue
from screener.replay import count_reviews, replay
from screener.store import Screening, Store
from screener.store import tables as t
from screener.store.feedback import Judgment
from screener.store.reviews import Opinion
from screener.store.values import LesionLine, UltrasoundOutcome
from screener.study import GAMMAS, Candidate, GlandAssessment, Presence, Side, Thresholds
from screener.us_study import Answer, Combination, FrameChoice
from tests.peers.stores import open_new_store
from tests.peers.values import BOTH_ASSESSED, a_candidate, an_assessment, an_instance

START = datetime.now(UTC) - timedelta(days=30)
LEASE = timedelta(minutes=10)
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
OLD = Thresholds(min_voxels=500, min_probability=0.5, config_revision="old")
NEW = replace(
    OLD,
    min_voxels=300,
    gamma=3,
    min_score=0.35,
    min_covered_share=0.5,
    min_malignancy=0.3,
    us_findings="decide",
    config_revision="new",
)
STUDIES = 500
SETTINGS = '[storage]\nfolder = "."\n'


@dataclass(frozen=True, slots=True)
class Measured:
    """What the networks gave of one study: all that no threshold has touched."""

    assessments: tuple[GlandAssessment, GlandAssessment] = BOTH_ASSESSED
    candidates: tuple[Candidate, ...] = ()
    is_ultrasound: bool = False
    malignancy: float | None = None
    combined: float | None = None
    frames: int = 3


def open_fast(folder: Path) -> Store:
    """A store that need not survive a power cut."""
    folder.mkdir(exist_ok=True)
    store = open_new_store(f"sqlite:///{folder}/screener.sqlite")
    sa.event.listen(store.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    store.engine.dispose()
    return store


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_fast(tmp_path)
    yield opened
    opened.engine.dispose()


def measure(draw: random.Random) -> Measured:
    """A study at random: some of ultrasound, some without a gland, some covered in part, some with look-alikes."""
    if draw.random() < 0.3:
        malignancy = draw.choice([None, draw.random()])
        combined = draw.choice([None, draw.random()]) if malignancy is not None else None
        return Measured(is_ultrasound=True, malignancy=malignancy, combined=combined)
    glands = []
    for side in Side:
        gland = an_assessment(side, is_assessed=draw.random() > 0.1)
        if draw.random() < 0.3:
            gland = replace(gland, covered_share=draw.uniform(0.2, 1.0), is_partial=True)
        glands.append(gland)
    found = [draw.choice(list(Side)) for _ in range(draw.randrange(4))]
    candidates = tuple(make_candidate(draw, number, side) for number, side in enumerate(found, 1))
    return Measured(assessments=(glands[0], glands[1]), candidates=candidates)


def make_candidate(draw: random.Random, number: int, side: Side) -> Candidate:
    scores = tuple(draw.random() for _ in GAMMAS) if draw.random() > 0.1 else ()
    return replace(a_candidate(number, draw.randrange(40, 1200), side), scores=scores)


def screen(
    store: Store,
    number: int,
    measured: Measured,
    thresholds: Thresholds,
    *,
    came_at: datetime | None = None,
    image: int = 1,
) -> int:
    """Screen one study as the workers do, decided under `thresholds`, on its image `image`; our number of it."""
    at = came_at or START + timedelta(minutes=5 * number)
    changes = {"sop_class_uid": ULTRASOUND, "modality": "US"} if measured.is_ultrasound else {}
    uid = f"1.2.{number}"
    store.record_instance(an_instance(number, study_instance_uid=uid, sop_instance_uid=f"{uid}.{image}", **changes), at)
    later = at + timedelta(minutes=2)
    (quiet,) = store.quiet_studies(later, quiet=timedelta(minutes=1), max_wait=timedelta(hours=1))
    dispatch_study(store, quiet, thresholds, later)
    run = store.claim_run(Queue.US if measured.is_ultrasound else Queue.CT, "worker", later, LEASE)
    assert run is not None
    owed = {"destinations": [], "recipients": [], "seconds": 1.0, "now": later}
    if measured.is_ultrasound:
        picture = f"{uid}.1"
        frame = FrameChoice(sop_instance_uid=picture, frame_number=1, is_taken=measured.frames > 0, reason="")
        store.record_frames(run, [frame])
        store.finish_ultrasound_run(run, judge_lesion(measured, run.thresholds, picture), **owed)
    else:
        store.finish_run(run, judge_glands(measured, run.thresholds), **owed)
    return run.study_id


def judge_glands(measured: Measured, thresholds: Thresholds) -> Screening:
    return Screening(
        assessments=measured.assessments,
        candidates=measured.candidates,
        verdict=decide(measured.assessments, measured.candidates, thresholds),
        results=(),
        model_identity="",
    )


def judge_lesion(measured: Measured, thresholds: Thresholds, sop_instance_uid: str) -> UltrasoundOutcome:
    combination = None
    if measured.malignancy is not None:
        combination = Combination(probability=measured.combined, lowest=0.1, highest=0.9, missing=(), reason="so")
    verdict = decide_ultrasound(
        frames=measured.frames,
        has_lesion=measured.malignancy is not None,
        malignancy=measured.malignancy,
        thresholds=thresholds,
        combination=combination,
    )
    lesion = LesionLine(
        answer=verdict.answer,
        probability=verdict.probability,
        reason=verdict.reason,
        sop_instance_uid=sop_instance_uid if measured.malignancy is not None else "",
        combined_probability=measured.combined,
        is_by_findings=verdict.is_by_findings,
    )
    return UltrasoundOutcome(lesion=lesion, is_flagged=verdict.is_flagged, results=(), model_identity="")


def count(store: Store, where: sa.ColumnElement[bool]) -> int:
    with store.engine.connect() as connection:
        return connection.execute(sa.select(sa.func.count(t.runs.c.id)).where(where)).scalar_one()


def undetermined(store: Store) -> int:
    glands = sa.select(t.glands.c.run_id).where(t.glands.c.presence == Presence.UNDETERMINED)
    return count(store, t.runs.c.id.in_(glands))


def flagged(store: Store) -> set[int]:
    with store.engine.connect() as connection:
        return set(connection.execute(sa.select(t.runs.c.study_id).where(t.runs.c.is_flagged)).scalars())


def test_500_studies_replayed_come_to_what_their_screening_from_scratch_comes_to(store: Store, tmp_path: Path) -> None:
    draw = random.Random(20260101)  # noqa: S311 - an example, no secret
    scratch = open_fast(tmp_path / "scratch")
    for number in range(1, STUDIES + 1):
        measured = measure(draw)
        assert screen(store, number, measured, OLD) == screen(scratch, number, measured, NEW)
    replayed = replay(store.decided_runs(), NEW, store.decided_lesions())
    before, after = flagged(store), flagged(scratch)
    assert replayed.studies == STUDIES
    assert replayed.ultrasound == count(store, t.runs.c.queue == Queue.US) > 100
    assert (replayed.flagged_before, replayed.flagged_after) == (len(before), len(after))
    assert (set(replayed.newly_flagged), set(replayed.no_longer_flagged)) == (after - before, before - after)
    assert (replayed.undetermined_before, replayed.undetermined_after) == (undetermined(store), undetermined(scratch))
    assert replayed.flagged == after
    assert min(len(after - before), len(before - after), undetermined(store)) > 10  # the example moves something
    scratch.engine.dispose()


def mass(voxels: int) -> Measured:
    return Measured(candidates=(a_candidate(1, voxels),))


def review(store: Store, study_id: int, opinion: Opinion, by: str = "gray") -> None:
    decided = store.decided_number(study_id)
    assert decided is not None
    assert store.add_review(decided.run_id, opinion, by=by, text="", now=START)


def screen_all(store: Store, measured: Sequence[Measured]) -> list[int]:
    return [screen(store, number, each, OLD) for number, each in enumerate(measured, 1)]


def test_what_people_said_tells_whether_a_finding_is_there(store: Store) -> None:
    right, wrong, missed, clean, silent, disputed, changed = screen_all(
        store, [mass(900), mass(900), mass(300), mass(300), mass(900), mass(900), mass(900)]
    )
    review(store, right, Opinion.AGREE)
    review(store, wrong, Opinion.DISAGREE)
    review(store, missed, Opinion.DISAGREE)
    review(store, clean, Opinion.AGREE)
    review(store, silent, Opinion.COMMENT)
    review(store, disputed, Opinion.AGREE)
    review(store, disputed, Opinion.DISAGREE, by="white")
    review(store, changed, Opinion.AGREE)
    review(store, changed, Opinion.DISAGREE)
    assert store.judgments() == {
        right: Judgment.FINDING,
        wrong: Judgment.NO_FINDING,
        missed: Judgment.FINDING,
        clean: Judgment.NO_FINDING,
        disputed: Judgment.DISPUTED,
        changed: Judgment.NO_FINDING,
    }
    counted = count_reviews([right, wrong, silent, disputed], store.judgments())
    assert (counted.agreed, counted.disagreed, counted.disputed, counted.unreviewed) == (1, 1, 1, 1)


def run_replay(folder: Path, *arguments: str) -> int:
    (folder / "config.toml").write_text(SETTINGS, encoding="utf-8")
    return main(["config", "replay", "--config", str(folder / "config.toml"), *arguments])


def test_the_command_says_what_a_threshold_would_have_sent(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    right, missed, clean, unknown = screen_all(store, [mass(900), mass(350), mass(320), mass(310)])
    review(store, right, Opinion.AGREE)
    review(store, missed, Opinion.DISAGREE)
    review(store, clean, Opinion.AGREE)
    assert run_replay(tmp_path, "--set", "decision.min_voxels=300") == 0
    told = capsys.readouterr().out
    assert (
        "with 300 instead of 500 voxels, the last 90 days would have sent 4 notices instead of 1; "
        "of the reviewed ones 1 more agreed, 1 more disagreed\n"
    ) in told
    assert "PPV of the reviewed, in force: 1 of 1, 1.00 (0.21 to 1.00); 0 flagged and not reviewed" in told
    assert "PPV of the reviewed, with the change: 2 of 3, 0.67 (0.21 to 0.94); 1 flagged and not reviewed" in told
    assert "of 3 flagged in addition 2 were reviewed" in told
    assert f"flagged in addition: 3 (study {missed}, {clean}, {unknown})" in told


def test_an_ultrasound_threshold_is_replayed_from_the_stored_probability(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    screen_all(store, [Measured(is_ultrasound=True, malignancy=share) for share in (0.2, 0.4, 0.6, None)])
    assert run_replay(tmp_path, "--set", "min_malignancy=0.35", "--days", "60") == 0
    told = capsys.readouterr().out
    assert "with min_malignancy 0.35 instead of 0.5, the last 60 days would have sent 2 notices instead of 1" in told
    assert "decided again: 4 studies, of them 4 of ultrasound" in told


def test_older_studies_than_the_days_asked_for_are_left_out(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    screen_all(store, [mass(900), Measured(is_ultrasound=True, malignancy=0.9)])
    assert run_replay(tmp_path, "--set", "min_voxels=300", "--days", "7") == 0
    assert "decided again: 0 studies" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ("decision.min_voxels=3", "decision.min_voxels: 3 is not allowed, only a whole number, at least 30"),
        ("decision.min_voxel=300", "decision.min_voxel: unknown key, did you mean min_voxels?"),
        ("listener.port=104", "only the keys of [decision]"),
        ("decision.min_voxels", "write KEY=VALUE"),
        ("decision.min_probability=0.4", "takes a new screening"),
    ],
)
def test_what_cannot_be_replayed_is_refused_with_a_sentence(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: str, sentence: str
) -> None:
    assert run_replay(tmp_path, "--set", change) == 1
    assert sentence in capsys.readouterr().err


def test_an_answer_without_a_probability_stays_what_it_was(store: Store) -> None:
    screen_all(store, [Measured(is_ultrasound=True)])
    (decided,) = store.decided_lesions()
    assert decided.lesion.answer is Answer.NO_LESION
    assert replay([], replace(NEW, min_malignancy=0.01), [decided]).flagged_after == 0
