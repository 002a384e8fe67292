"""The nomogram: published odds ratios by hand, missing findings, and fits that find the weights of simulated cases."""

import itertools
import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn")

from screener.config import make_config
from screener.outcomes import NeedsPerson
from screener.us_study import Finding
from workers.bench import load_ultrasound_models
from workers.models.us_networks import LESION_CLASSIFIER, LESION_SEGMENTER
from workers.models.us_weights import load_us_bundle
from workers.training.nomogram import COLUMNS, FINDINGS, Case, fit_nomogram, main, read_table
from workers.us.nomogram import (
    PUBLISHED,
    combine_findings,
    load_nomogram,
    log_odds,
    read_nomogram,
    write_nomogram,
)

NONE = dict.fromkeys(FINDINGS, False)
WEIGHTS = (-0.5, 1.3, 0.9, 0.6, -0.8)
"""Intercept, image, shape, margin and enhancement of the simulated cases."""
WORDS = {True: "yes", False: "no", None: ""}


def draw_cases(count, seed=1, weights=WEIGHTS):
    rng = np.random.default_rng(seed)
    image, findings = rng.normal(size=count), rng.random((count, 3)) < 0.5
    odds = weights[0] + weights[1] * image + findings @ np.array(weights[2:])
    truth = rng.random(count) < 1 / (1 + np.exp(-odds))
    return [
        Case(
            group=f"g{number}",
            is_malignant=bool(truth[number]),
            probability=float(1 / (1 + np.exp(-image[number]))),
            findings=dict(zip(FINDINGS, map(bool, findings[number]), strict=True)),
        )
        for number in range(count)
    ]


def write_table(path, cases):
    lines = ["group,label,probability," + ",".join(COLUMNS.values())]
    for case in cases:
        words = [WORDS[case.findings[finding]] for finding in FINDINGS]
        label = "malignant" if case.is_malignant else "benign"
        lines.append(",".join([case.group, label, repr(case.probability), *words]))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


# The published weights


def test_published_odds_ratios_multiply_the_odds():
    """Issue 5: irregular shape 1.257, poorly defined margin 1.323, posterior enhancement 0.807."""
    for finding, ratio in zip(FINDINGS, (1.257, 1.323, 0.807), strict=True):
        found = combine_findings(0.3, NONE | {finding: True}).probability
        assert found / (1 - found) == pytest.approx(ratio * 0.3 / 0.7)


def test_without_findings_the_image_stands():
    assert combine_findings(0.3, NONE).probability == pytest.approx(0.3)


def test_findings_move_even_chances_no_further_than_the_description_says():
    possible = [
        combine_findings(0.5, dict(zip(FINDINGS, values, strict=True))).probability
        for values in itertools.product((False, True), repeat=3)
    ]
    assert (round(min(possible), 2), round(max(possible), 2)) == (0.45, 0.62)


def test_a_certain_image_is_not_moved_to_nonsense():
    for certain in (0.0, 1.0):
        assert combine_findings(certain, dict.fromkeys(FINDINGS, True)).probability == pytest.approx(certain, abs=1e-5)


# Missing findings


@pytest.mark.parametrize("given", [None, "absent"])
def test_a_missing_finding_is_named_and_never_filled_in(given):
    findings = NONE | {Finding.POORLY_DEFINED_MARGIN: None}
    if given == "absent":
        del findings[Finding.POORLY_DEFINED_MARGIN]
    found = combine_findings(0.4, findings)
    assert found.probability is None
    assert found.missing == (Finding.POORLY_DEFINED_MARGIN,)
    assert "poorly defined margin" in found.reason
    assert "No nomogram" in found.reason
    assert (found.lowest, found.highest) == pytest.approx((0.4, 1.323 * 4 / 6 / (1 + 1.323 * 4 / 6)))


def test_with_nothing_known_the_range_holds_every_answer():
    whole = combine_findings(0.5, {})
    assert whole.missing == FINDINGS
    for values in itertools.product((False, True), repeat=3):
        found = combine_findings(0.5, dict(zip(FINDINGS, values, strict=True)))
        assert whole.lowest <= found.probability <= whole.highest
        assert found.lowest == found.highest == found.probability


