"""Small ultrasound studies with a known lesion, and what the stages before encoding would say of them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import Dataset, dcmread
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian, UltrasoundImageStorage, UltrasoundMultiFrameImageStorage

from screener.study import AlgorithmIdentity
from screener.us_study import MODEL_NAME_US, Answer, Box, Frame, Lesion, UltrasoundVerdict
from tests.conformance.studies import STARTED_AT
from workers.results.draw_us_capture import draw_us_capture
from workers.results.encode_results import ResultFile
from workers.results.encode_us_capture import encode_us_capture
from workers.results.encode_us_results import encode_us_results
from workers.results.encode_us_seg import encode_us_seg
from workers.results.encode_us_sr import encode_us_sr
from workers.results.identity import derive_uid, make_identity
from workers.results.us_screening import UltrasoundScreening, read_screening

THRESHOLDS: Mapping[str, object] = {"min_malignancy": 0.5, "min_lesion_probability": 0.4, "config_revision": "ab12cd34"}
BOX = Box(top=20, left=30, bottom=100, right=150)
MALIGNANT = UltrasoundVerdict(
    answer=Answer.MALIGNANT, is_flagged=True, probability=0.83, reason="Probability 0.83, at or above 0.50."
)
BENIGN = UltrasoundVerdict(answer=Answer.BENIGN, is_flagged=False, probability=0.2, reason="Probability 0.20.")
NO_LESION = UltrasoundVerdict(
    answer=Answer.NO_LESION, is_flagged=False, probability=None, reason="No lesion in 3 frames."
)
NOT_ASSESSABLE = UltrasoundVerdict(
    answer=Answer.NOT_ASSESSABLE, is_flagged=False, probability=None, reason="The frames are too small."
)


@dataclass(frozen=True, kw_only=True)
class UsStudy:
    """Sources on disk, and the values that the encoders take."""

    source_paths: list[Path]
    verdict: UltrasoundVerdict
    lesion: Lesion | None
    cam: NDArray[np.float32] | None = None
    identity: AlgorithmIdentity
    run_key: str = "run 1"

    def screening(self) -> UltrasoundScreening:
        return read_screening(
            self.source_paths,
            self.verdict,
            self.lesion,
            identity=self.identity,
            run_key=self.run_key,
            started_at=STARTED_AT,
            thresholds=THRESHOLDS,
            run_number=3,
        )

    def objects(self) -> list[Dataset]:
        """Segmentation, report and capture, as far as there are any."""
        screening = self.screening()
        found = [encode_us_seg(screening), encode_us_sr(screening)]
        if self.lesion is not None:
            found.append(
                encode_us_capture(screening, draw_us_capture(self.lesion, self.verdict, self.cam, LEARNED_FROM))
            )
        return [ds for ds in found if ds is not None]

    def files(self) -> list[ResultFile]:
        return encode_us_results(
            self.source_paths,
            self.verdict,
            self.lesion,
            cam=self.cam,
            identity=self.identity,
            run_key=self.run_key,
            started_at=STARTED_AT,
            thresholds=THRESHOLDS,
            run_number=3,
        )


LEARNED_FROM = "The ultrasound models learned from lesions of the test: from no parotid tumor."


def identify(weights: str = "a1b2") -> AlgorithmIdentity:
    identity = make_identity(
        weight_digests={"lesions": weights, "classifier": "c3d4"},
        preprocessing_version="1",
        version="0.1.0",
        device_serial_number="1",
        model_name=MODEL_NAME_US,
    )
    return replace(identity, learned_from=LEARNED_FROM)


def make_us_study(
    folder: Path,
    *,
    verdict: UltrasoundVerdict = MALIGNANT,
    frames: int = 0,
    frame_number: int = 0,
    spacing_mm: tuple[float, float] | None = (0.1, 0.1),
    pictures: int = 2,
    **faults: Any,
) -> UsStudy:
    """Write pictures of 120 x 180, clips where `frames` are asked for, and lay a lesion over the last one.

    `faults` are set on every header; None removes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(1, pictures + 1):
        ds = make_picture(number, frames=frames, **faults)
        paths.append(folder / f"{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return dress(paths, ds, BOX, verdict=verdict, frame_number=frame_number, spacing_mm=spacing_mm)


def dress(
    paths: list[Path],
    ds: Dataset,
    box: Box,
    *,
    verdict: UltrasoundVerdict = MALIGNANT,
    frame_number: int = 0,
    spacing_mm: tuple[float, float] | None = None,
) -> UsStudy:
    """Lay an ellipse, as the lesion, and a map over the box of a picture, which `paths` hold."""
    pixels = np.asarray(ds.pixel_array)
    if frame_number:
        pixels = pixels[frame_number - 1]
    gray = (pixels if pixels.ndim == 2 else pixels.mean(axis=-1)).astype(np.uint8)
    gray = gray[box.top : box.bottom, box.left : box.right]
    rows, columns = np.indices(gray.shape)
    away = np.hypot((rows / gray.shape[0] - 0.5) / 0.25, (columns / gray.shape[1] - 0.4) / 0.2)
    frame = Frame(
        sop_instance_uid=str(ds.SOPInstanceUID),
        frame_number=frame_number,
        box=box,
        picture_shape=(int(ds.Rows), int(ds.Columns)),
        gray=gray,
        spacing_mm=spacing_mm,
    )
    mask = away <= 1.0
    lesion = Lesion(
        frame=frame,
        mask=mask,
        mean_probability=0.91,
        area_px=int(mask.sum()),
        longest_diameter_mm=None if spacing_mm is None else 5.04,
    )
    has_lesion = verdict.answer in (Answer.MALIGNANT, Answer.BENIGN)
    return UsStudy(
        source_paths=paths,
        verdict=verdict,
        lesion=lesion if has_lesion else None,
        identity=identify(),
        cam=np.clip(1.4 - away, 0, 1).astype(np.float32) if has_lesion else None,
    )


def open_picture(path: Path, *, frame_number: int = 0, spacing_mm: tuple[float, float] | None = None) -> UsStudy:
    """Lay a lesion over the middle of a real object, which is read without the product's reader."""
    ds = dcmread(path, force=True)
    rows, columns = int(ds.Rows), int(ds.Columns)
    box = Box(top=rows // 8, left=columns // 8, bottom=rows * 7 // 8, right=columns * 7 // 8)
    return dress([path], ds, box, frame_number=frame_number, spacing_mm=spacing_mm)


def make_picture(number: int, *, frames: int = 0, gray: NDArray[np.uint8] | None = None, **faults: Any) -> FileDataset:
    """Make one ultrasound image (PS3.3 A.6) or, of `frames` frames, a clip (A.7)."""
    if gray is None:
        gray = np.random.default_rng(number).integers(0, 200, size=(120, 180), dtype=np.uint8)
    sop_class_uid = UltrasoundMultiFrameImageStorage if frames else UltrasoundImageStorage
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = sop_class_uid
    meta.MediaStorageSOPInstanceUID = UID(picture_uid(number))
    ds = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = sop_class_uid, picture_uid(number)
    ds.StudyInstanceUID, ds.SeriesInstanceUID = derive_uid("test", "us study"), derive_uid("test", "us series")
    ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "CANARY^DONOTLOG", "CANARY-ID", "19500102", "O"
    ds.StudyDate, ds.StudyTime, ds.StudyID, ds.AccessionNumber = "20260304", "040506", "S1", "CANARY-ACC"
    ds.ReferringPhysicianName, ds.Modality, ds.SeriesNumber, ds.InstanceNumber = "", "US", 2, number
    ds.Manufacturer, ds.ManufacturerModelName = "Test scanners", "U-1000"
    ds.ImageType = ["ORIGINAL", "PRIMARY"]
    ds.Rows, ds.Columns = gray.shape
    ds.SamplesPerPixel, ds.PhotometricInterpretation = 1, "MONOCHROME2"
    ds.BitsAllocated = ds.BitsStored = 8
    ds.HighBit, ds.PixelRepresentation = 7, 0
    if frames:
        ds.NumberOfFrames, ds.FrameTime = frames, "40"
    ds.PixelData = gray.tobytes() * max(1, frames)
    for keyword, value in faults.items():
        if value is None:
            del ds[keyword]
        else:
            setattr(ds, keyword, value)
    return ds


def picture_uid(number: int) -> str:
    return derive_uid("test", f"picture {number}")
