"""Put into a real image what resembles a parotid mass and must not be flagged.

Lymph nodes beside the gland, vessels, fatty, atrophic, dense and accessory
glands, dental streaks, pads on the cheek, beam hardening. A cut-off coverage is
`augment.cut_coverage`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from workers.training.mass_shapes import (
    Bools,
    Floats,
    Spacing,
    add_grain,
    bench_around,
    draw_blob,
    scanner_blur_mm,
    soft_step,
    window_of,
)
from workers.training.synthetic_mass import AIR_HU, BONE_HU


@dataclass(frozen=True, slots=True, kw_only=True)
class Disguised:
    """A patient's image with look-alikes in it."""

    hu: Floats
    """(z, y, x)."""
    gland: Bools
    """(z, y, x): the gland as it is now; an atrophic one is smaller, an accessory part belongs to it."""
    kinds: tuple[str, ...]
    """What was put in, of KINDS."""


@dataclass(slots=True)
class _Scene:
    hu: Floats
    gland: Bools
    spacing_mm: Spacing
    psf_mm: float

    @property
    def blur_mm(self) -> NDArray[np.float64]:
        return scanner_blur_mm(self.spacing_mm, self.psf_mm)

    def soft(self) -> Bools:
        return np.asarray((self.hu > -150) & (self.hu < 150))

    def outside_mm(self) -> Floats:
        return np.asarray(ndimage.distance_transform_edt(~self.gland, sampling=self.spacing_mm), dtype=np.float32)

    def middle(self) -> float:
        columns = np.flatnonzero((self.hu > AIR_HU).any(axis=(0, 1)))
        return float(columns.mean()) if len(columns) else (self.hu.shape[2] - 1) / 2


def add_look_alikes(
    hu: NDArray[np.floating] | NDArray[np.integer],
    gland: Bools,
    spacing_mm: Spacing,
    seed: int | tuple[int, ...],
    *,
    kinds: Sequence[str] | None = None,
    psf_mm: float | None = None,
) -> Disguised:
    """Return `hu` (z, y, x) with look-alikes in and around `gland`; one to three random ones where `kinds` is None.

    The same seed gives the same image. The gland must not be empty.
    """
    rng = np.random.default_rng(seed)
    if kinds is None:
        names, weights = list(KINDS), np.array([weight for _, weight in KINDS.values()])
        count = int(rng.choice([1, 2, 3], p=[0.45, 0.35, 0.2]))
        kinds = sorted(rng.choice(names, size=count, replace=False, p=weights / weights.sum()), key=names.index)
    psf = float(rng.uniform(0.5, 1.0)) if psf_mm is None else psf_mm
    scene = _Scene(np.array(hu, dtype=np.float32), gland.copy(), spacing_mm, psf)
    for kind in kinds:
        KINDS[kind][0](scene, rng)
    return Disguised(hu=scene.hu, gland=scene.gland, kinds=tuple(str(kind) for kind in kinds))


def _add_blob(
    scene: _Scene, center_mm: NDArray[np.float64], diameter_mm: float, level_hu: float, rng: np.random.Generator,
    *, oval: float = 0.3, allowed: Bools | None = None, has_fatty_hilum: bool = False,
) -> Bools:  # fmt: skip
    """Blend one ovoid into the scene, where `allowed` (z, y, x) says so if given; return where it is."""
    blob = draw_blob(center_mm, diameter_mm, rng, lobes=int(rng.integers(0, 3)), oval=oval)
    bench = bench_around(center_mm, diameter_mm * 0.9 + 5)
    window = window_of(bench, scene.hu.shape, scene.spacing_mm)
    depth = blob.depth_mm(bench.points())
    tissue = soft_step(depth, 0.4)
    values = level_hu + bench.noise(4.0, rng) * np.float32(rng.uniform(1, 6))
    if has_fatty_hilum:
        offset = np.asarray(bench.points() - center_mm - rng.normal(0, diameter_mm / 6, 3))
        hilum = soft_step((diameter_mm * 0.22 - np.linalg.norm(offset, axis=-1)).astype(np.float32), 0.6)
        values = values * (1 - hilum) + hilum * np.float32(-70)
    share, values = bench.show_tissue(tissue, values.astype(np.float32), scene.spacing_mm, window, scene.blur_mm)
    part = scene.hu[window]
    free = (part < BONE_HU) & (part > AIR_HU)
    if allowed is not None:
        free &= allowed[window]
    share = np.where(free, share, np.float32(0))
    scene.hu[window] = part * (1 - share) + share * add_grain(values, part, rng)
    where = np.zeros(scene.hu.shape, dtype=bool)
    where[window] = share > 0.5
    return where


