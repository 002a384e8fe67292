"""SEGMENTED -> DECIDED: for ultrasound, what was measured against the thresholds in force; no input or output."""

from dataclasses import replace

from screener.study import Thresholds
from screener.us_study import Answer, Combination, ReadFindings, UltrasoundVerdict


def decide_ultrasound(
    *,
    frames: int,
    has_lesion: bool,
    malignancy: float | None,
    thresholds: Thresholds,
    findings: ReadFindings | None = None,
    combination: Combination | None = None,
) -> UltrasoundVerdict:
    """Judge a study by its largest lesion.

    `frames` were searched; `malignancy` is the calibrated probability, 0 to 1, None where the lesion could not be
    classified. `combination` is what it comes to with a reader's `findings`: it decides where the settings say so and
    no finding is missing, and is shown beside in any other case. Raises ValueError where there is a probability
    without a lesion, or a combination without a probability.
    """
    if malignancy is not None and not has_lesion:
        raise ValueError("a probability of malignancy without a lesion")
    if combination is not None and malignancy is None:
        raise ValueError("a combined probability without one of the image")
    if not frames:
        return _answer(Answer.NOT_ASSESSABLE, None, "No B-mode frame could be searched.")
    searched = f"{frames} frame{'' if frames == 1 else 's'} searched"
    if not has_lesion:
        return _answer(Answer.NO_LESION, None, f"No lesion found, {searched}.")
    if malignancy is None:
        return _answer(Answer.NOT_ASSESSABLE, None, f"A lesion was found, {searched}, and could not be classified.")
    combined = combination.probability if combination is not None else None
    is_asked = thresholds.us_findings == "decide"
    is_by_findings = is_asked and combined is not None
    deciding = combined if is_asked and combined is not None else malignancy
    is_malignant = deciding >= thresholds.min_malignancy
    relation = "at or above" if is_malignant else "below"
    told = f"{deciding:.2f}"
    if is_by_findings:
        told += f" by the image and a reader's findings ({malignancy:.2f} by the image alone)"
    elif is_asked:
        told += " by the image alone, for findings are missing"
    reason = (
        f"The largest lesion, {searched}: probability of malignancy {told}, "
        f"{relation} the threshold of {thresholds.min_malignancy:g}."
    )
    verdict = _answer(Answer.MALIGNANT if is_malignant else Answer.BENIGN, malignancy, reason)
    return replace(verdict, findings=findings, combination=combination, is_by_findings=is_by_findings)


def _answer(answer: Answer, malignancy: float | None, reason: str) -> UltrasoundVerdict:
    return UltrasoundVerdict(
        answer=answer, is_flagged=answer is Answer.MALIGNANT, probability=malignancy, reason=reason
    )
