"""The frozen values that pass between the ultrasound stages; no input or output.

Arrays are (rows, columns), the skin at the top. A frame is a region of one stored picture that shows one
B-mode image: a dual picture gives two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

MODEL_NAME_US = "Parotid Screener US"
"""Manufacturer's Model Name (0008,1090) of every result made from ultrasound."""


FUSION = "the fusion of radiomics, deep features and image model"
"""What gives the probability where `models.us_decides` is "fusion", in words."""


def name_judge(*, is_by_fusion: bool) -> str:
    """Say in two words what gave the probability of the pictures, without a reader's findings."""
    return "the fusion" if is_by_fusion else "the image"


GLAND_NOT_CHECKED = "Whether the picture shows a parotid gland, and of which side, was not checked."
"""Told wherever an answer on ultrasound is."""


class Answer(StrEnum):
    """What the ultrasound queue says of a study."""

    MALIGNANT = "malignant"
    BENIGN = "benign"
    NO_LESION = "no lesion found"
    NOT_ASSESSABLE = "not assessable"


class Finding(StrEnum):
    """What a reader says of a lesion; each is present, absent or not known."""

    IRREGULAR_SHAPE = "irregular shape"
    POORLY_DEFINED_MARGIN = "poorly defined margin"
    POSTERIOR_ENHANCEMENT = "posterior enhancement"
    SUSPICIOUS_LYMPH_NODES = "suspicious lymph nodes"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadFindings:
    """What a worksheet or a person says of the lesion."""

    values: Mapping[Finding, bool]
    """True: present, False: absent; what is not known has no entry."""
    reason: str
    """Sentences for the operator: where the findings come from, and why others are not known; no identity."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Combination:
    """What the image model and a reader's findings say together (workers/us/nomogram.py)."""

    probability: float | None
    """Of malignancy, 0 to 1; None while a finding is missing."""
    lowest: float
    """The probability at the least favorable values that the missing findings leave; `probability` if none is."""
    highest: float
    missing: tuple[Finding, ...]
    """Those of the nomogram's findings that are not known."""
    reason: str
    """One sentence for the report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle of pixels; ends are exclusive."""

    top: int
    left: int
    bottom: int
    right: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One B-mode image of a study, in gray."""

    sop_instance_uid: str
    frame_number: int
    """From 1; 0 where the object holds a single image."""
    box: Box
    """Where `gray` lies in the stored picture."""
    picture_shape: tuple[int, int]
    """Rows and columns of the stored picture."""
    gray: NDArray[np.uint8]
    """(rows, columns) of the box; colored marks and text as gray."""
    spacing_mm: tuple[float, float] | None
    """Distance between rows and between columns; None where the object holds no calibration of the region."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameChoice:
    """One frame, and why it was taken or refused."""

    sop_instance_uid: str
    frame_number: int
    is_taken: bool
    reason: str
    """A sentence for the operator; no identity of the patient."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesion:
    """The lesion of the frame that stands for the study: the frame with the largest."""

    frame: Frame
    mask: NDArray[np.bool_]
    """One connected region on the frame's gray, (rows, columns)."""
    mean_probability: float
    """Of the segmenter within the mask, 0 to 1."""
    area_px: int
    longest_diameter_mm: float | None
    """None where the frame is not calibrated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundVerdict:
    """The decision for an ultrasound study."""

    answer: Answer
    is_flagged: bool
    probability: float | None
    """Calibrated probability of malignancy by the pictures alone, 0 to 1; None without a lesion."""
    reason: str
    """One sentence: what was found and against which threshold, or why there is no answer."""
    findings: ReadFindings | None = None
    """What a reader says of the lesion; None where nobody was asked."""
    combination: Combination | None = None
    """The image together with a reader's findings; None where the image has no probability."""
    is_by_findings: bool = False
    """True: the combined probability decided; False: that of the pictures alone."""
    is_by_fusion: bool = False
    """True: `probability` is the fusion's, or would be; False: the image model's."""

    @property
    def deciding_probability(self) -> float | None:
        """The probability that was held against the threshold."""
        if self.is_by_findings and self.combination is not None:
            return self.combination.probability
        return self.probability
