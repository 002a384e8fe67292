"""LOADED -> LOCALIZED: find the right and the left parotid gland, or say why one cannot be assessed.

"Not covered" is an answer: a chest CT, or a head CT that ends above the gland, must never be reported as "no mass".
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from screener.outcomes import SetAside
from screener.study import LEAST_COVERED_SHARE, Parotid, Side, Volume
from workers.ct.judge_coverage import estimate_covered_share, find_round_field_mm, is_spoiled_by_metal
from workers.ct.resample_volume import (
    Grid,
    affine_zyx,
    cover_box,
    cut_grid,
    find_box,
    put_on_source,
    reached,
    take_from_source,
)
from workers.models.networks import AIR_HU, LOCALIZER_SPACING_MM, scale_hu

Floats = NDArray[np.float32]
Bools = NDArray[np.bool_]
Localizer = Callable[[Floats], Floats]
"""Scaled image (2, z, y, x) at 4 mm to probabilities (background, right, left) of the same grid."""

NOT_COVERED: Final = "no_parotid_covered"
MIN_VOLUME_MM3: Final = 3_000.0
"""Below the smallest glands that were contoured (5 ml); a severely atrophic gland is for a person."""
MAX_VOLUME_MM3: Final = 260_000.0
"""A large gland, 80 ml, with a 60 mm mass, 113 ml, and room for error."""
MIN_MEAN_PROBABILITY: Final = 0.6
MAX_SECTION_MM2: Final = 45_000.0
"""Of the part of the body that holds the gland: necks and heads measure 10,000 to 35,000, chests and abdomens more than
50,000."""
NEAR_LEVELS: Final = 3
"""Of the grid, above and below the gland's middle: what part of the body it lies in is seen there."""
MIN_OFF_CENTER_MM: Final = 22.0
"""A parotid lies lateral to the ramus of the mandible."""
MAX_DIFFERENCE_MM: Final = 45.0
"""Between right and left, in height and in depth: patients lie turned and tilted, but not more."""
MIN_SIDE_SHARE: Final = 0.25
"""Of a gland's probability, that of the side on which it lies: where it is less, the network names the other side."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """One plausible component of the gland probability, on the 4 mm grid."""

    voxels: Bools
    center_mm: NDArray[np.float64]
    """LPS, as (z, y, x)."""
    volume_mm3: float
    mean_probability: float
    height_mm: float
    middle_mm: float
    """Of the part of the body that holds it, left to right."""
    right_share: float
    """Of its probability, that of a right gland."""
    is_cut_below: bool
    is_cut_above: bool
    is_cut_beside: bool

    @property
    def is_cut(self) -> bool:
        """True: the scan begins or ends inside the gland, or the side of the image cuts it."""
        return self.is_cut_below or self.is_cut_above or self.is_cut_beside

    @property
    def side(self) -> Side:
        """Where it lies in the patient."""
        return Side.RIGHT if self.center_mm[2] < self.middle_mm else Side.LEFT

    @property
    def is_side_certain(self) -> bool:
        """False: the network takes it for the gland of the other side."""
        return (self.right_share if self.side is Side.RIGHT else 1 - self.right_share) >= MIN_SIDE_SHARE


def localize_parotids(volume: Volume, localizer: Localizer) -> tuple[Parotid, Parotid]:
    """Return the right and the left parotid of `volume`.

    A gland that is covered in part is assessed: whether enough of it is covered, `decide` says. One whose side is in
    doubt is not. Raises SetAside where neither gland is covered.
    """
    return accept_parotids(find_parotids(volume, localizer), volume)


def find_parotids(volume: Volume, localizer: Localizer) -> tuple[Parotid, Parotid]:
    """Return the right and the left parotid of `volume` as they were found, even if too little of both is covered.

    Sides come from where a gland lies relative to the patient's midline; where the network names the other side, the
    gland is not assessed. Raises SetAside where the scan shows no body.
    """
    grid = body_grid(volume)
    hu = take_from_source(volume.hu, volume, grid, outside=AIR_HU, within=volume.body)
    body = hu > -500
    sides = gland_probabilities(scale_hu(hu), localizer)
    sides[:, ~reached(volume, grid)] = 0
    probability = sides.sum(axis=0)
    found = find_glands(sides, body, volume, grid)
    return (
        describe_gland(Side.RIGHT, found, probability, volume, grid),
        describe_gland(Side.LEFT, found, probability, volume, grid),
    )


def accept_parotids(parotids: tuple[Parotid, Parotid], volume: Volume) -> tuple[Parotid, Parotid]:
    """Return `parotids`, not assessed where metal spoils them; raises SetAside where the scan covers neither."""
    if not any(map(is_covered, parotids)):
        reason = "Neither parotid gland is covered by this scan: " + " ".join(p.reason for p in parotids)
        raise SetAside(reason, code=NOT_COVERED)
    return refuse_metal(parotids[0], volume), refuse_metal(parotids[1], volume)


def is_covered(parotid: Parotid) -> bool:
    """Tell whether the scan shows enough of the gland to be searched, its side in doubt or not."""
    is_enough = parotid.volume_mm3 >= MIN_VOLUME_MM3 and parotid.covered_share >= LEAST_COVERED_SHARE
    return parotid.is_assessed or is_enough


def gland_probabilities(image: Floats, localizer: Localizer) -> Floats:
    """Return the probabilities (right and left, z, y, x), averaged over the image and its mirror image.

    A mirrored patient then gets the mirrored answer, and nothing else changes.
    """
    plain = localizer(image)[1:]
    mirrored = localizer(np.ascontiguousarray(image[..., ::-1]))[:0:-1, ..., ::-1]  # its right is our left
    return np.asarray((plain + mirrored) / 2, dtype=np.float32)


def body_grid(volume: Volume) -> Grid:
    """Return the 4 mm grid that covers the body; raises SetAside where there is none."""
    matrix, offset = affine_zyx(volume)
    box = find_box(volume.body)
    if not volume.body[box].size:
        reason = "The scan shows nothing but air, so no parotid gland is covered."
        raise SetAside(reason, code=NOT_COVERED)
    corners = np.array(np.meshgrid(*[(part.start, part.stop - 1) for part in box], indexing="ij")).reshape(3, -1)
    ends = matrix @ corners + offset[:, None]
    return cover_box(ends.min(axis=1), ends.max(axis=1), LOCALIZER_SPACING_MM)


def find_glands(sides: Floats, body: Bools, volume: Volume, grid: Grid) -> dict[Side, Found]:
    """Return the best plausible component of each side; of two that do not match, the surer one.

    `sides` are the probabilities (right and left, z, y, x).
    """
    labels, count = ndimage.label(sides.sum(axis=0) > 0.5)
    best: dict[Side, Found] = {}
    field_mm = find_round_field_mm(volume) if count else None
    for number in range(1, count + 1):
        candidate = plausible(labels == number, sides, body, volume, grid, field_mm)
        if candidate is None:
            continue
        side = candidate.side
        weight = candidate.mean_probability * candidate.volume_mm3
        if side not in best or weight > best[side].mean_probability * best[side].volume_mm3:
            best[side] = candidate
    if len(best) == 2:
        right, left = best[Side.RIGHT], best[Side.LEFT]
        apart = np.abs(right.center_mm - left.center_mm)
        if apart[:2].max() > MAX_DIFFERENCE_MM or not 2 * MIN_OFF_CENTER_MM < apart[2] < 200:
            del best[Side.LEFT if right.mean_probability >= left.mean_probability else Side.RIGHT]
    return best


def plausible(
    voxels: Bools, sides: Floats, body: Bools, volume: Volume, grid: Grid, field_mm: float | None
) -> Found | None:
    """Return the component with its measures, or None where it cannot be a parotid.

    `field_mm` is the radius of the round field that the images show, None where they show none.
    """
    volume_mm3 = float(voxels.sum()) * grid.step_mm**3
    right, left = (float(probability[voxels].mean()) for probability in sides)
    mean = right + left
    if not MIN_VOLUME_MM3 / 3 <= volume_mm3 <= MAX_VOLUME_MM3 or mean < MIN_MEAN_PROBABILITY:
        return None
    center = np.array(ndimage.center_of_mass(voxels))
    section, (first, last) = part_of_body(body, center)
    if section * grid.step_mm**2 > MAX_SECTION_MM2:
        return None
    places_mm = np.argwhere(voxels) * grid.step_mm + grid.origin_mm
    below_mm, above_mm = gaps_to_scan_ends_mm(places_mm, volume)
    levels = np.flatnonzero(voxels.any(axis=(1, 2)))
    found = Found(
        voxels=voxels,
        center_mm=grid.origin_mm + center * grid.step_mm,
        volume_mm3=volume_mm3,
        mean_probability=mean,
        height_mm=float(levels[-1] - levels[0] + 1) * grid.step_mm,
        middle_mm=float(grid.origin_mm[2] + (first + last) / 2 * grid.step_mm),
        right_share=right / mean,
        is_cut_below=below_mm < 1.5 * grid.step_mm,
        is_cut_above=above_mm < 1.5 * grid.step_mm,
        is_cut_beside=is_cut_by_image(places_mm, volume, 1.5 * grid.step_mm, field_mm),
    )
    return None if abs(found.center_mm[2] - found.middle_mm) < MIN_OFF_CENTER_MM else found


def part_of_body(body: Bools, center: NDArray[np.float64]) -> tuple[int, tuple[int, int]]:
    """Return how many voxels the part of `body` around `center` (z, y, x) has at its level, filled, and its first and
    last column near there.

    An arm beside the head is another part, also where it touches the head by little.
    """
    level = min(max(round(float(center[0])), 0), len(body) - 1)
    first = max(level - NEAR_LEVELS, 0)
    filled = np.stack([ndimage.binary_fill_holes(plane) for plane in body[first : level + NEAR_LEVELS + 1]])
    cross = ndimage.generate_binary_structure(2, 1)[None]
    parts, count = ndimage.label(ndimage.binary_erosion(filled, cross, border_value=1))
    part = filled
    if count:
        index = np.clip(np.rint(center - (first, 0, 0)).astype(int), 0, np.array(filled.shape) - 1)
        nearest = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
        own = parts == parts[tuple(nearest[(slice(None), *index)])]
        part = ndimage.binary_dilation(own, cross) & filled
    columns = np.flatnonzero(part.any(axis=(0, 1)))
    ends = (int(columns[0]), int(columns[-1])) if len(columns) else (0, body.shape[2] - 1)
    return int(part[level - first].sum()), ends


def is_cut_by_image(places_mm: NDArray[np.float64], volume: Volume, reach_mm: float, field_mm: float | None) -> bool:
    """Tell whether a side of the image, within `reach_mm` of one of `places_mm` (n, 3), (z, y, x), cuts the body.

    Where the images show a round field, of the radius `field_mm`, its edge is a side of theirs, too.
    """
    matrix, offset = affine_zyx(volume)
    index = np.linalg.solve(matrix, (places_mm - offset).T)  # (3, n)
    steps_mm, last = np.linalg.norm(matrix, axis=0), np.array(volume.hu.shape) - 1
    nearest = np.clip(np.rint(index).astype(int), 0, last[:, None])
    for axis in (1, 2):  # rows and columns; slices are asked for by `gaps_to_scan_ends_mm`
        for edge in (0, int(last[axis])):
            at_edge = nearest[:, np.abs(index[axis] - edge) * steps_mm[axis] < reach_mm]
            at_edge[axis] = edge
            if volume.body[tuple(at_edge)].any():
                return True
    return field_mm is not None and _is_cut_by_field(index, volume, field_mm, reach_mm)


def _is_cut_by_field(index: NDArray[np.floating], volume: Volume, radius_mm: float, reach_mm: float) -> bool:
    """Tell whether the field's edge, within `reach_mm` of a place of `index` (3, n), (z, y, x), cuts the body."""
    last = np.array(volume.hu.shape) - 1
    middle, steps_mm = last[1:, None] / 2, np.array(volume.spacing_mm[1::-1])[:, None]
    aside_mm = (index[1:] - middle) * steps_mm
    distance_mm = np.hypot(*aside_mm)
    is_near = radius_mm - distance_mm < reach_mm
    edge_mm = radius_mm - float(steps_mm.max())  # within the last voxels that are shown whole
    outward = aside_mm[:, is_near] / np.maximum(distance_mm[is_near], 1e-6)
    at_edge = np.concatenate([index[:1, is_near], outward * edge_mm / steps_mm + middle])
    return bool(volume.body[tuple(np.clip(np.rint(at_edge).astype(int), 0, last[:, None]))].any())


