"""Put a synthetic mass into a real image's gland, at any resolution.

No public CT of a parotid tumor could be had. Sizes, densities and shapes follow
what is reported of parotid masses on CT: median volume 4.62 cm^3; ovoid or
lobulated and well defined, some irregular or infiltrating; near muscle before
contrast agent and brighter after it; some necrotic, cystic or calcified.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.training.mass_shapes import (
    Bench,
    Blob,
    Bools,
    Floats,
    Spacing,
    add_grain,
    bench_around,
    draw_blob,
    positions,
    scanner_blur_mm,
    soft_step,
    window_of,
)

BONE_HU: Final = 220.0
AIR_HU: Final = -400.0
MEDIAN_DIAMETER_MM: Final = 20.7
"""Of a ball of 4.62 cm^3."""
DIAMETERS_MM: Final = (8.0, 60.0)
LEAST_CONTRAST_HU: Final = 28.0
"""Less is not seen on CT by a reader either: the mass shows by its outline alone."""
LEAST_SHARE_IN_GLAND: Final = {"superficial": 0.7, "deep": 0.6, "exophytic": 0.35}
"""Of the mass, or of the gland where that is smaller: what only touches the gland is a node or another space's mass."""
MUSCLE_HU: Final = 10.0
"""What is denser beside the gland is muscle, vessel or node: masses grow into fat and push those aside."""
MOST_SHARE_BLOCKED: Final = 0.2
"""Of the mass in bone, air or a neighbor of the gland: one without room grows elsewhere."""
PLACE_TRIES: Final = 24
"""Places looked at before the best of them is taken though it is less than wanted."""

PLACES: Final = {"superficial": 0.5, "deep": 0.22, "exophytic": 0.28}
FORMS: Final = {"ovoid": 0.38, "lobulated": 0.34, "irregular": 0.18, "infiltrating": 0.10}
CONTENTS: Final = {"homogeneous": 0.4, "heterogeneous": 0.25, "necrotic": 0.15, "cystic": 0.12, "calcified": 0.08}

_CUBE: Final = np.stack(np.meshgrid(*[np.linspace(-0.95, 0.95, 11)] * 3, indexing="ij"), -1).reshape(-1, 3)
_BALL: Final = _CUBE[np.linalg.norm(_CUBE, axis=1) <= 1]
"""Points spread evenly over the unit ball, for asking what a mass would cover."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MassPlan:
    """What a mass shall be, before it meets the patient."""

    diameter_mm: float
    """Of the ball of the same volume."""
    place: str
    """One of PLACES."""
    form: str
    """One of FORMS."""
    content: str
    """One of CONTENTS."""
    is_enhanced: bool
    """Whether its solid part took up contrast agent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inserted:
    """A patient's image with a mass in it."""

    hu: Floats
    """(z, y, x)."""
    mask: Bools
    """(z, y, x), at least one voxel."""
    plan: MassPlan
    level_hu: float
    """Density of the solid part."""
    gland_hu: float
    """Density of the gland before."""

    def describe(self, spacing_mm: Spacing) -> dict[str, Any]:
        """Return what a report tells of it; numbers and words only."""
        volume = float(self.mask.sum() * np.prod(spacing_mm))
        return asdict(self.plan) | {
            "level_hu": round(self.level_hu, 1),
            "gland_hu": round(self.gland_hu, 1),
            "volume_mm3": round(volume, 1),
        }


def draw_plan(rng: np.random.Generator, *, diameter_mm: float | None = None) -> MassPlan:
    """Return a random plan; diameters are log-normal around MEDIAN_DIAMETER_MM, within DIAMETERS_MM."""
    if diameter_mm is None:
        diameter_mm = 0.0
        while not DIAMETERS_MM[0] <= diameter_mm <= DIAMETERS_MM[1]:
            diameter_mm = float(MEDIAN_DIAMETER_MM * np.exp(rng.normal(0, 0.45)))
    return MassPlan(
        diameter_mm=diameter_mm,
        place=str(rng.choice(list(PLACES), p=list(PLACES.values()))),
        form=str(rng.choice(list(FORMS), p=list(FORMS.values()))),
        content=str(rng.choice(list(CONTENTS), p=list(CONTENTS.values()))),
        is_enhanced=bool(rng.random() < 0.5),
    )


