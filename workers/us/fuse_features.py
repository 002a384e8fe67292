"""The calibrated probability that the lesion is malignant, from radiomics, deep features and the image model together.

It stands in the image model's place where `models.us_decides` is "fusion". A
lesion of which radiomics cannot be measured, too small or too even, has no
probability then, and the study ends as "not assessable": the image model's
answer is another one, calibrated apart, and never fills the gap unseen.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from screener.us_study import Lesion
from workers.models.fusion_machine import FusionMachine
from workers.models.us_image import find_box, prepare_square, surround_lesion
from workers.us.measure_radiomics import measure_radiomics

NEAREST = 1e-7
"""The image model's probability is kept this far from 0 and 1, where log odds have no end."""


def fuse_features(lesion: Lesion, image_probability: float, machine: FusionMachine) -> float | None:
    """Return the probability of malignancy, 0 to 1; None where the lesion's radiomics cannot be measured.

    `image_probability` is the image model's, 0 to 1.
    """
    radiomics = measure_radiomics(lesion)
    if radiomics is None:
        return None
    kept = min(max(image_probability, NEAREST), 1 - NEAREST)
    return machine.fusion.probability(radiomics, _pool(lesion, machine), float(np.log(kept / (1 - kept))))


def _pool(lesion: Lesion, machine: FusionMachine) -> NDArray[np.float64] | None:
    """Return the means of the backbone's last maps, (channels,); None where no deep feature is wanted."""
    if machine.backbone is None:
        return None
    view = prepare_square(lesion.frame.gray, surround_lesion(find_box(lesion.mask)), machine.side_px)
    with torch.inference_mode():
        maps: torch.Tensor = machine.backbone(torch.from_numpy(view[None]))
    pooled: NDArray[np.float64] = maps.mean((2, 3)).double().numpy()[0]
    return pooled
