"""Read the training patients: images and labels as arrays in our axes, masked as the networks will see them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import nibabel
import numpy as np
from numpy.typing import NDArray

from workers.ct.check_values import AIR_HU
from workers.training.read_cases import LEFT_LABEL, RIGHT_LABEL, Case, label_glands, read_case, read_cases
from workers.training.read_nifti import TO_RAS

__all__ = ["LEFT_LABEL", "RIGHT_LABEL", "Patient", "as_patient", "read_patient", "read_patients"]

_Scalar = TypeVar("_Scalar", bound=np.generic)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """One training patient; arrays (z, y, x), feet to head, front to back, patient's right to left."""

    name: str
    hu: NDArray[np.int16]
    """Air outside the body: a table must not reach the networks, in training no more than in screening."""
    labels: NDArray[np.uint8]
    """1 right parotid, 2 left parotid; other organs as the source has them. All 0 where nothing is outlined."""
    spacing_mm: tuple[float, float, float]
    """Along (z, y, x)."""
    mass: NDArray[np.bool_] | None = None
    """A mass that is in the image already; None where there is none."""


def as_patient(case: Case) -> Patient:
    """Return the case as a patient to train on, turned to our axes; oblique ones are taken as the nearest upright.

    DICOM rows and columns run as they were stored, which is another way where
    the patient lay prone or feet first.
    """
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(TO_RAS @ case.volume.affine), nibabel.orientations.axcodes2ornt(("L", "P", "S"))
    )

    def upright(array: NDArray[_Scalar]) -> NDArray[_Scalar]:
        turned = nibabel.orientations.apply_orientation(array.transpose(2, 1, 0), turn)  # (x, y, z)
        return np.ascontiguousarray(turned.transpose(2, 1, 0))

    along = {int(axis): float(size_mm) for (axis, _), size_mm in zip(turn, case.volume.spacing_mm, strict=True)}
    return Patient(
        name=case.name,
        hu=upright(np.where(case.volume.body, case.volume.hu, np.int16(AIR_HU))),
        labels=upright(label_glands(case, case.glands)),
        spacing_mm=(along[2], along[1], along[0]),
        mass=None if case.mass is None else upright(case.mass),
    )


def read_patient(folder: Path) -> Patient:
    """Read one case (see `read_cases`) as a patient."""
    return as_patient(read_case(folder))


def read_patients(root: Path, limit: int | None = None) -> Iterator[Patient]:
    """Yield the patients below `root` in the order of their names; those that cannot be read are passed over."""
    for case in read_cases(root, limit):
        yield as_patient(case)
