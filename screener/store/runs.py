"""Runs are claimed by a lease, worked on stage by stage, and ended."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from screener.journey import Ending, Queue, Stage
from screener.match_rules import Recipient
from screener.store import tables as t
from screener.store.base import (
    Base,
    IsSlow,
    LeaseLostError,
    add_step,
    end_study,
    lock_study,
    nobody_is_slow,
    settle,
    thresholds_of,
)
from screener.store.carry_acknowledgement import carry_acknowledgement
from screener.store.owe import owe_notices, superseded_by, told_places
from screener.store.standing import is_in_force, settle_standing
from screener.store.values import Kind, Result, Run, Screening
from screener.study import Instance, SeriesChoice

TRIED_AGAIN = "tried again"
"""What a run's history says where it was put back after a fault."""
PUT_BACK = "put back"
"""What it says where its worker was told to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What a run has come to, whatever kind of study it is."""

    places: tuple[str, ...]
    """Where it flags something, in order; notices tell what they have told by these."""
    is_flagged: bool
    reason: str
    results: tuple[Result, ...]
    model_identity: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """Who must hear of it."""

    destinations: Sequence[str]
    """Names from the settings."""
    recipients: Sequence[Recipient | tuple[str, str]]
    """Those whom the settings tell; a bare (channel, address) pair is told of everything at once."""


