"""Judge the CT models on cases whose truth is known: `python -m workers evaluate ct CASES --report DIR`.

`evaluate us` judges the ultrasound models (`us_evaluate.py`); `evaluate us --help` tells its options.

CASES is a folder of cases as `read_cases.py` reads them; patients whose images
were trained on must not be in it. A case without mass.nii.gz, or with an empty
one, is a negative. Every case goes through the real stages; its result is
stored in DIR/cases before the next one is asked for.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from screener.outcomes import NeedsPerson, Outcome
from screener.study import (
    DEFAULT_GAMMA,
    DEFAULT_MIN_COVERED_SHARE,
    DEFAULT_MIN_SCORE,
    GAMMAS,
    Thresholds,
)
from workers.training import us_evaluate
from workers.training.evaluation.case_result import CaseResult
from workers.training.evaluation.compute_figures import patient_of
from workers.training.evaluation.run_cases import (
    BY_SIZE_ALONE,
    Settings,
    Source,
    list_phantoms,
    load_models,
    run_cases,
    store_name,
)
from workers.training.evaluation.write_report import write_report
from workers.training.read_cases import list_cases

logger = logging.getLogger(__name__)

HEADLINE: Final = (
    "exams", "positives", "auc_exam", "auc_gland", "sensitivity", "specificity", "ppv", "dice_median", "dice_iqr",
    "centre_error_mm_median", "centre_error_mm_p95", "crop_holds_95", "seconds_per_case_median",
    "auc_exam_main", "sensitivity_main", "dice_median_main", "volume_ratio_median",
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Judge, write the report, log the headline; 1 where there is nothing to judge or no model to ask."""
    words = sys.argv[1:] if argv is None else argv
    if words[:1] == ["us"]:
        return us_evaluate.main(words[1:])
    args = _make_parser().parse_args(words)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        sources = _list_sources(args)
        if not sources:
            logger.error("There is nothing to judge: name a folder of cases, or --phantoms.")
            return 1
        return _judge(sources, _make_settings(args), args)
    except Outcome as outcome:
        logger.error("%s", outcome.reason)
        return 1


def _judge(sources: Sequence[Source], settings: Settings, args: argparse.Namespace) -> int:
    digests = load_models(settings).digests  # before the first case, so that a missing bundle is told at once
    results: list[CaseResult] = []
    for result in run_cases(sources, settings, args.jobs):
        results.append(result)
        logger.info("%d/%d %s", len(results), len(sources), _describe(result))
    stores = [settings.cases / f"{store_name(source)}.json" for source in sources]
    summary = write_report(
        results,
        stores,
        settings.thresholds,
        digests,
        args.report,
        data=_name_data(args),
        separator=args.cluster_separator,
    )
    for name in HEADLINE:
        logger.info("%-24s %s", name, summary[name])
    logger.info("%s", args.report / "index.html")
    return 0


def _list_sources(args: argparse.Namespace) -> list[Source]:
    folders = [] if args.cases is None else list_cases(args.cases)[: args.limit]
    left_out = set(args.without)
    unknown = left_out.difference(patient_of(folder.name, args.cluster_separator) for folder in folders)
    if unknown:
        raise NeedsPerson(f"{args.cases} holds no case of {', '.join(sorted(unknown))}.", code="no_cases")
    folders = [folder for folder in folders if patient_of(folder.name, args.cluster_separator) not in left_out]
    return [*folders, *list_phantoms(args.phantoms, args.phantom_seed, args.mass_mm)]


def _name_data(args: argparse.Namespace) -> str:
    names = [] if args.cases is None else [args.cases.resolve().name]
    if args.without:
        names = [f"{names[0]} without {', '.join(args.without)}"]
    return " and ".join([*names, *([f"{args.phantoms} phantoms"] if args.phantoms else [])])


def _make_settings(args: argparse.Namespace) -> Settings:
    threads = args.threads or (2 if args.jobs == 1 else 1)
    return Settings(
        localizer=args.localizer,
        segmenter=args.segmenter,
        candidates=args.candidates,
        bundles=args.bundles,
        device=args.device,
        threads=threads,
        thresholds=Thresholds(
            min_voxels=args.min_voxels,
            min_probability=args.min_probability,
            config_revision="evaluation",
            gamma=args.gamma,
            min_score=args.min_score,
            min_covered_share=args.min_covered_share,
        ),
        cases=args.report / "cases",
        keep=args.keep,
    )


def _describe(result: CaseResult) -> str:
    """Return one line for the log."""
    truth = f"{'/'.join(result.mass_sides) or 'somewhere'} {result.mass_diameter_mm:.0f} mm"
    found = ", ".join(f"{c.side} {c.voxels} vx" for c in result.candidates[:4]) or "no candidate"
    answer = found if result.outcome == "screened" else f"{result.outcome}: {result.reason}"
    return f"{result.name} ({truth if result.is_positive else 'no mass'}) {result.seconds:.1f} s: {answer}"


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workers evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=["ct", "us"], help="which models")
    parser.add_argument("cases", type=Path, nargs="?", help="folder of cases")
    parser.add_argument("--report", type=Path, required=True, help="folder to write to, made if absent")
    parser.add_argument("--keep", action="store_true", help="reuse stored results that the same models and code made")
    parser.add_argument("--jobs", type=_at_least_one, default=1, help="processes")
    parser.add_argument("--threads", type=_at_least_one, help="of the networks; 2, or 1 in each of several processes")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--limit", type=_at_least_one, help="only the first cases, by name")
    parser.add_argument(
        "--without", metavar="PATIENT", action="append", default=[], help="leave out a patient whose truth is wrong"
    )
    parser.add_argument("--cluster-separator", default="+", help="a case's patient is the part of its name before this")
    parser.add_argument("--bundles", type=Path, help="folder of bundles; the shipped ones otherwise")
    parser.add_argument("--localizer", default="parotid_localizer", help="name of a bundle")
    parser.add_argument("--segmenter", default="parotid_mass_segmenter", help="name of a bundle")
    parser.add_argument(
        "--candidates", default="parotid_candidates", help=f"name of a bundle; {BY_SIZE_ALONE}: judge by size alone"
    )
    parser.add_argument("--min-voxels", type=_at_least_one, default=500, help="least size of a mass, in 1 mm voxels")
    parser.add_argument("--min-probability", type=float, default=0.5, help="of a mass's voxels")
    parser.add_argument("--gamma", type=int, choices=list(GAMMAS), default=DEFAULT_GAMMA)
    parser.add_argument("--min-score", type=float, default=DEFAULT_MIN_SCORE, help="least score of a mass")
    parser.add_argument("--min-covered-share", type=float, default=DEFAULT_MIN_COVERED_SHARE)
    parser.add_argument("--phantoms", type=int, default=0, help="also judge so many phantoms, half of them with a mass")
    parser.add_argument("--phantom-seed", type=int, default=5000)
    parser.add_argument("--mass-mm", type=float, default=25.0, help="diameter of the phantoms' masses")
    return parser


def _at_least_one(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    raise SystemExit(main())
