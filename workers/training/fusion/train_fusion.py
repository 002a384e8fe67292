"""Fit the fusion: `python -m workers train us-fusion --data DIR --out BUNDLE --pretrained FILE --report DIR`.

DIR holds `index.csv`, pictures and outlines (`us_read_cases.py`). Radiomics are measured once and cached; deep features
come from a MobileNetV2 that learned on photographs and on none of these cases. All is selected, fitted, chosen and
calibrated on the training and the validation part together, by cross-validation over groups, each fold with its own
selection: the validation part alone is too small to tell seven classifiers apart. The test part is read with --judge
only, when all is chosen. Lesions are where their outlines are; the product looks where its own is.
"""

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from screener.outcomes import NeedsPerson
from workers.models.bundle_files import read_json
from workers.models.fusion_machine import Fusion, build_backbone, check, save_fusion
from workers.models.mobile_networks import MobileNetV2
from workers.models.us_networks import LESION_CLASSIFIER
from workers.models.us_weights import UsNetwork, load_us_bundle
from workers.training.fusion.collect_features import Array, Samples, collect_samples, read_scores
from workers.training.fusion.compare_machines import (
    Choice,
    Fitted,
    build_fusion,
    choose,
    compare_all,
    fit_all,
    judge,
    name_trainings,
    scale_margins,
)
from workers.training.fusion.select_features import SETS
from workers.training.fusion.write_table import describe_fusion, print_rows, write_card, write_report
from workers.training.show_progress import start_log
from workers.training.statistics.judge_calibration import calibration_error
from workers.training.us_draw_samples import view_for_classifier
from workers.training.us_judge_networks import answer_all
from workers.training.us_pretrained import digest_file, load_pretrained
from workers.training.us_read_cases import list_rows, read_case
from workers.training.us_split_cases import Part, find_part
from workers.us.measure_radiomics import RADIOMICS_VERSION

logger = logging.getLogger(__name__)

VERSION: Final = "0.1.0"
DEEP_SIDE_PX: Final = 224
"""That at which the photographs were learned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What came of a training."""

    fusion: Fusion
    choice: Choice
    fitted: Mapping[tuple[str, str], Fitted]
    """By training and features, fitted on all lesions of the training and the validation part."""
    rows: list[dict[str, Any]]
    """Of cross-validation, as `judge` gives them."""
    calibration_error: float
    """Expected calibration error of cross-validation, within the source that decides."""


def main(argv: Sequence[str] | None = None) -> int:
    """Collect, compare, choose, fit and write the bundle; 0 when it is whole."""
    options = _parser().parse_args(argv)
    start_log()
    torch.set_num_threads(options.threads)
    backbone = load_backbone(options.pretrained)
    classifier = _load_classifier(options)
    learned, held = collect(options, backbone, classifier)
    decides = find_decider(learned, options.decides)
    trained = train(learned, decides)
    print(print_rows("cross-validated on the training and the validation part", trained.rows))
    tables = {"cross_validation": trained.rows}
    if held is not None:
        tables["test"] = judge_test(held, trained)
        print(print_rows("test part", tables["test"]))
    about = describe_fusion(learned, trained.choice, decides, trained.fusion, _digests(options, classifier))
    about |= {"version": options.version, "radiomics_version": RADIOMICS_VERSION, "side_px": DEEP_SIDE_PX}
    about |= {"calibration_error": round(trained.calibration_error, 4)}
    steps = {f"{training}, {kind}": fitted.selection.counts for (training, kind), fitted in trained.fitted.items()}
    save_fusion(options.out, trained.fusion, backbone, about, _golden(learned, trained))
    write_card(options.out, about, tables)
    if options.report is not None:
        write_report(options.report, about | {"features_left": steps}, tables)
    problems = check(options.out, RADIOMICS_VERSION)
    for sentence in problems:
        logger.error("%s: %s", options.out, sentence)
    return 1 if problems else 0


def train(samples: Samples, decides: str) -> Trained:
    """Compare all by cross-validation, choose, and fit on all of `samples`; `decides` is a source that has both kinds.

    Raises NeedsPerson (`no_cases`) where there are too few lesions, or the chosen one's margins cannot be calibrated.
    """
    try:
        margins = compare_all(samples, decides)
        choice = choose(margins, samples, decides)
        of_source = samples.sources == decides
        truth = samples.truth[of_source]
        chosen = margins[choice][of_source]
        slope, intercept = scale_margins(chosen, truth)
        fitted = {
            (training, kind): fit_all(samples.take(learns), kind)
            for training, learns in name_trainings(samples, decides).items()
            for kind in SETS
        }
    except ValueError as problem:
        raise NeedsPerson(f"No fusion can be fitted to these cases: {problem}", code="no_cases") from problem
    training, kind, name = choice
    fusion = build_fusion(fitted[training, kind], name, slope, intercept)
    return Trained(
        fusion=fusion,
        choice=choice,
        fitted=fitted,
        rows=judge(samples, margins),
        calibration_error=calibration_error(truth, fusion.calibrate(chosen)),
    )


def judge_test(samples: Samples, trained: Trained) -> list[dict[str, Any]]:
    """Return the figures of everything that was compared on lesions that nothing was chosen by."""
    margins: dict[Choice, Array] = {}
    for (training, kind), fitted in trained.fitted.items():
        for name, values in fitted.decide(samples).items():
            margins[training, kind, name] = values
    rows = judge(samples, margins)
    for source in sorted(set(samples.sources.tolist())):
        of_source = samples.sources == source
        probabilities = trained.fusion.calibrate(margins[trained.choice][of_source])
        error = round(calibration_error(samples.truth[of_source], probabilities), 4)
        for row in rows:
            if (row["training"], row["features"], row["classifier"]) == trained.choice and row["source"] == source:
                row["calibration_error"] = error
    return rows


