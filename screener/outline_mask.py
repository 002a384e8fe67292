"""The border of a mask, as every picture for a person draws it."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_OUTLINE_PIXELS = 2


def outline_mask(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask's border at `size` (columns, rows): its smoothed enlargement less the same eroded."""
    weights = Image.fromarray(np.ascontiguousarray(mask, dtype=np.uint8) * np.uint8(255))
    filled = np.asarray(weights.resize(size, Image.Resampling.BILINEAR)) >= 128
    inner = filled
    for _ in range(_OUTLINE_PIXELS):
        padded = np.pad(inner, 1)
        inner = inner & padded[2:, 1:-1] & padded[:-2, 1:-1] & padded[1:-1, 2:] & padded[1:-1, :-2]
    border: NDArray[np.bool_] = filled & ~inner
    return border
