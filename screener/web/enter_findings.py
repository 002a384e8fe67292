"""What a radiologist sees of an ultrasound lesion: asked on the case page, kept as `screener findings` keeps it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from fastapi import Form, Request
from starlette.responses import Response

from screener.finding_words import FINDING_WORDS, read_answers
from screener.journey import Ending, Stage
from screener.store.ultrasound import EnteredFindings, describe_finding, merge_entries
from screener.store.values import RunReport, StudyReport
from screener.us_study import Finding
from screener.web.gate import RefusedError
from screener.web.review_case import back_to, shown_run
from screener.web.visit import visit_of

LABELS: Final = {
    "shape": "Shape",
    "margin": "Margin",
    "enhancement": "Posterior enhancement",
    "nodes": "Lymph nodes",
}
_ANSWERS: Final = {"poor": "poorly defined", "well": "well defined", "unknown": "nobody can tell"}
"""Where the word alone would say too little."""

WILL_DECIDE: Final = "Findings were entered after this decision: a new run follows, and this page shows it once it has."
ELSEWHERE: Final = "not known: entered of a lesion on another picture"
HAS_FAILED: Final = "Findings were entered after this decision, and the run that followed failed: the story says why."

Word = Annotated[str, Form(max_length=16)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One finding that the form asks for."""

    word: str
    label: str
    stands: str
    """What is known of it now, and from whom."""
    answers: tuple[tuple[str, str], ...]
    """What is sent, and what is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What one person has entered at one moment."""

    at: datetime
    by: str
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the page shows of a reader's findings."""

    questions: tuple[Question, ...]
    entries: tuple[Entry, ...]
    """Newest first."""
    news: str
    """What becomes of findings that the decision shown does not know; empty where there are none."""


def do_enter_findings(
    request: Request,
    study_id: int,
    run: Annotated[int, Form()],
    shape: Word = "",
    margin: Word = "",
    enhancement: Word = "",
    nodes: Word = "",
) -> Response:
    """Keep what was chosen of the lesion that the page showed, and ask for a new run; what was left open stays."""
    visit = visit_of(request)
    chosen = {"shape": shape, "margin": margin, "enhancement": enhancement, "nodes": nodes}
    given = {word: answer for word, answer in chosen.items() if answer}
    if not given:
        raise RefusedError(400, "Choose at least one finding: nothing was entered.")
    try:
        said = read_answers(given)
    except KeyError:
        raise RefusedError(400, "One of the answers is none that the form offers: nothing was entered.") from None
    shown = shown_run(visit, study_id, run)
    by, now = visit.account_name, visit.site.clock()
    if not visit.site.store.enter_findings(study_id, said, entered_by=by, now=now, run_id=shown):
        raise RefusedError(409, "The study holds no ultrasound images, or they have expired: nothing was entered.")
    visit.audit("findings", study_id, f"run {run}: {_tell(said)}")
    return back_to(study_id)


def ask_findings(report: StudyReport, run: RunReport, entries: Sequence[EnteredFindings]) -> Asked | None:
    """What to ask and show beside the decision of `run`; None where it has no probability that findings could move."""
    lesion = run.lesion
    if lesion is None or lesion.probability is None:
        return None
    entered, elsewhere = merge_entries(entries, lesion.sop_instance_uid, lesion.frame_number)
    questions = [
        Question(
            word=word,
            label=LABELS[word],
            stands=ELSEWHERE if finding in elsewhere else _tell_standing(word, entered, lesion.findings.get(finding)),
            answers=tuple((answer, _ANSWERS.get(answer, answer)) for answer in answers),
        )
        for word, (finding, answers) in FINDING_WORDS.items()
    ]
    told = [Entry(at=entry.at, by=entry.entered_by, said=_tell(entry.findings)) for entry in reversed(entries)]
    return Asked(questions=tuple(questions), entries=tuple(told), news=_tell_news(report, run, entries))


def _tell(findings: Mapping[Finding, bool | None]) -> str:
    return ", ".join(map(describe_finding, findings.items()))


def _tell_standing(word: str, entered: Mapping[Finding, bool | None], in_run: bool | None) -> str:
    """Say what is known of a finding: what a person has entered stands in place of a worksheet's."""
    finding, answers = FINDING_WORDS[word]
    value = entered.get(finding, in_run)
    if finding not in entered and value is None:
        return "not known"
    answer = next(answer for answer, meaning in answers.items() if meaning is value)
    return f"{_ANSWERS.get(answer, answer)}, {'entered' if finding in entered else 'from a worksheet'}"


def _tell_news(report: StudyReport, run: RunReport, entries: Sequence[EnteredFindings]) -> str:
    """Say what becomes of findings that came after the decision; empty where it knows them all."""
    selected = [step.at for step in report.steps if (step.run_number, step.stage) == (run.number, Stage.SELECTED)]
    if not entries or entries[-1].at <= max(selected, default=report.received_at):  # a run reads them as it selects
        return ""
    later = [each for each in report.runs if each.number > run.number]
    if report.news_since_at is not None or any(each.state in {"waiting", "running"} for each in later):
        return WILL_DECIDE
    return HAS_FAILED if later and later[-1].ending is Ending.FAILED else ""
