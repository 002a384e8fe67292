"""Read the training patients: NIfTI images and labels as arrays in our axes."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

RIGHT_LABEL = 1
LEFT_LABEL = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One training patient; arrays (z, y, x), feet to head, front to back, patient's right to left."""

    name: str
    hu: NDArray[np.int16]
    labels: NDArray[np.uint8]
    """1 right parotid, 2 left parotid; other organs as the source has them."""
    spacing_mm: tuple[float, float, float]
    """Along (z, y, x)."""


def read_patient(folder: Path) -> Patient:
    """Read `image.nii.gz` and `labels.nii.gz` of `folder`; any axis order, no oblique axes."""
    image = nibabel.nifti1.load(folder / "image.nii.gz")
    labels = nibabel.nifti1.load(folder / "labels.nii.gz")
    to_lps = nibabel.orientations.axcodes2ornt(("L", "P", "S"))
    turn = nibabel.orientations.ornt_transform(nibabel.io_orientation(image.affine), to_lps)
    hu = nibabel.orientations.apply_orientation(np.asarray(image.dataobj), turn).transpose(2, 1, 0)
    organs = nibabel.orientations.apply_orientation(np.asarray(labels.dataobj), turn).transpose(2, 1, 0)
    sizes = np.linalg.norm(image.affine[:3, :3], axis=0)
    along = {int(axis): float(size) for (axis, _), size in zip(turn, sizes, strict=True)}
    return Patient(
        name=folder.name,
        hu=np.ascontiguousarray(hu, dtype=np.int16),
        labels=np.ascontiguousarray(organs, dtype=np.uint8),
        spacing_mm=(along[2], along[1], along[0]),
    )


def read_patients(root: Path, limit: int | None = None) -> Iterator[Patient]:
    """Yield the patients below `root` in the order of their names; those without images are passed over."""
    folders = sorted(folder for folder in root.iterdir() if (folder / "image.nii.gz").exists())
    for folder in folders[:limit]:
        yield read_patient(folder)
