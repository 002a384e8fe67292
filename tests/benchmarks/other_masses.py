"""Masses of another making than the segmenter learned from, to judge it by: `python other_masses.py DATA OUT`.

Every patient of DATA, outlined glands and no mass, is written to OUT as `python -m workers synthesize` writes it: as
it is, and with one mass in each of several copies, for `python -m workers evaluate ct OUT --report DIR`. These masses
share no code with `workers/training/synthetic_mass.py`: each is a ball whose surface is moved by smooth noise, or
several merged balls, with a density of its own (of water, of soft tissue, enhanced) and an inside that is even,
mottled, dark in the middle or bright at the rim. Nothing is pushed aside.
"""

import argparse
import sys
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, from any folder

from screener.study import Side
from workers.training.read_cases import Case, list_cases, read_case
from workers.training.synthesize_cases import write_case

Floats = NDArray[np.floating[Any]]
Bools = NDArray[np.bool_]

INSIDES = ("even", "mottled", "dark middle", "bright rim")
LEAST_DIFFERENCE_HU = 25.0
"""From the gland around it: what differs less, nobody sees."""
LEAST_IN_GLAND = 0.5
"""Of a mass: the rest may lie outside."""
TRIES = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One mass in one patient; arrays (z, y, x)."""

    hu: Floats
    mask: Bools
    about: dict[str, Any]


def main() -> int:
    """Write the cases, and print one line for each patient; 1 where DATA holds none."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder of patients without masses, their glands outlined")
    parser.add_argument("out", type=Path, help="folder to write cases to, made if absent")
    parser.add_argument(
        "--masses", type=int, default=2, help="copies of each patient with one mass; default %(default)s"
    )
    parser.add_argument("--seed", type=int, default=31, help="default %(default)s")
    args = parser.parse_args()
    count = 0
    for folder in list_cases(args.data):
        case = read_case(folder)
        write_case(args.out / case.name, case, case.volume.hu, case.glands, case.mass, {"patient": case.name})
        sides = [side for side in Side if side in case.glands]
        if not sides or case.mass is not None:
            continue
        for copy in range(args.masses):
            rng = np.random.default_rng((args.seed, zlib.crc32(case.name.encode()), copy))
            side = sides[copy % len(sides)]
            made = put_in(case, side, rng)
            if made is None:
                print(f"{case.name}: no place for a mass on the {side}")
                continue
            glands = case.glands | {side: case.glands[side] | made.mask}
            about = {"patient": case.name, "mass": {"synthetic": True, "side": str(side)} | made.about}
            write_case(args.out / f"{case.name}+mass{copy + 1}", case, made.hu, glands, made.mask, about)
            print(f"{case.name} {side}: {made.about}")
            count += 1
    print(f"{count} masses in {args.out}")
    return 0 if count else 1


def put_in(case: Case, side: Side, rng: np.random.Generator) -> Made | None:
    """Return the patient with one mass at the gland of `side`; None where TRIES places have no room for one."""
    gland, hu = case.glands[side], case.volume.hu.astype(np.float64)
    spacing = np.array(case.volume.spacing_mm[::-1])
    places = np.argwhere(gland)
    tissue = float(np.median(hu[gland]))
    steps = [np.arange(count) * step for count, step in zip(gland.shape, spacing, strict=True)]
    grid = np.stack(np.meshgrid(*steps, indexing="ij"), -1)
    for _ in range(TRIES):
        diameter = float(np.exp(rng.normal(np.log(20.0), 0.4)).clip(9, 45))
        center = places[rng.integers(len(places))] * spacing
        inside = surface(grid, spacing, center, diameter / 2, rng)
        mask = (inside > 0) & (hu > -600)
        if not mask.any() or (mask & gland).sum() < LEAST_IN_GLAND * mask.sum():
            continue
        density = draw_density(tissue, rng)
        how = str(rng.choice(INSIDES))
        values = density + fill(how, inside, spacing, rng)
        share = ndimage.gaussian_filter(mask.astype(np.float64), rng.uniform(0.5, 1.2) / spacing)
        share[hu < -600] = 0
        noise = hu - ndimage.gaussian_filter(hu, 2.5 / spacing)
        changed = hu * (1 - share) + (values + 0.7 * np.clip(noise, -40, 40)) * share
        about = {"diameter_mm": round(diameter, 1), "hu": round(density), "inside": how}
        return Made(hu=changed, mask=share >= 0.5, about=about) if (share >= 0.5).any() else None
    return None


def surface(grid: Floats, spacing: Floats, center: Floats, radius: float, rng: np.random.Generator) -> Floats:
    """Return how deep each voxel of `grid` (z, y, x, 3), places in mm, lies inside the mass in mm, negative outside."""
    shape = grid.shape[:-1]
    if rng.random() < 0.5:
        stretch = np.exp(rng.normal(0, 0.2, 3))
        away = np.linalg.norm((grid - center) / (stretch / np.prod(stretch) ** (1 / 3)), axis=-1)
        lumps = ndimage.gaussian_filter(rng.normal(size=shape), 0.45 * radius / spacing)
        return np.asarray(radius - away + lumps / lumps.std() * 0.15 * radius)
    depth = np.full(shape, -np.inf)
    for _ in range(int(rng.integers(2, 6))):
        middle = center + rng.normal(0, 0.4 * radius, 3)
        depth = np.maximum(depth, radius * rng.uniform(0.45, 0.8) - np.linalg.norm(grid - middle, axis=-1))
    return depth


def draw_density(tissue: float, rng: np.random.Generator) -> float:
    """Return HU: of a cyst, of soft tissue or enhanced, at least LEAST_DIFFERENCE_HU from the gland's."""
    while True:
        density = float(
            rng.choice([rng.uniform(0, 20), rng.uniform(30, 60), rng.uniform(60, 130)], p=[0.2, 0.45, 0.35])
        )
        if abs(density - tissue) >= LEAST_DIFFERENCE_HU:
            return density


def fill(how: str, inside: Floats, spacing: Floats, rng: np.random.Generator) -> Floats:
    """Return what is added to the density, HU, by the depth `inside` the surface in mm."""
    deepest = max(float(inside.max()), 1.0)
    if how == "mottled":
        lumps = ndimage.gaussian_filter(rng.normal(size=inside.shape), 3.0 / spacing)
        return np.asarray(lumps / lumps.std() * rng.uniform(8, 20))
    if how == "dark middle":
        return np.where(inside > 0.5 * deepest, -rng.uniform(20, 45), 0.0)
    if how == "bright rim":
        return np.where(inside < 2.5, rng.uniform(15, 40), 0.0)
    return np.zeros(inside.shape)


if __name__ == "__main__":
    raise SystemExit(main())