def insert_mass(
    hu: NDArray[np.floating] | NDArray[np.integer],
    gland: Bools,
    spacing_mm: Spacing,
    seed: int | tuple[int, ...],
    *,
    diameter_mm: float | None = None,
    psf_mm: float | None = None,
) -> Inserted:
    """Return `hu` (z, y, x) with one random mass in or at `gland`; the same seed gives the same mass.

    `psf_mm` is the sharpness of the scan (a Gaussian's sigma, in plane), 0.5 to
    1 mm where None. The gland must not be empty.
    """
    rng = np.random.default_rng(seed)
    return insert_planned(hu, gland, spacing_mm, draw_plan(rng, diameter_mm=diameter_mm), rng, psf_mm=psf_mm)


def insert_planned(
    hu: NDArray[np.floating] | NDArray[np.integer],
    gland: Bools,
    spacing_mm: Spacing,
    plan: MassPlan,
    rng: np.random.Generator,
    *,
    psf_mm: float | None = None,
) -> Inserted:
    """Return `hu` (z, y, x) with a mass as planned; see `insert_mass`."""
    image = np.array(hu, dtype=np.float32)
    gland_hu = _local_density(image, gland)
    level = _draw_level(gland_hu, plan, rng)
    lobes = {"ovoid": rng.integers(0, 3), "lobulated": rng.integers(4, 10)}.get(plan.form, rng.integers(2, 7))
    blob = draw_blob(np.zeros(3), plan.diameter_mm, rng, lobes=int(lobes), oval=0.3)
    blob = _place(blob, gland, image, spacing_mm, plan, rng)
    bench = bench_around(blob.center_mm, plan.diameter_mm * 0.85 + 8)
    window = window_of(bench, image.shape, spacing_mm)
    part = image[window].copy()
    moved = part
    # Small masses replace gland, large ones push their surroundings aside and bulge; infiltrating ones hardly do.
    least, most = (0.0, 0.3) if plan.form == "infiltrating" else (min(plan.diameter_mm / 60, 0.5), 0.9)
    strength = rng.uniform(least, most)
    if strength > 0.1:
        moved = _displace(part, positions(window, spacing_mm), blob, strength, spacing_mm)
    depth = _shape(bench, blob, plan, rng)
    blur = scanner_blur_mm(spacing_mm, float(rng.uniform(0.5, 1.0)) if psf_mm is None else psf_mm)
    tissue = soft_step(depth, float(rng.uniform(1.2, 2.5)) if plan.form == "infiltrating" else 0.4)
    painted = _paint(bench, depth, plan, (level, gland_hu), rng)
    share, values = bench.show_tissue(tissue, painted, spacing_mm, window, blur)
    values = add_grain(values, part, rng)
    free = _free(part, moved, spacing_mm, rng)
    share *= np.where(part < BONE_HU, ndimage.gaussian_filter(free.astype(np.float32), 0.4), 0)
    image[window] = moved * (1 - share) + share * values
    mask = np.zeros(image.shape, dtype=bool)
    mask[window] = (share >= 0.5) & free
    if not mask.any():
        where = np.unravel_index(int(np.argmax(share)), share.shape)
        mask[tuple(int(w) + s.start for w, s in zip(where, window, strict=True))] = True
    return Inserted(hu=image, mask=mask, plan=plan, level_hu=level, gland_hu=gland_hu)


def insert_second(
    inserted: Inserted, gland: Bools, spacing_mm: Spacing, rng: np.random.Generator, *, psf_mm: float | None = None
) -> Inserted:
    """Return the patient with one more, smaller mass of the same kind in the same gland, as in Warthin's tumor.

    `psf_mm` is the first mass's: one scan shows both.
    """
    plan = replace(inserted.plan, diameter_mm=float(inserted.plan.diameter_mm * rng.uniform(0.4, 0.9)))
    more = insert_planned(inserted.hu, gland, spacing_mm, plan, rng, psf_mm=psf_mm)
    return replace(more, mask=more.mask | inserted.mask, plan=inserted.plan)


def _local_density(image: Floats, gland: Bools) -> float:
    """Return the gland's typical HU, away from air and bone at its edge."""
    values = image[gland & (image > -150) & (image < 180)]
    return float(np.median(values)) if len(values) else -20.0


