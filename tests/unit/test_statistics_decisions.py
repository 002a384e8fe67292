"""Decision curves: Vickers and Elkin's formula by hand, and what it must be at its ends."""

import numpy as np
import pytest

pytest.importorskip("scipy")

from workers.training.statistics.weigh_decisions import weigh_decisions

TRUTH = np.array([1, 1, 1, 0, 0, 0, 0, 0, 0, 0])
RISKS = np.array([0.9, 0.5, 0.1, 0.6, 0.3, 0.2, 0.2, 0.1, 0.1, 0.05])


def test_net_benefit_is_true_calls_less_weighed_false_ones():
    """No published data: Vickers & Elkin 2006, TP / n - FP / n x odds of the threshold, counted by hand."""
    curve = weigh_decisions(TRUTH, RISKS, [0.2, 0.5])
    assert curve.model == pytest.approx([2 / 10 - 4 / 10 * 0.25, 2 / 10 - 1 / 10 * 1.0])
    assert curve.treat_all == pytest.approx([3 / 10 - 7 / 10 * 0.25, 3 / 10 - 7 / 10])
    assert curve.treat_none.tolist() == [0, 0]


def test_below_the_lowest_risk_the_model_calls_all_and_above_the_highest_none():
    curve = weigh_decisions(TRUTH, RISKS, [0.04, 0.95])
    assert curve.model[0] == pytest.approx(curve.treat_all[0])
    assert curve.model[1] == 0


def test_calling_all_is_worth_nothing_at_a_threshold_of_the_prevalence():
    curve = weigh_decisions(TRUTH, RISKS, [0.3])
    assert curve.prevalence == pytest.approx(0.3)
    assert curve.treat_all[0] == pytest.approx(0, abs=1e-12)


def test_another_prevalence_weighs_as_repeated_cases_do():
    """Nine times as many cases without the event: the same rates at a prevalence of 3 in 66."""
    others = TRUTH == 0
    repeated = np.concatenate([TRUTH[~others], np.tile(TRUTH[others], 9)])
    risks = np.concatenate([RISKS[~others], np.tile(RISKS[others], 9)])
    plain, weighed = weigh_decisions(repeated, risks), weigh_decisions(TRUTH, RISKS, prevalence=3 / 66)
    assert weighed.model == pytest.approx(plain.model)
    assert weighed.treat_all == pytest.approx(plain.treat_all)


def test_true_probabilities_never_do_worse_than_both_alternatives():
    """The expected benefit of calling by the true risk is the highest; 20,000 cases leave an error of 0.003."""
    rng = np.random.default_rng(1)
    risks = rng.beta(1, 3, 20000)
    curve = weigh_decisions(rng.random(20000) < risks, risks, np.linspace(0.05, 0.7, 14))
    assert (curve.model >= np.maximum(curve.treat_all, 0) - 0.003).all()
    assert (curve.model > np.maximum(curve.treat_all, 0) + 0.01).any()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"thresholds": [0.0, 0.5]}, "between 0 and 1"),
        ({"thresholds": [1.0]}, "between 0 and 1"),
        ({"prevalence": 0.0}, "between 0 and 1"),
    ],
)
def test_thresholds_at_the_ends_are_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        weigh_decisions(TRUTH, RISKS, **options)


def test_one_kind_of_case_is_refused():
    with pytest.raises(ValueError, match="one kind"):
        weigh_decisions([1, 1], [0.2, 0.3])
