"""The worklist: what is flagged and nobody has seen stands first."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final
from urllib.parse import urlencode

from fastapi import Query, Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from screener.store.web_worklist import Mark, Show, Sort, Tier, Wish, WorklistLine
from screener.web.gate import RefusedError
from screener.web.read_patient import Patient
from screener.web.say_answers import say_beside_masses
from screener.web.visit import Visit, visit_of
from screener.weigh_reports import Standing

SHOWS: Final = {
    "all": "everything",
    "open": "not acknowledged",
    "unreported": "not in the report",
    "flagged": "flagged",
    "running": "under way",
    "failed": "failed",
    "set_aside": "set aside",
}
SORTS: Final = {"newest": "newest", "oldest": "oldest", "size": "largest mass", "probability": "most probable"}
REPORT_MARKS: Final = {
    Standing.NOT_MENTIONED: "not in the report",
    Standing.DOUBTFUL: "report in doubt",
    Standing.MENTIONED: "in the report",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line with who it is about."""

    line: WorklistLine
    patient: Patient | None

    @property
    def is_open(self) -> bool:
        """True: flagged, and nobody has taken note of it."""
        return bool(self.line.is_flagged) and not self.line.acknowledged_by

    @property
    def report_mark(self) -> str:
        """A few words on the radiology report; empty where none is known, or nothing is flagged."""
        return REPORT_MARKS.get(self.line.reports.standing, "") if self.line.is_flagged else ""

    @property
    def said(self) -> Sequence[str]:
        """What was answered beside the masses listed; nothing of a study that is not decided."""
        line = self.line
        return () if line.is_flagged is None else say_beside_masses(line.presences, line.answer)


def show_worklist(
    request: Request,
    show: Show = "all",
    sort: Sort = "newest",
    queue: Annotated[str, Query(pattern="^(ct|us)?$")] = "",
    side: Annotated[str, Query(pattern="^(right|left)?$")] = "",
    find: str = "",
    after: str = "",
    part: Annotated[str, Query(pattern="^(rows)?$")] = "",
) -> Response:
    """A page of studies; `find` goes to one, `part` gives its lines alone."""
    visit = visit_of(request)
    if find.strip():
        return _go_to(visit, find.strip())
    wish = Wish(show=show, sort=sort, queue=queue, side=side)  # type: ignore[arg-type]  # checked by their patterns
    page = visit.site.reader.worklist_page(wish, _read_mark(after))
    rows = [Row(line=line, patient=visit.site.patients.read(line.example_path)) for line in page.lines]
    chosen = {"show": show, "sort": sort, "queue": queue, "side": side}
    values: dict[str, object] = {
        "rows": rows,
        "wish": wish,
        "shows": SHOWS,
        "sorts": SORTS,
        "open_count": visit.site.reader.open_findings(),
        "state": visit.site.reader.worklist_state(),
        "is_first": not after,
        "first_link": f"/?{urlencode(chosen)}",
        "next_link": f"/?{urlencode(chosen | {'after': _write_mark(page.after)})}" if page.after else "",
        "sentence": "",
    }
    if part:
        return visit.page("worklist_rows.html", values)
    visit.audit("worklist", detail=f"{len(rows)} lines")
    return visit.page("worklist.html", values)


def show_worklist_state(request: Request) -> Response:
    """What a browser asks every few seconds: whether anything has changed."""
    site = visit_of(request).site
    return JSONResponse({"state": site.reader.worklist_state(), "open": site.reader.open_findings()})


def _go_to(visit: Visit, find: str) -> Response:
    study_id = visit.site.reader.find_study(find)
    if study_id is None:
        raise RefusedError(404, "There is no such study: search takes our study number, or a Study Instance UID.")
    return RedirectResponse(f"/studies/{study_id}", status_code=303)


def _write_mark(mark: Mark) -> str:
    return f"{int(mark.tier)}.{mark.study_id}.{float(mark.value).hex()}"


def _read_mark(text: str) -> Mark | None:
    if not text:
        return None
    try:
        tier, study_id, value = text.split(".", 2)
        return Mark(tier=Tier(int(tier)), study_id=int(study_id), value=float.fromhex(value))
    except (ValueError, OverflowError):
        raise RefusedError(400, "The address of this page is not one that the worklist gives.") from None
