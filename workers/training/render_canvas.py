"""Fit the typical anatomy to a patient's labels, and paint it into a volume in Hounsfield units."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.training.render_anatomy import BODY, CANAL_BACK_MM, CHIN_BACK_MM, GLAND_LATERAL_MM, Tube

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]
Spacing = tuple[float, float, float]

PAROTIDS, MANDIBLE, BRAINSTEM, CORD, BRAIN, CANAL, ORBITS = (1, 2), 3, 4, 5, 6, 9, (10, 11)

_ANGLES = 180
_MARGINS_MM = {MANDIBLE: 9.0, BRAIN: 11.0, 7: 8.0, 8: 8.0, 10: 4.0, 11: 4.0, CANAL: 30.0}


@dataclass(slots=True)
class Frame:
    """Where each voxel lies in the typical anatomy, and how deep beneath the patient's skin."""

    height_mm: NDArray[np.float64]
    """(z,) typical height above the glands."""
    lateral_mm: Floats
    """(z, y, x) typical distance from the midline; the patient's left is positive."""
    back_mm: Floats
    """(z, y, x) typical distance behind the glands."""
    lateral_axis: Floats
    """(z, x) as `lateral_mm`, before it is bent."""
    back_axis: Floats
    """(z, y) as `back_mm`, before it is bent."""
    depth_mm: Floats
    """(z, y, x) beneath the skin; negative in the air."""
    jaw_shift_mm: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    """Side (-1 right, +1 left) to (z, 2): how far the ramus lies from its typical place, lateral and back."""


def smooth_noise(rng: np.random.Generator, shape: tuple[int, ...], spacing_mm: Spacing, grain_mm: Spacing) -> Floats:
    """Return smooth random values of unit deviation with bumps of about `grain_mm` along (z, y, x)."""
    steps = [max(grain / 2, spacing) for grain, spacing in zip(grain_mm, spacing_mm, strict=True)]
    counts = [int(np.ceil(n * s / t)) + 2 for n, s, t in zip(shape, spacing_mm, steps, strict=True)]
    coarse = ndimage.gaussian_filter(rng.standard_normal(counts, dtype=np.float32), 1.0)
    coarse /= max(float(coarse.std()), 1e-6)
    return enlarge(coarse, shape, [s / t for s, t in zip(spacing_mm, steps, strict=True)])


def enlarge(coarse: Floats, shape: tuple[int, ...], step: list[float]) -> Floats:
    """Interpolate `coarse` linearly at 0, step, 2 step, ... along each axis to `shape`."""
    result = coarse
    for axis, (count, each) in enumerate(zip(shape, step, strict=True)):
        at = np.minimum(np.arange(count) * each, result.shape[axis] - 1.001)
        low = at.astype(int)
        share = (at - low).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
        first = np.take(result, low, axis)
        result = first + (np.take(result, low + 1, axis) - first) * share
    return np.ascontiguousarray(result, dtype=np.float32)


def fit_frame(labels: Bytes, spacing_mm: Spacing, rng: np.random.Generator) -> Frame:
    """Bend the typical anatomy to the organs of `labels` (z, y, x), and wrap a skin about them.

    Raises ValueError where neither parotid is labeled.
    """
    centers = {side: _center(labels == label) for side, label in ((-1, 1), (1, 2)) if (labels == label).any()}
    if not centers:
        raise ValueError("no parotid is labeled")
    gland_z, gland_y, gland_x = (np.mean(list(centers.values()), axis=0) * spacing_mm).tolist()
    z_mm, y_mm, x_mm = (np.arange(n) * s for n, s in zip(labels.shape, spacing_mm, strict=True))
    height = _fit_heights(labels, spacing_mm, gland_z, z_mm)
    middle, canal_y = _follow_midline(labels, spacing_mm, gland_z, (gland_y, gland_x), whole=len(centers) == 2)
    at_gland = int(np.clip(round(gland_z / spacing_mm[0]), 0, len(z_mm) - 1))
    canal_y = np.where(z_mm > gland_z, canal_y[at_gland], canal_y)

    widths = {s: abs(c[2] * spacing_mm[2] - middle[at_gland]) for s, c in centers.items()}
    typical = float(np.mean(list(widths.values())))
    scale = {s: float(np.clip(widths.get(s, typical) / GLAND_LATERAL_MM, 0.75, 1.3)) for s in (-1, 1)}
    offset = (x_mm[None] - middle[:, None]).astype(np.float32)
    lateral_axis = np.where(offset < 0, offset / scale[-1], offset / scale[1]).astype(np.float32)

    gland_ahead = float(np.clip(canal_y[at_gland] - gland_y, 8, 50))
    jaw = np.flatnonzero((labels == MANDIBLE).any(axis=(0, 2)))
    chin_ahead = float(canal_y[at_gland] - jaw[0] * spacing_mm[1]) if len(jaw) else gland_ahead + 86
    chin_ahead = max(chin_ahead, gland_ahead + 60)
    slope = (chin_ahead - gland_ahead) / -CHIN_BACK_MM
    ahead = canal_y[:, None] - y_mm[None]
    knots = [-200.0, 0.0, gland_ahead, gland_ahead + 200 * slope]
    back_axis = np.interp(ahead, knots, [CANAL_BACK_MM + 200, CANAL_BACK_MM, 0.0, -200.0]).astype(np.float32)

    shape = labels.shape
    bend = rng.uniform(0.6, 1.8)
    bent = [
        bend * smooth_noise(rng, shape, spacing_mm, (25, 16, 16))
        + 0.5 * smooth_noise(rng, shape, spacing_mm, (12, 7, 7))
        for _ in range(2)
    ]
    frame = Frame(
        height_mm=height,
        lateral_mm=lateral_axis[:, None, :] + bent[0],
        back_mm=back_axis[:, :, None] + bent[1],
        lateral_axis=lateral_axis,
        back_axis=back_axis,
        depth_mm=_wrap_skin(labels, spacing_mm, (height, middle, back_axis), (scale[-1] + scale[1]) / 2, rng),
    )
    for side in (-1, 1):
        frame.jaw_shift_mm[side] = _find_jaw_shift(labels, frame, side)
    return frame


