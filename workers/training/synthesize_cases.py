"""Make cases with synthetic masses and look-alikes from patients without: `python -m workers synthesize DATA OUT`.

Each patient of DATA is written as it is, with one synthetic mass in each of
several copies and, if asked for, with look-alikes and no mass, or with both.
case.json says what was put in, so that no report takes it for a patient's own.
With --localize a patient whose glands nobody outlined gets masses where the
localizer finds a gland; labels stay empty, for what it finds is not the truth.
"""

import argparse
import json
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import nibabel
import numpy as np
import torch
from numpy.typing import NDArray

from screener.outcomes import Outcome
from screener.study import Side
from workers.ct.localize_parotids import Localizer, localize_parotids
from workers.models.weights import load_bundle
from workers.training.look_alikes import add_look_alikes
from workers.training.mass_shapes import Spacing
from workers.training.read_cases import Case, label_glands, list_cases, read_case
from workers.training.read_nifti import TO_RAS
from workers.training.synthetic_mass import insert_mass

logger = logging.getLogger(__name__)

HU_RANGE: Final = (-1024, 3071)
Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """How many copies of each patient are made, by what is put in."""

    masses: int = 0
    """With one mass each."""
    look_alikes: int = 0
    """With look-alikes and no mass."""
    mixed: int = 0
    """With look-alikes and one mass each: what resembles a mass is no sign that there is none."""