class Runs(Base):
    """From a waiting run to a decided one."""

    def claim_run(self, queue: Queue, owner: str, now: datetime, lease: timedelta) -> Run | None:
        """Take the oldest due run of a queue, past studies after all others; None when there is none.

        Order comes from here, not from the broker.
        """
        with self._begin() as connection:
            due = (
                sa.select(t.runs.c.id)
                .where(t.runs.c.queue == queue, t.runs.c.state == "waiting", t.runs.c.not_before <= now)
                .order_by(t.runs.c.priority, t.runs.c.opened_at, t.runs.c.id)
            )
            for run_id in connection.execute(due).scalars().all():
                taken = connection.execute(
                    t.runs.update()
                    .where(t.runs.c.id == run_id, t.runs.c.state == "waiting")
                    .values(state="running", owner=owner, lease_until=now + lease, attempts=t.runs.c.attempts + 1)
                )
                if taken.rowcount == 1:
                    return _run(connection, run_id)
        return None

    def renew_lease(self, run: Run, until: datetime) -> bool:
        """Hold the claim longer; False: it was lost and the work must stop."""
        with self._begin() as connection:
            renewed = connection.execute(_held(run).values(lease_until=until))
            return renewed.rowcount == 1

    def images_of(self, study_id: int, folder: Path, newest_instance_id: int | None = None) -> list[Instance]:
        """The study's images up to the given one, by SOP Instance UID; `folder` is the storage folder."""
        return self._instances_of(study_id, Kind.IMAGE, folder, newest_instance_id)

    def documents_of(self, study_id: int, folder: Path, newest_instance_id: int | None = None) -> list[Instance]:
        """What others wrote of the study, up to the given instance, as `images_of` gives its images."""
        return self._instances_of(study_id, Kind.DOCUMENT, folder, newest_instance_id)

    def returned_of(self, study_id: int, folder: Path) -> list[Instance]:
        """What came of the study with our name on it: results that a PACS sent back, and what others made of them."""
        return self._instances_of(study_id, Kind.OWN, folder, None)

    def _instances_of(self, study_id: int, kind: Kind, folder: Path, newest_instance_id: int | None) -> list[Instance]:
        instances = t.instances.select().where(
            t.instances.c.study_id == study_id,
            t.instances.c.kind == kind,
            t.instances.c.expired_at.is_(None),
        )
        if newest_instance_id is not None:
            instances = instances.where(t.instances.c.id <= newest_instance_id)
        with self._begin() as connection:
            rows = connection.execute(instances.order_by(t.instances.c.sop_instance_uid)).all()
        return [
            Instance(
                sop_instance_uid=row.sop_instance_uid,
                sop_class_uid=row.sop_class_uid,
                series_instance_uid=row.series_instance_uid,
                path=folder / row.path,
                sha256=row.sha256,
            )
            for row in rows
        ]

    def reached(self, run: Run, stage: Stage, *, sentence: str, seconds: float, now: datetime) -> None:
        """Record that the run has reached a stage; raises LeaseLostError when it is no longer ours."""
        with self._begin() as connection:
            self._must_hold(connection, run)
            _step(connection, run, stage, sentence=sentence, seconds=seconds, now=now)

    def record_series(self, run: Run, choices: Sequence[SeriesChoice], run_key: str | None) -> int | None:
        """Store each series' reasons and the run's key.

        Returns the number of an earlier run of this study with the same key that
        was screened, where all that it says is in force: the same images, models
        and settings run again only where another run has decided otherwise since.
        """
        with self._begin() as connection:
            self._must_hold(connection, run)
            connection.execute(t.series_choices.delete().where(t.series_choices.c.run_id == run.run_id))
            for choice in choices:
                modality = choice.modality.replace("\0", "")[:16]  # may break its VR's rules
                values: Mapping[str, object] = asdict(choice) | {"modality": modality, "reasons": list(choice.reasons)}
                connection.execute(t.series_choices.insert().values(run_id=run.run_id, **values))
            connection.execute(t.runs.update().where(t.runs.c.id == run.run_id).values(run_key=run_key))
            if run_key is None:
                return None
            same = sa.select(t.runs.c.id, t.runs.c.number).where(
                t.runs.c.study_id == run.study_id,
                t.runs.c.run_key == run_key,
                t.runs.c.id != run.run_id,
                t.runs.c.state == "ended",
                t.runs.c.is_flagged.is_not(None),
            )
            earlier = connection.execute(same.order_by(t.runs.c.number.desc()).limit(1)).one_or_none()
            return earlier.number if earlier is not None and is_in_force(connection, earlier.id) else None

    def name_results(self, run: Run, run_key: str) -> str:
        """Give what the UIDs of a run's results are derived from, alike in every attempt of the run.

        It is the run's key, unless an earlier run of the study that was screened had the same: what is encoded now has
        other bytes, and a PACS that keeps the first object of a UID would drop them.
        """
        twins = sa.select(t.runs.c.id).where(
            t.runs.c.study_id == run.study_id,
            t.runs.c.run_key == run_key,
            t.runs.c.number < run.number,
            t.runs.c.is_flagged.is_not(None),
        )
        with self._begin() as connection:
            has_twin = connection.execute(twins.limit(1)).first() is not None
        return f"{run_key} run {run.number}" if has_twin else run_key

    def finish_run(
        self,
        run: Run,
        screening: Screening,
        *,
        destinations: Sequence[str],
        recipients: Sequence[Recipient | tuple[str, str]],
        seconds: float,
        now: datetime,
    ) -> None:
        """Write the decision, what was measured, and what is owed, in one transaction.

        `destinations` are names from the settings; `recipients` are told of a
        flag and, where they have heard of one, of its change and withdrawal.
        """
        verdict = screening.verdict
        above = {number for gland in verdict.glands for number in gland.candidate_numbers}
        assessments = {assessment.side: assessment for assessment in screening.assessments}
        with self._begin() as connection:
            self._must_hold(connection, run)
            for gland in verdict.glands:
                assessment = assessments[gland.side]
                connection.execute(
                    t.glands.insert().values(
                        run_id=run.run_id,
                        side=gland.side,
                        is_assessed=assessment.is_assessed,
                        assessment_reason=assessment.reason,
                        volume_mm3=assessment.volume_mm3,
                        mean_hu=assessment.mean_hu,
                        covered_share=assessment.covered_share,
                        is_partial=assessment.is_partial,
                        presence=gland.presence,
                        reason=gland.reason,
                    )
                )
            for candidate in screening.candidates:
                connection.execute(
                    t.candidates.insert().values(
                        run_id=run.run_id,
                        number=candidate.number,
                        side=candidate.side,
                        is_above_threshold=candidate.number in above,
                        voxels=candidate.voxels,
                        features=asdict(candidate),
                    )
                )
            finding = Finding(
                places=tuple(sorted(gland.side for gland in verdict.glands if gland.candidate_numbers)),
                is_flagged=verdict.is_flagged,
                reason=" ".join(gland.reason for gland in verdict.glands),
                results=screening.results,
                model_identity=screening.model_identity,
            )
            owed = Owed(destinations=destinations, recipients=recipients)
            self._finish(connection, run, finding, owed, seconds=seconds, now=now)

    def _finish(
        self, connection: sa.Connection, run: Run, finding: Finding, owed: Owed, *, seconds: float, now: datetime
    ) -> None:
        """Write the decision and what is owed, whatever kind of study it is."""
        for result in finding.results:
            connection.execute(t.results.insert().values(run_id=run.run_id, **asdict(result)))
        standing = settle_standing(connection, run.run_id)
        self._supersede_earlier(connection, run, finding, standing, now)
        carry_acknowledgement(connection, run, "+".join(finding.places))
        for destination in owed.destinations:
            connection.execute(
                t.deliveries.insert().values(
                    study_id=run.study_id,
                    run_id=run.run_id,
                    destination=destination,
                    state="owed",
                    attempts=0,
                    owed_since=now,
                    not_before=now,
                    last_error="",
                )
            )
        row = connection.execute(t.runs.select().where(t.runs.c.id == run.run_id)).one()
        told = owe_notices(connection, row, finding.places, owed.recipients, now)
        stands = f" What an earlier run found stands: {', '.join(sorted(standing))}." if standing else ""
        _step(connection, run, Stage.DECIDED, sentence=finding.reason + stands, seconds=None, now=now)
        sentence = f"results owed to {len(owed.destinations)} destination(s), notices to {told} recipient(s)"
        _step(connection, run, Stage.ENCODED, sentence=sentence, seconds=seconds, now=now)
        code = "flagged" if finding.is_flagged else "not_flagged"
        decided = {"is_flagged": finding.is_flagged, "model_identity": finding.model_identity}
        _close(connection, run.run_id, Ending.DONE, code=code, reason=finding.reason, now=now, **decided)
        settle(connection, run.study_id, now)

    def _supersede_earlier(
        self, connection: sa.Connection, run: Run, finding: Finding, standing: Mapping[str, int], now: datetime
    ) -> None:
        """Earlier runs keep their results, but what they still owe is not sent any more.

        But for those of the other queue, and those whose finding stands: that of each place in `standing`. What they
        have given up to deliver is tried again, as this run's own results are, while its files are there.
        """
        of_study = (t.runs.c.study_id == run.study_id, t.runs.c.number < run.number)
        alike = sa.select(t.runs.c.id).where(*of_study, t.runs.c.queue == run.queue)
        overtaken = alike.where(t.runs.c.id.not_in(list(standing.values())))
        end = {"state": "superseded", "last_error": superseded_by(run.number)}
        free = {"owner": None, "lease_until": None, "hinted_at": None}  # whoever has it in hand loses it
        # A notice is "sent" for good; a delivery is owed until it is "delivered".
        is_owed = (t.deliveries.c.run_id.in_(overtaken), t.deliveries.c.state.in_(["owed", "sent", "given up"]))
        connection.execute(t.deliveries.update().where(*is_owed).values(end | free))
        gone = sa.select(t.results.c.run_id).where(t.results.c.expired_at.is_not(None))
        mine = (t.deliveries.c.study_id == run.study_id, t.deliveries.c.run_id.not_in(gone))
        is_given_up = (*mine, t.deliveries.c.state == "given up")
        again = {"state": "owed", "owed_since": now, "not_before": now}
        connection.execute(t.deliveries.update().where(*is_given_up).values(again | free))
        untold = t.notices.select().where(t.notices.c.run_id.in_(alike), t.notices.c.state.in_(["owed", "given up"]))
        stale = [
            row.id
            for row in connection.execute(untold).all()
            if finding.is_flagged or not set(told_places(row.finding_key).split("+")) <= standing.keys()
        ]
        connection.execute(t.notices.update().where(t.notices.c.id.in_(stale)).values(end))
        connection.execute(
            t.runs.update().where(t.runs.c.id.in_(overtaken), t.runs.c.state == "ended").values(state="superseded")
        )

    def end_run_as(self, run: Run, number: int, now: datetime) -> None:
        """End a run whose key an earlier run had: nothing new is made, sent or told."""
        with self._begin() as connection:
            self._must_hold(connection, run)
            reason = f"nothing new: the same images, models and settings as run {number}"
            _step(connection, run, Stage.SELECTED, sentence=reason, seconds=None, now=now)
            _close(connection, run.run_id, Ending.DONE, code="nothing_new", reason=reason, now=now)
            settle(connection, run.study_id, now)

    def end_run(self, run: Run, ending: Ending, *, code: str, reason: str, now: datetime) -> None:
        """End a run, and with it the study, as set aside or failed."""
        with self._begin() as connection:
            self._must_hold(connection, run)
            _end(connection, run.run_id, run.study_id, ending, code=code, reason=reason, now=now)

    def try_again(
        self, run: Run, *, reason: str, not_before: datetime, now: datetime, is_failure: bool = False
    ) -> None:
        """Put a run back; a worker takes it again from `not_before` on.

        True: the attempt counts as a failure of the run. False: something
        outside the study was in the way.
        """
        failures = run.failures + is_failure
        with self._begin() as connection:
            self._must_hold(connection, run)
            _put_back(
                connection, run.run_id, run.study_id, reason=reason, not_before=not_before, failures=failures, now=now
            )

    def put_back_of(self, processes: Sequence[str], now: datetime) -> list[int]:
        """Put back what processes that are told to stop hold, and count it for nothing; returns the study numbers.

        `processes` are what their claims' names begin with. Whoever still works on such a run has lost it.
        """
        put_back = []
        is_theirs = sa.or_(sa.false(), *(t.runs.c.owner.startswith(name, autoescape=True) for name in processes))
        theirs = t.runs.select().where(t.runs.c.state == "running", is_theirs)
        with self._begin() as connection:
            found = connection.execute(theirs).all()
        for run in found:
            with self._begin() as connection:
                lock_study(connection, run.study_id)
                row = connection.execute(theirs.where(t.runs.c.id == run.id)).one_or_none()
                if row is None:  # ended meanwhile
                    continue
                _put_back(
                    connection,
                    row.id,
                    row.study_id,
                    reason=f"attempt {row.attempts} was cut short: its worker stopped",
                    not_before=now,
                    failures=row.failures,
                    now=now,
                    stage=PUT_BACK,
                )
                put_back.append(row.study_id)
        return put_back

    def recover_runs(
        self, now: datetime, max_attempts: int, *, is_slow: IsSlow = nobody_is_slow
    ) -> list[tuple[int, str]]:
        """Put runs whose lease expired back, or fail those that ended their worker too often; `is_slow` spares some.

        Returns (study number, sentence) per run.
        """
        recovered = []
        is_expired = sa.and_(t.runs.c.state == "running", t.runs.c.lease_until < now)
        with self._begin() as connection:
            found = connection.execute(sa.select(t.runs.c.id, t.runs.c.study_id).where(is_expired)).all()
        for run_id, study_id in found:
            with self._begin() as connection:
                lock_study(connection, study_id)
                mine = t.runs.select().where(t.runs.c.id == run_id, is_expired)
                row = connection.execute(mine.with_for_update()).one_or_none()
                # Renewed, ended or superseded meanwhile; or in the hands of a worker that lives.
                if row is None or is_slow(row.owner or "", row.lease_until):
                    continue
                stage = _stage_of_attempt(connection, row)
                reason = f"attempt {row.attempts}: the worker stopped without an answer after stage '{stage}'"
                failures = row.failures + 1
                if failures >= max_attempts:
                    _end(
                        connection,
                        row.id,
                        row.study_id,
                        Ending.FAILED,
                        code="worker_died",
                        reason=f"{reason}; failed {failures} times",
                        now=now,
                    )
                else:
                    _put_back(
                        connection, row.id, row.study_id, reason=reason, not_before=now, failures=failures, now=now
                    )
                recovered.append((row.study_id, reason))
        return recovered

    def _must_hold(self, connection: sa.Connection, run: Run) -> None:
        lock_study(connection, run.study_id)
        held = connection.execute(_held(run).values(owner=run.owner))
        if held.rowcount != 1:
            raise LeaseLostError(f"run {run.run_id} is no longer held by {run.owner}")