def _nodes(scene: _Scene, rng: np.random.Generator) -> None:
    """One to four lymph nodes of 4 to 16 mm beside or below the gland."""
    outside = scene.outside_mm()
    for _ in range(int(rng.integers(1, 5))):
        size_mm = float(4 + 12 * rng.random() ** 1.7)
        near = (outside > 2 + size_mm / 2) & (outside < 8 + size_mm) & scene.soft()
        if rng.random() < 0.5:
            near[np.flatnonzero(scene.gland.any(axis=(1, 2)))[0] + 2 :] = False  # at the tail, where level II begins
        places = np.argwhere(near)
        if not len(places):
            continue
        center = places[rng.integers(len(places))] * np.array(scene.spacing_mm)
        _add_blob(scene, center, size_mm, rng.uniform(25, 110), rng, oval=0.45, allowed=outside >= 1.5,
                  has_fatty_hilum=bool(rng.random() < 0.3))  # fmt: skip


def _small_nodes(scene: _Scene, rng: np.random.Generator) -> None:
    """One to four ordinary lymph nodes of 3 to 6 mm inside the gland."""
    places = np.argwhere(scene.gland & scene.soft())
    for _ in range(int(rng.integers(1, 5))):
        if len(places):
            center = places[rng.integers(len(places))] * np.array(scene.spacing_mm)
            _add_blob(scene, center, rng.uniform(3, 6), rng.uniform(30, 110), rng, oval=0.4)


def _vessels(scene: _Scene, rng: np.random.Generator) -> None:
    """One to three vessels of 2 to 8 mm through or beside the gland, native or full of contrast agent."""
    level = rng.uniform(35, 60) if rng.random() < 0.4 else rng.uniform(90, 260)
    outside = scene.outside_mm()
    for _ in range(int(rng.integers(1, 4))):
        inside = rng.random() < 0.6
        places = np.argwhere(scene.gland if inside else (outside > 2) & (outside < 14) & scene.soft())
        if not len(places):
            continue
        radius = float(rng.uniform(1.0, 2.4) if inside else rng.uniform(1.5, 4.0))
        _add_tube(scene, places[rng.integers(len(places))] * np.array(scene.spacing_mm), radius, level, rng)


def _add_tube(
    scene: _Scene, place_mm: NDArray[np.float64], radius_mm: float, level_hu: float, rng: np.random.Generator
) -> None:
    """Blend one mostly upright, bent tube through `place_mm` into the scene."""
    bench = bench_around(place_mm, 45)
    window = window_of(bench, scene.hu.shape, scene.spacing_mm)
    direction = np.array([1.0, *rng.normal(0, 0.4, 2)])
    direction /= np.linalg.norm(direction)
    offset = (bench.points() - place_mm).astype(np.float32)
    along = offset @ direction.astype(np.float32)
    radial = offset - along[..., None] * direction.astype(np.float32)
    for axis in (1, 2):
        radial[..., axis] -= np.float32(rng.normal(0, 3.5)) * np.sin(along / np.float32(rng.uniform(9, 20)))
    distance = np.linalg.norm(radial, axis=-1)
    ends = soft_step((rng.uniform(15, 42) - np.abs(along)).astype(np.float32), 2.0)
    tissue = soft_step((radius_mm * (1 + 0.15 * np.sin(along / 7)) - distance).astype(np.float32), 0.4) * ends
    share = bench.show(tissue, scene.spacing_mm, window, scene.blur_mm)
    part = scene.hu[window]
    share = share * ((part < BONE_HU) & (part > AIR_HU))
    level = np.full(part.shape, level_hu, dtype=np.float32)
    scene.hu[window] = part * (1 - share) + share * add_grain(level, part, rng)


