"""Make a classifier's probabilities come true: `python -m workers.training.us_calibrate BUNDLE --scores CSV ...`.

The line of Platt 1999 is fitted to the cross-validated scores of one source (`us_cross_validate.py`) and put into the
network's last layer, so that what the bundle answers is calibrated: for the share of malignant lesions in that source,
which is said in the bundle's metadata. Another share, another line.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from scipy.special import expit

from screener.outcomes import NeedsPerson
from workers.models.bundle_files import read_json
from workers.models.us_networks import LESION_CLASSIFIER
from workers.models.weights import load_network, read_definition, read_weights
from workers.training.show_progress import start_log
from workers.training.statistics.fit_logistic import fit_logistic
from workers.training.statistics.judge_calibration import calibration_error
from workers.training.us_cross_validate import Score, read_scores
from workers.training.write_bundle import is_stored_in_half, write_bundle

LEAST_OF_A_KIND: Final = 10


def fit_line(scores: Sequence[Score]) -> tuple[float, float]:
    """Return slope and intercept in log odds.

    Raises NeedsPerson (`no_cases`) where fewer than LEAST_OF_A_KIND of either
    kind are there, or no line fits: the scores tell the kinds apart without
    fail, are all alike, or rank the wrong way.
    """
    malignant = sum(score.is_malignant for score in scores)
    if min(malignant, len(scores) - malignant) < LEAST_OF_A_KIND:
        reason = f"Calibration needs {LEAST_OF_A_KIND} benign and {LEAST_OF_A_KIND} malignant lesions at least."
        raise NeedsPerson(reason, code="no_cases")
    try:
        fit = fit_logistic([[score.logit] for score in scores], [score.is_malignant for score in scores], ["logit"])
    except ValueError as problem:
        raise NeedsPerson(f"The scores cannot be calibrated: {problem}", code="no_cases") from problem
    intercept, slope = (coefficient.value for coefficient in fit.coefficients)
    if slope <= 0:
        raise NeedsPerson(
            "The scores rank malignant lesions no higher than benign ones: no line makes that a probability.",
            code="no_cases",
        )
    return slope, intercept


def judge_line(scores: Sequence[Score]) -> float:
    """Return the expected calibration error, each fold's lesions on the line that was fitted to the others.

    In ten bins of as many lesions each. Raises as `fit_line` does.
    """
    probabilities: list[float] = []
    truth: list[bool] = []
    for fold in sorted({score.fold for score in scores}):
        slope, intercept = fit_line([score for score in scores if score.fold != fold])
        held = [score for score in scores if score.fold == fold]
        probabilities += [float(expit(slope * score.logit + intercept)) for score in held]
        truth += [score.is_malignant for score in held]
    return calibration_error(truth, probabilities)


def bend(network: torch.nn.Module, slope: float, intercept: float) -> None:
    """Change the last layer so that the network's log odds become slope * log odds + intercept."""
    *_, last = (layer for layer in network.modules() if isinstance(layer, torch.nn.Linear) and layer.out_features == 1)
    with torch.no_grad():
        last.weight.mul_(slope)
        last.bias.mul_(slope).add_(intercept)


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line and calibrate; 0 when the bundle is written."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--scores", type=Path, required=True)
    parser.add_argument("--source", required=True)
    options = parser.parse_args(argv)
    start_log()
    metadata = read_json(options.bundle / "configs" / "metadata.json")
    training: dict[str, Any] = dict(metadata.get("training") or {})
    if "calibration" in training:
        raise NeedsPerson(f"The bundle {options.bundle} is calibrated already.", code="bad_bundle")
    scores = [score for score in read_scores(options.scores) if score.source == options.source]
    slope, intercept = fit_line(scores)
    is_half = is_stored_in_half(read_weights(options.bundle))
    network, _ = load_network(options.bundle)
    bend(network, slope, intercept)
    training["calibration"] = {
        "source": options.source,
        "lesions": len(scores),
        "malignant": sum(score.is_malignant for score in scores),
        "slope": round(slope, 4),
        "intercept": round(intercept, 4),
        "error": round(judge_line(scores), 4),
    }
    write_bundle(
        LESION_CLASSIFIER,
        options.bundle,
        read_definition(options.bundle),
        network.state_dict(),
        training=training,
        is_half=is_half,
        side_px=int(read_json(options.bundle / "configs" / "inference.json")["side_px"]),
    )
    print(json.dumps(training["calibration"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
