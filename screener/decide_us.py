"""SEGMENTED -> DECIDED: for ultrasound, what was measured against the thresholds in force; no input or output."""

from dataclasses import replace

from screener.study import Thresholds
from screener.us_study import FUSION, Answer, Combination, ReadFindings, UltrasoundVerdict, name_judge


def decide_ultrasound(
    *,
    frames: int,
    has_lesion: bool,
    malignancy: float | None,
    thresholds: Thresholds,
    findings: ReadFindings | None = None,
    combination: Combination | None = None,
    is_by_fusion: bool = False,
    unread: int = 0,
) -> UltrasoundVerdict:
    """Judge a study by its largest lesion.

    `frames` were searched; `malignancy` is the calibrated probability, 0 to 1, None where the lesion could not be
    classified. `combination` is what it comes to with a reader's `findings`: it decides where the settings say so and
    no finding is missing, and is shown beside in any other case. `is_by_fusion`: True where `malignancy` is the
    fusion's, False where it is the image model's; the sentence says which. `unread` objects could not be read: a lesion
    may be on them, so that none found on the others is no answer. Raises ValueError where there is a
    probability without a lesion, or a combination without a probability.
    """
    if malignancy is not None and not has_lesion:
        raise ValueError("a probability of malignancy without a lesion")
    if combination is not None and malignancy is None:
        raise ValueError("a combined probability without one of the image")
    if not frames:
        return _answer(Answer.NOT_ASSESSABLE, None, "No B-mode frame could be searched.")
    searched, objects = f"{_count(frames, 'frame')} searched", _count(unread, "object")
    if not has_lesion and unread:
        return _answer(Answer.NOT_ASSESSABLE, None, f"No lesion found, {searched}, but {objects} could not be read.")
    searched += f", {objects} not read" if unread else ""
    if not has_lesion:
        return _answer(Answer.NO_LESION, None, f"No lesion found, {searched}.")
    if malignancy is None:
        why = f": {FUSION} could not measure it" if is_by_fusion else ""
        sentence = f"A lesion was found, {searched}, and could not be classified{why}."
        return replace(_answer(Answer.NOT_ASSESSABLE, None, sentence), is_by_fusion=is_by_fusion)
    combined = combination.probability if combination is not None else None
    is_asked = thresholds.us_findings == "decide"
    is_by_findings = is_asked and combined is not None
    deciding = combined if is_asked and combined is not None else malignancy
    is_malignant = deciding >= thresholds.min_malignancy
    relation = "at or above" if is_malignant else "below"
    judge = name_judge(is_by_fusion=is_by_fusion)
    named = FUSION if is_by_fusion else judge
    told = f"{deciding:.2f} by {named}" if is_asked or is_by_fusion else f"{deciding:.2f}"
    if is_by_findings:
        told += f" and a reader's findings ({malignancy:.2f} by {judge} alone)"
    elif is_asked:
        told += " alone, for findings are missing"
    reason = (
        f"The largest lesion, {searched}: probability of malignancy {told}, "
        f"{relation} the threshold of {thresholds.min_malignancy:g}."
    )
    verdict = _answer(Answer.MALIGNANT if is_malignant else Answer.BENIGN, malignancy, reason)
    return replace(
        verdict,
        findings=findings,
        combination=combination,
        is_by_findings=is_by_findings,
        is_by_fusion=is_by_fusion,
    )


def decide_again(malignancy: float | None, combined: float | None, thresholds: Thresholds) -> bool:
    """Tell whether a lesion with these stored probabilities is flagged under `thresholds`; never without one.

    Which findings are missing is not stored beside the probability, and does not matter for the decision.
    """
    if malignancy is None:
        return False
    return decide_ultrasound(
        frames=1,
        has_lesion=True,
        malignancy=malignancy,
        thresholds=thresholds,
        combination=Combination(probability=combined, lowest=0.0, highest=1.0, missing=(), reason=""),
    ).is_flagged


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _answer(answer: Answer, malignancy: float | None, reason: str) -> UltrasoundVerdict:
    return UltrasoundVerdict(
        answer=answer, is_flagged=answer is Answer.MALIGNANT, probability=malignancy, reason=reason
    )
