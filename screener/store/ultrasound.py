"""What an ultrasound run takes, refuses and finds."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from screener.journey import Stage
from screener.match_rules import Recipient
from screener.store import tables as t
from screener.store.base import IN_FLIGHT, add_step, lock_study
from screener.store.intake import has_ultrasound
from screener.store.runs import Finding as RunFinding
from screener.store.runs import Owed, Runs
from screener.store.standing import LESION
from screener.store.values import LesionLine, Run, UltrasoundOutcome
from screener.us_study import Answer, Finding, FrameChoice

NOT_OF_A_LESION: Final = frozenset({Finding.SUSPICIOUS_LYMPH_NODES})
"""Findings of the neck, whichever lesion is outlined."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnteredFindings:
    """What one person has entered of an ultrasound lesion at one moment."""

    at: datetime
    entered_by: str
    findings: Mapping[Finding, bool | None]
    """None: not known, also where a worksheet says otherwise."""
    sop_instance_uid: str = ""
    """Of the picture with the lesion that was shown; empty where no run had found one."""
    frame_number: int = 0

    def holds_of(self, finding: Finding, sop_instance_uid: str, frame_number: int) -> bool:
        """Whether what is said of a finding holds of the lesion on a picture; an entry of no picture holds of any."""
        is_same = (self.sop_instance_uid, self.frame_number) == (sop_instance_uid, frame_number)
        return finding in NOT_OF_A_LESION or not self.sop_instance_uid or is_same


def merge_entries(
    entries: Sequence[EnteredFindings], sop_instance_uid: str, frame_number: int
) -> tuple[dict[Finding, bool | None], list[Finding]]:
    """Give of each finding the newest entry that holds of the lesion on a picture, and the findings that none does.

    `entries` are in order, oldest first.
    """
    merged: dict[Finding, bool | None] = {}
    for entry in entries:
        merged |= {
            finding: value
            for finding, value in entry.findings.items()
            if entry.holds_of(finding, sop_instance_uid, frame_number)
        }
    entered = {finding for entry in entries for finding in entry.findings}
    return merged, [finding for finding in Finding if finding in entered - merged.keys()]


class Ultrasound(Runs):
    """Ultrasound runs are claimed and ended as CT runs are; what they leave is their own."""

    def record_frames(self, run: Run, choices: Sequence[FrameChoice]) -> None:
        """Store each frame's reason; raises LeaseLostError when the run is no longer ours."""
        with self._begin() as connection:
            self._must_hold(connection, run)
            connection.execute(t.frame_choices.delete().where(t.frame_choices.c.run_id == run.run_id))
            if choices:
                rows = [{"run_id": run.run_id} | asdict(choice) for choice in choices]
                connection.execute(t.frame_choices.insert(), rows)

    def enter_findings(
        self,
        study_id: int,
        findings: Mapping[Finding, bool | None],
        *,
        entered_by: str,
        now: datetime,
        run_id: int | None = None,
    ) -> bool:
        """Keep what a person says of the lesion, and ask for a new run; False where no ultrasound image is here.

        What was entered before stays; of each finding the newest counts. It is kept with the picture of the lesion
        that the run `run_id` has found, without it the newest, for it holds of no other. A run that would come to the
        same as one before ends as that.
        """
        with self._begin() as connection:
            study = lock_study(connection, study_id)
            if not has_ultrasound(connection, study_id):
                return False
            stored = {finding.value: value for finding, value in findings.items()}
            connection.execute(
                t.entered_findings.insert().values(
                    study_id=study_id,
                    at=now,
                    entered_by=entered_by[:64],
                    findings=stored,
                    **_picture_of(connection, study_id, run_id),
                )
            )
            sentence = f"{entered_by[:64]} entered findings: {', '.join(map(describe_finding, findings.items()))}"
            add_step(connection, study_id=study_id, run_id=None, at=now, stage=Stage.RECEIVED, sentence=sentence)
            if study.news_since_at is None:
                news = {"news_since_at": study.received_at, "news_at": study.received_at, "stage": Stage.RECEIVED}
                connection.execute(t.studies.update().where(t.studies.c.id == study_id).values(**news, **IN_FLIGHT))
        return True

    def entries_of(self, study_id: int) -> list[EnteredFindings]:
        """Every entry of findings for a study, oldest first."""
        with self._begin() as connection:
            rows = _entries(connection, study_id)
        return [
            EnteredFindings(
                at=row.at,
                entered_by=row.entered_by,
                findings=_findings(row),
                sop_instance_uid=row.sop_instance_uid,
                frame_number=row.frame_number,
            )
            for row in rows
        ]

    def finish_ultrasound_run(
        self,
        run: Run,
        screening: UltrasoundOutcome,
        *,
        destinations: Sequence[str],
        recipients: Sequence[Recipient | tuple[str, str]],
        seconds: float,
        now: datetime,
    ) -> None:
        """Write the decision, what was measured, and what is owed, in one transaction; see `Runs.finish_run`."""
        lesion = screening.lesion
        with self._begin() as connection:
            self._must_hold(connection, run)
            values = asdict(lesion) | {"findings": {str(name): value for name, value in lesion.findings.items()}}
            connection.execute(t.lesions.insert().values(run_id=run.run_id, **values))
            finding = RunFinding(
                places=(LESION,) if screening.is_flagged else (),
                is_flagged=screening.is_flagged,
                reason=lesion.reason,
                results=screening.results,
                model_identity=screening.model_identity,
            )
            owed = Owed(destinations=destinations, recipients=recipients)
            self._finish(connection, run, finding, owed, seconds=seconds, now=now)


