"""Areas under the ROC curve: DeLong's own data as SAS prints them, all pairs by definition, and simulated coverage."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.metrics import roc_auc_score

from workers.training.statistics.compare_aucs import (
    auc_difference_interval,
    auc_interval,
    compare_aucs,
    estimate_auc,
    quick_auc,
)

# DeLong, DeLong & Clarke-Pearson 1988, as SAS/STAT User's Guide, PROC LOGISTIC, "Comparing Receiver Operating
# Characteristic Curves", prints it: albumin, total protein, K-G score, and whether the patient benefited from surgery.
SURGERY = """
3.0 5.8 10 0  3.2 6.3 5 1  3.9 6.8 3 1  2.8 4.8 6 0  3.2 5.8 3 1  0.9 4.0 5 0  2.5 5.7 8 0  1.6 5.6 5 1
3.8 5.7 5 1  3.7 6.7 6 1  3.2 5.4 4 1  3.8 6.6 6 1  4.1 6.6 5 1  3.6 5.7 5 1  4.3 7.0 4 1  3.6 6.7 4 0
2.3 4.4 6 1  4.2 7.6 4 0  4.0 6.6 6 0  3.5 5.8 6 1  3.8 6.8 7 1  3.0 4.7 8 0  4.5 7.4 5 1  3.7 7.4 5 1
3.1 6.6 6 1  4.1 8.2 6 1  4.3 7.0 5 1  4.3 6.5 4 1  3.2 5.1 5 1  2.6 4.7 6 1  3.3 6.8 6 0  1.7 4.0 7 0
3.7 6.1 5 1  3.3 6.3 7 1  4.2 7.7 6 1  3.5 6.2 5 1  2.9 5.7 9 0  2.1 4.8 7 1  2.8 6.2 8 0  4.0 7.0 7 1
3.3 5.7 6 1  3.7 6.9 5 1  3.6 6.6 5 1
"""
ALBUMIN, PROTEIN, SCORE, BENEFIT = np.array(SURGERY.split(), dtype=float).reshape(-1, 4).T
KG_SCORE = 10 - SCORE


def covariance_of_all_pairs(truth, *scores):
    """Return DeLong's covariance by definition: the table of every event against every other, a tie counting half."""
    tables = [
        np.array([[(a > b) + (a == b) / 2 for b in score[~truth]] for a in score[truth]], dtype=float)
        for score in scores
    ]
    events = np.cov([table.mean(axis=1) for table in tables])
    others = np.cov([table.mean(axis=0) for table in tables])
    return events / truth.sum() + others / (~truth).sum()


def draw_scores(rng, events, others, gap):
    truth = np.repeat([True, False], [events, others])
    return truth, rng.normal(size=len(truth)) + gap * truth


@pytest.mark.parametrize(
    ("scores", "area", "error", "low", "high"),
    [
        (ALBUMIN, 0.7366, 0.0927, 0.5549, 0.9182),
        (KG_SCORE, 0.7258, 0.1028, 0.5243, 0.9273),
        (PROTEIN, 0.6478, 0.1000, 0.4518, 0.8439),
    ],
)
def test_areas_of_delongs_data_are_those_that_sas_prints(scores, area, error, low, high):
    """SAS/STAT User's Guide, the same example, table "ROC Association Statistics"."""
    found = estimate_auc(BENEFIT, scores, scale="plain")
    assert found.auc == pytest.approx(area, abs=5e-5)
    assert found.standard_error == pytest.approx(error, abs=5e-5)
    assert found.interval_95 == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize(
    ("scores", "difference", "error", "chi_square", "p"),
    [(ALBUMIN, 0.0108, 0.0953, 0.0127, 0.9102), (PROTEIN, -0.0780, 0.1046, 0.5554, 0.4561)],
)
def test_delongs_test_on_his_data_is_what_sas_prints(scores, difference, error, chi_square, p):
    """The same example, table "ROC Contrast Estimation and Testing Results by Row", K-G score as the reference."""
    found = compare_aucs(BENEFIT, KG_SCORE, scores)
    assert found.difference == pytest.approx(difference, abs=5e-5)
    assert found.standard_error == pytest.approx(error, abs=5e-5)
    assert found.z**2 == pytest.approx(chi_square, abs=5e-5)
    assert found.p == pytest.approx(p, abs=5e-5)
    assert found.interval_95 == pytest.approx((difference - 1.96 * error, difference + 1.96 * error), abs=2e-4)


def test_fast_ranks_give_the_covariance_of_all_pairs_with_many_ties():
    """No published number: DeLong's definition written out pair by pair, on scores of six values."""
    rng = np.random.default_rng(3)
    first, second = rng.integers(0, 6, 80).astype(float), rng.integers(0, 6, 80).astype(float)
    truth = rng.random(80) < 0.2 + 0.1 * first
    covariance = covariance_of_all_pairs(truth, first, second)
    found = compare_aucs(truth, first, second)
    assert found.first == pytest.approx(roc_auc_score(truth, first), abs=1e-12)
    assert found.second == pytest.approx(roc_auc_score(truth, second), abs=1e-12)
    assert estimate_auc(truth, first).standard_error ** 2 == pytest.approx(covariance[0, 0], rel=1e-9)
    assert found.standard_error**2 == pytest.approx(
        covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1], rel=1e-9
    )