def _draw_level(gland_hu: float, plan: MassPlan, rng: np.random.Generator) -> float:
    """Return the solid part's HU: near muscle, more when enhanced, and never the gland's own."""
    level = rng.uniform(62, 140) if plan.is_enhanced else rng.uniform(25, 65)
    if abs(level - gland_hu) < LEAST_CONTRAST_HU:
        brighter = rng.random() < 0.75 or gland_hu - 55 < 5
        level = gland_hu + (1 if brighter else -1) * rng.uniform(LEAST_CONTRAST_HU, 55)
    return float(level)


def _place(
    blob: Blob, gland: Bools, image: Floats, spacing_mm: Spacing, plan: MassPlan, rng: np.random.Generator
) -> Blob:
    """Return the blob at a place of the planned kind, enough of it in the gland and little where it has no room."""
    room = (image > AIR_HU) & (image < np.where(gland, BONE_HU, MUSCLE_HU))
    offsets = (_BALL * blob.radii_mm) @ blob.turn.T
    part = min(1.0, float(gland.sum() * np.prod(spacing_mm)) / (np.pi / 6 * plan.diameter_mm**3))
    best, least_lacking = np.zeros(3), np.inf
    for center_mm in _draw_centers(gland, image, spacing_mm, plan, rng):
        index = np.rint((center_mm + offsets) / spacing_mm).astype(int)
        held = tuple(index[((index >= 0) & (index < gland.shape)).all(axis=1)].T)
        in_gland = gland[held].sum() / len(index) / part
        blocked = 1 - room[held].sum() / len(index)
        lacking = max(LEAST_SHARE_IN_GLAND[plan.place] - in_gland, 0) + max(blocked - MOST_SHARE_BLOCKED, 0)
        if lacking < least_lacking:
            best, least_lacking = center_mm, lacking
        if not lacking:
            break
    return replace(blob, center_mm=best)


