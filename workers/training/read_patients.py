"""Read the training patients: images and labels as arrays in our axes, masked as the networks will see them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workers.ct.check_values import AIR_HU
from workers.training.read_cases import LABELS, LEFT_LABEL, RIGHT_LABEL, Case, read_case, read_cases

__all__ = ["LEFT_LABEL", "RIGHT_LABEL", "Patient", "as_patient", "read_patient", "read_patients"]


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
    """Return the case as a patient to train on; where its axes are oblique, they are taken as upright."""
    labels = case.labels
    if labels is None:
        labels = np.zeros(case.volume.hu.shape, np.uint8)
        for side, gland in case.glands.items():
            labels[gland] = LABELS[side]
    x, y, z = case.volume.spacing_mm
    hu = np.where(case.volume.body, case.volume.hu, np.int16(AIR_HU))
    return Patient(name=case.name, hu=hu, labels=labels, spacing_mm=(z, y, x), mass=case.mass)


def read_patient(folder: Path) -> Patient:
    """Read one case (see `read_cases`) as a patient."""
    return as_patient(read_case(folder))


def read_patients(root: Path, limit: int | None = None) -> Iterator[Patient]:
    """Yield the patients below `root` in the order of their names; those that cannot be read are passed over."""
    for case in read_cases(root, limit):
        yield as_patient(case)
