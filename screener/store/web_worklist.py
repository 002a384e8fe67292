"""The worklist's questions: a page of studies by key, quick with very many of them, and whether it has changed.

A page is cut by the key of its last line, never by a number of lines to skip,
so that the thousandth page costs what the first does and no study is passed
over when others arrive meanwhile.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any, Final, Literal

import sqlalchemy as sa

from screener.journey import Ending, Queue
from screener.mentions import Mention, Verdict
from screener.store import govern_tables as g
from screener.store import review_tables as r
from screener.store import tables as t
from screener.store.base import Base
from screener.store.decided_runs import candidate_of
from screener.store.mentions import NOT_READ, list_mentions
from screener.store.standing import runs_in_force
from screener.store.values import Kind
from screener.study import Presence, Side
from screener.us_study import Answer
from screener.weigh_reports import NO_REPORT, Weighed, weigh_reports

PAGE_LINES: Final = 50
_LESION: Final = "lesion"


class Tier(IntEnum):
    """What stands above what, by time."""

    UNREPORTED = 0
    """Open, and the radiology report is known and does not mention it."""
    OPEN = 1
    OTHER = 2


Show = Literal["all", "open", "unreported", "flagged", "running", "failed", "set_aside"]
"""open: flagged, and nobody has taken note of it; unreported: of these what the radiology report does not mention."""
Sort = Literal["newest", "oldest", "size", "probability"]
"""The latter two list what is flagged, the largest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """Which studies are asked for."""

    show: Show = "all"
    sort: Sort = "newest"
    queue: Literal["", "ct", "us"] = ""
    side: Literal["", "right", "left"] = ""
    """Only what is flagged on this side, and flagged ultrasound, whose side nobody knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Where a page ended: the next begins after it."""

    tier: Tier
    study_id: int
    value: float = 0.0
    """What was sorted by, of sorts other than by time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundMass:
    """What the worklist tells of a finding, CT or ultrasound."""

    place: str
    """right, left or lesion."""
    longest_diameter_mm: float | None
    probability: float | None
    """CT: the highest of the network within the mass. Ultrasound: of malignancy, that which decided."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistLine:
    """One study."""

    study_id: int
    received_at: datetime
    stage: str
    ending: Ending | None
    reason: str
    queue: str
    """ct or us; empty before it is known."""
    run_state: str
    """Of the newest run: waiting, running, ended; empty before there is one."""
    is_past: bool
    """True: a backfill brought it, and it is screened after all others."""
    is_flagged: bool | None
    """None: not decided."""
    found: tuple[FoundMass, ...]
    presences: Mapping[Side, Presence]
    """What was decided of each gland; empty of ultrasound and of what is not decided."""
    answer: Answer | None
    """Of ultrasound; None of CT and of what is not decided."""
    acknowledged_by: str
    """Empty while a flagged study is open."""
    reports: Weighed
    """How what was decided stands to the radiology reports; of what is not decided there is none."""
    example_path: str
    """One received file that is still there, for who the patient is; empty when there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorklistPage:
    """Some lines, and where the next ones are."""

    lines: tuple[WorklistLine, ...]
    after: Mark | None
    """None: this is the last page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Told:
    """What decided runs say, by the id of their row."""

    found: Mapping[int, Sequence[FoundMass]]
    presences: Mapping[int, Mapping[Side, Presence]]
    answers: Mapping[int, Answer]
    mentions: Mapping[int, Sequence[Mention]]
    """What the radiology reports say, by study."""


