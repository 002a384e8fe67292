"""Intraclass correlations: Shrout and Fleiss's table, R's intervals of it, and simulated ratings."""

import numpy as np
import pytest

pytest.importorskip("scipy")

from workers.training.statistics.measure_agreement import analyze_variance, measure_agreement, step_up

# Shrout & Fleiss, Psychological Bulletin 1979;86:420, table 2: six targets, four judges.
RATINGS = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], dtype=float)


def test_the_six_correlations_of_shrout_and_fleiss():
    """Shrout & Fleiss 1979, table 4."""
    found = measure_agreement(RATINGS)
    assert [one.kind for one in found] == ["ICC(1)", "ICC(2)", "ICC(3)"]
    assert [round(one.single, 2) for one in found] == [0.17, 0.29, 0.71]
    assert [round(one.average, 2) for one in found] == [0.44, 0.62, 0.91]


def test_their_intervals_and_tests_are_those_of_r():
    """R's psych::ICC on the same table, as its documentation and many courses print it."""
    found = measure_agreement(RATINGS)
    assert [round(one.single_95[0], 3) for one in found] == [-0.133, 0.019, 0.342]
    assert [round(one.single_95[1], 2) for one in found] == [0.72, 0.76, 0.95]
    assert [round(one.average_95[0], 3) for one in found] == [-0.884, 0.071, 0.676]
    assert [round(one.average_95[1], 2) for one in found][:2] == [0.91, 0.93]
    assert [round(one.f, 2) for one in found] == [1.79, 11.03, 11.03]
    assert [one.degrees for one in found] == [(5, 18), (5, 15), (5, 15)]
    assert [round(one.p, 6) for one in found] == [0.164769, 0.000135, 0.000135]


def test_mean_squares_add_up_to_the_whole_spread():
    squares = analyze_variance(RATINGS)
    whole = ((RATINGS - RATINGS.mean()) ** 2).sum()
    assert 5 * squares.between + 3 * squares.of_judges + 15 * squares.rest == pytest.approx(whole)
    assert 3 * squares.of_judges + 15 * squares.rest == pytest.approx(18 * squares.within)


@pytest.mark.parametrize(("place", "true"), [(0, 4 / 6), (1, 4 / 6), (2, 4 / 5)], ids=["ICC(1)", "ICC(2)", "ICC(3)"])
def test_the_interval_covers_the_true_correlation_in_95_of_100_samples(place, true):
    """No published number: targets of variance 4, judges of variance 1, noise of variance 1; 300 samples.

    For ICC(1) each rating has a judge of its own. The standard error of the coverage is 0.013.
    """
    rng = np.random.default_rng(8)
    covered = 0
    for _ in range(300):
        judges = rng.normal(size=(40, 8) if place == 0 else 8)
        ratings = 2 * rng.normal(size=(40, 1)) + judges + rng.normal(size=(40, 8))
        low, high = measure_agreement(ratings)[place].single_95
        covered += low <= true <= high
    assert 0.91 <= covered / 300 <= 0.99


def test_a_judge_who_rates_higher_lowers_agreement_but_not_consistency():
    rng = np.random.default_rng(9)
    ratings = rng.normal(size=(30, 1)) + 0.3 * rng.normal(size=(30, 2))
    shifted = ratings + np.array([0.0, 2.0])
    before, after = measure_agreement(ratings), measure_agreement(shifted)
    assert after[1].single < before[1].single - 0.3
    assert after[2].single == pytest.approx(before[2].single)


def test_a_mean_of_one_rating_is_that_rating():
    assert step_up(0.4, 1) == pytest.approx(0.4)
    assert step_up(-0.5, 3) == float("-inf")


@pytest.mark.parametrize(
    ("ratings", "sentence"),
    [
        (np.ones((5, 3)), "do not differ"),
        (np.arange(5.0)[:, None] + np.array([0.0, 1.0]), "do not differ"),
        (np.ones((1, 3)), "at least two"),
        (np.ones(4), "at least two"),
        ([[1, 2], [3, np.nan]], "missing"),
    ],
)
def test_ratings_without_an_answer_are_refused(ratings, sentence):
    with pytest.raises(ValueError, match=sentence):
        measure_agreement(ratings)