def _held(run: Run) -> sa.Update:
    """Touch the run only where this very claim still holds it."""
    mine = (t.runs.c.owner == run.owner, t.runs.c.attempts == run.attempts)
    return t.runs.update().where(t.runs.c.id == run.run_id, t.runs.c.state == "running", *mine)


def _run(connection: sa.Connection, run_id: int) -> Run:
    row = connection.execute(
        sa.select(t.runs, t.studies.c.study_instance_uid)
        .join(t.studies, t.studies.c.id == t.runs.c.study_id)
        .where(t.runs.c.id == run_id)
    ).one()
    return Run(
        run_id=row.id,
        study_id=row.study_id,
        study_instance_uid=row.study_instance_uid,
        number=row.number,
        queue=Queue(row.queue),
        owner=row.owner,
        attempts=row.attempts,
        thresholds=thresholds_of(row),
        reprocess_number=row.reprocess_number,
        newest_instance_id=row.newest_instance_id,
        failures=row.failures,
        tried_since=connection.execute(
            sa.select(sa.func.min(t.steps.c.at)).where(
                t.steps.c.study_id == row.study_id, t.steps.c.run_id == row.id, t.steps.c.stage == TRIED_AGAIN
            )
        ).scalar(),
    )


def _stage_of_attempt(connection: sa.Connection, run: sa.Row[Any]) -> str:
    """The stage that this attempt has reached; every attempt begins with a complete study."""
    last = connection.execute(
        sa.select(t.steps.c.stage)
        .where(t.steps.c.study_id == run.study_id, t.steps.c.run_id == run.id)
        .order_by(t.steps.c.id.desc())
        .limit(1)
    ).scalar()
    return last if last in set(Stage) else Stage.COMPLETE