def _center(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    return np.array(
        [np.average(np.arange(n), weights=mask.sum(axis=tuple({0, 1, 2} - {k}))) for k, n in enumerate(mask.shape)]
    )


def _fit_heights(labels: Bytes, spacing_mm: Spacing, gland_z: float, z_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    knots = [(gland_z, 0.0)]
    jaw = np.flatnonzero((labels == MANDIBLE).any(axis=(1, 2))) * spacing_mm[0]
    if len(jaw):
        knots += [(float(jaw[0]), -46.0), (float(jaw[-1]), 33.0)]
    eyes = np.flatnonzero(np.isin(labels, ORBITS).any(axis=(1, 2))) * spacing_mm[0]
    if len(eyes):
        knots.append((float(eyes.mean()), 56.0))
    kept = [min(knots)]
    for knot in sorted(knots)[1:]:
        if knot[0] - kept[-1][0] > 5 and knot[1] > kept[-1][1]:
            kept.append(knot)
    kept = [(kept[0][0] - 300, kept[0][1] - 300), *kept, (kept[-1][0] + 300, kept[-1][1] + 300)]
    at_mm, heights = np.array(kept).T
    height = ndimage.gaussian_filter1d(np.interp(z_mm, at_mm, heights), 6 / spacing_mm[0], mode="nearest")
    return np.asarray(height, dtype=np.float64)


def _follow_midline(
    labels: Bytes, spacing_mm: Spacing, gland_z: float, gland_yx: tuple[float, float], *, whole: bool
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the midline's x and the spinal canal's y at each slice, in millimeters."""
    along = []
    for axis in (2, 1):
        places = np.full(len(labels), np.nan)
        for label in (BRAIN, BRAINSTEM, CORD, CANAL):
            sums = (labels == label).sum(axis=3 - axis)  # (z, the axis)
            count = sums.sum(axis=1)
            mean = (sums @ np.arange(sums.shape[1])) / np.maximum(count, 1) * spacing_mm[axis]
            places = np.where(count > 0, mean, places)
        if whole and axis == 2:
            places[round(gland_z / spacing_mm[0])] = gland_yx[1]
        known = np.flatnonzero(~np.isnan(places))
        if not len(known):
            places, known = np.array([gland_yx[1] if axis == 2 else gland_yx[0] + 25.0] * len(labels)), np.array([0])
        filled = np.interp(np.arange(len(places)), known, places[known])
        along.append(ndimage.gaussian_filter1d(filled, (12 if axis == 2 else 6) / spacing_mm[0], mode="nearest"))
    return along[0], along[1]


def _wrap_skin(
    labels: Bytes,
    spacing_mm: Spacing,
    curves: tuple[NDArray[np.float64], NDArray[np.float64], Floats],
    scale: float,
    rng: np.random.Generator,
) -> Floats:
    """Return the depth beneath a skin that is far enough out of every organ, as radii about a center per slice."""
    height, middle, back_axis = curves
    rows = np.array(BODY, dtype=float)
    stoutness = rng.uniform(0.92, 1.12)
    half, front, back = (np.interp(height, rows[:, 0], rows[:, k]) for k in (1, 2, 3))
    half *= scale * stoutness
    y_mm = np.arange(labels.shape[1], dtype=np.float64) * spacing_mm[1]
    front_y = np.array([_where(axis, y_mm, f) for axis, f in zip(back_axis, front, strict=True)])
    back_y = np.array([_where(axis, y_mm, b) for axis, b in zip(back_axis, back * stoutness, strict=True)])
    center_y = front_y * 0.45 + back_y * 0.55
    theta = (np.arange(_ANGLES) + 0.5) * 2 * np.pi / _ANGLES - np.pi
    # The jaw narrows toward the chin; the skull and the nape are round.
    jaw = np.clip(1 - np.abs(height + 25) / 40, 0, 1)[:, None] * (np.sin(theta) < 0)
    power = rng.uniform(2.0, 2.3) - jaw * rng.uniform(0.4, 0.8)
    depth_half = np.where(np.sin(theta) < 0, (center_y - front_y)[:, None], (back_y - center_y)[:, None])
    radius = (np.abs(np.cos(theta) / half[:, None]) ** power + np.abs(np.sin(theta) / depth_half) ** power) ** (
        -1 / power
    )
    margins = dict(_MARGINS_MM) | dict.fromkeys(PAROTIDS, float(rng.uniform(4.5, 13)))
    thin = labels[:, ::2, ::2]
    needed = np.zeros_like(radius)
    for label, margin in margins.items():
        z, y, x = np.nonzero(thin == label)
        dy, dx = y * 2 * spacing_mm[1] - center_y[z], x * 2 * spacing_mm[2] - middle[z]
        bins = ((np.arctan2(dy, dx) + np.pi) / (2 * np.pi) * _ANGLES).astype(int) % _ANGLES
        np.maximum.at(needed, (z, bins), np.hypot(dy, dx) + margin * rng.uniform(0.85, 1.15))
    reach = (max(1, round(6 / spacing_mm[0])) * 2 + 1, 9)
    needed = ndimage.maximum_filter(needed, reach, mode=("nearest", "wrap"))
    radius = np.maximum(radius, needed)
    radius = ndimage.gaussian_filter(radius, (6 / spacing_mm[0], 4), mode=("nearest", "wrap"))
    radius += smooth_noise(rng, (1, *radius.shape), (1, spacing_mm[0], 1), (1, 30, 12))[0] * 1.0
    radius = np.maximum(radius, needed - 3)
    return _measure_depth(labels.shape, spacing_mm, (middle, center_y), radius)


def _where(axis: Floats, y_mm: NDArray[np.float64], value: float) -> float:
    """Return the y at which `axis`, rising along y, reaches `value`; beyond the array it goes on in a line."""
    if axis[0] <= value <= axis[-1]:
        return float(np.interp(value, axis, y_mm))
    end = 0 if value < axis[0] else -1
    return float(y_mm[end] + value - axis[end])


def _measure_depth(
    shape: tuple[int, ...],
    spacing_mm: Spacing,
    center_mm: tuple[NDArray[np.float64], NDArray[np.float64]],
    radius: NDArray[np.float64],
) -> Floats:
    """Return the radius of the skin less that of each voxel, on a coarse grid and enlarged."""
    steps = [spacing_mm[0], max(2.5, spacing_mm[1]), max(2.5, spacing_mm[2])]
    rows, columns = (int(np.ceil(n * s / t)) + 2 for n, s, t in zip(shape[1:], spacing_mm[1:], steps[1:], strict=True))
    dy = np.arange(rows)[None, :, None] * steps[1] - center_mm[1][:, None, None]
    dx = np.arange(columns)[None, None, :] * steps[2] - center_mm[0][:, None, None]
    bins = (np.arctan2(dy, dx) + np.pi) / (2 * np.pi) * _ANGLES - 0.5
    z = np.broadcast_to(np.arange(len(radius))[:, None, None], bins.shape)
    low = np.floor(bins).astype(int)
    share = bins - low
    # A slanting surface is nearer than its radius says.
    slant = np.hypot(
        1,
        ndimage.gaussian_filter1d(np.gradient(radius, axis=1), 2, axis=1, mode="wrap") / (2 * np.pi / _ANGLES) / radius,
    )
    distance = np.hypot(dy, dx)
    at = [z, low % _ANGLES], [z, (low + 1) % _ANGLES]
    edge = radius[*at[0]] * (1 - share) + radius[*at[1]] * share
    coarse = ((edge - distance) / slant[*at[0]]).astype(np.float32)
    return enlarge(coarse, shape, [1.0, spacing_mm[1] / steps[1], spacing_mm[2] / steps[2]])


def _find_jaw_shift(labels: Bytes, frame: Frame, side: int) -> NDArray[np.float64]:
    """Return (z, 2): the ramus' lateral and back distance from its typical place, smooth along the height."""
    chosen = np.flatnonzero((frame.height_mm > -25) & (frame.height_mm < 20))
    shift = np.zeros((len(frame.height_mm), 2))
    found = []
    for z in chosen:
        lateral, back = frame.lateral_mm[z] * side, frame.back_mm[z]
        ramus = (labels[z] == MANDIBLE) & (lateral > 25) & (back > -48)
        if ramus.sum() > 10:
            found.append((z, lateral[ramus].mean() - 44.5, back[ramus].mean() + 25))
    if not found:
        return shift
    z, lateral, back = np.array(found).T
    every = np.arange(len(shift))
    for k, values in enumerate((lateral, back)):
        shift[:, k] = ndimage.gaussian_filter1d(np.interp(every, z, np.clip(values, -12, 12)), 3, mode="nearest")
    return shift


@dataclass(slots=True)
class Canvas:
    """The volume being painted."""

    hu: Floats
    frame: Frame
    grain: Floats
    """(z, y, x) smooth noise of unit deviation: the texture of tissue."""
    rng: np.random.Generator

    def paint(
        self,
        tube: Tube,
        hu: float,
        *,
        grain_hu: float = 0.0,
        grow_mm: float = 0.0,
        jitter_mm: float = 1.5,
        least_depth_mm: float = 2.0,
        over: Floats | None = None,
    ) -> None:
        """Paint `tube` on both its sides, softly edged, no nearer to the skin than `least_depth_mm`.

        `over` (z, y, x) holds the share of each voxel that may be painted; all of it where None.
        """
        for side in (-1, 1) if tube.paired else (1,):
            moved = (
                self.rng.normal(0, jitter_mm, 2) * (1.0, 1.0) if tube.paired else (0.0, self.rng.normal(0, jitter_mm))
            )
            found = self._share(tube, side, moved, grow_mm)
            if found is None:
                continue
            window, share = found
            share *= np.clip(self.frame.depth_mm[window] - least_depth_mm + 0.5, 0, 1)
            if over is not None:
                share *= over[window]
            value = hu + grain_hu * self.grain[window]
            self.hu[window] += share * (value - self.hu[window])

    def _share(
        self, tube: Tube, side: int, moved: tuple[float, float] | NDArray[np.float64], grow_mm: float
    ) -> tuple[tuple[slice, ...], Floats] | None:
        frame = self.frame
        rows = np.array(tube.rows, dtype=float)
        inside = np.flatnonzero((frame.height_mm >= rows[0, 0]) & (frame.height_mm <= rows[-1, 0]))
        if not len(inside):
            return None
        z = slice(int(inside[0]), int(inside[-1]) + 1)
        u0, v0, a, b = (np.interp(frame.height_mm[z], rows[:, 0], rows[:, k])[:, None] for k in (1, 2, 3, 4))
        u0, v0 = u0 + moved[0], v0 + moved[1]
        if tube.with_skin:
            u0 = u0 + self._skin_shift(z, side, float(v0.mean()), float(u0.mean()))
        if tube.with_jaw:
            u0, v0 = u0 + frame.jaw_shift_mm[side][z, :1], v0 + frame.jaw_shift_mm[side][z, 1:]
        reach = float(max(a.max(), b.max())) + grow_mm + 7
        columns = np.flatnonzero((np.abs(side * frame.lateral_axis[z] - u0) < reach).any(axis=0))
        lines = np.flatnonzero((np.abs(frame.back_axis[z] - v0) < reach).any(axis=0))
        if not len(columns) or not len(lines):
            return None
        window = (z, slice(int(lines[0]), int(lines[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
        u0, v0, a, b = (value[:, :, None].astype(np.float32) for value in (u0, v0, a, b))
        du, dv = side * frame.lateral_mm[window] - u0, frame.back_mm[window] - v0
        turn = np.radians(tube.angle_degrees)
        along, across = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        distance = np.hypot((du * along + dv * across) / a, (dv * along - du * across) / b)
        share = np.clip((1 - distance) * np.minimum(a, b) + grow_mm + 0.5, 0, 1)
        return window, share.astype(np.float32)

    def _skin_shift(self, z: slice, side: int, back_mm: float, lateral_mm: float) -> NDArray[np.float64]:
        """Return (slices, 1): how far the skin `back_mm` behind the glands is from `lateral_mm` off the midline."""
        frame = self.frame
        shift = np.zeros((z.stop - z.start, 1))
        for k, row in enumerate(range(z.start, z.stop)):
            line = int(np.argmin(np.abs(frame.back_axis[row] - back_mm)))
            skin = (frame.depth_mm[row, line] > 0) & (side * frame.lateral_axis[row] > 0)
            if skin.any():
                shift[k] = float((side * frame.lateral_axis[row][skin]).max()) - lateral_mm
        return shift