@pytest.mark.parametrize("scale", ["logit", "plain"])
def test_the_interval_covers_the_true_area_in_95_of_100_samples(scale):
    """No published number: normal scores two standard deviations apart have the area Phi(sqrt 2) = 0.9214.

    The standard error of the coverage over 600 samples is 0.009; the plain interval is known to cover too little.
    """
    rng = np.random.default_rng(11)
    truth_area, covered = 0.92135, 0
    for _ in range(600):
        low, high = estimate_auc(*draw_scores(rng, 60, 60, 2.0), scale=scale).interval_95
        covered += low <= truth_area <= high
    assert (0.925 if scale == "logit" else 0.90) <= covered / 600 <= 0.975


def test_scores_that_are_equally_good_are_told_apart_in_5_of_100_samples():
    """No published number: two noisy readings of one signal; the error of the share over 600 samples is 0.009."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(600):
        truth, signal = draw_scores(rng, 50, 70, 1.0)
        found.append(compare_aucs(truth, signal + rng.normal(size=120), signal + rng.normal(size=120)).p)
    assert 0.025 <= np.mean(np.array(found) < 0.05) <= 0.08


def test_the_logit_interval_stays_below_one_where_the_plain_one_is_cut_off():
    truth = np.repeat([True, False], [10, 10])
    scores = np.arange(20, 0, -1, dtype=float)
    scores[[9, 10]] = scores[[10, 9]]
    plain, logit = estimate_auc(truth, scores, scale="plain"), estimate_auc(truth, scores)
    assert plain.interval_95[1] == 1
    assert plain.interval_95[0] > logit.interval_95[0] > 0.5
    assert logit.auc < logit.interval_95[1] < 1


@pytest.mark.parametrize(("scores", "area"), [([1, 2, 3, 4], 1.0), ([4, 3, 2, 1], 0.0), ([7, 7, 7, 7], 0.5)])
def test_an_area_without_variance_has_no_interval(scores, area):
    found = estimate_auc([0, 0, 1, 1], scores)
    assert (found.auc, found.standard_error, found.interval_95) == (area, 0.0, None)


def test_a_single_event_has_an_area_but_no_standard_error():
    found = estimate_auc([1, 0, 0], [2, 1, 3])
    assert (found.auc, found.standard_error, found.interval_95) == (0.5, None, None)


def test_scores_that_rank_the_cases_alike_do_not_differ():
    found = compare_aucs(BENEFIT, ALBUMIN, np.exp(ALBUMIN))
    assert (found.difference, found.z, found.p) == (0.0, 0.0, 1.0)


def test_exchanging_the_scores_turns_the_sign_only():
    there, back = compare_aucs(BENEFIT, ALBUMIN, PROTEIN), compare_aucs(BENEFIT, PROTEIN, ALBUMIN)
    assert back.z == pytest.approx(-there.z)
    assert back.p == pytest.approx(there.p)


def test_the_quick_area_is_that_of_scikit_learn():
    scores = np.round(ALBUMIN)
    assert quick_auc(BENEFIT == 1, scores) == pytest.approx(roc_auc_score(BENEFIT, scores), abs=1e-12)
    assert quick_auc(np.ones(3, dtype=bool), np.arange(3.0)) is None


@pytest.mark.parametrize(
    ("truth", "scores", "sentence"),
    [
        ([1, 1, 1], [1, 2, 3], "one kind"),
        ([], [], "at least one"),
        ([0, 1, 2], [1, 2, 3], "0 or 1"),
        ([0, 1, 1], [1, np.nan, 3], "missing or infinite"),
        ([0, 1, 1], [1, 2], "3 cases"),
    ],
)
def test_odd_input_is_refused_with_a_sentence(truth, scores, sentence):
    with pytest.raises(ValueError, match=sentence):
        estimate_auc(truth, scores)


def test_a_test_without_answer_is_refused():
    with pytest.raises(ValueError, match="without any variance"):
        compare_aucs([0, 0, 1, 1], [1, 2, 3, 4], [4, 3, 2, 1])
    with pytest.raises(ValueError, match="two cases of each kind"):
        compare_aucs([0, 0, 1], [1, 2, 3], [3, 2, 1])


def test_with_one_case_a_patient_resampling_agrees_with_delong():
    """No published number: two constructions of one interval, from 300 cases."""
    rng = np.random.default_rng(21)
    truth, signal = draw_scores(rng, 120, 180, 1.0)
    first, second = signal + rng.normal(size=300), signal + 0.3 * rng.normal(size=300)
    patients = [str(number) for number in range(300)]
    plain, drawn = estimate_auc(truth, first, scale="plain"), auc_interval(patients, truth, first)
    assert drawn == pytest.approx(plain.interval_95, abs=0.012)
    compared, difference = compare_aucs(truth, first, second), auc_difference_interval(patients, truth, first, second)
    assert difference == pytest.approx(compared.interval_95, abs=0.012)


def test_repeated_images_of_a_patient_make_nothing_surer():
    """Each case four times: DeLong's interval shrinks to half, that of resampled patients stays as it is."""
    rng = np.random.default_rng(22)
    truth, scores = draw_scores(rng, 40, 60, 1.0)
    patients = [str(number) for number in range(100)]
    once = auc_interval(patients, truth, scores)
    often = auc_interval(patients * 4, np.tile(truth, 4), np.tile(scores, 4))
    assert often[1] - often[0] == pytest.approx(once[1] - once[0], rel=0.1)
    taken_for_independent = estimate_auc(np.tile(truth, 4), np.tile(scores, 4)).interval_95
    assert taken_for_independent[1] - taken_for_independent[0] < 0.6 * (often[1] - often[0])
    assert auc_difference_interval(patients, truth, scores, scores) == (0.0, 0.0)
    assert auc_difference_interval(["1", "2"], [1, 1], [1, 2], [2, 1]) is None