def _step(
    connection: sa.Connection, run: Run, stage: Stage, *, sentence: str, seconds: float | None, now: datetime
) -> None:
    add_step(
        connection, study_id=run.study_id, run_id=run.run_id, at=now, stage=stage, seconds=seconds, sentence=sentence
    )
    connection.execute(
        t.studies.update()
        .where(t.studies.c.id == run.study_id, t.studies.c.news_since_at.is_(None))
        .values(stage=stage)
    )


def _close(
    connection: sa.Connection, run_id: int, ending: Ending, *, code: str, reason: str, now: datetime, **more: object
) -> None:
    """Write the end of a run into its row, with `more` of what it holds; nobody has it in hand any more."""
    connection.execute(
        t.runs.update()
        .where(t.runs.c.id == run_id)
        .values(
            state="ended", ending=ending, code=code, reason=reason, ended_at=now, owner=None, lease_until=None, **more
        )
    )


def _end(
    connection: sa.Connection, run_id: int, study_id: int, ending: Ending, *, code: str, reason: str, now: datetime
) -> None:
    add_step(connection, study_id=study_id, run_id=run_id, at=now, stage=ending, sentence=reason)
    _close(connection, run_id, ending, code=code, reason=reason, now=now)
    end_study(connection, study_id=study_id, ending=ending, code=code, reason=reason, now=now)


def _put_back(
    connection: sa.Connection,
    run_id: int,
    study_id: int,
    *,
    reason: str,
    not_before: datetime,
    failures: int,
    now: datetime,
    stage: str = TRIED_AGAIN,
) -> None:
    add_step(connection, study_id=study_id, run_id=run_id, at=now, stage=stage, sentence=reason)
    connection.execute(
        t.runs.update()
        .where(t.runs.c.id == run_id)
        .values(state="waiting", owner=None, lease_until=None, not_before=not_before, hinted_at=None, failures=failures)
    )
