"""Write the configurations of a MONAI bundle beside its weights: `python -m workers.training.write_bundle NAME DIR`."""

import argparse
import json
from pathlib import Path
from typing import Any, Final

import monai
import numpy
import torch

from workers.models.networks import DEFINITIONS, LOCALIZER_SPACING_MM, SEGMENTER_SPACING_MM

VERSION: Final = "0.1.0"

_INTENDED_USE: Final = "Research use, not validated for clinical diagnosis."
_DATA_SOURCE: Final = "OpenKBP (github.com/ababier/open-kbp, MIT; images from The Cancer Imaging Archive)"

_LOCALIZER_METADATA: Final[dict[str, Any]] = {
    "name": "Parotid localizer",
    "task": "Right and left parotid gland in head and neck CT",
    "description": "A 3D U-Net that finds both parotid glands at 4 mm.",
    "data_type": "CT volume in Hounsfield units",
    "image_classes": "two channels: soft-tissue window and whole range, each 0 to 1, air 0",
    "label_classes": "contours of both parotid glands, a synthetic mass being part of its gland",
    "pred_classes": "three channels: background, right parotid, left parotid",
    "spacing_mm": LOCALIZER_SPACING_MM,
    "channels": {"0": "background", "1": "right parotid", "2": "left parotid"},
}

_SEGMENTER_METADATA: Final[dict[str, Any]] = {
    "name": "Parotid mass segmenter",
    "task": "Mass in or at a parotid gland in CT",
    "description": "A 3D U-Net that segments masses in a 112 mm crop around a gland at 2 mm; left is mirrored.",
    "data_type": "CT crop in Hounsfield units",
    "image_classes": "three channels: soft-tissue window, whole range, each 0 to 1, air 0; and the softened gland mask",
    "label_classes": "synthetic masses in the glands of real patients",
    "pred_classes": "two channels: background, mass",
    "spacing_mm": SEGMENTER_SPACING_MM,
    "channels": {"0": "background", "1": "mass"},
}

METADATA: Final = {"parotid_localizer": _LOCALIZER_METADATA, "parotid_mass_segmenter": _SEGMENTER_METADATA}


def write_configs(name: str, bundle: Path, evaluation: dict[str, float] | None = None) -> None:
    """Write `configs/metadata.json` and `configs/inference.json` of the bundle `name` into the folder `bundle`."""
    configs = bundle / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    _write(configs / "metadata.json", describe(name, evaluation))
    _write(
        configs / "inference.json",
        {
            "bundle_root": ".",
            "checkpoint": "$@bundle_root + '/models/model.pt'",
            "network_def": dict(DEFINITIONS[name]),
        },
    )


def describe(name: str, evaluation: dict[str, float] | None = None) -> dict[str, Any]:
    """Return the bundle's metadata, keys as in MONAI's metadata schema."""
    own = dict(METADATA[name])
    spacing_mm, channels = own.pop("spacing_mm"), own.pop("channels")
    definition = DEFINITIONS[name]
    size = 64 if name == "parotid_localizer" else 56

    def tensor(kind: str, count: int, described: dict[str, str], values: list[float]) -> dict[str, Any]:
        return {
            "type": kind,
            "format": "hounsfield" if kind == "image" else "probabilities",
            "modality": "CT",
            "num_channels": count,
            "spatial_shape": [f"8*n ({size} in training)"] * 3,
            "dtype": "float32",
            "value_range": values,
            "is_patch_data": False,
            "channel_def": described,
        }

    inputs = {"0": "soft tissue, -200 to 250 HU", "1": "whole range, -1000 to 1500 HU"}
    if definition["in_channels"] == 3:
        inputs["2"] = "gland mask softened by 2 mm"
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": VERSION,
        "changelog": {VERSION: "first trained weights"},
        "monai_version": monai.__version__,
        "pytorch_version": torch.__version__.partition("+")[0],
        "numpy_version": numpy.__version__,
        "required_packages_version": {},
        "authors": "The parotid screener",
        "copyright": "Apache-2.0",
        "intended_use": _INTENDED_USE,
        "data_source": _DATA_SOURCE,
        "references": [
            "Babier et al. 2021, OpenKBP: the open-access knowledge-based planning grand challenge, Med Phys 48(9)",
            "Ronneberger et al. 2015, U-Net: convolutional networks for biomedical image segmentation, MICCAI",
        ],
        "eval_metrics": evaluation or {},
        "spacing_mm": [spacing_mm] * 3,
        **own,
        "network_data_format": {
            "inputs": {"image": tensor("image", definition["in_channels"], inputs, [0, 1])},
            "outputs": {"pred": tensor("probabilities", definition["out_channels"], channels, [0, 1])},
        },
    }


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    """Read the command line and write the configurations."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(DEFINITIONS))
    parser.add_argument("bundle", type=Path, help="the bundle's folder")
    args = parser.parse_args()
    write_configs(args.name, args.bundle)


if __name__ == "__main__":
    main()
