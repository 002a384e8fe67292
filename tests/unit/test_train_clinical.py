"""The clinical model on synthetic tables, for no public data hold a reader's findings of a parotid tumor."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from screener.outcomes import NeedsPerson
from screener.us_study import Finding
from workers.models.us_weights import load_us_bundle
from workers.training.clinical import compare_clinical as module
from workers.training.clinical.compare_clinical import (
    IMAGE,
    LOGISTIC,
    MODELS,
    WITH_IMAGE,
    compare_clinical,
    predict_unseen,
)
from workers.training.clinical.read_clinical import COLUMNS, ClinicalCase, read_clinical, select_cases
from workers.training.clinical.train_clinical import NOT_OF_IMAGE, fit_weights, main
from workers.training.statistics.compare_aucs import estimate_auc
from workers.us.nomogram import load_nomogram

WEIGHTS = (1.4, 0.9, -0.8, 1.1)
"""Log odds of shape, margin, enhancement and nodes of the simulated cases; 1 for the image."""


def draw_cases(count: int, *, seed: int = 3, has_image: bool = True, per_patient: int = 1) -> list[ClinicalCase]:
    rng = np.random.default_rng(seed)
    findings, odds = rng.random((count, 4)) < 0.4, rng.normal(size=count)
    truth = rng.random(count) < 1 / (1 + np.exp(-(odds - 0.8 + findings @ np.array(WEIGHTS))))
    return [
        ClinicalCase(
            id=f"c{number}",
            group=f"p{number // per_patient}",
            is_malignant=bool(truth[number]),
            findings=dict(zip(Finding, map(bool, findings[number]), strict=True)),
            image_probability=float(1 / (1 + np.exp(-odds[number]))) if has_image else None,
        )
        for number in range(count)
    ]


def write_table(path: Path, cases: list[ClinicalCase]) -> Path:
    words = {True: "yes", False: "no", None: ""}
    with path.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.writer(lines)
        writer.writerow(["id", "group", "label", *COLUMNS.values(), "image_probability"])
        for case in cases:
            label = "malignant" if case.is_malignant else "benign"
            told = [words[case.findings[finding]] for finding in Finding]
            shown = "" if case.image_probability is None else repr(case.image_probability)
            writer.writerow([case.id, case.group, label, *told, shown])
    return path


def test_the_weights_are_those_that_made_the_cases() -> None:
    nomogram, fit = fit_weights(select_cases(draw_cases(4000)), "simulated")
    for term, true in zip(fit.coefficients[1:], (1.0, *WEIGHTS), strict=True):
        assert abs(term.value - true) < 4 * term.standard_error
    assert list(nomogram.of_findings) == list(Finding)
    assert nomogram.of_image == fit.coefficients[1].value


def test_findings_that_tell_something_gain_over_the_image(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MODELS", {LOGISTIC: MODELS[LOGISTIC]})
    compared = compare_clinical(select_cases(draw_cases(600)))
    assert list(compared.probabilities) == [IMAGE, LOGISTIC, LOGISTIC + WITH_IMAGE]
    assert all(np.isfinite(risks).all() for risks in compared.probabilities.values())
    gain = compared.figures[LOGISTIC + WITH_IMAGE]["against_the_image"]
    assert gain["auc_difference"] > 0.03
    assert gain["delong_p"] < 0.01
    assert gain["nri_continuous"]["interval_95"][0] > 0
    assert gain["idi"]["interval_95"][0] > 0
    assert compared.figures[LOGISTIC + WITH_IMAGE]["auc"] > compared.figures[LOGISTIC]["auc"]
    assert "against_the_image" not in compared.figures[IMAGE]


def test_findings_that_tell_nothing_gain_nothing_on_unseen_patients() -> None:
    rng = np.random.default_rng(5)
    shuffled = [
        ClinicalCase(
            id=case.id, group=case.group, is_malignant=bool(rng.random() < 0.5), findings=case.findings,
            image_probability=None,
        )
        for case in draw_cases(250)
    ]  # fmt: skip
    compared = compare_clinical(select_cases(shuffled))
    assert list(compared.figures) == [LOGISTIC, "random forest", "gradient boosting"]
    for figures in compared.figures.values():
        low, high = figures["auc_95_delong"]
        assert low < 0.5
        assert high < 0.65


def test_cases_of_one_patient_are_never_on_both_sides() -> None:
    """The patient's label is told by a pattern of findings of its own: learnt by heart, it would be seen."""
    rng = np.random.default_rng(2)
    cases = []
    for patient in range(80):
        is_malignant, pattern = bool(rng.random() < 0.5), rng.random(4) < 0.5
        for visit in range(6):
            cases.append(
                ClinicalCase(
                    id=f"{patient}-{visit}", group=f"p{patient}", is_malignant=is_malignant,
                    findings=dict(zip(Finding, map(bool, pattern), strict=True)),
                    image_probability=patient / 80 + 0.001,
                )
            )  # fmt: skip
    table = select_cases(cases)
    place = np.array([[case.image_probability] for case in cases])
    unseen = predict_unseen(MODELS["random forest"], np.column_stack([place, table.values]), table, 5)
    assert estimate_auc(table.truth, unseen).auc < 0.7
    with pytest.raises(NeedsPerson, match="more than one row"):
        fit_weights(select_cases(cases), "")