def main(argv: Sequence[str] | None = None) -> int:
    """Write the cases; 1 where DATA holds none."""
    parser = argparse.ArgumentParser(
        prog="python -m workers synthesize", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of patients without masses, their glands outlined")
    parser.add_argument("out", type=Path, help="folder to write cases to, made if absent")
    parser.add_argument("--masses", type=int, default=3, help="copies of each patient with one mass")
    parser.add_argument("--seed", type=int, default=90210, help="the same seed makes the same cases")
    parser.add_argument("--look-alikes", type=int, nargs="?", const=1, default=0, help="copies with look-alikes alone")
    parser.add_argument("--mixed", type=int, default=0, help="copies with one mass among look-alikes")
    parser.add_argument(
        "--localize", action="store_true", help="find the glands by the localizer where none are outlined"
    )
    parser.add_argument("--bundles", type=Path, help="folder with the localizer (default: the shipped one)")
    parser.add_argument("--localizer", default="parotid_localizer", help="name of the bundle")
    parser.add_argument("--limit", type=int, help="only the first patients, by name")
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    written = 0
    try:
        folders = list_cases(args.data)[: args.limit]
        localizer = load_bundle(args.localizer, torch.device("cpu"), args.bundles) if args.localize else None
    except Outcome as outcome:
        logger.error("%s", outcome.reason)
        return 1
    source = args.data.resolve().name
    copies = Copies(masses=args.masses, look_alikes=args.look_alikes, mixed=args.mixed)
    for number, folder in enumerate(folders):
        try:
            case = read_case(folder)
            is_outlined = bool(case.glands)
            if localizer is not None and not is_outlined and case.mass is None:
                case = replace(case, glands=find_glands(case, localizer))
        except Outcome as outcome:
            logger.warning("case=%s passed over: %s", folder.name, outcome.reason)
            continue
        written += synthesize(case, args.out, copies, (args.seed, number), source=source, is_outlined=is_outlined)
        logger.info("%d/%d %s", number + 1, len(folders), case.name)
    logger.info("%d cases in %s", written, args.out)
    return 0 if written else 1


def find_glands(case: Case, localizer: Localizer) -> dict[Side, Bools]:
    """Return the glands (z, y, x) that are covered and found. Raises SetAside where neither is covered."""
    parotids = localize_parotids(case.volume, localizer)
    return {parotid.side: mask for parotid in parotids if (mask := parotid.searched_mask) is not None}


def synthesize(
    case: Case,
    out: Path,
    copies: Copies,
    seed: tuple[int, int],
    *,
    source: str = "",
    is_outlined: bool = True,
) -> int:
    """Write one patient's cases and return how many; `seed` holds the run's seed and the patient's number.

    `source` names the patient's data set in case.json. Glands that nobody outlined (`is_outlined`) get masses alike,
    and the labels that are written do not hold them.
    The number lets sides alternate over patients too; the masses themselves follow from the run's seed and the
    patient's name, so that they are the same whoever else is in the folder.
    """
    origin = {"source": source, "patient": case.name}
    own = seed[0], zlib.crc32(case.name.encode())

    def write(
        what: str, hu: NDArray[Any], glands: dict[Side, Bools], mass: Bools | None, about: dict[str, Any]
    ) -> None:
        write_case(out / f"{case.name}{what}", case, hu, glands if is_outlined else {}, mass, origin | about)

    write("", case.volume.hu, case.glands, case.mass, {})
    sides = [side for side in Side if side in case.glands]
    if case.mass is not None or not sides:
        logger.warning("case=%s gets nothing: it holds a mass, or no gland is outlined (see --localize)", case.name)
        return 1
    for copy in range(copies.masses):
        side = sides[(seed[1] + copy) % len(sides)]
        hu, glands, mass, about = _with_mass(case, side, (*own, copy))
        write(f"+mass{copy + 1}", hu, glands, mass, about)
    for copy in range(copies.look_alikes):
        hu, glands, about = _with_look_alikes(case, (*own, 1000 + copy))
        write(f"+look{copy + 1}", hu, glands, None, about)
    for copy in range(copies.mixed):
        side = sides[(seed[1] + copy) % len(sides)]
        hu, glands, mass, about = _with_both(case, side, (*own, 2000 + copy))
        write(f"+mixed{copy + 1}", hu, glands, mass, about)
    return 1 + copies.masses + copies.look_alikes + copies.mixed


def _with_mass(
    case: Case, side: Side, seed: tuple[int, ...]
) -> tuple[NDArray[np.floating], dict[Side, Bools], Bools, dict[str, Any]]:
    """Return the image with one mass, the glands with the mass in its own, the mass, and what case.json says."""
    spacing_mm = _spacing_zyx(case)
    made = insert_mass(case.volume.hu, case.glands[side], spacing_mm, seed)
    glands = case.glands | {side: case.glands[side] | made.mask}
    described = {"synthetic": True, "side": str(side), "seed": list(seed)} | made.describe(spacing_mm)
    return made.hu, glands, made.mask, {"mass": described, "look_alikes": []}


def _with_look_alikes(
    case: Case, seed: tuple[int, ...]
) -> tuple[NDArray[np.floating], dict[Side, Bools], dict[str, Any]]:
    """Return the image with look-alikes at every gland, the glands as they are now, and what case.json says."""
    hu: NDArray[Any] = case.volume.hu
    glands, kinds = dict(case.glands), []
    for number, side in enumerate(sorted(case.glands)):
        made = add_look_alikes(hu, glands[side], _spacing_zyx(case), (*seed, number))
        hu, glands[side] = made.hu, made.gland
        kinds += [{"kind": kind, "side": str(side)} for kind in made.kinds]
    return hu, glands, {"look_alikes": kinds, "seed": list(seed)}


def _with_both(
    case: Case, side: Side, seed: tuple[int, ...]
) -> tuple[NDArray[np.floating], dict[Side, Bools], Bools, dict[str, Any]]:
    """Return the image with look-alikes at every gland and one mass on `side`, and the rest as `_with_mass` does."""
    hu, glands, disguise = _with_look_alikes(case, seed)
    disguised = replace(case, volume=replace(case.volume, hu=_whole_hu(hu)), glands=glands)
    hu, glands, mass, about = _with_mass(disguised, side, seed)
    return hu, glands, mass, about | {"look_alikes": disguise["look_alikes"]}


def _spacing_zyx(case: Case) -> Spacing:
    x, y, z = case.volume.spacing_mm
    return z, y, x


def write_case(
    folder: Path,
    case: Case,
    hu: NDArray[Any],
    glands: dict[Side, Bools],
    mass: Bools | None,
    about: dict[str, Any],
) -> None:
    """Write one case folder on the grid of `case`; other organs of its labels stay where no gland is."""
    folder.mkdir(parents=True, exist_ok=True)
    affine = TO_RAS @ case.volume.affine
    _write(folder / "image.nii.gz", _whole_hu(hu), affine)
    _write(folder / "labels.nii.gz", label_glands(case, glands), affine)
    if mass is None:
        (folder / "mass.nii.gz").unlink(missing_ok=True)
    else:
        _write(folder / "mass.nii.gz", mass.astype(np.uint8), affine)
    text = json.dumps(about, indent=1, ensure_ascii=False)
    (folder / "case.json").write_text(text + "\n", encoding="utf-8")


def _whole_hu(hu: NDArray[Any]) -> NDArray[np.int16]:
    return np.asarray(np.clip(np.rint(hu), *HU_RANGE), np.int16)


def _write(path: Path, values: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write `values` (z, y, x) as NIfTI, whose arrays are (x, y, z)."""
    image = nibabel.nifti1.Nifti1Image(np.ascontiguousarray(values.transpose(2, 1, 0)), affine)
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


if __name__ == "__main__":
    raise SystemExit(main())