class WebWorklist(Base):
    """Reading only."""

    def worklist_page(self, wish: Wish, after: Mark | None = None, limit: int = PAGE_LINES) -> WorklistPage:
        """The studies asked for, those that are open first."""
        with self._begin() as connection:
            if wish.sort in {"size", "probability"}:
                marks = _by_value(connection, wish, after, limit + 1)
            else:
                marks = _by_time(connection, wish, after, limit + 1)
            shown = marks[:limit]
            lines = _lines(connection, [mark.study_id for mark in shown])
        is_last = len(marks) <= limit
        return WorklistPage(lines=lines, after=None if is_last else shown[-1])

    def worklist_lines(self, study_ids: Sequence[int]) -> tuple[WorklistLine, ...]:
        """These studies, in their order; one that is not there is left out."""
        with self._begin() as connection:
            return _lines(connection, study_ids)

    def worklist_state(self) -> str:
        """A word that changes with everything that the worklist shows; a report that was read is a step, too."""
        tables = (t.studies, t.runs, t.steps, t.instances, r.acknowledgements, r.reviews)
        newest = [sa.select(sa.func.max(table.c.id)).scalar_subquery() for table in tables]
        with self._begin() as connection:
            row = connection.execute(sa.select(*newest)).one()
        return "-".join(str(value or 0) for value in row)

    def open_findings(self) -> int:
        """How many studies are flagged, and nobody has taken note of it."""
        flagged = sa.select(sa.func.count(t.runs.c.study_id.distinct())).where(*_open_finding(t.runs))
        with self._begin() as connection:
            return connection.execute(flagged).scalar_one()


def _newest_run(
    wish: Wish, conditions_of: Callable[[sa.FromClause], tuple[sa.ColumnElement[bool], ...]]
) -> tuple[sa.ColumnElement[bool], ...]:
    """The run whose finding meets the conditions, of several of a study that are wished for the newest."""
    newer = t.runs.alias()
    is_of_study = (newer.c.study_id == t.runs.c.study_id, newer.c.number > t.runs.c.number)
    return (*conditions_of(t.runs), ~sa.exists().where(*is_of_study, *conditions_of(newer), *_run_wishes(wish, newer)))


def _in_force(runs: sa.FromClause) -> tuple[sa.ColumnElement[bool], ...]:
    """A finding in force: others are superseded."""
    return (runs.c.is_flagged.is_(True), runs.c.state == "ended")


def _open_finding(runs: sa.FromClause) -> tuple[sa.ColumnElement[bool], ...]:
    """The same of those that nobody has taken note of."""
    return (*_in_force(runs), ~sa.exists().where(r.acknowledgements.c.run_id == runs.c.id))


def _is_unreported() -> sa.ColumnElement[bool]:
    """True of a flagged run: a report is known, and of a flagged side none mentions a mass, as `weigh_reports` says."""
    in_force = (g.mentions.c.study_id == t.runs.c.study_id, g.mentions.c.replaced_at.is_(None))
    is_mentioned = (*in_force, g.mentions.c.verdict == Verdict.MENTIONED)
    is_told = sa.or_(g.mentions.c.sides == "", g.mentions.c.sides.contains(t.candidates.c.side))
    mentions = sa.exists(sa.select(g.mentions.c.id).where(*is_mentioned, is_told).correlate(t.runs, t.candidates))
    return sa.and_(
        sa.exists().where(*in_force, g.mentions.c.verdict != NOT_READ),
        sa.or_(
            ~sa.exists().where(*is_mentioned),
            sa.exists(sa.select(t.candidates.c.id).where(*_is_left(), ~mentions).correlate(t.runs)),
        ),
    )


def _is_left(runs: sa.FromClause = t.runs) -> tuple[sa.ColumnElement[bool], ...]:
    """A mass that a run flags and that no later run has taken back."""
    is_gone = sa.or_(*(sa.and_(t.candidates.c.side == side, _is_taken_back(runs, side)) for side in Side))
    return (t.candidates.c.run_id == runs.c.id, t.candidates.c.is_above_threshold.is_(True), ~is_gone)


