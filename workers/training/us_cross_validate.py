"""Rate each lesion by a classifier that has not seen it: `python -m workers.training.us_cross_validate`.

The cases of the training and the validation part are dealt into folds, groups whole; for each fold a classifier learns
from the others, for a number of steps that is fixed beforehand, and rates it. The test part is not looked at. The
scores calibrate the classifier that ships (`us_calibrate.py`), and are what a fusion may learn from: those of a
network for its own training cases are too good.
"""

import argparse
import csv
import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from screener.outcomes import NeedsPerson
from workers.models.us_networks import LESION_CLASSIFIER
from workers.models.weights import load_network
from workers.training.fit import fit
from workers.training.show_progress import start_log
from workers.training.statistics.compare_aucs import estimate_auc
from workers.training.us_draw_samples import draw_for_classifier, sort_for_classifier, view_for_classifier
from workers.training.us_evaluation.choose_cases import read_trained_sources
from workers.training.us_judge_networks import answer_all, is_rated
from workers.training.us_load_cases import load_cases
from workers.training.us_read_cases import MALIGNANT, UsCase
from workers.training.us_split_cases import find_fold
from workers.training.us_train_classifier import build_parser, cross_entropy

logger = logging.getLogger(__name__)

COLUMNS = ("source", "id", "group", "label", "fold", "logit")


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """One lesion, rated by a network that has not seen its group."""

    source: str
    name: str
    group: str
    is_malignant: bool
    fold: int
    logit: float
    """Log odds of malignancy, not calibrated."""


def rate_fold(cases: Sequence[UsCase], fold: int, options: argparse.Namespace, digest: str) -> list[Score]:
    """Train without the cases of `fold` and rate its lesions; goes on from the fold's checkpoint.

    The checkpoint is found by the cases' `digest` and the number of folds: one of other cases or other folds may
    have learned from the lesions that it would rate here.
    """
    held = [case for case in cases if _fold_of(case, options.folds) == fold and is_rated(case)]
    if not held:
        return []
    urns = sort_for_classifier([case for case in cases if _fold_of(case, options.folds) != fold])
    folder = options.out / f"{digest[:12]}_{fold}_of_{options.folds}"
    own = argparse.Namespace(**vars(options) | {"checkpoint": folder / "classifier.ckpt", "out": folder / "bundle"})
    fit(
        LESION_CLASSIFIER,
        lambda rng: draw_for_classifier(urns, rng, side_px=options.side, healthy_share=options.healthy_share),
        cross_entropy(options.smoothing),
        own,
        cases=f"{digest} but fold {fold} of {options.folds}",
    )
    network, _ = load_network(own.out)
    probabilities = answer_all(network.eval(), [view_for_classifier(case, options.side) for case in held])
    logits = torch.logit(torch.from_numpy(probabilities), eps=1e-6).tolist()
    return [
        Score(
            source=case.row.source,
            name=case.row.name,
            group=case.row.group,
            is_malignant=case.row.label == MALIGNANT,
            fold=fold,
            logit=logit,
        )
        for case, logit in zip(held, logits, strict=True)
    ]


def write_scores(path: Path, scores: Sequence[Score]) -> None:
    """Write one line for each lesion."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for one in scores:
            label = MALIGNANT if one.is_malignant else "benign"
            writer.writerow([one.source, one.name, one.group, label, one.fold, f"{one.logit:.5f}"])


def read_scores(path: Path) -> list[Score]:
    """Return the scores of a file of `write_scores`; raises OSError, ValueError or KeyError."""
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Score(
                source=row["source"],
                name=row["id"],
                group=row["group"],
                is_malignant=row["label"] == MALIGNANT,
                fold=int(row["fold"]),
                logit=float(row["logit"]),
            )
            for row in csv.DictReader(file)
        ]


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, train and rate; 0 when the scores are written."""
    parser = build_parser("python -m workers.training.us_cross_validate", __doc__ or "", None)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--scores", type=Path, required=True, help="the file to write")
    options = parser.parse_args(argv)
    start_log()
    torch.set_num_threads(options.threads)
    loaded = load_cases(options.data)
    cases = [*loaded.train, *loaded.validation]
    if options.init is not None:
        must_be_new(options.init, {case.row.source for case in cases})
    scores = [score for fold in range(1, options.folds + 1) for score in rate_fold(cases, fold, options, loaded.digest)]
    write_scores(options.scores, scores)
    for source in sorted({score.source for score in scores}):
        print(_say_auc(source, [score for score in scores if score.source == source]))
    return 0


def must_be_new(start: Path, sources: set[str]) -> None:
    """Raise NeedsPerson (`seen_cases`) where the bundle to start from may have seen cases of `sources`."""
    learned = read_trained_sources(start)
    if learned is None:
        raise NeedsPerson(f"{start} does not say what it learned from: it may know the lesions.", code="seen_cases")
    if seen := sorted(learned & sources):
        reason = f"{start} learned from {', '.join(seen)}: what starts from it knows the lesions that it would rate."
        raise NeedsPerson(reason, code="seen_cases")


def _say_auc(source: str, scores: Sequence[Score]) -> str:
    truth = [score.is_malignant for score in scores]
    if len(set(truth)) < 2:
        return f"{source}: {len(scores)} lesions of one kind only"
    found = estimate_auc(truth, [score.logit for score in scores])
    low, high = found.interval_95 or (float("nan"), float("nan"))
    return f"{source}: AUC {found.auc:.3f} ({low:.3f} to {high:.3f}), {len(scores)} lesions"


def _fold_of(case: UsCase, folds: int) -> int:
    return find_fold(case.row.source, case.row.group, folds)


if __name__ == "__main__":
    sys.exit(main())