def test_without_the_image_the_weights_say_so() -> None:
    nomogram, fit = fit_weights(select_cases(draw_cases(300, has_image=False)), "ours")
    assert nomogram.of_image == 0
    assert NOT_OF_IMAGE in nomogram.source
    assert len(fit.coefficients) == 5


def test_what_is_missing_is_left_out_and_counted_never_filled_in() -> None:
    cases = draw_cases(60)
    gapped = [
        ClinicalCase(
            id=case.id, group=case.group, is_malignant=case.is_malignant, image_probability=case.image_probability,
            findings={**case.findings, Finding.SUSPICIOUS_LYMPH_NODES: None}
            | ({Finding.IRREGULAR_SHAPE: None} if number < 7 else {}),
        )
        for number, case in enumerate(cases)
    ]  # fmt: skip
    table = select_cases(gapped)
    assert Finding.SUSPICIOUS_LYMPH_NODES not in table.findings
    assert (len(table.cases), table.left_out) == (53, 7)
    assert table.missing[Finding.SUSPICIOUS_LYMPH_NODES] == 60


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ("a,p,cancer,yes,no,no,no,", "Row 2"),
        ("a,p,benign,maybe,no,no,no,", "Row 2"),
        ("a,p,benign,yes,no,no,no,1.5", "Row 2"),
        (",p,benign,yes,no,no,no,", "Row 2"),
        ("a,p,benign,yes,no,no,no,", "two cases of each label"),
        ("a,p,benign,yes,no,no,no,\na,q,benign,no,no,no,no,", "more than one row"),
    ],
)
def test_a_table_that_is_not_as_expected_is_refused(tmp_path: Path, row: str, told: str) -> None:
    path = tmp_path / "cases.csv"
    header = ",".join(["id", "group", "label", *COLUMNS.values(), "image_probability"])
    path.write_text(f"{header}\n{row}\n", encoding="utf-8")
    with pytest.raises(NeedsPerson, match=told):
        read_clinical(path)
    path.write_text("id,label\n1,benign\n", encoding="utf-8")
    with pytest.raises(NeedsPerson, match="columns"):
        read_clinical(path)


def test_the_command_writes_weights_that_the_screener_reads_and_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out, report = tmp_path / "cases.csv", tmp_path / "ours.json", tmp_path / "report"
    write_table(path, draw_cases(120))
    assert main([str(path), "--out", str(out), "--report", str(report), "--source", "a synthetic table"]) == 0
    nomogram = load_nomogram(out)
    digest = load_us_bundle("us_lesion_classifier", torch.device("cpu")).digest
    assert nomogram == fit_weights(read_clinical(path), "a synthetic table", digest)[0]
    summary = json.loads((report / "summary.json").read_text(encoding="utf-8"))
    assert summary["use"] == "research use, not validated for clinical diagnosis"
    assert len((report / "predictions.csv").read_text(encoding="utf-8").splitlines()) == 121
    page = (report / "index.html").read_text(encoding="utf-8")
    assert "Gain over the image alone" in page
    assert (report / "roc.png").is_file()
    assert len(summary["models"]) == 7
    assert "NRI" in capsys.readouterr().out
