"""What a person has taken note of stays so where a later run finds the same again, as it is not told again either."""

import sqlalchemy as sa

from screener.store import review_tables as r
from screener.store import tables as t
from screener.store.same_finding import is_same_finding
from screener.store.standing import standing_runs
from screener.store.values import Run

HOW = "earlier run"


def carry_acknowledgement(connection: sa.Connection, run: Run, finding: str) -> None:
    """Let the acknowledgement of the decision before hold for this one, where it flags the same masses.

    Not where a person asked for the new run, nor where a run in between found otherwise: then it is news. One that
    could not look, beside which the finding stood, has not found otherwise. The
    masses are held against those that the person saw, so that many small steps never carry it to a large change.
    """
    if not finding:
        return
    of_its_kind = (t.runs.c.study_id == run.study_id, t.runs.c.queue == run.queue)
    earlier = connection.execute(
        sa.select(t.runs.c.id.label("earlier_id"), t.runs.c.is_flagged, t.runs.c.reprocess_number, r.acknowledgements)
        .join(r.acknowledgements, r.acknowledgements.c.run_id == t.runs.c.id, isouter=True)
        .where(*of_its_kind, t.runs.c.number < run.number, t.runs.c.is_flagged.is_not(None))
        .order_by(t.runs.c.number.desc())
    ).all()
    before = next((row for row in earlier if row.is_flagged or not standing_runs(connection, row.earlier_id)), None)
    if before is None or before.run_id is None or before.reprocess_number != run.reprocess_number:
        return
    seen = connection.execute(
        sa.select(r.acknowledgements.c.run_id)
        .join(t.runs, t.runs.c.id == r.acknowledgements.c.run_id)
        .where(*of_its_kind, r.acknowledgements.c.how != HOW)
        .order_by(r.acknowledgements.c.run_id.desc())
        .limit(1)
    ).scalar()
    if not all(is_same_finding(connection, earlier, run.run_id) for earlier in (before.run_id, seen or before.run_id)):
        return
    connection.execute(
        r.acknowledgements.insert().values(
            study_id=run.study_id, run_id=run.run_id, finding=finding, by=before.by, how=HOW, at=before.at
        )
    )
