"""Rates of calls: Newcombe's worked intervals, counts by hand, and Bayes."""

import pytest

pytest.importorskip("scipy")

from workers.training.statistics.estimate_intervals import ppv_at
from workers.training.statistics.rate_calls import (
    call_events,
    count_share,
    ppv_interval_at,
    rate_calls,
)

TRUTH = [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
CALLS = [1, 1, 1, 0, 1, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("hits", "count", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilsons_interval_of_newcombes_examples(hits, count, low, high):
    """Newcombe, Statistics in Medicine 1998;17:857, table I, method 3: the score interval without correction."""
    assert count_share(hits, count).interval_95 == pytest.approx((low, high), abs=5e-5)


def test_rates_are_those_counted_by_hand():
    rates = rate_calls(TRUTH, CALLS)
    counted = {name: (getattr(rates, name).hits, getattr(rates, name).count) for name in rates.__slots__}
    assert counted == {
        "sensitivity": (3, 4),
        "specificity": (5, 6),
        "ppv": (3, 4),
        "npv": (5, 6),
        "accuracy": (8, 10),
    }
    assert rates.sensitivity.share == 0.75


def test_what_was_never_counted_has_no_rate():
    rates = rate_calls([1, 1], [0, 0])
    assert (rates.specificity.share, rates.specificity.interval_95) == (None, None)
    assert (rates.ppv.share, rates.ppv.count) == (None, 0)
    assert (rates.sensitivity.share, rates.npv.share) == (0.0, 0.0)


def test_a_score_on_the_threshold_is_called():
    assert call_events([0.1, 0.5, 0.7], 0.5).tolist() == [False, True, True]


def test_the_ppv_at_a_prevalence_lies_within_its_interval():
    rates = rate_calls(TRUTH * 20, CALLS * 20)
    low, high = ppv_interval_at(0.05, rates)
    assert low < ppv_at(0.05, rates.sensitivity.share, rates.specificity.share) < high
    assert ppv_at(0.4, 0.75, 5 / 6) == pytest.approx(rates.ppv.share)
    assert ppv_interval_at(0.05, rate_calls([1, 1], [0, 1])) is None


@pytest.mark.parametrize(("truth", "calls"), [([1, 0], [1]), ([1, 2], [1, 0]), ([], [])])
def test_odd_input_is_refused(truth, calls):
    with pytest.raises(ValueError, match=r"cases|at least one|0 or 1"):
        rate_calls(truth, calls)