def gaps_to_scan_ends_mm(places_mm: NDArray[np.float64], volume: Volume) -> tuple[float, float]:
    """Return how far the lowest end of the scan lies below `places_mm` (n, 3), (z, y, x), at the nearest of them, and
    the highest above.

    Straight up and down from each place: where the gantry is tilted, a scan ends at another height at each gland.
    """
    matrix, offset = affine_zyx(volume)
    normal = np.cross(matrix[:, 1], matrix[:, 2])
    if abs(normal[0]) < 0.1 * np.linalg.norm(normal):  # upright slices: the scan ends to the sides
        return np.inf, np.inf
    ends = [offset, offset + (len(volume.hu) - 1) * matrix[:, 0]]
    gaps = np.array([(places_mm - end) @ normal / normal[0] for end in ends])  # (2, n); above an end is positive
    below, above = (
        (gaps[0], -gaps[1]) if ends[0] @ normal * normal[0] < ends[1] @ normal * normal[0] else (gaps[1], -gaps[0])
    )
    return float(below.min()), float(above.min())


def describe_gland(side: Side, found: dict[Side, Found], probability: Floats, volume: Volume, grid: Grid) -> Parotid:
    """Return the gland of `side` on the source grid, assessed or with the reason why not."""
    gland = found.get(side)
    if gland is None:
        return Parotid(
            side=side,
            is_assessed=False,
            reason=f"No {side} parotid gland was found.",
            center_mm=None,
            mask=None,
            volume_mm3=0.0,
            mean_hu=None,
            covered_share=0.0,
        )
    near = ndimage.binary_dilation(gland.voxels)
    values, box = cut_grid(np.where(near, probability, 0).astype(np.float32), grid)
    put, where = put_on_source(values, volume, box)
    mask = np.zeros(volume.hu.shape, dtype=bool)
    inside = (put > 0.5) & volume.body[where]
    mask[where] = inside
    volume_mm3 = float(inside.sum()) * volume.voxel_volume_mm3
    matrix, offset = affine_zyx(volume)
    center = gland.center_mm
    if inside.any():
        low = [part.start for part in where]
        center = matrix @ (np.array(ndimage.center_of_mass(inside)) + low) + offset
    covered_share = find_covered_share(side, found, volume_mm3)
    reason = why_not_assessed(side, gland, volume_mm3, covered_share)
    z, y, x = (float(value) for value in center)
    return Parotid(
        side=side,
        is_assessed=not reason,
        reason=reason,
        center_mm=(x, y, z),
        mask=mask,
        volume_mm3=volume_mm3,
        mean_hu=float(volume.hu[where][inside].mean()) if inside.any() else None,
        covered_share=covered_share,
        is_partial=gland.is_cut,
    )