def test_the_reason_says_where_the_weights_come_from():
    assert "not calibrated" in combine_findings(0.5, NONE).reason


@pytest.mark.parametrize("probability", [-0.1, 1.1, math.nan])
def test_a_probability_outside_is_refused(probability):
    with pytest.raises(ValueError, match="within 0 to 1"):
        combine_findings(probability, NONE)


# Keeping


def test_a_nomogram_read_back_is_the_same():
    for nomogram in (PUBLISHED, replace(PUBLISHED, judge_digest="f" * 64)):
        assert read_nomogram(json.loads(json.dumps(write_nomogram(nomogram)))) == nomogram


def test_the_published_odds_ratios_are_bound_to_no_bundle():
    PUBLISHED.must_fit("us_other", "f" * 64)


@pytest.mark.parametrize(
    "change",
    [
        {"intercept": None}, {"of_findings": {}}, {"of_image": math.inf}, {"of_findings": [1, 2, 3]},
        {"of_findings": {"irregular shapes": 0.2}}, {"of_findings": {"irregular shape": math.nan}},
    ],
)  # fmt: skip
def test_what_is_no_nomogram_is_refused(change):
    with pytest.raises(ValueError, match="nomogram"):
        read_nomogram(write_nomogram(PUBLISHED) | change)


def test_a_nomogram_asks_for_the_findings_that_it_weighs_and_no_others():
    nodes = read_nomogram(write_nomogram(PUBLISHED) | {"of_findings": {"suspicious lymph nodes": math.log(3)}})
    assert combine_findings(0.5, {Finding.SUSPICIOUS_LYMPH_NODES: True}, nodes).probability == pytest.approx(0.75)
    assert combine_findings(0.5, NONE, nodes).missing == (Finding.SUSPICIOUS_LYMPH_NODES,)
    assert combine_findings(0.5, NONE).missing == ()


def test_weights_beyond_all_measure_give_a_probability_all_the_same():
    steep = read_nomogram(write_nomogram(PUBLISHED) | {"intercept": -5000})
    assert combine_findings(0.5, NONE, steep).probability == pytest.approx(0)


def test_the_file_of_a_hospital_is_read_or_refused_by_its_name(tmp_path):
    path = tmp_path / "ours.json"
    path.write_text(json.dumps(write_nomogram(PUBLISHED)), encoding="utf-8")
    assert load_nomogram(path) == PUBLISHED
    for content in ("[]", "{", "{}", '{"of_findings": 3}'):
        path.write_text(content, encoding="utf-8")
        with pytest.raises(NeedsPerson, match=r"ours\.json cannot be used"):
            load_nomogram(path)
    with pytest.raises(NeedsPerson, match=r"absent\.json cannot be read"):
        load_nomogram(tmp_path / "absent.json")


# Fitting


def test_a_fit_finds_the_weights_that_made_the_cases():
    refit = fit_nomogram(draw_cases(3000), "simulated")
    for term, true in zip(refit.fit.coefficients, WEIGHTS, strict=True):
        assert abs(term.value - true) < 4 * term.standard_error
        assert term.standard_error < 0.15
    assert [refit.nomogram.of_findings[finding] for finding in FINDINGS] == [
        term.value for term in refit.fit.coefficients[2:]
    ]
    assert refit.apparent.difference > 0.01
    assert not refit.is_thin


def test_cases_without_a_finding_are_left_out_and_counted():
    cases = draw_cases(300)
    gaps = [
        Case(group=f"m{n}", is_malignant=True, probability=0.9, findings=NONE | {Finding.IRREGULAR_SHAPE: None})
        for n in range(50)
    ]
    whole, gapped = fit_nomogram(cases, "x"), fit_nomogram(cases + gaps, "x")
    assert gapped.nomogram == whole.nomogram
    assert (gapped.cases, gapped.left_out) == (300, 50)
    assert gapped.missing == {**dict.fromkeys(FINDINGS, 0), Finding.IRREGULAR_SHAPE: 50}


