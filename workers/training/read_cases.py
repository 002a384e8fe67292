"""Read cases to train on or to judge by: one folder each, of NIfTI files or of a DICOM study, with or without truth.

A case is a folder with `image.nii.gz` and, where known, `labels.nii.gz` (1
right parotid, 2 left parotid) and `mass.nii.gz`; or with the DICOM files of
one CT series, in any names and depth, and perhaps of segmentations. Either way
the voxels reach the networks as the stages would hand them on.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydicom.uid import CTImageStorage
from scipy import ndimage

from screener.outcomes import NeedsPerson, Outcome
from screener.study import Side, Volume
from workers.ct.list_frames import ENHANCED_CT
from workers.ct.load_volume import load_volume
from workers.ct.select_series import select_series
from workers.training.read_nifti import find_nifti, holds_mass, read_labels, read_mass, read_volume
from workers.training.read_segmentation import list_dicom, list_drawn_on, outlines_mass, read_segmentations

logger = logging.getLogger(__name__)

Bools = NDArray[np.bool_]

RIGHT_LABEL: Final = 1
LEFT_LABEL: Final = 2
LABELS: Final = {Side.RIGHT: RIGHT_LABEL, Side.LEFT: LEFT_LABEL}

_LEAST_PART = 0.05
"""A side with a smaller share of the mass is not diseased, and a smaller piece of a contour is not of its gland."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One volume and what is known to be in it; masks (z, y, x) on the volume's grid."""

    name: str
    """The folder's."""
    volume: Volume
    glands: dict[Side, Bools]
    """Only those that are outlined; empty where the case has no labels."""
    mass: Bools | None
    """None where there is none: no file, or an empty one."""
    mass_sides: tuple[Side, ...]
    """Right before left; empty where there is no mass."""
    labels: NDArray[np.uint8] | None
    """The whole label map as it came, in the volume's axes; None where the case has none, or is DICOM."""


def list_cases(root: Path) -> list[Path]:
    """Return the folders of cases in `root`, or `root` itself where it is one, by name.

    A DICOM file right in `root` makes it one, whatever its folders hold: they and their outlines belong together.
    Raises NeedsPerson (`no_cases`) where `root` is no folder.
    """
    if not root.is_dir():
        raise NeedsPerson(f"{root} is no folder of cases.", code="no_cases")
    if find_nifti(root, "image") is not None or _holds_dicom(root.iterdir()):
        return [root]
    folders = sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return [path for path in folders if find_nifti(path, "image") is not None or _holds_dicom(path.rglob("*"))]


def no_outlined_gland(roots: Sequence[Path]) -> NeedsPerson:
    """Return what a training that has nothing to learn from raises."""
    folders = ", ".join(map(str, roots))
    return NeedsPerson(f"No case with an outlined parotid gland was found in {folders}.", code="no_cases")


def read_case(folder: Path) -> Case:
    """Read the case in `folder`; of several DICOM series the one on which its segmentations were drawn.

    Raises NeedsPerson or SetAside with a sentence that names the file or the
    folder: it cannot be read, does not fit together, or would not be screened.
    """
    if find_nifti(folder, "image") is not None:
        return _read_nifti_case(folder)
    return _read_dicom_case(folder)


def read_cases(root: Path, limit: int | None = None) -> Iterator[Case]:
    """Yield the cases below `root` by name; one that cannot be read is logged with its reason and passed over."""
    for folder in list_cases(root)[:limit]:
        try:
            case = read_case(folder)
        except Outcome as outcome:
            logger.warning("case=%s passed over: %s", folder.name, outcome.reason)
        else:
            yield case


def is_positive(folder: Path) -> bool:
    """Return whether the case in `folder` has a mass, as its outlines say without its images: those cannot be read."""
    if find_nifti(folder, "image") is not None:
        return holds_mass(folder, "mass")
    return any(map(outlines_mass, list_dicom(folder)[1]))


def drop_specks(gland: Bools) -> Bools:
    """Return the outlined gland (z, y, x) without what lies apart from it and is less than _LEAST_PART of it.

    Contouring slips leave single voxels far off, which would move the gland's
    center; an accessory gland is larger.
    """
    pieces, count = ndimage.label(gland, structure=np.ones((3, 3, 3), bool))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    sizes[0] = 0
    return np.asarray((sizes >= _LEAST_PART * sizes.max())[pieces] & gland)


def find_sides(mass: Bools, glands: dict[Side, Bools], volume: Volume) -> tuple[Side, ...]:
    """Return the sides on which the mass lies, right before left; at least one where the mass is not empty.

    Each piece belongs to the gland that it shares most voxels with or, apart
    from both, to the nearer one; where not both glands are outlined, to its
    side of the body's midline. A side is diseased by all its pieces together.
    """
    pieces, count = ndimage.label(mass, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)
    held = dict.fromkeys(Side, 0)
    for number, side in enumerate(_find_piece_sides(pieces, count, glands, volume), start=1):
        held[side] += int(sizes[number])
    return tuple(side for side in Side if held[side] and held[side] >= _LEAST_PART * mass.sum())


