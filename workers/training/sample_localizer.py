"""Draw the localizer's training samples: whole heads at 4 mm, turned, cut short, in changed looks, with masses."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from workers.models.networks import AIR_HU, LOCALIZER_SPACING_MM, scale_hu
from workers.training.augment import change_look, cut_coverage
from workers.training.look_alikes import add_look_alikes
from workers.training.read_patients import LEFT_LABEL, RIGHT_LABEL, read_patients
from workers.training.sample_crop import random_transform, sample_crop, smooth_as_staged

logger = logging.getLogger(__name__)

CROP_VOXELS = 64


@dataclass(frozen=True, slots=True)
class Head:
    """One patient ready to be sampled: HU, right and left parotid as channels (3, z, y, x)."""

    channels: torch.Tensor
    spacing_mm: tuple[float, float, float]
    gland_centers: NDArray[np.float64]
    """(2, 3) voxel positions (z, y, x)."""


def read_heads(root: Path) -> list[Head]:
    """Read every patient below `root` whose parotids are both outlined.

    A gland that is there and not outlined would be learned as background, and
    nothing tells it from one that is truly absent.
    """
    heads = []
    for patient in read_patients(root):
        glands = [patient.labels == RIGHT_LABEL, patient.labels == LEFT_LABEL]
        if not all(gland.any() for gland in glands):
            logger.info("patient=%s passed over: not both parotids are outlined", patient.name)
            continue
        centers = [ndimage.center_of_mass(gland) for gland in glands]
        hu = np.maximum(patient.hu.astype(np.float32), AIR_HU)
        hu = smooth_as_staged(hu, patient.spacing_mm, LOCALIZER_SPACING_MM / 2)
        channels = torch.from_numpy(np.stack([hu, *[g.astype(np.float32) for g in glands]]))
        channels, spacing_mm = thin_out(channels, patient.spacing_mm)
        scale = np.array(patient.spacing_mm) / spacing_mm
        heads.append(Head(channels, spacing_mm, (np.array(centers) + 0.5) * scale - 0.5))
    return heads


def thin_out(
    channels: torch.Tensor, spacing_mm: tuple[float, float, float]
) -> tuple[torch.Tensor, tuple[float, float, float]]:
    """Return smoothed `channels` (3, z, y, x) with voxels of at least 2 mm, to keep many fine scans in memory."""
    shape = channels.shape[1:]
    wanted = [max(1, round(n * min(1.0, s / 2.0))) for n, s in zip(shape, spacing_mm, strict=True)]
    if list(shape) == wanted:
        return channels, spacing_mm
    thin = torch.nn.functional.interpolate(channels[None], wanted, mode="trilinear", align_corners=False)[0]
    z, y, x = (s * n / w for s, n, w in zip(spacing_mm, shape, wanted, strict=True))
    return thin, (z, y, x)


def draw_sample(heads: list[Head], rng: np.random.Generator) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return one augmented crop (2, z, y, x) and its classes (z, y, x)."""
    head = heads[rng.integers(len(heads))]
    shape = np.array(head.channels.shape[1:])
    if rng.random() < 0.7:
        center = head.gland_centers.mean(axis=0) + rng.normal(0, 35, 3) / head.spacing_mm
    else:
        center = rng.uniform(0, 1, 3) * shape
    transform = random_transform(rng, max_degrees=14, scales=(0.82, 1.2))
    crop = sample_crop(
        head.channels,
        head.spacing_mm,
        center,
        transform,
        size=CROP_VOXELS,
        step_mm=LOCALIZER_SPACING_MM,
        outside=(AIR_HU, 0, 0),
    )
    hu, glands = crop[0], crop[1:] > 0.5
    if rng.random() < 0.4:
        hu = grow_masses(hu, glands, rng)
    classes = np.where(glands[0], 1, np.where(glands[1], 2, 0)).astype(np.int64)
    if rng.random() < 0.15:
        side = int(rng.integers(1, 3))
        if (classes == side).any():
            kind = str(rng.choice(["streaks", "beam_hardening", "pad", "fatty", "dense"]))
            hu = add_look_alikes(
                hu, classes == side, (LOCALIZER_SPACING_MM,) * 3, int(rng.integers(2**31)), kinds=[kind], psf_mm=2.0
            ).hu
    hu = change_look(hu, classes > 0, rng)
    if rng.random() < 0.35:
        where = np.flatnonzero((classes > 0).any(axis=(1, 2)))
        anchor = int(rng.choice(where)) if len(where) else CROP_VOXELS // 2
        kept = cut_coverage(hu.shape, anchor, rng)
        gone = np.ones(CROP_VOXELS, dtype=bool)
        gone[kept] = False
        hu[gone] = AIR_HU
        classes[gone] = 0
    if rng.random() < 0.5:
        hu = hu[:, :, ::-1]
        classes = np.array([0, 2, 1])[classes[:, :, ::-1]]  # a mirrored patient has its sides swapped
    return scale_hu(hu), np.ascontiguousarray(classes)


def grow_masses(hu: NDArray[np.float32], glands: NDArray[np.bool_], rng: np.random.Generator) -> NDArray[np.float32]:
    """Return `hu` with an ovoid mass in one or both glands; `glands` (2, z, y, x) grows with it, in place."""
    hu = hu.copy()
    axes = np.moveaxis(np.indices(hu.shape), 0, -1) * LOCALIZER_SPACING_MM  # (z, y, x, 3)
    for gland in glands:
        places = np.argwhere(gland)
        if not len(places) or rng.random() < 0.4:
            continue
        center = places[rng.integers(len(places))] * LOCALIZER_SPACING_MM
        radii = rng.uniform(6, 27) * rng.uniform(0.75, 1.25, 3)
        turn = random_transform(rng, max_degrees=90, scales=(1, 1))
        distance = np.linalg.norm((axes - center) @ turn / radii, axis=-1)
        distance += ndimage.gaussian_filter(rng.standard_normal(hu.shape, dtype=np.float32), 2) * 1.5
        inside = (distance < 1) & (hu > -500) & (hu < 300)
        soft = np.clip(ndimage.gaussian_filter(inside.astype(np.float32), 0.4), 0, 1)
        level = rng.uniform(15, 110)
        texture = rng.standard_normal(hu.shape, dtype=np.float32) * rng.uniform(3, 15)
        hu[:] = hu * (1 - soft) + soft * (level + texture)
        np.logical_or(gland, inside & ~(glands.any(axis=0) & ~gland), out=gland)
    return hu
