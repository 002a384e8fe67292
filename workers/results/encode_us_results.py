"""DECIDED -> ENCODED: SEG, SR and capture of one ultrasound run as the bytes that are kept and sent.

Encoded once: a resend sends the same bytes, and every UID is derived from the
run's key, so that sending twice is harmless.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screener.study import AlgorithmIdentity
from screener.us_study import Lesion, UltrasoundVerdict
from workers.results.draw_panels import write_png
from workers.results.draw_us_capture import draw_us_capture
from workers.results.encode_results import ResultFile, file_result
from workers.results.encode_us_capture import encode_us_capture
from workers.results.encode_us_seg import encode_us_seg
from workers.results.encode_us_sr import encode_us_sr
from workers.results.us_screening import UltrasoundScreening, read_screening


def encode_us_results(
    source_paths: Sequence[Path],
    verdict: UltrasoundVerdict,
    lesion: Lesion | None,
    *,
    cam: NDArray[np.float32] | None,
    identity: AlgorithmIdentity,
    run_key: str,
    started_at: datetime,
    thresholds: Mapping[str, object],
    run_number: int,
) -> list[ResultFile]:
    """Encode the run's results: a report always; segmentation, capture and key image where there is a lesion.

    `source_paths` are the study's pictures that were screened, in any order; `cam` the class activation map, 0 to
    1, (rows, columns) of the lesion's frame, or None; `thresholds` those in force by name, with `config_revision`.
    Raises NeedsPerson where the sources cannot be referred to, ValueError where verdict and lesion contradict.
    """
    screening = read_screening(
        source_paths,
        verdict,
        lesion,
        identity=identity,
        run_key=run_key,
        started_at=started_at,
        thresholds=thresholds,
        run_number=run_number,
    )
    report = file_result("sr", encode_us_sr(screening))
    return [report] if lesion is None else [*_show_lesion(screening, lesion, cam), report]


def _show_lesion(screening: UltrasoundScreening, lesion: Lesion, cam: NDArray[np.float32] | None) -> list[ResultFile]:
    picture = draw_us_capture(lesion, screening.verdict, cam, screening.identity.learned_from)
    encoded = (("seg", encode_us_seg(screening)), ("capture", encode_us_capture(screening, picture)))
    files = [file_result(role, ds) for role, ds in encoded if ds is not None]
    content = write_png(picture)
    files.append(ResultFile(role="key_image", sop_class_uid="", sop_instance_uid="", suffix=".png", content=content))
    return files
