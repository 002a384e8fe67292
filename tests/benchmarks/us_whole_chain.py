"""The ultrasound chain on every lesion of a source, each judged by networks that never saw its group.

`python tests/benchmarks/us_whole_chain.py ../shared/data/ultrasound --work DIR --pretrained FILE`. The cases are dealt
into folds, groups whole. For each fold a segmenter and a classifier learn from the training and the validation part of
the others, by the commands that a hospital uses, for numbers of steps that are fixed beforehand; then each picture of
the fold goes through the product's stages, from the automatic outline. As for what ships, the line of Platt is fitted
to what the classifiers say of the readers' outlines, here those of the other folds. The figures are those of such
trainings, on about 64 % of the cases, not of the shipped weights. What was trained stays in DIR, which is refused for
other cases, folds or steps.
"""

import argparse
import csv
import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch
from scipy.special import expit, logit

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, from any folder

from screener.study import DEFAULT_MIN_MALIGNANCY
from screener.us_study import Answer
from workers.models.us_networks import LESION_CLASSIFIER, LESION_SEGMENTER
from workers.models.us_weights import load_us_bundle
from workers.training.statistics.judge_calibration import NEAREST
from workers.training.us_calibrate import fit_line
from workers.training.us_cross_validate import Score
from workers.training.us_evaluate import make_thresholds
from workers.training.us_evaluation.case_result import UsResult
from workers.training.us_evaluation.compute_figures import summarize_source
from workers.training.us_evaluation.screen_case import UsModels, screen_case
from workers.training.us_pretrained import digest_file
from workers.training.us_read_cases import INDEX, digest_rows, find_picture, list_rows
from workers.training.us_split_cases import find_fold

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Train what is not yet trained, judge, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of cases with index.csv")
    parser.add_argument("--work", type=Path, default=Path("cache/us_whole_chain"), help="default %(default)s")
    parser.add_argument("--source", default="busi", help="whose lesions are judged; default %(default)s")
    parser.add_argument("--folds", type=int, default=5, help="default %(default)s")
    parser.add_argument("--segmenter-steps", type=int, default=1500, help="default %(default)s")
    parser.add_argument("--classifier-steps", type=int, default=700, help="as what ships; default %(default)s")
    parser.add_argument("--pretrained", type=Path, help="weights of MobileNetV2 to start from, as what ships did")
    parser.add_argument("--jobs", type=int, default=2, help="folds at a time, a thread each; default %(default)s")
    parser.add_argument("--leave-out", metavar="ID", action="append", default=[], help="not counted; may be repeated")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    folds = range(1, args.folds + 1)
    must_be_the_same_run(args)
    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(lambda fold: train_fold(fold, args), folds))
    torch.set_num_threads(args.jobs)
    judged = {fold: judge_fold(fold, args) for fold in folds}
    results = [
        result for fold in folds for result in calibrate_fold(fold, judged) if result.row.name not in args.leave_out
    ]
    figures = summarize_source(results, "each fold by networks of the others", DEFAULT_MIN_MALIGNANCY)
    told = {name: figures[name] for name in NAMED} | {"calibration": tell(figures["calibration"])}
    told["auc_exam_95"] = figures["intervals_95"]["auc_exam"]
    told["not_assessed"] = [result.row.name for result in results if not result.is_assessed]
    print(json.dumps(told, indent=2))
    return 0


NAMED = (
    "part", "exams", "patients", "outlined", "positives", "negatives", "lesions_found", "dice_median", "dice_mean",
    "not_found", "auc_exam", "auc_found", "sensitivity", "specificity", "ppv", "npv", "calibration_error",
)  # fmt: skip


def tell(calibration: Mapping[str, object]) -> dict[str, object]:
    """Return what says whether the probabilities come true; that of true ones is the error by chance, not 0."""
    names = ("cases", "binning", "expected_error", "expected_error_by_chance", "expected_error_by_chance_p95")
    return {name: calibration[name] for name in (*names, "expected_error_equal_width", "brier", "line")}


def must_be_the_same_run(args: argparse.Namespace) -> None:
    """Exit where there is nothing to judge, or the folder holds trainings of other cases, folds or steps."""
    rows = list_rows(args.data)
    if args.source not in {row.source for row in rows}:
        raise SystemExit(f"{args.data} holds no case of the source {args.source}.")
    run = {
        "cases": digest_rows(rows),
        "folds": args.folds,
        "steps": [args.segmenter_steps, args.classifier_steps],
        "pretrained": digest_file(args.pretrained) if args.pretrained else None,
    }
    stamp = args.work / "run.json"
    if not stamp.exists():
        args.work.mkdir(parents=True, exist_ok=True)
        stamp.write_text(json.dumps(run))
    elif json.loads(stamp.read_text()) != run:
        raise SystemExit(f"{args.work} holds a run of other cases, folds or steps; name another --work.")


