"""SEGMENTED -> DECIDED: for ultrasound, what was measured against the thresholds in force; no input or output."""

from screener.study import Thresholds
from screener.us_study import Answer, UltrasoundVerdict


def decide_ultrasound(
    *, frames: int, has_lesion: bool, malignancy: float | None, thresholds: Thresholds
) -> UltrasoundVerdict:
    """Judge a study by its largest lesion.

    `frames` were searched; `malignancy` is the calibrated probability, 0 to 1, None where the lesion could not be
    classified. Raises ValueError where there is a probability without a lesion.
    """
    if malignancy is not None and not has_lesion:
        raise ValueError("a probability of malignancy without a lesion")
    if not frames:
        return _answer(Answer.NOT_ASSESSABLE, None, "No B-mode frame could be searched.")
    searched = f"{frames} frame{'' if frames == 1 else 's'} searched"
    if not has_lesion:
        return _answer(Answer.NO_LESION, None, f"No lesion found, {searched}.")
    if malignancy is None:
        return _answer(Answer.NOT_ASSESSABLE, None, f"A lesion was found, {searched}, and could not be classified.")
    is_malignant = malignancy >= thresholds.min_malignancy
    relation = "at or above" if is_malignant else "below"
    reason = (
        f"The largest lesion, {searched}: probability of malignancy {malignancy:.2f}, "
        f"{relation} the threshold of {thresholds.min_malignancy:g}."
    )
    return _answer(Answer.MALIGNANT if is_malignant else Answer.BENIGN, malignancy, reason)


def _answer(answer: Answer, malignancy: float | None, reason: str) -> UltrasoundVerdict:
    return UltrasoundVerdict(
        answer=answer, is_flagged=answer is Answer.MALIGNANT, probability=malignancy, reason=reason
    )