def _is_taken_back(runs: sa.FromClause, side: str) -> sa.ColumnElement[bool]:
    """True of a flagged run: what it found on a side stands beside a later one no more."""
    later = t.runs.alias()
    of_its_kind = (later.c.study_id == runs.c.study_id, later.c.queue == runs.c.queue)
    is_settled = (later.c.number > runs.c.number, later.c.standing.is_not(sa.null()))
    stands = sa.func.coalesce(later.c.standing[side].as_integer(), 0) == runs.c.id
    return sa.exists(sa.select(later.c.id).where(*of_its_kind, *is_settled, ~stands).correlate(runs))


def _by_time(connection: sa.Connection, wish: Wish, after: Mark | None, limit: int) -> list[Mark]:
    """Tier after tier, each by study number: numbers are given in the order of arrival."""
    marks: list[Mark] = []
    for tier in Tier:
        if len(marks) >= limit or (after is not None and tier < after.tier):
            continue
        beyond = after.study_id if after is not None and tier is after.tier else None
        found = _list_tier(connection, tier, wish, beyond, limit - len(marks))
        marks += [Mark(tier=tier, study_id=study_id) for study_id in found]
    return marks


def _list_tier(connection: sa.Connection, tier: Tier, wish: Wish, beyond: int | None, limit: int) -> list[int]:
    if wish.show == "unreported" and tier is not Tier.UNREPORTED:
        return []
    if tier is Tier.OTHER:
        return [] if wish.show == "open" else _others(connection, wish, beyond, limit)
    return _open(connection, tier, wish, beyond, limit)


def _open(connection: sa.Connection, tier: Tier, wish: Wish, beyond: int | None, limit: int) -> list[int]:
    if wish.show in {"running", "failed", "set_aside"}:
        return []
    column = t.runs.c.study_id
    is_of_tier = _is_unreported() if tier is Tier.UNREPORTED else ~_is_unreported()
    query = sa.select(column).where(*_newest_run(wish, _open_finding), is_of_tier, *_run_wishes(wish))
    return list(connection.execute(_cut(query, column, wish, beyond).limit(limit)).scalars().all())


def _others(connection: sa.Connection, wish: Wish, beyond: int | None, limit: int) -> list[int]:
    if wish.show == "flagged" or wish.side:
        column = t.runs.c.study_id
        is_known = sa.exists().where(r.acknowledgements.c.run_id == t.runs.c.id)
        other = t.runs.alias()
        is_open = (other.c.study_id == t.runs.c.study_id, *_open_finding(other), *_run_wishes(wish, other))
        of_runs = (*_newest_run(wish, _in_force), is_known, *_run_wishes(wish))
        query = sa.select(column).where(*of_runs, ~sa.exists().where(*is_open))
        return list(connection.execute(_cut(query, column, wish, beyond).limit(limit)).scalars().all())
    column = t.studies.c.id
    query = sa.select(column)
    if wish.show == "running":
        query = query.where(t.studies.c.ending.is_(None))
    elif wish.show in {"failed", "set_aside"}:
        ending = Ending.FAILED if wish.show == "failed" else Ending.SET_ASIDE
        query = query.where(t.studies.c.ending == ending)
    else:
        mine = (t.runs.c.study_id == t.studies.c.id, *_open_finding(t.runs))
        query = query.where(~sa.exists(sa.select(t.runs.c.id).where(*mine).correlate(t.studies)))
    if wish.queue:
        query = query.where(sa.exists().where(t.runs.c.study_id == t.studies.c.id, t.runs.c.queue == wish.queue))
    return list(connection.execute(_cut(query, column, wish, beyond).limit(limit)).scalars().all())


def _cut(query: sa.Select[Any], column: Any, wish: Wish, beyond: int | None) -> sa.Select[Any]:
    """Order by study number, and begin beyond one."""
    is_oldest = wish.sort == "oldest"
    if beyond is not None:
        query = query.where(column > beyond if is_oldest else column < beyond)
    return query.order_by(column if is_oldest else column.desc())