def _draw_centers(
    gland: Bools, image: Floats, spacing_mm: Spacing, plan: MassPlan, rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Yield positions (z, y, x) in millimeters: in the lateral or the medial part, or near the gland's surface."""
    radius = plan.diameter_mm / 2
    box = ndimage.find_objects(gland.astype(np.uint8))[0]
    low = np.array([part.start for part in box])
    inner = gland[box]
    depth = ndimage.distance_transform_edt(np.pad(inner, 1), sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    soft = (image[box] > -200) & (image[box] < 200)
    columns = np.flatnonzero((image > AIR_HU).any(axis=(0, 1)))
    middle = float(columns.mean()) if len(columns) else (image.shape[2] - 1) / 2
    places = np.argwhere(inner & soft)
    if not len(places):
        places = np.argwhere(inner)
    lateral = np.abs(places[:, 2] + low[2] - middle)
    if plan.place == "deep":
        places = places[lateral <= np.quantile(lateral, 0.4)]
    elif plan.place == "superficial":
        places = places[lateral >= np.quantile(lateral, 0.35)]
    depths = depth[tuple(places.T)]
    middle_mm = (np.argwhere(inner).mean(axis=0) + low) * spacing_mm
    for _ in range(PLACE_TRIES):
        if plan.place == "exophytic":
            near = places[depths <= np.quantile(depths, 0.4)]
        else:
            near = places[depths >= min(radius * rng.uniform(0.2, 0.9), float(depths.max()) * 0.8)]
        start = (near[rng.integers(len(near))] + low + rng.uniform(-0.5, 0.5, 3)) * spacing_mm
        if plan.place == "exophytic":
            outwards = start - middle_mm
            yield start + outwards / max(float(np.linalg.norm(outwards)), 1e-6) * rng.uniform(0, 0.55) * radius
        else:
            yield start + rng.normal(0, 0.08 * plan.diameter_mm, 3)


def _shape(bench: Bench, blob: Blob, plan: MassPlan, rng: np.random.Generator) -> Floats:
    """Return the depth field of the mass on its bench, shifted so that its volume is the planned one."""
    depth = blob.depth_mm(bench.points())
    radius = plan.diameter_mm / 2
    if plan.form in {"irregular", "infiltrating"}:
        roughness = rng.uniform(0.08, 0.2) if plan.form == "irregular" else rng.uniform(0.15, 0.35)
        depth = depth + bench.noise(max(radius * rng.uniform(0.4, 0.8), 2.5), rng) * np.float32(roughness * radius)
    voxels = int(np.pi / 6 * plan.diameter_mm**3 / bench.step_mm**3)
    voxels = min(max(voxels, 1), depth.size - 1)
    return np.asarray(depth - np.partition(depth.ravel(), -voxels)[-voxels], dtype=np.float32)


def _draw_fluid(level_hu: float, gland_hu: float, plan: MassPlan, rng: np.random.Generator) -> float:
    """Return the HU of what a cyst holds or a necrosis leaves, never the gland's own."""
    fluid = rng.uniform(0, 22) if plan.content == "cystic" else rng.uniform(8, 35)
    if abs(fluid - gland_hu) < LEAST_CONTRAST_HU:
        fluid = gland_hu + (LEAST_CONTRAST_HU if gland_hu < 20 else -LEAST_CONTRAST_HU)
    return float(min(fluid, level_hu))


def _paint(
    bench: Bench, depth: Floats, plan: MassPlan, levels_hu: tuple[float, float], rng: np.random.Generator
) -> Floats:
    """Return the mass's HU on its bench: solid tissue with its texture, and what its content adds.

    `levels_hu` are those of the solid part and of the gland.
    """
    level_hu, gland_hu = levels_hu
    radius = plan.diameter_mm / 2
    mottled = rng.uniform(10, 22) if plan.content == "heterogeneous" else rng.uniform(1, 6)
    values = level_hu + bench.noise(rng.uniform(3, max(3.5, radius * 0.7)), rng) * np.float32(mottled)
    if plan.content in {"necrotic", "cystic"}:
        wall = rng.uniform(1.2, 3.0) if plan.content == "cystic" else radius * rng.uniform(0.25, 0.5)
        rough = 0.0 if plan.content == "cystic" else 0.15 * radius
        core = soft_step(depth - np.float32(wall) + np.float32(rough) * bench.noise(max(radius * 0.6, 3), rng), 0.7)
        values = values * (1 - core) + core * np.float32(_draw_fluid(level_hu, gland_hu, plan, rng))
    elif plan.content == "calcified":
        inside = np.argwhere(depth > 0.15 * radius)
        for _ in range(int(rng.integers(1, 7))):
            spot = inside[rng.integers(len(inside))] if len(inside) else np.array(depth.shape) // 2
            offset = (np.moveaxis(np.indices(depth.shape), 0, -1) - spot) * bench.step_mm
            distance = np.linalg.norm(offset, axis=-1).astype(np.float32)
            dense = soft_step(np.float32(rng.uniform(0.4, min(2.0, 0.7 + 0.12 * radius))) - distance, 0.4)
            values = values * (1 - dense) + dense * np.float32(rng.uniform(150, 700))
    if rng.random() < 0.15:
        rim = np.exp(-(((depth - 1) / 1.2) ** 2))
        values = values + rim * np.float32(rng.uniform(8, 25))
    return np.asarray(values, dtype=np.float32)


def _free(part: Floats, moved: Floats, spacing_mm: Spacing, rng: np.random.Generator) -> Bools:
    """Return where a mass may be: not in bone, air or the skin's outermost millimeters."""
    solid = np.pad(moved > AIR_HU, 1, mode="edge")
    skin = ndimage.distance_transform_edt(solid, sampling=spacing_mm)[1:-1, 1:-1, 1:-1]
    return np.asarray((part < BONE_HU) & (moved > AIR_HU) & (skin > rng.uniform(1.5, 3.5)))


def _displace(part: Floats, points: NDArray[np.float64], blob: Blob, strength: float, spacing_mm: Spacing) -> Floats:
    """Return `part` pushed away from the mass so that a share `strength` of its volume is made room for; bone stays."""
    radius = float(blob.radii_mm.mean())
    offset = points - blob.center_mm
    distance = np.maximum(np.linalg.norm(offset, axis=-1), 1e-3)
    fade = np.clip((2.5 - distance / radius) / 1.5, 0, 1)
    pulled = np.cbrt(np.maximum(distance**3 - strength * fade * np.minimum(radius, distance) ** 3, 0))
    sources = blob.center_mm + offset * (pulled / distance)[..., None]
    grid = (sources - points[0, 0, 0]) / spacing_mm
    # Cubic where voxels are coarse, so that the pushed tissue keeps its grain; fine scans lose next to nothing.
    order = 3 if min(spacing_mm) > 1.5 else 1
    moved = ndimage.map_coordinates(part, np.moveaxis(grid, -1, 0), order=order, mode="nearest")
    fixed = ndimage.binary_dilation(part > BONE_HU) | (moved > BONE_HU - 60)
    return np.where(fixed, part, moved).astype(np.float32)
