"""The commands of quality: what the reviews say, and the reviewed cases as data."""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from screener.command_parts import UsageError, add_command, open_to_read
from screener.explain import tell_local
from screener.outcomes import NeedsPerson
from screener.performance import SILENT_AFTER, describe_performance, measure_performance
from screener.read_days import read_days
from screener.record_deed import record_deed
from screener.store import Store
from screener.store.engine import reading

DAYS: Final = 90.0


def add_quality_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """`screener performance` and `screener export-feedback`."""
    sentence = "say what reviews come to by month, how fast studies are read, and which scanner drifts or is silent"
    performance = add_command(commands, "performance", _performance, sentence)
    performance.add_argument("--days", type=read_days, default=DAYS, help="of so many days (default: %(default)g)")
    performance.add_argument(
        "--silent-after",
        type=float,
        default=SILENT_AFTER,
        metavar="TIMES",
        help="its usual gap that a scanner may be silent (default: %(default)g)",
    )
    sentence = (
        "copy reviewed CT studies into a folder of cases to train on and judge by; they name the patients, and "
        "ultrasound is not exported"
    )
    export = add_command(commands, "export-feedback", _export_feedback, sentence)
    export.add_argument("folder", type=Path, metavar="DIR", help="a new or empty folder")


def _performance(options: argparse.Namespace) -> int:
    _, store = open_to_read(options)
    now = datetime.now(UTC)
    reader = Store(reading(store.engine))  # a long look keeps no daemon from writing
    rows = reader.quality_rows(now - timedelta(days=options.days))
    performance = measure_performance(
        rows, reader.judgments(), now, days=options.days, silent_after=options.silent_after
    )
    print(tell_local(describe_performance(performance)))
    return 1 if performance.alarms else 0


def _export_feedback(options: argparse.Namespace) -> int:
    # Here: the daemon keeps decoders out before it first loads pydicom (leave_out_decoders.py).
    from screener.export_feedback import count_ultrasound, describe_export, export_feedback

    config, store = open_to_read(options)
    try:
        exported = export_feedback(store, config.storage_folder, options.folder)
    except NeedsPerson as outcome:
        raise UsageError(outcome.reason) from None
    for one in exported:
        if not one.left_out:
            record_deed(store, "export-feedback", one.study_id)
    print(describe_export(exported, count_ultrasound(store)))
    return 0