def test_few_cases_are_called_too_few():
    assert fit_nomogram(draw_cases(60, 3), "x").is_thin


def test_a_patient_with_two_rows_is_refused():
    cases = draw_cases(50)
    with pytest.raises(ValueError, match="more than one row"):
        fit_nomogram([*cases, cases[0]], "x")


def test_nothing_complete_is_refused():
    case = Case(group="a", is_malignant=True, probability=0.5, findings={})
    with pytest.raises(ValueError, match="nothing to fit"):
        fit_nomogram([case], "x")


def test_a_nomogram_of_another_classifier_decides_nothing(tmp_path):
    path = tmp_path / "ours.json"
    models = {"us_segmenter": LESION_SEGMENTER, "us_classifier": LESION_CLASSIFIER, "device": "cpu"}
    config = make_config({"models": models | {"us_nomogram": str(path)}}, base=tmp_path, environment={})
    path.write_text(json.dumps(write_nomogram(replace(PUBLISHED, judge_digest="f" * 64))), encoding="utf-8")
    with pytest.raises(NeedsPerson, match=f"other weights than those of {LESION_CLASSIFIER}: fit it anew"):
        load_ultrasound_models(config)
    path.write_text(json.dumps(write_nomogram(PUBLISHED)), encoding="utf-8")
    assert load_ultrasound_models(config).nomogram == PUBLISHED


# The command


def test_the_command_writes_a_nomogram_that_can_be_used(tmp_path, capsys):
    table, out = write_table(tmp_path / "cases.csv", draw_cases(200)), tmp_path / "nomogram.json"
    assert main([str(table), "--out", str(out)]) == 0
    stored = json.loads(out.read_text(encoding="utf-8"))
    nomogram = read_nomogram(stored)
    shipped = load_us_bundle(LESION_CLASSIFIER, torch.device("cpu"))
    assert nomogram == fit_nomogram(read_table(table), "fitted on own cases", shipped.digest).nomogram
    nomogram.must_fit(shipped.name, shipped.digest)
    with pytest.raises(NeedsPerson, match="fitted beside other weights than those of us_other"):
        nomogram.must_fit("us_other", "f" * 64)
    assert stored["terms"]["irregular shape"]["odds_ratio"] == pytest.approx(
        math.exp(nomogram.of_findings[Finding.IRREGULAR_SHAPE])
    )
    assert (stored["cases"], stored["left_out_for_a_missing_finding"]) == (200, 0)
    printed = capsys.readouterr().out
    assert "poorly defined margin" in printed
    assert "not validated for clinical diagnosis" in printed
    assert combine_findings(0.5, NONE, nomogram).probability == pytest.approx(
        1 / (1 + math.exp(-nomogram.intercept - nomogram.of_image * log_odds(0.5)))
    )


@pytest.mark.parametrize(
    "row",
    ["p1,malignant,1.5,yes,no,no", "p1,perhaps,0.5,yes,no,no", "p1,benign,0.5,maybe,no,no", ",benign,0.5,no,no,no"],
)
def test_an_odd_row_is_named_by_its_number_only(tmp_path, row):
    table = tmp_path / "cases.csv"
    table.write_text("group,label,probability," + ",".join(COLUMNS.values()) + f"\n{row}\n", encoding="utf-8")
    with pytest.raises(NeedsPerson, match="Row 2") as told:
        read_table(table)
    assert "p1" not in told.value.reason


def test_a_table_without_the_columns_or_a_fit_says_so(tmp_path):
    table = tmp_path / "cases.csv"
    table.write_text("group,label\na,benign\n", encoding="utf-8")
    with pytest.raises(NeedsPerson, match="the columns are group, label"):
        read_table(table)
    write_table(table, [case for case in draw_cases(50) if case.is_malignant])
    with pytest.raises(NeedsPerson, match="one kind"):
        main([str(table), "--out", str(tmp_path / "out.json")])
    with pytest.raises(NeedsPerson, match="cannot be read"):
        read_table(tmp_path / "none.csv")
