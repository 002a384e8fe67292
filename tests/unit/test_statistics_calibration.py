"""Calibration and logistic regression: R's printed examples, identities of maximum likelihood, and simulation."""

import numpy as np
import pytest

pytest.importorskip("sklearn")

from workers.training.statistics.fit_logistic import fit_logistic, is_separated
from workers.training.statistics.judge_calibration import (
    bin_cases,
    brier_score,
    calibration_error,
    calibration_error_by_chance,
    fit_calibration,
    judge_fit,
    trace_calibration,
)

# R's data set mtcars (Henderson & Velleman, Biometrics 1981): manual transmission, horsepower, weight in 1000 lb.
CARS = """
1 110 2.620  1 110 2.875  1 93 2.320  0 110 3.215  0 175 3.440  0 105 3.460  0 245 3.570  0 62 3.190
0 95 3.150  0 123 3.440  0 123 3.440  0 180 4.070  0 180 3.730  0 180 3.780  0 205 5.250  0 215 5.424
0 230 5.345  1 66 2.200  1 52 1.615  1 65 1.835  0 97 2.465  0 150 3.520  0 150 3.435  0 245 3.840
0 175 3.845  1 66 1.935  1 91 2.140  1 113 1.513  1 264 3.170  1 175 2.770  1 335 3.570  1 109 2.780
"""
MANUAL, POWER, WEIGHT = np.array(CARS.split(), dtype=float).reshape(-1, 3).T

# A sample of 100 in ten groups of ten, as R's ResourceSelection::hoslem.test prints it (J. Bartlett, "The
# Hosmer-Lemeshow goodness of fit test for logistic regression", thestatsgeek.com): events, and those expected.
SEEN = [2, 3, 3, 2, 5, 6, 5, 8, 4, 9]
EXPECTED = [1.740102, 2.514339, 3.031815, 3.805755, 4.489637, 5.016049, 5.478914, 6.166756, 6.714729, 8.041905]


def groups_of_ten(seen, expected):
    truth = np.concatenate([np.arange(10) < events for events in seen])
    return truth, np.repeat(np.array(expected) / 10, 10)


def draw_true_risks(rng, count):
    risks = 1 / (1 + np.exp(-rng.normal(-0.5, 1.2, count)))
    return rng.random(count) < risks, risks


# Logistic regression


def test_the_fit_is_that_of_r():
    """R: glm(am ~ hp + wt, binomial, mtcars), as r-tutor.com prints it; 120 hp and 2800 lb are given 0.64181."""
    fit = fit_logistic(np.column_stack([POWER, WEIGHT]), MANUAL, ["hp", "wt"])
    assert [round(term.value, 4) for term in fit.coefficients] == [18.8663, 0.0363, -8.0835]
    assert [round(term.standard_error, 4) for term in fit.coefficients] == [7.4436, 0.0177, 3.0687]
    assert [round(term.p, 4) for term in fit.coefficients] == [0.0113, 0.0409, 0.0084]
    assert fit.predict([[120, 2.8]])[0] == pytest.approx(0.64181, abs=5e-6)
    assert (fit.cases, fit.events) == (32, 13)


def test_one_yes_or_no_variable_gives_the_odds_ratio_of_the_table():
    """A table of 20, 10, 8, 30: odds ratio 20 x 30 / (10 x 8) = 7.5; Woolf's standard error of its logarithm."""
    exposed, truth = np.repeat([1, 1, 0, 0], [20, 10, 8, 30]), np.repeat([1, 0, 1, 0], [20, 10, 8, 30])
    term = fit_logistic(exposed[:, None], truth, ["exposed"]).coefficients[1]
    assert term.odds_ratio == pytest.approx(7.5)
    assert term.standard_error == pytest.approx((1 / 20 + 1 / 10 + 1 / 8 + 1 / 30) ** 0.5)
    assert term.odds_ratio_95[0] < 7.5 < term.odds_ratio_95[1]


def test_the_scale_of_a_variable_does_not_matter():
    plain = fit_logistic(WEIGHT[:, None], MANUAL, ["wt"])
    large = fit_logistic(1000 * WEIGHT[:, None], MANUAL, ["wt"])
    assert large.coefficients[1].value == pytest.approx(plain.coefficients[1].value / 1000, rel=1e-6)
    assert large.deviance == pytest.approx(plain.deviance)


@pytest.mark.parametrize("values", [[1, 2, 3, 4, 5, 6], [1, 2, 3, 3, 5, 6]], ids=["complete", "quasi-complete"])
def test_separated_cases_have_no_fit(values):
    with pytest.raises(ValueError, match="without fail"):
        fit_logistic(np.array(values, dtype=float)[:, None], [0, 0, 0, 1, 1, 1], ["x"])


