"""`screener notices`: what is owed to whom and why, what waits and what was passed on; of one study also why not."""

import argparse
from datetime import UTC, datetime, timedelta
from typing import Final

from screener.command_parts import add_command, find_study, open_to_judge
from screener.config import Config
from screener.journey import Stage
from screener.list_notices import describe_judgments, describe_notices
from screener.match_rules import Found, find_on_ct, find_on_ultrasound, judge_rules
from screener.read_days import read_days
from screener.read_origin import read_origin
from screener.store import Store, StudyReport
from screener.store.values import RunReport
from screener.us_study import Answer

NOT_KNOWN: Final = "the rules are not known while config.toml is wrong"


def add_notices_command(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add the command."""
    sentence = "list what is owed to whom and why, what waits and what was passed on; of a study also what was told"
    notices = add_command(commands, "notices", _notices, sentence)
    notices.add_argument("--study", metavar="STUDY", help="Study Instance UID or our number; tells what each rule says")
    notices.add_argument("--days", type=read_days, default=0, help="also what was told within so many days")


def _notices(options: argparse.Namespace) -> int:
    known, store = open_to_judge(options)
    if options.study is None:
        since = datetime.now(UTC) - timedelta(days=options.days)
        print(describe_notices(store.notice_stories(sent_since=since if options.days else None)))
        return 0
    study_id = find_study(store, options.study)
    stories = store.notice_stories(study_id=study_id)
    print(describe_notices(stories) if stories else f"nobody was told of study {study_id}, and nothing is owed")
    report = store.study_report(study_id)
    decided = report.run_in_force
    if decided is not None and decided.is_flagged:
        is_known = known.knows("notices")
        print(_judge(known.config, store, report, decided) if is_known else NOT_KNOWN)
    elif decided is not None:
        print(f"{_tell_why_not(is_known=bool(stories))}; why: screener explain {study_id}")
    return 0


def _tell_why_not(*, is_known: bool) -> str:
    """Say what comes of a verdict that flags nothing; `is_known`: an earlier one did, and notices of it were owed."""
    if is_known:
        return "it is no longer flagged: who was told of it is told of the withdrawal"
    return "it is not flagged, and nobody is told of such a study"


def _judge(config: Config, store: Store, report: StudyReport, run: RunReport) -> str:
    """Ask the rules of today about what the run flagged, at the local time of its decision."""
    steps = (step.at for step in report.steps if step.run_number == run.number and step.stage == Stage.DECIDED)
    local = max(steps, default=datetime.now(UTC)).astimezone()
    images = store.images_of(report.study_id, config.storage_folder)
    unread = ""
    try:
        origin = read_origin(images[0].path) if images else {}
    except OSError as error:
        origin = {}
        unread = f"\nits images cannot be read now ({type(error).__name__}): what rules say of places is not known"
    return describe_judgments(judge_rules(config.notices, _found_by(run), origin, local), local) + unread


def _found_by(run: RunReport) -> Found:
    if run.lesion is None:
        return find_on_ct([candidate for candidate, is_above in run.candidates if is_above])
    return find_on_ultrasound(
        is_flagged=run.lesion.answer is Answer.MALIGNANT,
        probability=run.lesion.deciding_probability,
        diameter_mm=run.lesion.longest_diameter_mm,
    )
