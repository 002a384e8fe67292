"""Judge an ultrasound network by cases that it is not trained on: Dice and AUC within each source, never pooled."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from screener.outcomes import NeedsPerson
from workers.models.us_image import cut_square, surround_picture
from workers.models.us_weights import answer_in_batches
from workers.training.fit import Judge
from workers.training.statistics.compare_aucs import quick_auc
from workers.training.us_draw_samples import view_for_classifier, view_for_segmenter
from workers.training.us_read_cases import BENIGN, MALIGNANT, UsCase

SMALLEST_REGION_SHARE = 0.005
"""Of the square: less than this in a healthy picture counts as nothing marked."""
_BATCH = 16


def judge_segmenter(cases: Sequence[UsCase], side_px: int) -> Judge:
    """Return what judges a segmenter: `dice`, the mean over sources of their mean Dice, and each source's own.

    Each lesion is judged on the network's grid at a probability of one half.
    `healthy_marked` is the share of pictures without lesion in which one is
    marked. Raises NeedsPerson (`no_cases`) where no lesion is outlined.
    """
    known = [case for case in cases if case.lesion is not None]
    masks = [_cut_lesion(case, side_px) for case in known]
    images = [view_for_segmenter(case, side_px) for case in known]
    if not any(mask.any() for mask in masks):
        raise NeedsPerson("No case with an outlined lesion is left to choose by: give more cases.", code="no_cases")

    def judge(network: torch.nn.Module) -> dict[str, float]:
        dices: dict[str, list[float]] = defaultdict(list)
        marked: list[bool] = []
        for case, mask, probability in zip(known, masks, answer_all(network, images), strict=True):
            found = probability >= 0.5
            if mask.any():
                dices[case.row.source].append(overlap(found, mask))
            else:
                marked.append(bool(found.mean() >= SMALLEST_REGION_SHARE))
        by_source = {f"dice_{source}": float(np.mean(values)) for source, values in sorted(dices.items())}
        figures = {"dice": float(np.mean(list(by_source.values()))), **by_source}
        return figures | ({"healthy_marked": float(np.mean(marked))} if marked else {})

    return judge


def judge_classifier(cases: Sequence[UsCase], side_px: int) -> Judge:
    """Return what judges a classifier: `auc`, the mean over sources of their AUC, and each source's own.

    Lesions are seen in the rectangle of their outline. Raises NeedsPerson
    (`no_cases`) where no source holds both kinds.
    """
    known = [case for case in cases if is_rated(case)]
    kinds = {
        case.row.source: {other.row.label for other in known if other.row.source == case.row.source} for case in known
    }
    sources = sorted(source for source, labels in kinds.items() if len(labels) == 2)
    if not sources:
        reason = "No source has outlined lesions of both kinds left to choose by: give more cases."
        raise NeedsPerson(reason, code="no_cases")
    images = [view_for_classifier(case, side_px) for case in known]

    def judge(network: torch.nn.Module) -> dict[str, float]:
        scores = [float(answer) for answer in answer_all(network, images)]
        by_source = {f"auc_{source}": _auc_within(source, known, scores) for source in sources}
        return {"auc": float(np.mean(list(by_source.values()))), **by_source}

    return judge


def answer_all(network: torch.nn.Module, images: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    """Return the probabilities of `images`, each (1, side, side): (n, side, side), or (n,) of a classifier."""
    return answer_in_batches(network, np.stack(images), next(network.parameters()).device, _BATCH)


def overlap(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> float:
    """Return the Dice coefficient of two masks of which `true` is not empty."""
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def is_rated(case: UsCase) -> bool:
    """Return whether the case shows an outlined lesion that is known to be benign or malignant."""
    return case.lesion is not None and bool(case.lesion.any()) and case.row.label in (BENIGN, MALIGNANT)


def _cut_lesion(case: UsCase, side_px: int) -> NDArray[np.bool_]:
    if case.lesion is None:
        raise ValueError("the lesion of this case is not outlined")
    rows, columns = case.gray.shape
    return np.asarray(cut_square(case.lesion.astype(np.float32), surround_picture((rows, columns)), side_px)[0] > 0.5)


def _auc_within(source: str, cases: Sequence[UsCase], scores: Sequence[float]) -> float:
    chosen = np.array([case.row.source == source for case in cases])
    truth = np.array([case.row.label == MALIGNANT for case in cases])
    auc = quick_auc(truth[chosen], np.array(scores)[chosen])
    return float("nan") if auc is None else float(auc)