def test_overlapping_cases_are_not_taken_for_separated():
    design = np.column_stack([np.ones(6), [1, 2, 4, 3, 5, 6]])
    assert not is_separated(design, np.array([0, 0, 0, 1, 1, 1], dtype=bool))


@pytest.mark.parametrize(
    ("variables", "truth", "sentence"),
    [
        ([[1.0], [1.0], [1.0]], [0, 1, 0], "constant"),
        ([[1.0, 2.0], [2.0, 4.0], [3.0, 6.0], [4.0, 8.0]], [0, 1, 0, 1], "follows from"),
        ([[1.0], [np.nan], [3.0]], [0, 1, 0], "missing"),
        ([[1.0], [2.0]], [0, 1, 0], "Expected 3 cases"),
        ([[1.0], [2.0]], [1, 1], "one kind"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_a_sentence(variables, truth, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_logistic(variables, truth, [f"x{number}" for number in range(len(variables[0]))])


# Hosmer and Lemeshow


def test_hosmer_and_lemeshows_test_is_that_of_r():
    """R's ResourceSelection::hoslem.test prints X-squared = 7.4866, df = 8, p-value = 0.4851 for these groups."""
    found = judge_fit(*groups_of_ten(SEEN, EXPECTED), were_fitted_here=True)
    assert found.chi_square == pytest.approx(7.486643, abs=1e-4)
    assert (found.degrees, found.groups) == (8, 10)
    assert found.p == pytest.approx(0.4851, abs=5e-5)


def test_new_cases_lose_no_degrees_of_freedom():
    fitted = judge_fit(*groups_of_ten(SEEN, EXPECTED), were_fitted_here=True)
    new = judge_fit(*groups_of_ten(SEEN, EXPECTED), were_fitted_here=False)
    assert (new.degrees, new.chi_square) == (10, fitted.chi_square)
    assert new.p > fitted.p


@pytest.mark.parametrize("were_fitted_here", [True, False])
def test_true_models_are_refused_in_5_of_100_samples(were_fitted_here):
    """No published number: 400 samples of 500 cases; the standard error of the share is 0.011."""
    rng, refused = np.random.default_rng(12), 0
    for _ in range(400):
        truth, risks = draw_true_risks(rng, 500)
        if were_fitted_here:
            odds = np.log(risks / (1 - risks))[:, None]
            risks = fit_logistic(odds, truth, ["odds"]).predict(odds)
        refused += judge_fit(truth, risks, were_fitted_here=were_fitted_here).p < 0.05
    assert 0.02 <= refused / 400 <= 0.09


def test_equal_probabilities_are_never_parted():
    risks = np.array([0.1] * 7 + [0.2] * 2 + [0.3, 0.4, 0.5])
    places = bin_cases(risks, 4)
    assert len(set(places[:7])) == 1
    assert len(set(places[7:9])) == 1
    assert (np.diff(places) >= 0).all()


def test_the_case_at_a_cut_is_below_it_and_a_cut_between_cases_is_their_mean():
    assert bin_cases(np.array([0.1, 0.2, 0.3, 0.4, 0.5]), 2).tolist() == [0, 0, 0, 1, 1]
    assert bin_cases(np.array([0.1, 0.2, 0.3, 0.4]), 2).tolist() == [0, 0, 1, 1]


def test_too_few_different_probabilities_leave_nothing_to_test():
    with pytest.raises(ValueError, match="too few groups"):
        judge_fit([0, 1, 0, 1], [0.2, 0.2, 0.6, 0.6], were_fitted_here=True)


def test_a_certain_group_adds_nothing_when_right_and_everything_when_wrong():
    truth, risks = np.array([0, 0, 0, 1, 0, 1]), np.array([0.0, 0.0, 0.5, 0.5, 0.7, 0.7])
    right = judge_fit(truth, risks, groups=3, were_fitted_here=True)
    wrong = judge_fit(np.array([0, 1, 0, 1, 0, 1]), risks, groups=3, were_fitted_here=True)
    assert right.chi_square == pytest.approx((1 - 1.4) ** 2 / (1.4 * 0.3))
    assert (wrong.chi_square, wrong.p) == (float("inf"), 0.0)


# Calibration error and curve


def test_the_calibration_error_is_that_worked_by_hand():
    truth, risks = [0, 0, 1, 1], [0.1, 0.3, 0.6, 0.8]
    assert calibration_error(truth, risks, bins=2, kind="width") == pytest.approx(0.5 * 0.2 + 0.5 * 0.3)
    assert calibration_error(truth, risks, bins=4, kind="mass") == pytest.approx((0.1 + 0.3 + 0.4 + 0.2) / 4)


def test_a_probability_on_an_edge_and_one_of_1_have_a_bin():
    assert bin_cases(np.array([0.0, 0.49, 0.5, 1.0]), 2, "width").tolist() == [0, 0, 1, 1]


def test_one_constant_probability_errs_by_its_distance_from_the_share():
    for kind in ("mass", "width"):
        assert calibration_error([1, 0, 0, 0], [0.6] * 4, kind=kind) == pytest.approx(0.35)


def test_true_probabilities_err_as_much_as_chance_says():
    rng = np.random.default_rng(3)
    pairs = [draw_true_risks(rng, 150) for _ in range(200)]
    errors = [calibration_error(*pair) for pair in pairs]
    mean, highest = calibration_error_by_chance(pairs[0][1])
    assert np.mean(errors) == pytest.approx(mean, rel=0.1)
    assert 0.88 <= np.mean(np.array(errors) < highest) <= 1
    assert calibration_error(pairs[0][0], pairs[0][1] ** 4) > highest


def test_the_curve_holds_every_case_once_and_leaves_out_empty_bins():
    truth, risks = draw_true_risks(np.random.default_rng(4), 200)
    for kind in ("mass", "width"):
        points = trace_calibration(truth, risks, kind=kind)
        assert sum(point.observed.count for point in points) == 200
        assert sum(point.observed.hits for point in points) == truth.sum()
        assert [p.mean_probability for p in points] == sorted(p.mean_probability for p in points)
    assert [p.observed.count for p in trace_calibration(truth, risks)] == [20] * 10
    assert len(trace_calibration([0, 1], [0.05, 0.95], kind="width")) == 2


def test_the_brier_score_is_the_mean_square():
    assert brier_score([1, 0], [0.8, 0.4]) == pytest.approx((0.04 + 0.16) / 2)


# Intercept and slope


def test_a_fitted_model_lies_on_its_own_line():
    """Maximum likelihood: on the cases that fitted a logistic model slope 1, intercept 0 and shift 0 are exact."""
    truth, risks = draw_true_risks(np.random.default_rng(5), 300)
    odds = np.log(risks / (1 - risks))[:, None]
    line = fit_calibration(truth, fit_logistic(odds, truth, ["odds"]).predict(odds))
    assert line.slope.value == pytest.approx(1, abs=1e-6)
    assert line.intercept.value == pytest.approx(0, abs=1e-6)
    assert line.shift == pytest.approx(0, abs=1e-6)


def test_distorted_log_odds_are_undone_exactly():
    truth, risks = draw_true_risks(np.random.default_rng(5), 300)
    odds = np.log(risks / (1 - risks))[:, None]
    fitted = fit_logistic(odds, truth, ["odds"]).predict(odds)
    distorted = 1 / (1 + np.exp(-(0.7 + 2 * np.log(fitted / (1 - fitted)))))
    line = fit_calibration(truth, distorted)
    assert line.slope.value == pytest.approx(0.5, abs=1e-6)
    assert line.intercept.value == pytest.approx(-0.35, abs=1e-6)


def test_the_shift_makes_as_many_events_as_there_are():
    truth, risks = draw_true_risks(np.random.default_rng(6), 300)
    line = fit_calibration(truth, risks**2)
    odds = np.log(risks**2 / (1 - risks**2)) + line.shift
    assert (1 / (1 + np.exp(-odds))).sum() == pytest.approx(truth.sum(), abs=1e-6)
    assert line.shift_95[0] < line.shift < line.shift_95[1]
    assert line.shift > 0.5


def test_the_shift_of_even_chances_has_the_standard_error_of_log_odds():
    """Where all probabilities are (nearly) one half the shift is log(30 / 70), its variance 1 / 30 + 1 / 70 (Woolf)."""
    truth, risks = np.arange(100) < 30, 0.5 + 1e-4 * np.tile([-1.0, 1.0], 50)
    line = fit_calibration(truth, risks)
    half = 1.959964 * (1 / 30 + 1 / 70) ** 0.5
    assert line.shift == pytest.approx(np.log(30 / 70), abs=1e-6)
    assert line.shift_95 == pytest.approx((line.shift - half, line.shift + half), abs=1e-6)


def test_certain_probabilities_have_a_line_nevertheless():
    truth, risks = draw_true_risks(np.random.default_rng(7), 100)
    risks[:2] = (0.0, 1.0)
    truth[:2] = (False, True)
    assert np.isfinite(fit_calibration(truth, risks).slope.value)


@pytest.mark.parametrize(
    ("risks", "sentence"), [([0.3] * 4, "constant"), ([0.1, 0.2, 0.8, 0.9], "without fail"), ([0.1] * 3, "4 cases")]
)
def test_what_has_no_line_is_refused(risks, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_calibration([0, 0, 1, 1], risks)
