"""Plain values that many tests begin from: a received CT instance, an assessed gland, a candidate."""

from dataclasses import replace

from screener.store import Kind, ReceivedInstance
from screener.study import Candidate, GlandAssessment, Side

CT = "1.2.840.10008.5.1.4.1.1.2"


def an_instance(number: int = 1, **changes: object) -> ReceivedInstance:
    received = ReceivedInstance(
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.1",
        sop_instance_uid=f"1.2.3.1.{number}",
        sop_class_uid=CT,
        modality="CT",
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        kind=Kind.IMAGE,
        path=f"received/{number}.dcm",
        sha256=f"{number:064d}",
        size_bytes=1000,
        calling_ae_title="SCANNER",
    )
    return replace(received, **changes)  # type: ignore[arg-type]


def an_assessment(side: Side, *, is_assessed: bool = True) -> GlandAssessment:
    reason = "" if is_assessed else "the scan ends below the gland"
    return GlandAssessment(side=side, is_assessed=is_assessed, reason=reason, volume_mm3=25000.0, mean_hu=-5.0)


BOTH_ASSESSED = (an_assessment(Side.RIGHT), an_assessment(Side.LEFT))


def a_candidate(number: int, voxels: int, side: Side = Side.RIGHT) -> Candidate:
    return Candidate(
        side=side,
        number=number,
        voxels=voxels,
        volume_mm3=float(voxels),
        longest_diameter_mm=12.0,
        mean_hu=40.0,
        max_probability=0.9,
        mean_probability=0.8,
        center_mm=(1.0, 2.0, 3.0),
    )
