"""Judge the ultrasound models on cases whose truth is known: `python -m workers evaluate us CASES --report DIR`.

CASES is a folder with `index.csv`, pictures or DICOM files, and outlines
(`us_read_cases.py`). Every case goes through the real stages; figures of
lesions rest on the automatic outline and stay within one source. Of sources
that the networks learned from the test part alone is judged.
"""

import argparse
import csv
import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from screener.outcomes import NeedsPerson, Outcome
from screener.study import DEFAULT_MIN_MALIGNANCY, Thresholds
from workers.models.bundle_files import BUNDLES_DIR
from workers.models.device import choose_device
from workers.models.fusion_machine import load_fusion
from workers.models.us_networks import LESION_CLASSIFIER, LESION_SEGMENTER
from workers.models.us_weights import load_us_bundle
from workers.training.us_evaluation.case_result import UsResult
from workers.training.us_evaluation.choose_cases import ALL, choose_cases, read_trained_sources
from workers.training.us_evaluation.screen_case import Screened, UsModels, screen_case
from workers.training.us_evaluation.write_report import write_report
from workers.training.us_read_cases import INDEX, CaseRow, list_rows
from workers.training.us_split_cases import Part
from workers.us.measure_radiomics import RADIOMICS_VERSION

logger = logging.getLogger(__name__)

HEADLINE: Final = (
    "part", "exams", "positives", "negatives", "dice_median", "dice_mean", "lesions_found", "auc_exam", "auc_outlined",
    "sensitivity", "specificity", "ppv", "npv", "calibration_error",
)  # fmt: skip
FUSION: Final = "fusion"
TOLD_EVERY: Final = 50
"""Cases between two lines of the log."""


def main(argv: Sequence[str] | None = None) -> int:
    """Judge, write the report, log the headline; 1 where there is nothing to judge or no model to ask."""
    args = _make_parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return _judge(args)
    except Outcome as outcome:
        logger.error("%s", outcome.reason)
        return 1


def _judge(args: argparse.Namespace) -> int:
    models = load_models(args)
    rows = list_rows(args.cases)
    choice = choose_cases(rows, find_trained_sources(args), args.part)
    if not choice.rows:
        raise NeedsPerson(f"{args.cases} holds no case to judge. {choice.sentence}", code="no_cases")
    logger.info("%s", choice.sentence)
    thresholds = make_thresholds(args.min_malignancy)
    results = list(_run_cases(choice.rows, models, thresholds))

    def screen_again(result: UsResult) -> Screened:
        return screen_case(result.row, models, thresholds)

    summary = write_report(
        results,
        screen_again,
        thresholds,
        models.digests,
        args.report,
        choice=choice,
        data=args.cases.resolve().name,
        passed_over=_count_lines(args.cases) - len(rows),
        is_by_fusion=models.fusion is not None,
    )
    for source, figures in summary["sources"].items():
        for name in HEADLINE:
            logger.info("%-12s %-20s %s", source, name, figures[name])
        if figures["fusion_less_image"] is not None:
            told = figures["fusion_less_image"]
            logger.info("%-12s fusion_less_image    %+.3f p %.2g", source, told["difference"], told["p"])
        for row in figures["without_tumor"]:
            words = (row["kind"], row["machine"] or "all", row["exams"], row["counts"], row["whole_picture"])
            logger.info("%-12s %s, %s: %d pictures %s forced %s", source, *words)
    logger.info("%s", args.report / "index.html")
    return 0


def load_models(args: argparse.Namespace) -> UsModels:
    """Load the bundles, the fusion where it decides. Raises NeedsPerson, also where they do not belong together."""
    torch.set_num_threads(args.threads)
    device, _ = choose_device(args.device)
    models = UsModels(
        segmenter=load_us_bundle(args.segmenter, device, args.models, kind=LESION_SEGMENTER),
        classifier=load_us_bundle(args.classifier, device, args.models, kind=LESION_CLASSIFIER),
    )
    if args.decides != FUSION:
        return models
    fusion = load_fusion(args.fusion, RADIOMICS_VERSION, args.models)
    fusion.must_fit(models.classifier)
    return replace(models, fusion=fusion)


def find_trained_sources(args: argparse.Namespace) -> set[str] | None:
    """Return the sources that any of the bundles learned from; None where one does not say."""
    folder = args.models or BUNDLES_DIR
    names = [args.segmenter, args.classifier, *([args.fusion] if args.decides == FUSION else [])]
    told = [read_trained_sources(folder / name) for name in names]
    return None if any(sources is None for sources in told) else set().union(*(one for one in told if one))


def make_thresholds(min_malignancy: float) -> Thresholds:
    """Return the decision settings of an evaluation; those of CT are not asked for."""
    return Thresholds(min_voxels=1, min_probability=0.5, config_revision="evaluation", min_malignancy=min_malignancy)


def _run_cases(rows: Sequence[CaseRow], models: UsModels, thresholds: Thresholds) -> Iterator[UsResult]:
    for done, row in enumerate(rows, start=1):
        result = screen_case(row, models, thresholds).result
        if not result.is_assessed or result.outline_problem:
            logger.warning("case=%s %s", row.name, result.outline_problem or result.reason)
        if done % TOLD_EVERY == 0 or done == len(rows):
            logger.info("%d/%d cases", done, len(rows))
        yield result


def _count_lines(root: Path) -> int:
    """Return how many cases the index has lines for."""
    with (root / INDEX).open(newline="", encoding="utf-8-sig") as file:
        return sum(1 for _ in csv.DictReader(file))


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workers evaluate us", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("cases", type=Path, help="folder with index.csv")
    add("--report", type=Path, required=True, help="folder to write to, made if absent")
    add(
        "--part",
        choices=[*(part.value for part in Part), ALL],
        help="of each source; default test where the networks learned from it, else all",
    )
    add("--models", "--bundles", type=Path, help="folder of bundles; the shipped ones otherwise")
    add("--segmenter", default=LESION_SEGMENTER, help="name of a bundle; default %(default)s")
    add("--classifier", default=LESION_CLASSIFIER, help="name of a bundle; default %(default)s")
    add("--decides", choices=["image", FUSION], default="image", help="as models.us_decides; default %(default)s")
    add("--fusion", default="us_fusion", help="name of a bundle, asked where it decides; default %(default)s")
    add("--min-malignancy", type=_share, default=DEFAULT_MIN_MALIGNANCY, help="threshold; default %(default)s")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    add("--threads", type=int, default=2, help="of the networks; default %(default)s")
    return parser


def _share(word: str) -> float:
    share = float(word)
    if not 0 < share < 1:
        raise argparse.ArgumentTypeError("must lie between 0 and 1")
    return share
