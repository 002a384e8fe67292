"""What a radiologist says of a finding: seen, right, wrong, known already."""

from typing import Annotated, Final

from fastapi import Form, Request
from starlette.responses import RedirectResponse, Response

from screener.store.reviews import Opinion
from screener.web.gate import RefusedError
from screener.web.visit import Visit, visit_of

MAX_TEXT_CHARACTERS: Final = 2000
HOW: Final = "web"


def do_acknowledge(request: Request, study_id: int, run: Annotated[int, Form()]) -> Response:
    """Take note of the finding that the page showed; the first to do so counts."""
    visit = visit_of(request)
    run_id = shown_run(visit, study_id, run)
    now = visit.site.clock()
    standing = visit.site.store.acknowledge(run_id, by=visit.account_name, how=HOW, now=now)
    if standing is None:
        raise RefusedError(409, "This study is not flagged: there is nothing to acknowledge.")
    visit.audit("acknowledge", study_id, f"run {run}")
    return back_to(study_id)


def do_review(
    request: Request,
    study_id: int,
    run: Annotated[int, Form()],
    opinion: Annotated[Opinion, Form()],
    text: Annotated[str, Form(max_length=MAX_TEXT_CHARACTERS)] = "",
) -> Response:
    """Keep an opinion on the decision that the page showed; who has one has taken note of it too."""
    visit = visit_of(request)
    text = text.strip()
    if not text and opinion in {Opinion.DISAGREE, Opinion.COMMENT}:
        raise RefusedError(400, "Say why: the reason is what makes the next version better.")
    run_id = shown_run(visit, study_id, run)
    now = visit.site.clock()
    visit.site.store.add_review(run_id, opinion, by=visit.account_name, text=text, now=now)
    if opinion is not Opinion.COMMENT:
        visit.site.store.acknowledge(run_id, by=visit.account_name, how=HOW, now=now)
    visit.audit(opinion.value, study_id, f"run {run}")
    return back_to(study_id)


def shown_run(visit: Visit, study_id: int, number: int) -> int:
    """The run that the page showed; refused where a later one has decided since, which the person has not seen."""
    decided = visit.site.reader.decided_number(study_id)
    if decided is None:
        raise RefusedError(409, "Nothing has been decided of this study yet.")
    if decided.number != number:
        raise RefusedError(409, "A later run has decided since this page was loaded: look at it again.")
    return decided.run_id


def back_to(study_id: int) -> Response:
    """Show the case again, with what was done."""
    return RedirectResponse(f"/studies/{study_id}", status_code=303)