def find_covered_share(side: Side, found: dict[Side, Found], volume_mm3: float) -> float:
    """Return how much of the gland of `side` the scan covers: 1 where it does not end inside the gland."""
    gland = found[side]
    if not gland.is_cut:
        return 1.0
    whole = next((other for key, other in found.items() if key is not side and not other.is_cut), None)
    return estimate_covered_share(
        gland.height_mm,
        volume_mm3,
        whole_height_mm=whole.height_mm if whole else None,
        whole_volume_mm3=whole.volume_mm3 if whole else None,
        is_cut_beside=gland.is_cut_beside,
    )


def why_not_assessed(side: Side, gland: Found, volume_mm3: float, covered_share: float) -> str:
    """Return the sentence that says why `gland` cannot be searched; empty where it can."""
    if not gland.is_side_certain:
        return f"Whether what was found is the {side} parotid gland or that of the other side is in doubt."
    if gland.is_cut and (covered_share < LEAST_COVERED_SHARE or volume_mm3 < MIN_VOLUME_MM3):
        end = "begins" if gland.is_cut_below else "ends"
        return f"The scan {end} inside the {side} parotid gland and covers too little of it."
    if volume_mm3 < MIN_VOLUME_MM3:
        return f"What was found of the {side} parotid gland, {volume_mm3 / 1000:.1f} ml, is too small to be searched."
    return ""


def refuse_metal(parotid: Parotid, volume: Volume) -> Parotid:
    """Return `parotid`, not assessed where metal artifacts spoil it: a mass could hide in them."""
    if parotid.mask is None or not parotid.is_assessed or not is_spoiled_by_metal(volume, parotid.mask):
        return parotid
    reason = f"Metal artifacts cover the {parotid.side} parotid gland."
    return replace(parotid, is_assessed=False, reason=reason)
