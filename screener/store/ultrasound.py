"""What an ultrasound run takes, refuses and finds."""

from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa

from screener.store import tables as t
from screener.store.runs import Finding as RunFinding
from screener.store.runs import Owed, Runs
from screener.store.values import LesionLine, Run, UltrasoundOutcome
from screener.us_study import Answer, Finding, FrameChoice

LESION: Final = "lesion"
"""The place of what an ultrasound run flags: the pictures do not say on which side it lies."""


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

    def entered_findings(self, study_id: int) -> dict[Finding, bool | None]:
        """What persons have entered of a study's lesion, of each finding the newest; None: it is not known."""
        with self._begin() as connection:
            rows = _entries(connection, study_id)
        merged: dict[Finding, bool | None] = {}
        for row in rows:
            merged |= {Finding(name): value for name, value in row.findings.items()}
        return merged

    def finish_ultrasound_run(
        self,
        run: Run,
        screening: UltrasoundOutcome,
        *,
        destinations: Sequence[str],
        recipients: Sequence[tuple[str, str]],
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