def folder_of(fold: int, args: argparse.Namespace) -> Path:
    """Return where what was trained without `fold` lies."""
    return Path(args.work / f"{fold}_of_{args.folds}")


def train_fold(fold: int, args: argparse.Namespace) -> None:
    """Train both networks without the cases of `fold`."""
    folder = folder_of(fold, args)
    copy_cases(args.data, folder / "learn", lambda source, group: find_fold(source, group, args.folds) != fold)
    wanted = {
        "us-segmenter": (LESION_SEGMENTER, args.segmenter_steps, ["--network", "unet-mobile", "--side", "192"]),
        "us-classifier": (LESION_CLASSIFIER, args.classifier_steps, ["--network", "mobilenetv2", "--side", "160"]),
    }
    for command, (name, steps, more) in wanted.items():
        line = [sys.executable, "-m", "workers", "train", command, "--data", str(folder / "learn"), "--fixed", *more]
        line += ["--out", str(folder / name), "--checkpoint", str(folder / f"{name}.ckpt"), "--steps", str(steps)]
        line += ["--threads", "1", "--half", *(["--pretrained", str(args.pretrained)] if args.pretrained else [])]
        with (folder / f"{name}.log").open("a") as log:
            environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
            done = subprocess.run(line, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False)
        if done.returncode:
            raise SystemExit(f"training failed; see {folder / name}.log")


def copy_cases(data: Path, folder: Path, is_wanted: Callable[[str, str], bool]) -> None:
    """Write a folder with the index and links to the files of the wanted cases."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for row in list_rows(data) if is_wanted(row.source, row.group)]
    with (folder / INDEX).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "source", "organ", "label", "group", "machine", "has_lesion_mask"])
        writer.writeheader()
        for row in rows:
            writer.writerow(
                {
                    "id": row.name,
                    "source": row.source,
                    "organ": row.organ,
                    "label": row.label,
                    "group": row.group,
                    "machine": row.machine,
                    "has_lesion_mask": int(row.has_outline),
                }
            )
    for row in rows:
        for path in (find_picture(row), row.folder / f"{row.name}_mask.png"):
            link = folder / path.name
            if path.is_file() and not link.is_symlink():
                link.symlink_to(path.resolve())


def judge_fold(fold: int, args: argparse.Namespace) -> list[UsResult]:
    """Return what the product makes of each picture of `fold`, its probability not calibrated."""
    folder = folder_of(fold, args)
    device = torch.device("cpu")
    models = UsModels(
        segmenter=load_us_bundle(LESION_SEGMENTER, device, folder, kind=LESION_SEGMENTER),
        classifier=load_us_bundle(LESION_CLASSIFIER, device, folder, kind=LESION_CLASSIFIER),
    )
    rows = [row for row in list_rows(args.data) if row.source == args.source]
    held = [row for row in rows if find_fold(row.source, row.group, args.folds) == fold]
    return [screen_case(row, models, make_thresholds(DEFAULT_MIN_MALIGNANCY)).result for row in held]


def calibrate_fold(fold: int, judged: Mapping[int, Sequence[UsResult]]) -> list[UsResult]:
    """Return the fold's results with calibrated probabilities, and the answers that follow from them."""
    slope, intercept = fit_line(
        [
            Score(
                source=result.row.source,
                name=result.row.name,
                group=result.row.group,
                is_malignant=result.is_malignant,
                fold=other,
                logit=to_logit(result.outline_probability),
            )
            for other, results in judged.items()
            if other != fold
            for result in results
            if result.is_rated and result.outline_probability is not None
        ]
    )
    calibrated = []
    for result in judged[fold]:
        if result.probability is not None:
            probability = float(expit(slope * to_logit(result.probability) + intercept))
            answer = Answer.MALIGNANT if probability >= DEFAULT_MIN_MALIGNANCY else Answer.BENIGN
            calibrated.append(replace(result, probability=probability, answer=answer))
        else:
            calibrated.append(result)
    return calibrated


def to_logit(probability: float) -> float:
    """Return the log odds; 0 and 1 are taken for NEAREST and 1 - NEAREST, as by the statistics."""
    return float(logit(min(max(probability, NEAREST), 1 - NEAREST)))


if __name__ == "__main__":
    sys.exit(main())
