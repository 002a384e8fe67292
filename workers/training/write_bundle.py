"""Write a MONAI bundle: weights, configurations, golden case. `python -m workers.training.write_bundle NAME DIR`.

The command completes a folder that has its weights already.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import monai
import numpy
import torch

from screener.outcomes import NeedsPerson
from workers.models.bundle_files import INTENDED_USE, read_json
from workers.models.networks import DEFINITIONS, LOCALIZER_SPACING_MM, NETWORKS, SEGMENTER_SPACING_MM
from workers.models.us_networks import US_DEFAULTS, US_NETWORKS, is_for
from workers.models.us_weights import read_learned_from, read_side
from workers.models.weights import read_definition, read_weights
from workers.training.describe_data import describe_training_data
from workers.training.golden_case import write_golden
from workers.training.sample_localizer import CROP_VOXELS as LOCALIZER_PATCH_VOXELS
from workers.training.sample_segmenter import PATCH_VOXELS as SEGMENTER_PATCH_VOXELS
from workers.training.us_describe_bundle import US_KINDS, describe_us, describe_us_data, tell_learned_from

VERSION: Final = "0.1.0"

_LOCALIZER_METADATA: Final[dict[str, Any]] = {
    "name": "Parotid localizer",
    "task": "Right and left parotid gland in head and neck CT",
    "description": "A 3D network that finds both parotid glands at 4 mm.",
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
    "description": "A 3D network that segments masses in a 112 mm crop around a gland at 2 mm; left is mirrored.",
    "data_type": "CT crop in Hounsfield units",
    "image_classes": "three channels: soft-tissue window, whole range, each 0 to 1, air 0; and the softened gland mask",
    "label_classes": "synthetic masses in the glands of real patients",
    "pred_classes": "two channels: background, mass",
    "spacing_mm": SEGMENTER_SPACING_MM,
    "channels": {"0": "background", "1": "mass"},
}

METADATA: Final = {"parotid_localizer": _LOCALIZER_METADATA, "parotid_mass_segmenter": _SEGMENTER_METADATA}


ALL_NETWORKS: Final = NETWORKS | US_NETWORKS
DEFAULT_NETWORKS: Final = dict.fromkeys(NETWORKS, "unet") | US_DEFAULTS
"""By bundle, of CT and of ultrasound: the networks that can be trained for it, and the one where none is named."""

KINDS: Final = {"parotid_localizer": "localizer", "parotid_mass_segmenter": "segmenter", **US_KINDS}
"""What the bundle says it is; `check_bundle.py` has a check for each."""


def write_bundle(
    name: str,
    bundle: Path,
    definition: Mapping[str, Any],
    state: Mapping[str, torch.Tensor],
    *,
    training: Mapping[str, Any] | None = None,
    is_half: bool = False,
    side_px: int | None = None,
) -> None:
    """Write the whole bundle `name` into the folder `bundle`.

    `is_half` stores kernels in half precision; biases and the statistics of
    normalization, which are few and may be large, stay in single. `side_px` is
    what an ultrasound network sees; None for CT.
    """
    save_weights(state, bundle, is_half=is_half)
    complete_bundle(name, bundle, definition, training=training, side_px=side_px)


def complete_bundle(
    name: str,
    bundle: Path,
    definition: Mapping[str, Any],
    *,
    training: Mapping[str, Any] | None = None,
    side_px: int | None = None,
) -> None:
    """Write `configs` and `golden` for the weights that are in the folder `bundle`; what it said of itself is kept.

    Its `eval_metrics` are kept for the weights that they were measured with alone.
    """
    configs = bundle / "configs"
    configs.mkdir(parents=True, exist_ok=True)
    if name in US_KINDS and side_px is None:
        side_px = read_side(bundle)
    _write(
        configs / "inference.json",
        {
            "bundle_root": ".",
            "checkpoint": "$@bundle_root + '/models/model.pt'",
            "network_def": dict(definition),
        }
        | ({} if side_px is None else {"side_px": side_px}),
    )
    path = configs / "metadata.json"
    said = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    metadata = describe(name, definition, training or said.get("training"), side_px)
    metadata["weights_sha256"] = hashlib.sha256((bundle / "models" / "model.pt").read_bytes()).hexdigest()
    if training is None:
        metadata |= {key: said[key] for key in ("version", "changelog", "data_source") if key in said}
    if metadata["weights_sha256"] == said.get("weights_sha256"):
        metadata["eval_metrics"] = said.get("eval_metrics", {})
    _write(path, metadata)
    write_golden(bundle, KINDS[name])


def save_weights(state: Mapping[str, torch.Tensor], bundle: Path, *, is_half: bool = False) -> None:
    """Write `models/model.pt` of `bundle`, whole or not at all."""
    path = bundle / "models" / "model.pt"
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {
        name: values.detach().cpu().half()
        if is_half and values.is_floating_point() and values.ndim > 1
        else values.cpu()
        for name, values in state.items()
    }
    part = path.with_suffix(".part")
    torch.save(kept, part)
    part.replace(path)


def is_stored_in_half(state: Mapping[str, torch.Tensor]) -> bool:
    """Tell whether `save_weights` has stored these weights with `is_half`."""
    return any(values.dtype == torch.float16 for values in state.values())


def read_start(name: str, bundle: Path) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the network's definition and the weights of a bundle to train on from.

    Raises NeedsPerson (`bad_bundle`) where it cannot be read or has other inputs and outputs than `name`.
    """
    try:
        definition, state = read_definition(bundle), read_weights(bundle)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise NeedsPerson(f"The model bundle {bundle} cannot be loaded: {problem}", code="bad_bundle") from problem
    if name in US_NETWORKS:
        if not is_for(name, definition):
            raise NeedsPerson(f"The model bundle {bundle} is no {KINDS[name]}: its network differs.", code="bad_bundle")
        return definition, state
    for key in ("in_channels", "out_channels"):
        if definition.get(key) != DEFINITIONS[name][key]:
            raise NeedsPerson(f"The model bundle {bundle} is no {KINDS[name]}: {key} differs.", code="bad_bundle")
    return definition, state