def _change_density(scene: _Scene, level_hu: float, keep: float, mottled_hu: float, rng: np.random.Generator) -> None:
    """Move the gland's tissue to `level_hu`, keeping a share of its own texture and adding lobules."""
    inside = scene.gland & scene.soft()
    if not inside.any():
        return
    own = float(np.median(scene.hu[inside]))
    grain = ndimage.gaussian_filter(
        rng.standard_normal(scene.hu.shape, dtype=np.float32), [rng.uniform(1.2, 3) / s for s in scene.spacing_mm]
    )
    grain /= max(float(grain[inside].std()), 1e-6)
    changed = level_hu + (scene.hu - own) * np.float32(keep) + grain * np.float32(mottled_hu)
    soft = ndimage.gaussian_filter(inside.astype(np.float32), [0.7 / s for s in scene.spacing_mm])
    scene.hu = np.where(inside | (soft > 0.3), scene.hu * (1 - soft) + soft * changed, scene.hu).astype(np.float32)


def _fatty(scene: _Scene, rng: np.random.Generator) -> None:
    _change_density(scene, rng.uniform(-95, -45), rng.uniform(0.4, 1), rng.uniform(5, 22), rng)


def _dense(scene: _Scene, rng: np.random.Generator) -> None:
    """A gland denser than the other one: inflamed, irradiated, or of a young patient; it keeps its own texture.

    One that is as dense and as even as a mass would teach that masses which fill their gland are none.
    """
    _change_density(scene, rng.uniform(5, 50), rng.uniform(0.7, 1.1), rng.uniform(4, 14), rng)


def _atrophic(scene: _Scene, rng: np.random.Generator) -> None:
    """A gland whose rim has turned into fat."""
    depth = ndimage.distance_transform_edt(np.pad(scene.gland, 1), sampling=scene.spacing_mm)[1:-1, 1:-1, 1:-1]
    kept = depth > min(rng.uniform(1.5, 5), 0.6 * float(depth.max()))
    rim = scene.gland & ~kept & (scene.hu < 150) & (scene.hu > AIR_HU)
    share = ndimage.gaussian_filter(rim.astype(np.float32), [0.6 / s for s in scene.spacing_mm])
    fat = np.full(scene.hu.shape, rng.uniform(-110, -85), dtype=np.float32)
    scene.hu = scene.hu * (1 - share) + share * add_grain(fat, scene.hu, rng)
    scene.gland = kept


def _accessory(scene: _Scene, rng: np.random.Generator) -> None:
    """Gland tissue of 7 to 16 mm in front of the gland, on the masseter."""
    outside = scene.outside_mm()
    front = np.argwhere(scene.gland)[:, 1].mean()
    near = (outside > 3) & (outside < 14) & (scene.hu > -150) & (scene.hu < 60)
    near[:, int(front) :] = False
    lateral = np.abs(np.arange(scene.hu.shape[2]) - scene.middle())
    least = np.quantile(np.abs(np.argwhere(scene.gland)[:, 2] - scene.middle()), 0.5)
    near[:, :, lateral < least] = False
    places = np.argwhere(near)
    if not len(places):
        return
    inside = scene.gland & scene.soft()
    level = float(np.median(scene.hu[inside])) if inside.any() else -10.0
    center = places[rng.integers(len(places))] * np.array(scene.spacing_mm)
    scene.gland |= _add_blob(scene, center, rng.uniform(7, 16), level, rng, oval=0.5)