def _entries(connection: sa.Connection, study_id: int) -> Sequence[sa.Row[Any]]:
    mine = t.entered_findings.select().where(t.entered_findings.c.study_id == study_id)
    return connection.execute(mine.order_by(t.entered_findings.c.id)).all()


def _picture_of(connection: sa.Connection, study_id: int, run_id: int | None) -> dict[str, Any]:
    """Name the picture of the lesion that a run, or the newest screened one, has found; an empty UID without one."""
    found = (
        sa.select(t.lesions.c.sop_instance_uid, t.lesions.c.frame_number)
        .join(t.runs, t.runs.c.id == t.lesions.c.run_id)
        .where(t.runs.c.study_id == study_id)
        .order_by(t.runs.c.number.desc())
        .limit(1)
    )
    if run_id is not None:
        found = found.where(t.runs.c.id == run_id)
    row = connection.execute(found).one_or_none()
    return {"sop_instance_uid": "", "frame_number": 0} if row is None else dict(row._mapping)


def _findings(row: sa.Row[Any]) -> dict[Finding, bool | None]:
    return {Finding(name): value for name, value in row.findings.items()}


def describe_finding(entered: tuple[Finding, bool | None]) -> str:
    """Say one finding and its value in words."""
    finding, value = entered
    return f"{finding} {'not known' if value is None else 'yes' if value else 'no'}"


def lesion_of(connection: sa.Connection, run_id: int) -> LesionLine | None:
    """What an ultrasound run found; None of any other run, and of one that has not ended."""
    row = connection.execute(t.lesions.select().where(t.lesions.c.run_id == run_id)).one_or_none()
    if row is None:
        return None
    values = {field.name: row._mapping[field.name] for field in fields(LesionLine)}
    return LesionLine(**values | {"answer": Answer(row.answer)})


def frames_of(connection: sa.Connection, run_id: int) -> tuple[FrameChoice, ...]:
    """The frames of an ultrasound run, taken and refused, in their order."""
    rows = connection.execute(
        t.frame_choices.select().where(t.frame_choices.c.run_id == run_id).order_by(t.frame_choices.c.id)
    ).all()
    return tuple(FrameChoice(**{field.name: row._mapping[field.name] for field in fields(FrameChoice)}) for row in rows)
