"""Three synthetic patients to try the screener on: two on CT, one of them with a mass, and one on ultrasound."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypedDict

from screener.phantom import Phantom, make_phantom, write_phantom
from screener.phantom_us import UltrasoundPhantom, make_us_phantom

MASS_MM: Final = 25.0
LESION_MM: Final = 18.0


class _Identity(TypedDict):
    patient_name: str
    patient_id: str
    accession_number: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PhantomPatient:
    """One synthetic patient with one study."""

    number: int
    title: str
    phantom: Phantom | UltrasoundPhantom
    is_mass_expected: bool | None
    """True or False on CT; None on ultrasound."""
    is_lesion_expected: bool

    @property
    def identity(self) -> frozenset[str]:
        """The patient's name, ID and accession number, which no log may hold."""
        return frozenset(map(str, _identify(self.number).values()))


def make_patients() -> Iterator[PhantomPatient]:
    """Make one patient after the other; their studies are new at each call."""
    for number, mass_mm in enumerate((MASS_MM, None), start=1):
        yield PhantomPatient(
            number=number,
            title=f"phantom {number}, CT {f'with a mass of {mass_mm:.0f} mm' if mass_mm else 'without a mass'}",
            phantom=make_phantom(mass_mm=mass_mm, seed=number, **_identify(number)),
            is_mass_expected=mass_mm is not None,
            is_lesion_expected=False,
        )
    number = 3
    yield PhantomPatient(
        number=number,
        title=f"phantom {number}, ultrasound with a lesion of {LESION_MM:.0f} mm",
        phantom=make_us_phantom(lesion_mm=LESION_MM, seed=number, **_identify(number)),
        is_mass_expected=None,
        is_lesion_expected=True,
    )


def write_patients(folder: Path) -> Iterator[tuple[PhantomPatient, Path]]:
    """Write each patient's DICOM files to a folder of its own below `folder`; OSError where that cannot be."""
    for patient in make_patients():
        below = folder / f"phantom-{patient.number}"
        write_phantom(patient.phantom, below)
        yield patient, below


def _identify(number: int) -> _Identity:
    return _Identity(
        patient_name=f"PHANTOM^{number}", patient_id=f"PHANTOM-{number}", accession_number=f"PHANTOM-ACC-{number}"
    )
