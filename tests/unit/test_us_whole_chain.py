"""The benchmark of the whole ultrasound chain judges each lesion by what was learnt without it."""

import argparse
from dataclasses import replace
from pathlib import Path

import pytest

from screener.outcomes import NeedsPerson
from screener.us_study import Answer
from tests.benchmarks.us_whole_chain import calibrate_fold, copy_cases, must_be_the_same_run
from tests.unit.us_cases import write_folder
from workers.training.us_evaluation.case_result import UsResult
from workers.training.us_read_cases import CaseRow, list_rows, read_cases
from workers.training.us_split_cases import find_fold


def rate(number, label, probability):
    row = CaseRow(
        folder=Path(), name=f"case_{number}", source="ours", organ="", label=label, group=str(number), machine="",
        has_outline=True,
    )  # fmt: skip
    answer = Answer.NO_LESION if probability is None else Answer.MALIGNANT
    return UsResult(
        row=row,
        answer=answer,
        reason="",
        probability=probability,
        outline_probability=0.3 if probability is None else probability,
    )


def spread(labels):
    """Return lesions whose probability tells a little of their label."""
    return [
        rate(number, label, 0.1 + 0.05 * (number % 13) + (0.2 if label == "malignant" else 0))
        for number, label in enumerate(labels)
    ]


def test_a_fold_is_calibrated_by_the_other_folds_alone():
    labels = ["benign", "benign", "malignant"] * 20
    judged = {1: spread(labels), 2: spread(["benign"] * 9 + labels)}
    before = calibrate_fold(1, judged)
    swapped = [
        rate(number, "benign" if one.is_malignant else "malignant", one.probability)
        for number, one in enumerate(judged[1])
    ]
    after = calibrate_fold(1, judged | {1: swapped})
    assert [one.probability for one in before] == [one.probability for one in after]
    assert [one.probability for one in before] != [one.probability for one in judged[1]]
    for one in before:
        assert one.answer is (Answer.MALIGNANT if one.probability >= 0.5 else Answer.BENIGN)


def test_the_line_is_that_of_the_readers_outlines_as_for_what_ships():
    labels = ["benign", "benign", "malignant"] * 20
    judged = {1: spread(labels), 2: spread(["benign"] * 9 + labels)}
    bolder = [replace(one, probability=one.probability**2) for one in judged[2]]
    assert calibrate_fold(1, judged) == calibrate_fold(1, judged | {2: bolder})


def test_a_lesion_that_was_not_found_stays_so():
    labels = ["benign", "benign", "malignant"] * 20
    judged = {1: [rate(1, "malignant", None)], 2: spread(["benign"] * 9 + labels)}
    (missed,) = calibrate_fold(1, judged)
    assert missed.probability is None
    assert missed.answer is Answer.NO_LESION


def test_what_a_fold_learns_from_holds_none_of_its_groups(tmp_path):
    data = write_folder(tmp_path / "cases")
    rows = list_rows(data)
    held = {row.group for row in rows if find_fold(row.source, row.group, 3) == 1}
    assert held
    for _ in range(2):  # a second call goes on from the first
        copy_cases(data, tmp_path / "learn", lambda source, group: find_fold(source, group, 3) != 1)
    learnt = list_rows(tmp_path / "learn")
    assert {row.name for row in learnt} == {row.name for row in rows if row.group not in held}
    assert len(list(read_cases(learnt))) == len(learnt)
    names = {path.stem.removesuffix("_mask") for path in (tmp_path / "learn").glob("*.png")}
    assert names == {row.name for row in learnt}


def test_a_folder_of_another_run_is_refused(tmp_path):
    data = write_folder(tmp_path / "cases")
    run = argparse.Namespace(
        data=data,
        work=tmp_path / "work",
        source="ours",
        folds=3,
        segmenter_steps=1,
        classifier_steps=1,
        pretrained=None,
    )
    with pytest.raises(SystemExit, match="no case of the source busi"):
        must_be_the_same_run(argparse.Namespace(**vars(run) | {"source": "busi"}))
    must_be_the_same_run(run)
    must_be_the_same_run(run)
    with pytest.raises(SystemExit, match="another --work"):
        must_be_the_same_run(argparse.Namespace(**vars(run) | {"segmenter_steps": 2}))
    write_folder(data, seed=4)
    with pytest.raises(SystemExit, match="another --work"):
        must_be_the_same_run(run)


def test_too_few_lesions_are_said():
    with pytest.raises(NeedsPerson, match="Calibration needs"):
        calibrate_fold(1, {1: [], 2: spread(["benign", "malignant"])})
