"""Other settings are a query on what is stored: decided again on a real database, nothing written."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from screener.__main__ import main
from screener.decide import decide
from screener.dispatch import dispatch_study
from screener.journey import Queue
from screener.replay import describe_replay, replay
from screener.store import Screening, Store
from screener.store import tables as t
from screener.study import GAMMAS, Candidate, GlandAssessment, Presence, Side, Thresholds
from tests.peers.values import BOTH_ASSESSED, a_candidate, an_instance

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LEASE = timedelta(minutes=10)
THRESHOLDS = Thresholds(min_voxels=500, min_probability=0.5, config_revision="abc")
SETTINGS = '[storage]\nfolder = "."\n'


def scored(voxels: int, score: float, number: int = 1) -> Candidate:
    """A candidate with `score` at gamma 5 and a different one at each other gamma."""
    scores = tuple(min(1.0, score * gamma / 5) for gamma in GAMMAS)
    return replace(a_candidate(number, voxels), scores=scores, features={"log_volume": 6.0})


def screen(
    store: Store,
    study: str,
    candidates: tuple[Candidate, ...],
    assessments: tuple[GlandAssessment, GlandAssessment] = BOTH_ASSESSED,
    now: datetime = START,
) -> int:
    """One study, screened and decided under THRESHOLDS; its number."""
    store.record_instance(an_instance(1, study_instance_uid=study, sop_instance_uid=f"{study}.1"), now)
    later = now + timedelta(minutes=2)
    (quiet,) = store.quiet_studies(later, quiet=timedelta(minutes=1), max_wait=timedelta(hours=1))
    dispatch_study(store, quiet, THRESHOLDS, later)
    run = store.claim_run(Queue.CT, "worker", later, LEASE)
    assert run is not None
    screening = Screening(
        assessments=assessments,
        candidates=candidates,
        verdict=decide(assessments, candidates, run.thresholds),
        results=(),
        model_identity="2.25.1",
    )
    store.finish_run(run, screening, destinations=[], recipients=[], seconds=1.0, now=later)
    return run.study_id


def partly(share: float) -> tuple[GlandAssessment, GlandAssessment]:
    return replace(BOTH_ASSESSED[0], covered_share=share, is_partial=True), BOTH_ASSESSED[1]


def test_the_same_settings_change_nothing(store: Store) -> None:
    for number, candidate in enumerate([scored(900, 0.9), scored(900, 0.1), scored(100, 0.9)]):
        screen(store, f"1.{number}", (candidate,))
    replayed = replay(store.decided_runs(), THRESHOLDS)
    assert (replayed.studies, replayed.flagged_before, replayed.flagged_after) == (3, 1, 1)
    assert replayed.newly_flagged == replayed.no_longer_flagged == replayed.otherwise_changed == ()


def test_a_smaller_threshold_flags_what_was_below_it(store: Store) -> None:
    screen(store, "1.1", (scored(900, 0.9),))
    small = screen(store, "1.2", (scored(300, 0.9),))
    replayed = replay(store.decided_runs(), replace(THRESHOLDS, min_voxels=200))
    assert (replayed.flagged_before, replayed.flagged_after) == (1, 2)
    assert replayed.newly_flagged == (small,)


def test_another_cut_off_takes_back_or_brings_back(store: Store) -> None:
    low, high = screen(store, "1.1", (scored(900, 0.1),)), screen(store, "1.2", (scored(900, 0.6),))
    assert replay(store.decided_runs(), replace(THRESHOLDS, min_score=0.05)).newly_flagged == (low,)
    assert replay(store.decided_runs(), replace(THRESHOLDS, min_score=0.7)).no_longer_flagged == (high,)


def test_another_gamma_reads_another_score(store: Store) -> None:
    study = screen(store, "1.1", (scored(900, 0.3),))
    assert replay(store.decided_runs(), replace(THRESHOLDS, gamma=1)).no_longer_flagged == (study,)


def test_a_mass_in_too_little_of_a_gland_comes_back_with_the_setting(store: Store) -> None:
    study = screen(store, "1.1", (scored(900, 0.9),), partly(0.3))
    replayed = replay(store.decided_runs(), replace(THRESHOLDS, min_covered_share=0.25))
    assert replayed.newly_flagged == (study,)
    assert (replayed.undetermined_before, replayed.undetermined_after) == (1, 0)


def test_a_gland_that_becomes_undetermined_is_named_although_no_flag_changes(store: Store) -> None:
    study = screen(store, "1.1", (), partly(0.5))
    replayed = replay(store.decided_runs(), replace(THRESHOLDS, min_covered_share=0.6))
    assert replayed.otherwise_changed == (study,)


def test_only_the_newest_run_of_a_study_counts(store: Store) -> None:
    study = screen(store, "1.1", (scored(900, 0.9),))
    store.reprocess(study, START + timedelta(hours=1))
    later = START + timedelta(hours=2)
    (quiet,) = store.quiet_studies(later, quiet=timedelta(minutes=1), max_wait=timedelta(hours=1))
    dispatch_study(store, quiet, THRESHOLDS, later)
    run = store.claim_run(Queue.CT, "worker", later, LEASE)
    assert run is not None
    verdict = decide(BOTH_ASSESSED, (), THRESHOLDS)
    screening = Screening(assessments=BOTH_ASSESSED, candidates=(), verdict=verdict, results=(), model_identity="")
    store.finish_run(run, screening, destinations=[], recipients=[], seconds=1.0, now=later)
    (decided,) = store.decided_runs()
    assert (decided.study_id, decided.number, decided.candidates) == (study, 2, ())


def test_runs_before_the_days_asked_for_are_left_out(store: Store) -> None:
    screen(store, "1.1", ())
    recent = screen(store, "1.2", (), now=START + timedelta(days=10))
    assert [run.study_id for run in store.decided_runs(START + timedelta(days=9))] == [recent]


def test_what_is_stored_comes_back_as_it_was(store: Store) -> None:
    candidate = scored(900, 0.35)
    screen(store, "1.1", (candidate,), partly(0.6))
    (run,) = store.decided_runs()
    assert run.candidates == (candidate,)
    assert run.assessments == partly(0.6)
    assert run.thresholds == THRESHOLDS
    assert run.presences == {Side.RIGHT: Presence.PRESENT, Side.LEFT: Presence.ABSENT}


def test_a_candidate_of_an_earlier_version_is_judged_by_size_alone(store: Store) -> None:
    study = screen(store, "1.1", (scored(900, 0.9),))
    with store.engine.begin() as connection:
        row = dict(connection.execute(sa.select(t.candidates.c.features)).scalar_one())
        del row["features"], row["scores"]
        connection.execute(t.candidates.update().values(features=row))
    (run,) = store.decided_runs()
    assert (dict(run.candidates[0].features), run.candidates[0].scores) == ({}, ())
    replayed = replay([run], replace(THRESHOLDS, min_score=1.0))
    assert (replayed.flagged_after, replayed.without_scores) == (1, 1)
    assert "size alone" in describe_replay(replayed)
    assert study == run.study_id


def dump(store: Store) -> list[object]:
    with store.engine.connect() as connection:
        return [connection.execute(table.select()).all() for table in t.metadata.sorted_tables]


def test_the_command_tells_the_counts_and_writes_nothing(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text(SETTINGS, encoding="utf-8")
    study = screen(store, "1.1", (scored(300, 0.9),))
    before = dump(store)
    arguments = ["replay", "--config", str(tmp_path / "config.toml"), "--min-voxels", "200"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "1 studies of CT decided again" in told
    assert "flagged: 0 before, 1 after" in told
    assert f"newly flagged: 1 (study {study})" in told
    assert dump(store) == before


def test_a_setting_that_config_toml_could_not_hold_is_refused(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    screen(store, "1.1", ())
    (tmp_path / "config.toml").write_text(SETTINGS, encoding="utf-8")
    assert main(["replay", "--config", str(tmp_path / "config.toml"), "--gamma", "11"]) == 1
    assert "gamma" in capsys.readouterr().err
