"""Say of an ultrasound bundle what it is, what goes in and comes out, and what it learned from."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from workers.models.us_networks import LESION_CLASSIFIER, LESION_SEGMENTER
from workers.training.describe_data import NOT_RECORDED

US_KINDS: Final = {LESION_SEGMENTER: "us-segmenter", LESION_CLASSIFIER: "us-classifier"}
"""What the bundle says it is; `check_bundle.py` has a check for each."""

UNPUBLISHED: Final = "cases of the source "
"""Before the name of a source that is not in PUBLISHED."""
NO_PAROTID_TUMOR: Final = (
    "No public image shows a parotid tumor: the network learned from lesions of other organs, and from parotid and "
    "submandibular glands without tumor where they are named."
)
_LESSONS: Final = {
    "busi": "lesions of the breast",
    "ddti": "lesions of the thyroid",
    "sgus": "parotid and submandibular glands without tumor",
}
PUBLISHED: Final = {
    "busi": "breast lesions and normal breasts (Al-Dhabyani et al. 2020, Dataset of breast ultrasound images)",
    "ddti": "thyroid nodules (DDTI, github.com/xuao575/DDTI_preprocessing; labels from TI-RADS, not from pathology)",
    "sgus": "parotid and submandibular glands without tumor, some with Sjogren's disease "
    "(HarmonicSS, doi 10.3389/fmed.2020.581248)",
}
"""By the name of the source in index.csv."""

_MOBILENET: Final = "Sandler et al. 2018, MobileNetV2: inverted residuals and linear bottlenecks, CVPR"
PRETRAINED: Final = "Its backbone started from weights that learned on photographs (ImageNet)."

NOT_CALIBRATED: Final = "Its probabilities are not calibrated."
_CALIBRATED: Final = re.compile(r" Its probabilities are calibrated by .*? on the line of the others\.")
"""As `_say_calibration` writes it."""

_SEGMENTER: Final[dict[str, Any]] = {
    "name": "Ultrasound lesion segmenter",
    "task": "Lesion in a B-mode ultrasound image",
    "description": "A 2D network that outlines a lesion in one B-mode image.",
    "label_classes": "outlines of lesions; none in pictures without a lesion",
    "pred_classes": "one channel: lesion",
    "references": [
        "Chen et al. 2018, Encoder-decoder with atrous separable convolution for semantic image segmentation, ECCV",
        "Ronneberger et al. 2015, U-Net: convolutional networks for biomedical image segmentation, MICCAI",
        "Zhou et al. 2018, UNet++: a nested U-Net architecture for medical image segmentation, DLMIA",
        _MOBILENET,
    ],
}
_CLASSIFIER: Final[dict[str, Any]] = {
    "name": "Ultrasound lesion classifier",
    "task": "Benign or malignant: a lesion in a B-mode ultrasound image",
    "description": "A 2D network that rates the rectangle around a lesion.",
    "label_classes": "benign or malignant, as data_source says; healthy tissue counts as benign",
    "pred_classes": "one value: malignant",
    "references": [
        "He et al. 2016, Deep residual learning for image recognition, CVPR",
        "Huang et al. 2017, Densely connected convolutional networks, CVPR",
        "Tan and Le 2019, EfficientNet: rethinking model scaling for convolutional neural networks, ICML",
        _MOBILENET,
    ],
}


def describe_us(name: str, side_px: int) -> dict[str, Any]:
    """Return what the bundle's metadata say of the network `name` beside what all bundles say."""
    is_segmenter = name == LESION_SEGMENTER
    own = _SEGMENTER if is_segmenter else _CLASSIFIER
    image = {
        "type": "image",
        "format": "magnitude",
        "modality": "US",
        "num_channels": 1,
        "spatial_shape": [side_px, side_px],
        "dtype": "float32",
        "value_range": [-1, 1],
        "is_patch_data": False,
        "channel_def": {"0": "gray, scaled from the darkest to the brightest pixel"},
    }
    answer = image | {
        "type": "probabilities",
        "format": "probabilities",
        "spatial_shape": [side_px, side_px] if is_segmenter else [],
        "value_range": [0, 1],
        "channel_def": {"0": "lesion" if is_segmenter else "malignant"},
    }
    seen = "the whole image" if is_segmenter else "the lesion's rectangle with a margin of a quarter, made square"
    return {
        **own,
        "data_type": "B-mode ultrasound image in gray",
        "image_classes": f"one channel: {seen}, its shape kept, -1 to 1, -1 beyond its edges",
        "side_px": side_px,
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": answer}},
    }


def tell_learned_from(training: Mapping[str, Any] | None) -> str:
    """Return what a training's cases show, in a few words for a report; empty where their sources are not recorded."""
    training = training or {}
    sources: Sequence[str] = training.get("sources", ())
    if not sources:
        return ""
    told = [_LESSONS.get(source, f"{UNPUBLISHED}{source}") for source in sources]
    words = " and ".join(filter(None, (", ".join(told[:-1]), told[-1])))
    if all(source in _LESSONS for source in sources):
        words = f"{words}: from no parotid tumor"
    if training.get("start"):
        before = training.get("start_learned_from") or "what is not recorded"
        words = f"{words}, starting from weights that learned from {before}"
    return words


def describe_us_data(training: Mapping[str, Any] | None, name: str = "") -> str:
    """Return the sources of a training's cases and, where it started from a bundle, those of that bundle.

    Of a classifier (by `name`) it says whether it is calibrated; how its start was is not true of it any more.
    """
    training = training or {}
    sources: Sequence[str] = training.get("sources", ())
    words = "; ".join(PUBLISHED.get(source, f"{UNPUBLISHED}{source}") for source in sources) or NOT_RECORDED
    sentences = [NO_PAROTID_TUMOR] if sources and all(source in PUBLISHED for source in sources) else []
    if training.get("pretrained"):
        sentences.append(PRETRAINED)
    if training.get("calibration"):
        sentences.append(_say_calibration(training["calibration"]))
    elif name == LESION_CLASSIFIER:
        sentences.append(NOT_CALIBRATED)
    words = " ".join([f"{words}.", *sentences]) if sentences else words
    if not training.get("start"):
        return words
    before = _CALIBRATED.sub("", training.get("start_data_source") or "unknown data")
    before = before.replace(f" {NOT_CALIBRATED}", "")
    return f"{words} - it started from the weights of {training['start']}, which were trained on: {before}"


def _say_calibration(calibration: Mapping[str, Any]) -> str:
    share = calibration["malignant"] / calibration["lesions"]
    return (
        f"Its probabilities are calibrated by {calibration['lesions']} cross-validated lesions of the source "
        f"{calibration['source']}, {share:.0%} of them malignant; their expected calibration error is "
        f"{calibration['error']:.3f}, each fold on the line of the others."
    )
