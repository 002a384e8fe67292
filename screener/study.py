"""The frozen values that pass between stages; no input or output.

Arrays are (z, y, x), z running from feet to head; world is LPS millimeters
(PS3.3 C.7.6.2.1.1); left and right are the patient's. A mass voxel is 1 mm^3:
candidates are counted on a 1 mm isotropic grid whatever the scan's spacing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

MANUFACTURER = "Parotid Screener Project"
"""Manufacturer (0008,0070) of every result; with Contributing Equipment it tells our objects from others'."""
MODEL_NAME_CT = "Parotid Screener CT"
"""Manufacturer's Model Name (0008,1090) of every result made from CT."""

GAMMAS: Final = range(1, 11)
"""The inverse radii of influence for which a machine that judges candidates ships."""
DEFAULT_GAMMA: Final = 5
DEFAULT_MIN_SCORE: Final = 0.2
DEFAULT_MIN_COVERED_SHARE: Final = 0.4
DEFAULT_MIN_MALIGNANCY: Final = 0.5
DEFAULT_US_FINDINGS: Final = "report"
LEAST_COVERED_SHARE: Final = 0.2
"""Of less than this of a gland nothing is searched or stored, so that no setting can ask for it."""


class Side(StrEnum):
    """The patient's side."""

    RIGHT = "right"
    LEFT = "left"


class Presence(StrEnum):
    """The coded answer for one gland: mass above threshold present, absent or undetermined."""

    PRESENT = "present"
    ABSENT = "absent"
    UNDETERMINED = "undetermined"


