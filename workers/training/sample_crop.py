"""Cut a turned, scaled, resampled cube out of a patient."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from workers.ct.resample_volume import BLUR_REACH, missing_blur


def random_transform(
    rng: np.random.Generator, *, max_degrees: float, scales: tuple[float, float]
) -> NDArray[np.float64]:
    """Return a random 3 x 3 turn and scaling for offsets (z, y, x) in millimeters."""
    turn = Rotation.from_euler("zyx", rng.uniform(-max_degrees, max_degrees, 3), degrees=True).as_matrix()
    stretch = rng.uniform(*scales) * rng.uniform(0.94, 1.06, 3)
    return np.asarray(turn * (1 / stretch)[None, :])


def smooth_as_staged(
    hu: NDArray[np.float32], spacing_mm: tuple[float, float, float], detail_mm: float
) -> NDArray[np.float32]:
    """Return `hu` (z, y, x) without the detail finer than `detail_mm` that a stage smooths away before it samples."""
    sigma = missing_blur(np.array(spacing_mm), detail_mm)
    return np.asarray(ndimage.gaussian_filter(hu, sigma, mode="nearest", truncate=BLUR_REACH), dtype=np.float32)


def sample_crop(
    channels: torch.Tensor,
    spacing_mm: tuple[float, float, float],
    center_voxel: NDArray[np.float64],
    transform: NDArray[np.float64],
    *,
    size: int,
    step_mm: float,
    outside: tuple[float, ...],
) -> NDArray[np.float32]:
    """Return (channels, size, size, size) sampled linearly every `step_mm` around `center_voxel` (z, y, x).

    Where the patient's array ends, each channel holds its value of `outside`.
    """
    offsets = (torch.arange(size, dtype=torch.float32) - (size - 1) / 2) * step_mm
    z, y, x = torch.meshgrid(offsets, offsets, offsets, indexing="ij")
    matrix = torch.from_numpy(np.asarray(transform, dtype=np.float32))
    points = torch.stack((z, y, x), -1).reshape(-1, 3) @ matrix.T
    points = points / torch.tensor(spacing_mm) + torch.from_numpy(np.asarray(center_voxel, dtype=np.float32))
    base = torch.tensor(outside).reshape(-1, 1, 1, 1)
    return (sample_at(channels - base, points.reshape(size, size, size, 3), beyond="zeros") + base).numpy()


def sample_at(channels: torch.Tensor, points: torch.Tensor, *, beyond: str) -> torch.Tensor:
    """Return `channels` (c, z, y, x) sampled linearly at `points` (z', y', x', 3), in voxels: (c, z', y', x').

    `beyond` says what is taken where the array ends: "zeros", or "border", its outermost values.
    """
    lengths = torch.tensor(channels.shape[1:], dtype=torch.float32)
    grid = ((points + 0.5) / lengths * 2 - 1).flip(-1)[None]  # grid_sample wants (x, y, z)
    return torch.nn.functional.grid_sample(channels[None], grid, padding_mode=beyond, align_corners=False)[0]
