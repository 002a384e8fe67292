"""Tell what a fusion is and how well all that it was chosen among did: on the screen, in its card and in a report."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workers.models.bundle_files import INTENDED_USE
from workers.models.fusion_machine import IMAGE, Fusion
from workers.training.fusion.collect_features import Samples
from workers.training.fusion.compare_machines import Choice
from workers.training.us_describe_bundle import describe_us_data, tell_learned_from

logger = logging.getLogger(__name__)

Row = Mapping[str, Any]
_TITLES = {"cross_validation": "Cross-validated, training and validation part", "test": "Test part"}
_HEAD = ("source", "learned from", "features", "classifier", "AUC", "95 % (DeLong)", "p against image")


def describe_fusion(
    samples: Samples, choice: Choice, decides: str, fusion: Fusion, digests: Mapping[str, str]
) -> dict[str, Any]:
    """Return what the bundle's metadata say of it."""
    training, kind, name = choice
    sources = sorted(set(samples.sources.tolist()))
    counts = {
        source: {
            "benign": int((~samples.truth[samples.sources == source]).sum()),
            "malignant": int(samples.truth[samples.sources == source].sum()),
        }
        for source in sources
    }
    learned = sources if training == "all sources" else [decides]
    return {
        "name": "Ultrasound fusion",
        "task": "Benign or malignant: radiomics, deep features and the image model's score of a lesion",
        "description": f"Features of a lesion on B-mode ultrasound, rated together by one classifier ({name}).",
        "data_source": describe_us_data({"sources": learned, "pretrained": True}),
        "learned_from": tell_learned_from({"sources": learned}),
        "lesions": counts,
        "chosen": {"learned_from": training, "features": kind, "classifier": name, "by_auc_within": decides},
        "calibrated_on": decides,
        "has_image_score": IMAGE in fusion.features,
        **digests,
    }


def print_rows(title: str, rows: Sequence[Row]) -> str:
    """Return the rows as a table to read."""
    cells = [_HEAD, *(_tell_row(row) for row in rows)]
    widths = [max(len(line[column]) for line in cells) for column in range(len(_HEAD))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([title, *lines])


def write_card(bundle: Path, about: Mapping[str, Any], tables: Mapping[str, Sequence[Row]]) -> None:
    """Write the model card, `docs/README.md`; one that is there and is of another machine is kept beside it."""
    path = bundle / "docs" / "README.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = tell_all(about, tables)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        path.replace(path.with_name("README.before.md"))
        logger.warning("the model card that was in %s is now README.before.md", path.parent)
    path.write_text(text, encoding="utf-8")


def write_report(folder: Path, about: Mapping[str, Any], tables: Mapping[str, Sequence[Row]]) -> None:
    """Write `fusion.json` and `fusion.md`."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps({**about, **tables}, indent=2) + "\n"
    (folder / "fusion.json").write_text(text, encoding="utf-8")
    (folder / "fusion.md").write_text(tell_all(about, tables), encoding="utf-8")


def tell_all(about: Mapping[str, Any], tables: Mapping[str, Sequence[Row]]) -> str:
    """Return the card: what it is, what it learned from, how it was chosen, and every figure with its data."""
    chosen = about["chosen"]
    counts = "; ".join(
        f"{source}: {kinds['benign']} benign, {kinds['malignant']} malignant"
        for source, kinds in about["lesions"].items()
    )
    parts = [
        f"# {about['name']}",
        f"**{INTENDED_USE}**",
        about["description"],
        "## Data",
        f"{about['data_source']}",
        f"Lesions of the training and the validation part: {counts}. Radiomics are measured within an ellipse at the "
        f"place of the outline, not within the outline: whoever drew it may have known the diagnosis.",
        "## Chosen",
        f"{chosen['classifier']} on {chosen['features']} features, learned from {chosen['learned_from']}: the best AUC "
        f"of five-fold cross-validation over groups within {chosen['by_auc_within']}, every fold with a selection of "
        f"its own. Being the best of several, that figure flatters it; the test part's does not. Probabilities are "
        f"calibrated (Platt) on the same folds for the share of malignant lesions in {about['calibrated_on']}; their "
        f"expected calibration error there is {about['calibration_error']:g}, of the lesions by which they were set.",
        "Histogram gradient boosting stands for XGBoost, gradient boosting for LightGBM.",
    ]
    for name, rows in tables.items():
        parts += [f"## {_TITLES[name]}", _draw_table(rows)]
    return "\n\n".join(parts) + "\n"


def _draw_table(rows: Sequence[Row]) -> str:
    lines = [_HEAD, tuple("---" for _ in _HEAD), *(_tell_row(row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _tell_row(row: Row) -> tuple[str, ...]:
    interval = row["interval_95"]
    p = row.get("p_against_image")
    return (
        f"{row['source']} ({row['benign']} benign, {row['malignant']} malignant)",
        row["training"] or "-",
        row["features"],
        row["classifier"],
        f"{row['auc']:.3f}",
        "-" if interval is None else f"{interval[0]:.3f} to {interval[1]:.3f}",
        "-" if p is None else f"{p:.3f}",
    )