def _run_wishes(wish: Wish, runs: sa.FromClause = t.runs) -> list[sa.ColumnElement[bool]]:
    wishes: list[sa.ColumnElement[bool]] = []
    if wish.queue:
        wishes.append(runs.c.queue == wish.queue)
    if wish.side:
        is_there = sa.exists().where(*_is_left(runs), t.candidates.c.side == wish.side)
        wishes.append(sa.or_(is_there, runs.c.queue == Queue.US))
    return wishes


def _by_value(connection: sa.Connection, wish: Wish, after: Mark | None, limit: int) -> list[Mark]:
    """What is flagged, the largest or the most probable first."""
    if wish.show in {"running", "failed", "set_aside"}:
        return _by_time(connection, wish, after, limit)
    is_size = wish.sort == "size"
    name = "longest_diameter_mm" if is_size else "max_probability"
    of_candidates = sa.select(sa.func.max(t.candidates.c.features[name].as_float())).where(*_is_left())
    column = t.lesions.c.longest_diameter_mm if is_size else _deciding_probability()
    of_lesion = sa.select(column).where(t.lesions.c.run_id == t.runs.c.id)
    value = sa.func.coalesce(of_candidates.scalar_subquery(), of_lesion.scalar_subquery(), 0.0)
    conditions = _newest_run(wish, _open_finding if wish.show in {"open", "unreported"} else _in_force)
    if wish.show == "unreported":
        conditions = (*conditions, _is_unreported())
    study_id = t.runs.c.study_id
    query = sa.select(study_id, value.label("value")).where(*conditions, *_run_wishes(wish))
    if after is not None:
        query = query.where(sa.or_(value < after.value, sa.and_(value == after.value, study_id < after.study_id)))
    rows = connection.execute(query.order_by(sa.desc("value"), study_id.desc()).limit(limit)).all()
    return [Mark(tier=Tier.OPEN, study_id=row.study_id, value=row.value) for row in rows]


def _lines(connection: sa.Connection, study_ids: Sequence[int]) -> tuple[WorklistLine, ...]:
    """What is told of these studies, in their order."""
    rows = connection.execute(t.studies.select().where(t.studies.c.id.in_(study_ids))).all()
    studies = {row.id: row for row in rows}
    runs = connection.execute(t.runs.select().where(t.runs.c.study_id.in_(study_ids)).order_by(t.runs.c.number)).all()
    newest = {run.study_id: run for run in runs}
    known = connection.execute(r.acknowledgements.select().where(r.acknowledgements.c.study_id.in_(study_ids))).all()
    who = {row.run_id: row.by for row in known}
    ended = [run for run in runs if run.state == "ended" and run.is_flagged is not None]
    ended.sort(key=lambda run: (run.is_flagged and run.id not in who, run.is_flagged, run.number))
    decided = {run.study_id: run for run in ended}  # the last of each is in force, as `decided_number` says
    found = _found(connection, [run.id for run in decided.values() if run.is_flagged])
    for run in decided.values():
        if run.id in found and run.id != newest[run.study_id].id:
            in_force = runs_in_force(connection, run)
            found[run.id] = [mass for mass in found[run.id] if in_force.get(mass.place) == run.id]
    run_ids = [run.id for run in decided.values()]
    told = _Told(
        found=found,
        presences=_presences(connection, run_ids),
        answers=_answers(connection, run_ids),
        mentions=list_mentions(connection, study_ids),
    )
    paths = _example_paths(connection, study_ids)
    return tuple(
        _line(studies[number], newest.get(number), decided.get(number), told, who, paths.get(number, ""))
        for number in study_ids
        if number in studies
    )