def collect(
    options: argparse.Namespace, backbone: torch.nn.Module, classifier: UsNetwork | None
) -> tuple[Samples, Samples | None]:
    """Return the lesions to learn from and, with --judge, those of the test part."""
    rows = [row for folder in options.data for row in list_rows(folder)]
    parts = {part: [row for row in rows if find_part(row.source, row.group) is part] for part in Part}
    learned = collect_samples(parts[Part.TRAIN] + parts[Part.VALIDATION], options.cache, backbone, DEEP_SIDE_PX)
    held = collect_samples(parts[Part.TEST], options.cache, backbone, DEEP_SIDE_PX) if options.judge else None
    if options.image_scores is None or classifier is None:
        return learned, held
    slope, intercept = _read_calibration(options.classifier)
    learned = replace(learned, image=slope * read_scores(options.image_scores, learned.rows) + intercept)
    return learned, None if held is None else replace(held, image=rate_lesions(held, classifier))


def rate_lesions(samples: Samples, classifier: UsNetwork) -> Array:
    """Return the log odds of malignancy by the image model, within the outlines, (lesions,)."""
    views = [view_for_classifier(read_case(row), classifier.side_px) for row in samples.rows]
    probabilities = answer_all(classifier.network, views).astype(np.float64)
    return np.asarray(np.log(probabilities) - np.log1p(-probabilities))


def load_backbone(path: Path) -> torch.nn.Module:
    """Return the layers with the weights in `path`, rounded as they ship; raises NeedsPerson (`bad_weights`)."""
    network = MobileNetV2(in_channels=1, out_channels=1)
    load_pretrained(network, path)
    backbone = build_backbone()
    backbone.load_state_dict(network.features.half().float().state_dict())
    return backbone.eval()


def find_decider(samples: Samples, wanted: str | None) -> str:
    """Return the source by which all is chosen: `wanted`, or that with the most lesions of its rarer kind.

    Raises NeedsPerson (`no_cases`) where it lacks a kind.
    """
    sources, truth = samples.sources, samples.truth
    rarer = {
        source: min(int(truth[sources == source].sum()), int((~truth[sources == source]).sum()))
        for source in sorted(set(sources.tolist()))
    }
    decides = wanted or max(rarer, key=lambda source: rarer[source])
    if not rarer.get(decides):
        reason = f"The source {decides} has no outlined lesions of both kinds: nothing can be chosen by it."
        raise NeedsPerson(reason, code="no_cases")
    return decides


def _load_classifier(options: argparse.Namespace) -> UsNetwork | None:
    """Return the image model; NeedsPerson where only one of its bundle and its scores is given."""
    if (options.classifier is None) != (options.image_scores is None):
        reason = "--image-scores and --classifier belong together: the scores of that bundle's network, by other folds."
        raise NeedsPerson(reason, code="bad_scores")
    if options.classifier is None:
        return None
    folder = options.classifier.resolve()
    return load_us_bundle(folder.name, torch.device("cpu"), folder.parent, kind=LESION_CLASSIFIER)


def _read_calibration(bundle: Path) -> tuple[float, float]:
    """Return the line that was put into the bundle's network (`us_calibrate.py`): its log odds are slope * x + y."""
    training = read_json(bundle / "configs" / "metadata.json").get("training") or {}
    line = training.get("calibration") or {"slope": 1.0, "intercept": 0.0}
    return float(line["slope"]), float(line["intercept"])


def _digests(options: argparse.Namespace, classifier: UsNetwork | None) -> dict[str, str]:
    digests = {"pretrained_sha256": digest_file(options.pretrained)}
    return digests | ({"image_model_digest": classifier.digest} if classifier is not None else {})


def _golden(samples: Samples, trained: Trained) -> dict[str, float]:
    """Return the mean malignant lesion: a value for each feature of the classifier."""
    standard = trained.fusion.standard
    scaled = trained.fitted[trained.choice[:2]].selection(samples)[samples.truth].mean(axis=0)
    values = standard.mean + scaled * standard.deviation
    return {name: float(f"{value:.8g}") for name, value in zip(trained.fusion.features, values, strict=True)}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m workers train us-fusion",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--data", type=Path, required=True, action="append", help="a folder of cases; may be given several times")
    add("--out", type=Path, required=True, help="the bundle's folder")
    add("--pretrained", type=Path, required=True, metavar="FILE", help="MobileNetV2's weights from photographs")
    add("--image-scores", type=Path, metavar="CSV", help="id and logit of each lesion, from us_cross_validate.py")
    add("--classifier", type=Path, metavar="BUNDLE_DIR", help="the image model that the fusion is to stand beside")
    add("--cache", type=Path, default=Path("cache/us_fusion"), help="radiomics, by lesion; default %(default)s")
    add("--decides", metavar="SOURCE", help="by which all is chosen; default that with the most of its rarer kind")
    add("--judge", action="store_true", help="read the test part too, and tell the figures of all on it")
    add("--report", type=Path, metavar="DIR", help="write fusion.json and fusion.md there")
    add("--threads", type=int, default=2, help="default %(default)s")
    add("--version", default=VERSION)
    return parser


if __name__ == "__main__":
    sys.exit(main())
