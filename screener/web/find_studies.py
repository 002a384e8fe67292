"""Finds studies by number, UID, patient ID, accession number or name.

What is looked for comes in a form, so that no address, history or log of a
proxy holds it; the audit trail tells that somebody searched, and how many
studies that came to.
"""

from typing import Annotated, Final

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from screener.web.show_worklist import Row
from screener.web.visit import Visit, visit_of

MOST_FOUND: Final = 50
LONGEST: Final = 128
ACTION: Final = "search"
"""What the audit trail calls it."""


def do_find(request: Request, find: Annotated[str, Form(max_length=LONGEST)] = "") -> Response:
    """Go to the study, where there is one; list them, where there are several, the newest first."""
    visit = visit_of(request)
    wanted = find.strip()
    if not wanted:
        return RedirectResponse("/", status_code=303)
    numbers = find_studies(visit, wanted)
    visit.audit(ACTION, detail=f"{min(len(numbers), MOST_FOUND)} found")
    if len(numbers) == 1:
        return RedirectResponse(f"/studies/{numbers[0]}", status_code=303)
    lines = visit.site.reader.worklist_lines(numbers[:MOST_FOUND])
    rows = [Row(line=line, patient=visit.site.patients.read(line.example_path)) for line in lines]
    values: dict[str, object] = {"rows": rows, "has_more": len(numbers) > MOST_FOUND, "most": MOST_FOUND}
    return visit.page("find.html", values)


def find_studies(visit: Visit, wanted: str) -> list[int]:
    """Numbers of the studies that the text may mean, the newest first, one more than are shown."""
    site = visit.site
    words = site.patients.search(wanted)
    of_patients = site.reader.studies_of_words(words.whole, words.names, MOST_FOUND + 1)
    named = site.reader.find_study(wanted)
    return sorted({*of_patients, *([] if named is None else [named])}, reverse=True)