@dataclass(frozen=True, slots=True, kw_only=True)
class Instance:
    """One received image of a study, as the archive holds it."""

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    path: Path
    """A whole DICOM file (PS3.10), never a partial one."""
    sha256: str
    """Digest of the received data set, in hexadecimal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesChoice:
    """One series of a study, and why it was taken or refused."""

    series_instance_uid: str
    modality: str
    score: float
    is_chosen: bool
    reasons: tuple[str, ...]
    """Sentences for the operator; no identity of the patient."""
    instance_count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """CT voxels and the one transform that places them in the patient."""

    hu: NDArray[np.int16]
    """Hounsfield units, axes (z, y, x), feet to head along z."""
    affine: NDArray[np.float64]
    """4 x 4, voxel index (x, y, z, 1) to LPS millimeters. Spacing is read from here only."""
    body: NDArray[np.bool_]
    """True inside the patient, axes (z, y, x): table and air outside are False."""
    series_instance_uid: str
    frame_of_reference_uid: str
    sop_instance_uids: tuple[str, ...]
    """One per slice, in z order; of a multi-frame image the same for each of its frames."""
    frame_numbers: tuple[int, ...] = ()
    """Frame numbers from 1, one per slice, in z order, where the slices are frames; 0 in it is a single image.

    Empty where every slice is an image of its own.
    """

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel size along (x, y, z) in millimeters."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def voxel_volume_mm3(self) -> float:
        """Volume of one voxel, shear included."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Parotid:
    """One parotid gland as the localizer found it, or the reason why not."""

    side: Side
    is_assessed: bool
    """True: found and searched; whether enough of it is covered, `decide` says. False: not assessed, see `reason`."""
    reason: str
    """Why the gland is not assessed, a sentence for the operator; empty when it is."""
    center_mm: tuple[float, float, float] | None
    """Center of mass, LPS millimeters; None when nothing was found."""
    mask: NDArray[np.bool_] | None
    """The gland on the source grid, axes (z, y, x); None when nothing was found."""
    volume_mm3: float
    mean_hu: float | None
    covered_share: float = 1.0
    """How much of the gland the scan covers, 0 to 1, estimated where the scan's end cuts it; 0 where none was found."""
    is_partial: bool = False
    """True: the scan begins or ends inside the gland, and what is covered is searched."""

    @property
    def searched_mask(self) -> NDArray[np.bool_] | None:
        """The gland (z, y, x) in and around which masses are searched for; None where it is not assessed or empty."""
        return self.mask if self.is_assessed and self.mask is not None and self.mask.any() else None

    @property
    def assessment(self) -> "GlandAssessment":
        """What `decide` needs to know of the gland."""
        return GlandAssessment(
            side=self.side,
            is_assessed=self.is_assessed,
            reason=self.reason,
            volume_mm3=self.volume_mm3,
            mean_hu=self.mean_hu,
            covered_share=self.covered_share,
            is_partial=self.is_partial,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One connected component of the mass probability, in numbers only; stored, so that a new threshold is a query."""

    side: Side
    number: int
    """1, 2, ... within the run, largest first; also names the segment in the SEG."""
    voxels: int
    """Voxels on the 1 mm isotropic grid."""
    volume_mm3: float
    longest_diameter_mm: float
    mean_hu: float
    max_probability: float
    mean_probability: float
    center_mm: tuple[float, float, float]
    """Center of mass, LPS millimeters."""
    features: Mapping[str, float] = field(default_factory=dict)
    """What the support vector machines judge by, name to number; empty in rows of versions that had none."""
    scores: tuple[float, ...] = ()
    """How much it resembles a mass, 0 to 1, one score for each of GAMMAS; empty where no machine judged it."""

    def score(self, gamma: int) -> float | None:
        """The score at `gamma`, or None where no machine judged the candidate."""
        return self.scores[GAMMAS.index(gamma)] if self.scores else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mass:
    """A candidate and where it lies."""

    candidate: Candidate
    mask: NDArray[np.bool_]
    """On the source grid, axes (z, y, x)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """The decision settings in force, written into the run's row by the daemon."""

    min_voxels: int
    """A component smaller than this (1 mm voxels) is not called a mass."""
    min_probability: float
    """Voxels at or above this mass probability form the components."""
    config_revision: str
    """First 12 hexadecimal digits of the digest of the decision settings."""
    gamma: int = DEFAULT_GAMMA
    """Which machine judges the candidates, one of GAMMAS."""
    min_score: float = DEFAULT_MIN_SCORE
    """A candidate with a lower score is judged not to be a mass, whatever its size; 0 takes every candidate."""
    min_covered_share: float = DEFAULT_MIN_COVERED_SHARE
    """A gland of which the scan covers less is not assessed."""
    min_malignancy: float = DEFAULT_MIN_MALIGNANCY
    """An ultrasound lesion whose calibrated probability of malignancy is lower is called benign."""
    us_findings: str = DEFAULT_US_FINDINGS
    """What a reader's findings are for: "report" shows the nomogram beside the image, "decide" judges by it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GlandAssessment:
    """What `decide` needs to know of one gland: numbers and words only."""

    side: Side
    is_assessed: bool
    reason: str
    volume_mm3: float
    mean_hu: float | None
    covered_share: float = 1.0
    is_partial: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GlandVerdict:
    """The decision for one gland."""

    side: Side
    presence: Presence
    reason: str
    """One sentence: what was found and against which threshold, or why it is undetermined."""
    candidate_numbers: tuple[int, ...]
    """Numbers of the candidates above the threshold, largest first."""
    covered_share: float = 1.0
    is_partial: bool = False
    """True: the scan covers the gland in part only, and the decision speaks of that part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision for the study."""

    is_flagged: bool
    """True: at least one gland holds a mass above the threshold."""
    glands: tuple[GlandVerdict, ...]
    """Right, then left."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlgorithmIdentity:
    """Who made a result: the one value behind every place a DICOM object names the algorithm (IHE AIR 6.5.3.1)."""

    manufacturer: str
    model_name: str
    software_versions: str
    device_uid: str
    """2.25-rooted UUID5 of the weights' digests and the preprocessing version."""
    device_serial_number: str
    family: str
    """CID 7162 meaning, such as `Artificial Intelligence`."""
    learned_from: str = ""
    """A sentence: what ultrasound models learned from; empty for CT."""