def _line(
    study: sa.Row[Any],
    run: sa.Row[Any] | None,
    decided: sa.Row[Any] | None,
    told: _Told,
    who: dict[int, str],
    example_path: str,
) -> WorklistLine:
    return WorklistLine(
        study_id=study.id,
        received_at=study.received_at,
        stage=study.stage,
        ending=Ending(study.ending) if study.ending else None,
        reason=study.reason,
        queue=run.queue if run is not None else "",
        run_state=run.state if run is not None else "",
        is_past=run is not None and run.priority > 0,
        is_flagged=decided.is_flagged if decided is not None else None,
        found=tuple(told.found.get(decided.id, ())) if decided is not None else (),
        presences=told.presences.get(decided.id, {}) if decided is not None else {},
        answer=told.answers.get(decided.id) if decided is not None else None,
        acknowledged_by=who.get(decided.id, "") if decided is not None else "",
        reports=_weigh(study.id, decided.id, told) if decided is not None else NO_REPORT,
        example_path=example_path,
    )


def _weigh(study_id: int, run_id: int, told: _Told) -> Weighed:
    places = [None if mass.place == _LESION else Side(mass.place) for mass in told.found.get(run_id, ())]
    return weigh_reports(told.mentions.get(study_id, ()), places)


def _found(connection: sa.Connection, run_ids: Sequence[int]) -> dict[int, list[FoundMass]]:
    """The masses above the threshold, by run, in their order."""
    found: dict[int, list[FoundMass]] = {}
    above = (t.candidates.c.run_id.in_(run_ids), t.candidates.c.is_above_threshold.is_(True))
    for row in connection.execute(t.candidates.select().where(*above).order_by(t.candidates.c.number)).all():
        candidate = candidate_of(row.features)
        mass = FoundMass(
            place=candidate.side,
            longest_diameter_mm=candidate.longest_diameter_mm,
            probability=candidate.max_probability,
        )
        found.setdefault(row.run_id, []).append(mass)
    malignant = (t.lesions.c.run_id.in_(run_ids), t.lesions.c.answer == Answer.MALIGNANT)
    columns = (t.lesions.c.run_id, t.lesions.c.longest_diameter_mm, _deciding_probability().label("probability"))
    for row in connection.execute(sa.select(*columns).where(*malignant)).all():
        lesion = FoundMass(place=_LESION, longest_diameter_mm=row.longest_diameter_mm, probability=row.probability)
        found.setdefault(row.run_id, []).append(lesion)
    return found


def _deciding_probability() -> sa.ColumnElement[float | None]:
    """As LesionLine.deciding_probability: what was held against the threshold."""
    return sa.case((t.lesions.c.is_by_findings, t.lesions.c.combined_probability), else_=t.lesions.c.probability)


def _presences(connection: sa.Connection, run_ids: Sequence[int]) -> dict[int, dict[Side, Presence]]:
    presences: dict[int, dict[Side, Presence]] = {}
    columns = (t.glands.c.run_id, t.glands.c.side, t.glands.c.presence)
    for row in connection.execute(sa.select(*columns).where(t.glands.c.run_id.in_(run_ids))).all():
        presences.setdefault(row.run_id, {})[Side(row.side)] = Presence(row.presence)
    return presences


def _answers(connection: sa.Connection, run_ids: Sequence[int]) -> dict[int, Answer]:
    asked = sa.select(t.lesions.c.run_id, t.lesions.c.answer).where(t.lesions.c.run_id.in_(run_ids))
    return {row.run_id: Answer(row.answer) for row in connection.execute(asked).all()}


def _example_paths(connection: sa.Connection, study_ids: Sequence[int]) -> dict[int, str]:
    live = (
        t.instances.c.study_id.in_(study_ids),
        t.instances.c.kind == Kind.IMAGE,
        t.instances.c.expired_at.is_(None),
    )
    first = sa.select(sa.func.min(t.instances.c.id)).where(*live).group_by(t.instances.c.study_id)
    rows = connection.execute(
        sa.select(t.instances.c.study_id, t.instances.c.path).where(t.instances.c.id.in_(first))
    ).all()
    return {row.study_id: row.path for row in rows}