def _streaks(scene: _Scene, rng: np.random.Generator) -> None:
    """Dark and bright rays from one or two fillings in front of and medial to the gland."""
    z, y, x = np.argwhere(scene.gland).mean(axis=0)
    for _ in range(int(rng.integers(1, 3))):
        source_y = y - rng.uniform(25, 60) / scene.spacing_mm[1]
        source_x = x + (scene.middle() - x) * rng.uniform(0.3, 0.9)
        source_z = z + rng.normal(0, 10) / scene.spacing_mm[0]
        rows, columns = np.mgrid[: scene.hu.shape[1], : scene.hu.shape[2]].astype(np.float32)
        dy, dx = (rows - source_y) * scene.spacing_mm[1], (columns - source_x) * scene.spacing_mm[2]
        angle, distance_mm = np.arctan2(dy, dx), np.hypot(dy, dx)
        # Each slice has rays of its own, alike in neighbors.
        heights = (np.arange(len(scene.hu)) - source_z) * scene.spacing_mm[0]
        reach = np.exp(-((heights / rng.uniform(3, 12)) ** 2))
        turn = heights[:, None, None] * rng.normal(0, 0.05)
        rays = np.zeros((len(scene.hu), *angle.shape), dtype=np.float32)
        for count in (2, 3, 5, 9, 14, 22):
            phase = rng.uniform(0, 2 * np.pi) + turn * count / 5
            rays += np.float32(rng.normal()) * np.cos(count * angle[None] + phase)
        fall = np.minimum(1, 25 / (distance_mm + 5))
        streaks = reach[:, None, None] * rays * fall[None] * rng.uniform(10, 120)
        scene.hu = np.where(scene.hu > -900, np.maximum(scene.hu + streaks, -1000), scene.hu).astype(np.float32)


def _pad(scene: _Scene, rng: np.random.Generator) -> None:
    """A pad or a fold of cloth of 4 to 18 mm that presses on the cheek's skin."""
    air = scene.hu < AIR_HU
    to_skin = ndimage.distance_transform_edt(air, sampling=scene.spacing_mm)
    center = np.argwhere(scene.gland).mean(axis=0)
    side = np.sign(center[2] - scene.middle()) or 1.0
    center[2] += side * 25 / scene.spacing_mm[2]
    grids = np.ogrid[tuple(slice(n) for n in scene.hu.shape)]
    radii = rng.uniform(18, 45, 3)
    near = sum(((g - c) * s / r) ** 2 for g, c, s, r in zip(grids, center, scene.spacing_mm, radii, strict=True)) < 1
    gap, thickness = rng.choice([0.0, rng.uniform(0, 4)]), rng.uniform(4, 18)
    pad = air & near & (to_skin > gap) & (to_skin < gap + thickness)
    level = rng.choice([rng.uniform(-150, 60), rng.uniform(-700, -200)])
    share = ndimage.gaussian_filter(pad.astype(np.float32), [0.5 / s for s in scene.spacing_mm]) * air
    values = level + rng.normal(0, rng.uniform(3, 25), scene.hu.shape)
    scene.hu = (scene.hu * (1 - share) + share * values).astype(np.float32)


def _beam_hardening(scene: _Scene, rng: np.random.Generator) -> None:
    """A broad dark band through the head where dense bone lies on both sides, and cupping."""
    z, y, _ = np.argwhere(scene.gland).mean(axis=0)
    heights = (np.arange(scene.hu.shape[0]) - z) * scene.spacing_mm[0] - rng.normal(5, 15)
    rows = (np.arange(scene.hu.shape[1]) - y) * scene.spacing_mm[1] - rng.normal(0, 15)
    tilt = rng.normal(0, 0.15) * (np.arange(scene.hu.shape[2]) - scene.middle()) * scene.spacing_mm[2]
    along_z = np.exp(-((heights / rng.uniform(5, 25)) ** 2))[:, None, None]
    band = np.exp(-(((rows[:, None] + tilt[None, :]) / rng.uniform(4, 18)) ** 2))[None]
    change = along_z * band * rng.choice([-1.0, 0.6]) * rng.uniform(10, 70)
    scene.hu = np.where(scene.hu > -300, scene.hu + change, scene.hu).astype(np.float32)


KINDS: Final[dict[str, tuple[Callable[[_Scene, np.random.Generator], None], float]]] = {
    "fatty": (_fatty, 1.0),
    "dense": (_dense, 0.7),
    "atrophic": (_atrophic, 0.7),
    "accessory": (_accessory, 1.0),
    "nodes": (_nodes, 2.0),
    "small_nodes": (_small_nodes, 1.0),
    "vessels": (_vessels, 2.0),
    "beam_hardening": (_beam_hardening, 0.8),
    "streaks": (_streaks, 1.0),
    "pad": (_pad, 0.8),
}
"""Each kind, in the order in which they are put in, and how often it is drawn."""
