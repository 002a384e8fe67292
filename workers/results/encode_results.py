"""DECIDED -> ENCODED: SEG, SR and key image of one run as the bytes that are kept and sent.

Encoded once: a resend sends the same bytes, and every UID is derived from the
run's key, so that sending twice is harmless.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

from pydicom import Dataset, dcmwrite

from screener.study import AlgorithmIdentity, Mass, Parotid, Thresholds, Verdict, Volume
from workers.results.draw_key_image import draw_key_image
from workers.results.encode_seg import encode_seg
from workers.results.encode_sr import encode_sr


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFile:
    """One result, ready to be written."""

    role: str
    """seg, sr, key_image or, of ultrasound, capture."""
    sop_class_uid: str
    """Empty for the key image, which is a PNG and is not sent."""
    sop_instance_uid: str
    suffix: str
    """Of the file's name."""
    content: bytes


def encode_results(
    source_paths: Sequence[Path],
    volume: Volume,
    parotids: Sequence[Parotid],
    masses: Sequence[Mass],
    verdict: Verdict,
    *,
    identity: AlgorithmIdentity,
    run_key: str,
    started_at: datetime,
    thresholds: Thresholds,
    run_number: int,
) -> list[ResultFile]:
    """Encode the run's results; `masses` are those above the threshold, `source_paths` lie in the volume's z order."""
    parameters = " ".join(f"{name}={value}" for name, value in asdict(thresholds).items())
    seg = encode_seg(
        source_paths,
        volume,
        parotids,
        masses,
        identity=identity,
        run_key=run_key,
        started_at=started_at,
        algorithm_parameters=parameters,
    )
    report = encode_sr(
        source_paths,
        volume,
        parotids,
        masses,
        verdict,
        seg=seg,
        identity=identity,
        run_key=run_key,
        started_at=started_at,
        thresholds=thresholds,
        run_number=run_number,
    )
    files = [] if seg is None else [file_result("seg", seg)]
    files.append(file_result("sr", report))
    key_image = draw_key_image(volume, parotids, masses, verdict)
    files.append(ResultFile(role="key_image", sop_class_uid="", sop_instance_uid="", suffix=".png", content=key_image))
    return files


def file_result(role: str, ds: Dataset) -> ResultFile:
    """Make a result of `ds`, as the bytes of a DICOM file."""
    buffer = BytesIO()
    dcmwrite(buffer, ds, enforce_file_format=True)
    return ResultFile(
        role=role,
        sop_class_uid=str(ds.SOPClassUID),
        sop_instance_uid=str(ds.SOPInstanceUID),
        suffix=".dcm",
        content=buffer.getvalue(),
    )
