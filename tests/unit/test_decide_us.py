"""The ultrasound answer follows from numbers and thresholds alone."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.decide_us import decide_ultrasound
from screener.study import Thresholds
from screener.us_study import Answer, Combination, Finding

THRESHOLDS = Thresholds(min_voxels=500, min_probability=0.5, config_revision="r1", min_malignancy=0.6)


@pytest.mark.parametrize(
    ("frames", "has_lesion", "malignancy", "answer"),
    [
        (0, False, None, Answer.NOT_ASSESSABLE),
        (3, False, None, Answer.NO_LESION),
        (3, True, None, Answer.NOT_ASSESSABLE),
        (3, True, 0.59, Answer.BENIGN),
        (3, True, 0.6, Answer.MALIGNANT),
    ],
)
def test_each_state_has_its_answer(frames: int, has_lesion: bool, malignancy: float | None, answer: Answer) -> None:
    verdict = decide_ultrasound(frames=frames, has_lesion=has_lesion, malignancy=malignancy, thresholds=THRESHOLDS)
    assert verdict.answer is answer
    assert verdict.is_flagged == (answer is Answer.MALIGNANT)
    assert verdict.probability == malignancy
    assert verdict.reason.endswith(".")


@pytest.mark.parametrize(
    ("unread", "has_lesion", "malignancy", "answer", "told"),
    [
        (1, False, None, Answer.NOT_ASSESSABLE, "No lesion found, 3 frames searched, but 1 object could not be read."),
        (2, False, None, Answer.NOT_ASSESSABLE, "No lesion found, 3 frames searched, but 2 objects could not be read."),
        (2, True, 0.2, Answer.BENIGN, "The largest lesion, 3 frames searched, 2 objects not read: probability of "),
        (1, True, 0.9, Answer.MALIGNANT, "The largest lesion, 3 frames searched, 1 object not read: probability of "),
        (1, True, None, Answer.NOT_ASSESSABLE, "A lesion was found, 3 frames searched, 1 object not read, and could "),
    ],
)
def test_what_could_not_be_read_is_told_and_is_never_without_a_lesion(
    unread: int, has_lesion: bool, malignancy: float | None, answer: Answer, told: str
) -> None:
    verdict = decide_ultrasound(
        frames=3, has_lesion=has_lesion, malignancy=malignancy, thresholds=THRESHOLDS, unread=unread
    )
    assert verdict.answer is answer
    assert verdict.reason.startswith(told)


def test_a_probability_needs_a_lesion() -> None:
    with pytest.raises(ValueError, match="without a lesion"):
        decide_ultrasound(frames=1, has_lesion=False, malignancy=0.9, thresholds=THRESHOLDS)


@given(st.floats(0, 1), st.floats(0.01, 0.99), st.floats(0.01, 0.99))
def test_a_higher_threshold_never_flags_more(malignancy: float, one: float, other: float) -> None:
    low, high = sorted((one, other))
    flagged = [
        decide_ultrasound(
            frames=1,
            has_lesion=True,
            malignancy=malignancy,
            thresholds=Thresholds(min_voxels=1, min_probability=0.5, config_revision="", min_malignancy=threshold),
        ).is_flagged
        for threshold in (low, high)
    ]
    assert flagged[0] >= flagged[1]


@pytest.mark.parametrize(
    ("use", "findings", "said"),
    [
        ("report", 3, "0.45 by the fusion of radiomics, deep features and image model, below"),
        ("decide", 2, "0.45 by the fusion of radiomics, deep features and image model alone, for findings are missing"),
        ("decide", 3, "image model and a reader's findings (0.45 by the fusion alone)"),
    ],
)
def test_a_probability_of_the_fusion_is_told_as_such(use: str, findings: int, said: str) -> None:
    missing = () if findings == 3 else (Finding.POSTERIOR_ENHANCEMENT,)
    combination = Combination(
        probability=None if missing else 0.58, lowest=0.4, highest=0.6, missing=missing, reason="Together."
    )
    verdicts = [
        decide_ultrasound(
            frames=2,
            has_lesion=True,
            malignancy=0.45,
            thresholds=replace(THRESHOLDS, us_findings=use),
            combination=combination,
            is_by_fusion=is_by_fusion,
        )
        for is_by_fusion in (True, False)
    ]
    assert [verdict.is_by_fusion for verdict in verdicts] == [True, False]
    assert said in verdicts[0].reason
    assert "the image alone" not in verdicts[0].reason
    assert "fusion" not in verdicts[1].reason