def _find_piece_sides(
    pieces: NDArray[np.integer], count: int, glands: dict[Side, Bools], volume: Volume
) -> Iterator[Side]:
    """Yield the side of each of the pieces (z, y, x) that are numbered from 1 to `count`."""
    numbers = np.arange(1, count + 1)
    shared = {side: np.bincount(pieces[gland], minlength=count + 1) for side, gland in glands.items()}
    spacing_mm = np.array(volume.spacing_mm[::-1])
    centers = np.array(ndimage.center_of_mass(pieces > 0, pieces, numbers)).reshape(-1, 3)
    places = {side: np.argwhere(gland) for side, gland in glands.items()}
    left_shares = [] if len(glands) == len(Side) else ndimage.mean(on_left(volume), pieces, numbers)
    for number in numbers:
        if any(voxels[number] for voxels in shared.values()):
            yield max(shared, key=lambda side: int(shared[side][number]))
        elif len(glands) == len(Side):
            center = centers[number - 1]
            apart_mm = {
                side: float(np.linalg.norm((voxels - center) * spacing_mm, axis=1).min())
                for side, voxels in places.items()
            }
            yield min(apart_mm, key=lambda side: apart_mm[side])
        else:
            yield Side.LEFT if left_shares[number - 1] > 0.5 else Side.RIGHT


def label_glands(case: Case, glands: dict[Side, Bools]) -> NDArray[np.uint8]:
    """Return a label map (z, y, x) of `glands` on the grid of `case`; its other organs stay where no gland is."""
    labels = np.zeros(case.volume.hu.shape, np.uint8) if case.labels is None else case.labels.copy()
    labels[np.isin(labels, list(LABELS.values()))] = 0
    for side, gland in glands.items():
        labels[gland] = LABELS[side]
    return labels


def on_left(volume: Volume) -> Bools:
    """Return True (z, y, x) on the patient's left of the midline, which is the middle of each slice's body."""
    body = volume.body if volume.body.any() else np.ones_like(volume.body)
    z, y, x = np.nonzero(body[:, ::2, ::2])
    places = volume.affine[0, :3] @ np.stack((2 * x, 2 * y, z)) + volume.affine[0, 3]  # LPS: +x is left
    counts = np.maximum(np.bincount(z, minlength=len(body)), 1)
    middles = np.bincount(z, places, minlength=len(body)) / counts
    middles[~body.any(axis=(1, 2))] = np.median(places)
    depth, rows, columns = volume.hu.shape
    step_x, step_y, step_z, start = volume.affine[0]
    place = (
        start
        + step_z * np.arange(depth)[:, None, None]
        + step_y * np.arange(rows)[None, :, None]
        + step_x * np.arange(columns)[None, None, :]
    )
    return np.asarray(place > middles[:, None, None], bool)


def _read_nifti_case(folder: Path) -> Case:
    volume = read_volume(folder, "image")
    labels = read_labels(folder, "labels", volume)
    glands: dict[Side, Bools] = {}
    if labels is not None:
        outlined = {side: labels == label for side, label in LABELS.items()}
        glands = {side: drop_specks(gland) for side, gland in outlined.items() if gland.any()}
    mass = read_mass(folder, "mass", volume)
    return _make_case(folder, volume, glands, mass, labels)


def _read_dicom_case(folder: Path) -> Case:
    images, segmentations = list_dicom(folder)
    if not images:
        raise NeedsPerson(f"{folder} holds neither image.nii.gz nor DICOM images.", code="bad_case")
    on_ct = {one.series_instance_uid for one in images if one.sop_class_uid in {*ENHANCED_CT, CTImageStorage}}
    drawn_on = list_drawn_on(segmentations) & on_ct
    if len(drawn_on) == 1:
        images = [one for one in images if one.series_instance_uid in drawn_on]
    try:
        series_instance_uid, _ = select_series(images)
        volume = load_volume(images, series_instance_uid)
    except Outcome as outcome:
        raise type(outcome)(f"{folder}: {outcome.reason}", code=outcome.code) from outcome
    glands, sideless, mass = read_segmentations(segmentations, volume)
    if sideless is not None:
        left = on_left(volume)
        for side, part in ((Side.RIGHT, sideless & ~left), (Side.LEFT, sideless & left)):
            if side not in glands and part.any():
                glands[side] = part
    return _make_case(folder, volume, glands, mass, None)


def _make_case(
    folder: Path, volume: Volume, glands: dict[Side, Bools], mass: Bools | None, labels: NDArray[np.uint8] | None
) -> Case:
    if mass is not None and not mass.any():
        mass = None
    sides = () if mass is None else find_sides(mass, glands, volume)
    return Case(name=folder.name, volume=volume, glands=glands, mass=mass, mass_sides=sides, labels=labels)


def _holds_dicom(paths: Iterable[Path]) -> bool:
    """Return whether any of these is a file that begins as DICOM (PS3.10 7.1); a disc's index of others does not count.

    That index is always called DICOMDIR (PS3.10 8.6).
    """
    for path in sorted(paths):
        if path.is_file() and path.name.upper() != "DICOMDIR":
            with path.open("rb") as stream:
                if stream.read(132)[128:] == b"DICM":
                    return True
    return False