def read_data_source(bundle: Path) -> str:
    """Return what the bundle to train on from says of its own data; empty where it says nothing."""
    try:
        metadata = read_json(bundle / "configs" / "metadata.json")
    except (OSError, ValueError, TypeError):
        return ""
    return str(metadata.get("data_source") or "")


def read_lessons(bundle: Path) -> str:
    """Return the noun phrase for what the ultrasound bundle to train on learned from; empty where it says nothing."""
    try:
        return read_learned_from(bundle)
    except (OSError, ValueError, TypeError):
        return ""


def describe(
    name: str,
    definition: Mapping[str, Any],
    training: Mapping[str, Any] | None = None,
    side_px: int | None = None,
) -> dict[str, Any]:
    """Return the bundle's metadata, keys as in MONAI's schema; `kind`, `training`, spacing and side are our own."""
    about = _describe_ct(name, definition) if side_px is None else describe_us(name, side_px)
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
        "intended_use": INTENDED_USE,
        "data_source": describe_training_data(training) if side_px is None else describe_us_data(training, name),
        **({} if side_px is None else {"learned_from": tell_learned_from(training)}),
        "kind": KINDS[name],
        "training": dict(training or {}),
        "references": about.pop("references"),
        "eval_metrics": {},
        **about,
    }


def _describe_ct(name: str, definition: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the metadata say of a CT network alone."""
    own = dict(METADATA[name])
    spacing_mm, channels = own.pop("spacing_mm"), own.pop("channels")
    size = LOCALIZER_PATCH_VOXELS if name == "parotid_localizer" else SEGMENTER_PATCH_VOXELS

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
        "references": [
            "Babier et al. 2021, OpenKBP: the open-access knowledge-based planning grand challenge, Med Phys 48(9)",
            "Ronneberger et al. 2015, U-Net: convolutional networks for biomedical image segmentation, MICCAI",
        ],
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
    """Read the command line and complete the bundle."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=sorted(DEFINITIONS))
    parser.add_argument("bundle", type=Path, help="the bundle's folder, with its weights")
    parser.add_argument(
        "--network", choices=sorted(NETWORKS["parotid_localizer"]), help="default what the bundle holds"
    )
    args = parser.parse_args()
    is_described = args.network is None and (args.bundle / "configs" / "inference.json").exists()
    definition = read_definition(args.bundle) if is_described else NETWORKS[args.name][args.network or "unet"]
    complete_bundle(args.name, args.bundle, definition)


if __name__ == "__main__":
    main()
