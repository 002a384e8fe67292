"""The commands of the radiology reports: take one in, tell what is known, measure the rules."""

import argparse
from datetime import UTC, datetime
from pathlib import Path

from screener.command_parts import UsageError, add_command, find_study, open_database, open_to_read
from screener.read_reports import SENTENCES, add_report, describe_measured, find_report, measure_rules
from screener.record_deed import record_deed
from screener.store.mentions import describe_mention


def add_report_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Everything below `screener reports`."""
    sentence = "Whether a radiology report speaks of a parotid mass already."
    reports = commands.add_parser("reports", help="what radiology reports say of the glands", description=sentence)
    parts = reports.add_subparsers(required=True, metavar="add|show|remove|waiting|measure")
    sentence = "read a radiology report's text; kept are the answer and the sentence's number, not the text"
    add = add_command(parts, "add", _add, sentence)
    add.add_argument("study", metavar="STUDY", help="Study Instance UID or our number")
    add.add_argument("file", type=Path, metavar="FILE", help="text, in UTF-8 or Windows-1252")
    show = add_command(parts, "show", _show, "say what the reports of a study come to")
    show.add_argument("study", metavar="STUDY", help="Study Instance UID or our number")
    sentence = "take back a report that was given to the wrong study, by the number that `show` tells"
    remove = add_command(parts, "remove", _remove, sentence)
    remove.add_argument("study", metavar="STUDY", help="Study Instance UID or our number")
    remove.add_argument("report", metavar="REPORT", type=int, help="its number")
    add_command(parts, "waiting", _count_waiting, "say how many reports that came by HL7 have found no study yet")
    measure = add_command(parts, "measure", _measure, "measure the rules on sentences with known answers")
    measure.add_argument(
        "file", type=Path, nargs="?", default=SENTENCES, metavar="CSV", help="columns part, verdict and text"
    )


def _add(options: argparse.Namespace) -> int:
    _, store = open_database(options)
    study_id = find_study(store, options.study)
    try:
        data = options.file.read_bytes()
        mention = add_report(store, study_id, data, datetime.now(UTC))
    except OSError as error:
        raise UsageError(f"{options.file}: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"{options.file}: {error}") from None
    report_id = find_report(store, study_id, data)
    if mention is not None:
        record_deed(store, "report added", study_id, f"report {report_id}")
    said = describe_mention(mention) if mention is not None else "this report was read before"
    print(f"study {study_id}, report {report_id}: {said}")
    return 0


def _show(options: argparse.Namespace) -> int:
    _, store = open_to_read(options)
    study_id = find_study(store, options.study)
    reports = store.read_reports(study_id)
    print(f"study {study_id}: {len(reports)} report(s) read")
    for report in reports:
        said = f"{report.source}: {describe_mention(report.mention)}"
        print(f"  report {report.report_id}  {report.at.astimezone():%Y-%m-%d %H:%M}  {said}")
    return 0


def _remove(options: argparse.Namespace) -> int:
    _, store = open_database(options)
    study_id = find_study(store, options.study)
    if not store.remove_report(study_id, options.report, datetime.now(UTC)):
        raise UsageError(f"study {study_id} has no report {options.report}; `screener reports show` lists them")
    record_deed(store, "report removed", study_id, f"report {options.report}")
    print(f"study {study_id}: report {options.report} no longer counts")
    return 0


def _count_waiting(options: argparse.Namespace) -> int:
    _, store = open_to_read(options)
    counted = store.count_waiting_reports()
    print(f"{counted.kept} report(s) came by HL7 and are kept; {counted.waiting} of them wait for their study")
    if counted.oldest_at is not None:
        print(f"  the oldest since {counted.oldest_at.astimezone():%Y-%m-%d %H:%M}")
    if counted.of_another_patient:
        told = f"  {counted.of_another_patient} have the accession number of a study here, and another patient's ID;"
        print(f"{told} or none, where studies of several patients have that number")
    return 0


def _measure(options: argparse.Namespace) -> int:
    if not options.file.is_file():
        raise UsageError(f"{options.file}: no such file; name a CSV with the columns part, verdict and text")
    try:
        measured = measure_rules(options.file)
    except (KeyError, ValueError) as error:
        raise UsageError(f"{options.file}: not such a CSV ({error})") from None
    print(describe_measured(measured, is_ours=options.file == SENTENCES))
    return 0
