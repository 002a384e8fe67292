"""A head made of a cylinder and two bright glands, and networks that see only brightness."""

from dataclasses import replace

import numpy as np

from screener.study import Volume
from workers.models.networks import scale_hu

FLESH_HU = 40
GLAND_HU = 140
MASS_HU = 220
"""Each brighter than the last, so that a stand-in for a network needs no training."""


def make_head(
    spacing_mm=(3.0, 2.0, 2.0),
    *,
    glands=((0, 0, -45), (0, 0, 45)),
    gland_mm=30.0,
    masses=(),
    mass_mm=25.0,
    height_mm=90.0,
    radius_mm=70.0,
    z_range_mm=None,
    origin_mm=(0.0, 0.0, 0.0),
    turn=None,
):
    """Return a volume whose world's zero is the middle of the head; positions are (z, y, x) in millimeters.

    Edges are as wide as a voxel, as a scanner makes them. `turn` is a 3 x 3 matrix from the upright axes (z, y, x) to
    the scan's own.
    """
    spacing = np.array(spacing_mm)
    size = np.array([height_mm, 2 * radius_mm + 10, 2 * radius_mm + 10])
    low, high = -size / 2, size / 2
    if z_range_mm is not None:
        low[0], high[0] = z_range_mm
    shape = np.maximum(np.round((high - low) / spacing).astype(int), 1)
    matrix = np.diag(spacing) if turn is None else np.asarray(turn) @ np.diag(spacing)
    start = (low + high) / 2 - matrix @ ((shape - 1) / 2)
    index = np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing="ij", sparse=True)
    z, y, x = (
        sum(m * i for m, i in zip(row, index, strict=True) if m) + s for row, s in zip(matrix, start, strict=True)
    )

    def share(depth_mm):
        return np.clip(depth_mm / spacing.mean() + 0.5, 0, 1)

    def paint(hu, centers, diameter_mm, value):
        for center in centers:
            distance = np.sqrt((z - center[0]) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2)
            inside = share(diameter_mm / 2 - distance)
            hu = hu * (1 - inside) + inside * value
        return hu

    body = np.broadcast_to(share(radius_mm - np.hypot(y, x)), tuple(shape))
    hu = paint(-1000 + body * (1000 + FLESH_HU), glands, gland_mm, GLAND_HU)
    hu = paint(hu, masses, mass_mm, MASS_HU)
    affine = np.eye(4)
    affine[:3, :3] = matrix[::-1, ::-1]
    affine[:3, 3] = (start + origin_mm)[::-1]
    return Volume(
        hu=np.rint(hu).astype(np.int16),
        affine=affine,
        body=body > 0.5,
        series_instance_uid="1.2.3",
        frame_of_reference_uid="1.2.4",
        sop_instance_uids=tuple(f"1.2.5.{number}" for number in range(shape[0])),
    )


def add_limb(head, x_mm, radius_mm):
    """Return the head with a limb beside it, as when an arm is raised or a hand holds a child: a cylinder along z.

    The image is made as wide as it takes; `x_mm` is the limb's middle from the middle of the head.
    """
    step_mm = head.affine[0, 0]
    more = max(int(np.ceil((abs(x_mm) + radius_mm + 5) / step_mm)) - head.hu.shape[2] // 2, 0)
    hu, body = (
        np.pad(values, ((0, 0), (0, 0), (more, more)), constant_values=outside)
        for values, outside in ((head.hu, -1000), (head.body, False))
    )
    affine = head.affine.copy()
    affine[0, 3] -= more * step_mm
    y = affine[1, 3] + affine[1, 1] * np.arange(hu.shape[1])
    x = affine[0, 3] + step_mm * np.arange(hu.shape[2])
    limb = (np.hypot(y[:, None], x[None] - x_mm) < radius_mm)[None] & ~body
    return replace(head, hu=np.where(limb, FLESH_HU, hu).astype(np.int16), body=body | limb, affine=affine)


def brighter(image, low_hu, high_hu):
    """Return 0 where the soft-tissue window shows `low_hu` or less, 1 at `high_hu` or more, straight between."""
    low, high = (scale_hu(np.full((1, 1, 1), float(hu)))[0, 0, 0, 0] for hu in (low_hu, high_hu))
    return np.clip((image[0] - low) / (high - low), 0, 1).astype(np.float32)


def see_glands(image):
    """Stand in for the localizer: what is as bright as a gland is one; the side is left to the stage."""
    gland = brighter(image, FLESH_HU, GLAND_HU) * 0.95
    return np.stack([1 - gland, gland, np.zeros_like(gland)])


def see_masses(images):
    """Stand in for the segmenter: what is as bright as a mass is one."""
    return mark_each(images, lambda image: brighter(image, GLAND_HU, MASS_HU))


def mark_each(images, mark):
    """Answer as the segmenter does, where `mark` gives the mass probability of one image."""
    masses = [mark(image) for image in images]
    return np.stack([np.stack([1 - mass, mass]) for mass in masses])


def see_nothing(image):
    """Stand in for a network that finds nothing."""
    nothing = np.zeros(image.shape[1:], dtype=np.float32)
    return np.stack([1 - nothing, nothing, nothing])
