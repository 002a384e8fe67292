"""What the ultrasound encoders are given: one finished screening and the headers of its pictures."""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.uid import (
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSNearLossless,
    MPEGTransferSyntaxes,
    UltrasoundImageStorage,
)
from pydicom.valuerep import PersonName

from screener.outcomes import NeedsPerson
from screener.study import AlgorithmIdentity
from screener.us_study import Answer, Frame, Lesion, UltrasoundVerdict
from workers.compare_patients import read_patient, refuse_mixed
from workers.results.identity import RESEARCH_USE, derive_uid
from workers.results.repair_source import localize_instant, repair_picture

SERIES_DESCRIPTION = f"Ultrasound: {RESEARCH_USE}"
NOT_CALIBRATED = "No diameter in millimeters: the picture is not calibrated."
TRACKING_ID = "Lesion"
# JPEG 2000 is left out: under its general syntax an image may be lossless.
_LOSSY_SYNTAXES = (JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless, *MPEGTransferSyntaxes)


@dataclass(frozen=True, slots=True, kw_only=True)
class UltrasoundScreening:
    """A finished screening of one study."""

    sources: Sequence[Dataset]
    """Repaired headers of the pictures that were screened, without the patient's name; at least one."""
    patient_name: PersonName | str
    """Kept apart from the headers: the encoding library puts names that it finds odd into warnings."""
    verdict: UltrasoundVerdict
    lesion: Lesion | None
    identity: AlgorithmIdentity
    run_key: str
    started_at: datetime
    """As dates and times of the study are told (`localize_instant`)."""
    thresholds: Mapping[str, object]
    """The decision settings in force by name, `config_revision` among them."""
    run_number: int

    def __post_init__(self) -> None:
        """Raise ValueError where the verdict and the lesion contradict each other."""
        answer = self.verdict.answer
        if answer in (Answer.MALIGNANT, Answer.BENIGN) and (self.lesion is None or self.verdict.probability is None):
            raise ValueError(f"an answer of {answer.value!r} needs a lesion and a probability")
        if answer is Answer.NO_LESION and self.lesion is not None:
            raise ValueError("no lesion was found, and one is given")

    @property
    def tracking_uid(self) -> str:
        """The lesion's, the same in segmentation and report."""
        return derive_uid(self.run_key, f"tracking {TRACKING_ID}")

    @property
    def parameters(self) -> str:
        """The thresholds as one line, `name=value` each."""
        return " ".join(f"{name}={value}" for name, value in self.thresholds.items())


def read_screening(
    source_paths: Sequence[Path],
    verdict: UltrasoundVerdict,
    lesion: Lesion | None,
    *,
    identity: AlgorithmIdentity,
    run_key: str,
    started_at: datetime,
    thresholds: Mapping[str, object],
    run_number: int,
) -> UltrasoundScreening:
    """Read and repair the headers of `source_paths`, one file of the study each.

    Raises NeedsPerson where there is none, where a result cannot refer to one, where the lesion's is not among
    them, or where they belong to several patients: a result names one.
    """
    if not source_paths:
        raise NeedsPerson("There is no picture that a report could refer to.", code="no_pictures")
    sources = [_read_header(path) for path in source_paths]
    refuse_mixed(read_patient(source) for source in sources)
    patient_name = sources[0].PatientName
    for source in sources:
        source.PatientName = ""
    if lesion is not None:
        find_source(sources, lesion.frame)
    return UltrasoundScreening(
        sources=sources,
        patient_name=patient_name,
        verdict=verdict,
        lesion=lesion,
        identity=identity,
        run_key=run_key,
        started_at=localize_instant(started_at, sources[0]),
        thresholds=thresholds,
        run_number=run_number,
    )


def _read_header(path: Path) -> Dataset:
    """Read and repair one header; where it is silent on lossy compression, the transfer syntax tells."""
    ds = dcmread(path, stop_before_pixels=True)
    source = repair_picture(ds)
    if "LossyImageCompression" not in source and ds.file_meta.get("TransferSyntaxUID") in _LOSSY_SYNTAXES:
        source.LossyImageCompression = "01"
    return source


def find_source(sources: Sequence[Dataset], frame: Frame) -> Dataset:
    """Give the header of the picture that holds `frame`; NeedsPerson where it is not there or has another size."""
    for source in sources:
        if source.SOPInstanceUID == frame.sop_instance_uid:
            if (source.get("Rows"), source.get("Columns")) == frame.picture_shape:
                return source
            raise NeedsPerson("The archived picture has another size than the one screened.", code="sources_differ")
    raise NeedsPerson("The archived pictures lack the one in which the lesion was found.", code="sources_differ")


def as_image(source: Dataset) -> Dataset:
    """Copy a header as that of a single ultrasound image: the encoding library knows no retired class.

    Nothing is shared with the original: the library hands elements on to what it makes, and there they change.
    """
    image = deepcopy(source)
    image.SOPClassUID = UltrasoundImageStorage
    return image


def lay_on_picture(lesion: Lesion) -> NDArray[np.bool_]:
    """Give the lesion's mask on the whole stored picture, (rows, columns)."""
    box = lesion.frame.box
    picture = np.zeros(lesion.frame.picture_shape, dtype=np.bool_)
    picture[box.top : box.bottom, box.left : box.right] = lesion.mask
    return picture
