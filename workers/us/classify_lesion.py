"""The probability that the lesion is malignant, and where the network looked for it."""

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import torch
from monai.visualize import GradCAM
from numpy.typing import NDArray

from screener.us_study import Lesion
from workers.models.us_image import find_box, prepare_square, restore_picture, surround_lesion
from workers.models.us_weights import UsNetwork

LAST_MAPS: Final[Mapping[str, str]] = {
    "ResNet": "layer4",
    "DenseNet121": "class_layers.relu",
    "EfficientNetBN": "_bn1",
    "MobileNetV2": "features.18",
}
"""By network, the layer whose maps Grad-CAM weighs: the last that still knows places."""


def classify_lesion(lesion: Lesion, classifier: UsNetwork) -> float:
    """Return the calibrated probability of malignancy, 0 to 1, of what the lesion's rectangle and its margin show."""
    return float(classifier(_prepare(lesion, classifier)[None])[0])


def map_activation(lesion: Lesion, classifier: UsNetwork) -> NDArray[np.float32]:
    """Return what speaks for malignancy, 0 to 1, on the lesion's frame, (rows, columns); 0 all over where nothing does.

    Grad-CAM (Selvaraju et al. 2017, arXiv 1610.02391) of the malignant logit.
    """
    network: Any = classifier.network
    image = torch.from_numpy(_prepare(lesion, classifier)[None]).to(classifier.device)
    explain = GradCAM(
        nn_module=network, target_layers=LAST_MAPS[type(network).__name__], postprocessing=lambda values: values
    )
    with torch.enable_grad():
        (answer,) = explain(x=image.requires_grad_(), class_idx=0).detach().cpu().numpy()
    values = np.nan_to_num(answer[0].astype(np.float32))
    if values.max() > 0:
        values = values / values.max()
    square = surround_lesion(find_box(lesion.mask))
    return np.clip(restore_picture(values, square, lesion.frame.gray.shape), 0, 1)


def _prepare(lesion: Lesion, classifier: UsNetwork) -> NDArray[np.float32]:
    square = surround_lesion(find_box(lesion.mask))
    return prepare_square(lesion.frame.gray, square, classifier.side_px)
