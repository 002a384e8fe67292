"""NRI and IDI: Pencina's worked example, counts by hand, and resampled or simulated variances."""

import numpy as np
import pytest

pytest.importorskip("scipy")

from workers.training.statistics.reclassify_risks import (
    improve_discrimination,
    judge_moves,
    reclassify_by_category,
    reclassify_continuously,
)


def draw_risks(rng, count=400, gain=1.0):
    """Return truth, a first model's risks and those of a second, which reads `gain` of a second marker."""
    markers = rng.normal(size=(2, count))
    truth = rng.random(count) < 1 / (1 + np.exp(-(markers[0] + gain * markers[1] - 1)))
    return truth, 1 / (1 + np.exp(1 - markers[0])), 1 / (1 + np.exp(1 - markers[0] - gain * markers[1]))


def test_pencinas_example_of_hdl_in_framingham():
    """Pencina et al., Statistics in Medicine 2008;27:157, section 5: HDL cholesterol added, categories 6 % and 20 %.

    Of 183 events 29 moved up and 7 down, of 3081 others 173 up and 174 down: NRI 0.121, z 3.616, p < 0.001.
    """
    found = judge_moves(183, 29, 7, 3081, 173, 174).nri
    assert found.value == pytest.approx(0.121, abs=5e-4)
    assert found.z == pytest.approx(3.616, abs=5e-4)
    assert found.p < 0.001


def test_the_variance_of_the_interval_is_the_multinomial_one_of_2011():
    """Pencina et al. 2011 give the variance of each part as (up + down - (up - down)^2) / n; worked by hand."""
    found = judge_moves(100, 30, 10, 400, 40, 120)
    assert found.of_events.standard_error == pytest.approx(((0.4 - 0.04) / 100) ** 0.5)
    assert found.of_others.standard_error == pytest.approx(((0.4 - 0.04) / 400) ** 0.5)
    assert found.nri.value == pytest.approx(0.2 + 0.2)
    assert found.nri.standard_error == pytest.approx((0.0036 + 0.0009) ** 0.5)
    assert found.nri.z == pytest.approx(0.4 / (0.004 + 0.001) ** 0.5)


def test_categories_are_counted_as_by_hand_and_a_cutoff_belongs_above():
    truth = [1, 1, 1, 1, 0, 0, 0]
    first = [0.05, 0.10, 0.30, 0.25, 0.15, 0.50, 0.05]
    second = [0.20, 0.15, 0.10, 0.25, 0.05, 0.10, 0.06]
    found = reclassify_by_category(truth, first, second, [0.1, 0.2])
    assert (found.events, found.events_up, found.events_down) == (4, 1, 1)
    assert (found.others, found.others_up, found.others_down) == (3, 0, 2)
    assert found.nri.value == pytest.approx(0 + 2 / 3)


def test_without_categories_every_rise_counts_and_equal_risks_do_not():
    found = reclassify_continuously([1, 1, 1, 0, 0], [0.2, 0.3, 0.4, 0.5, 0.6], [0.21, 0.3, 0.9, 0.4, 0.6])
    assert (found.events_up, found.events_down, found.others_up, found.others_down) == (2, 0, 0, 1)
    assert found.nri.value == pytest.approx(2 / 3 + 1 / 2)


def test_the_idi_is_the_gain_in_the_difference_of_means():
    truth, first, second = draw_risks(np.random.default_rng(1))
    found = improve_discrimination(truth, first, second)
    slopes = [risks[truth].mean() - risks[~truth].mean() for risks in (first, second)]
    assert found.value == pytest.approx(slopes[1] - slopes[0], abs=1e-12)


@pytest.mark.parametrize(
    "figure",
    [
        lambda *cases: reclassify_continuously(*cases).nri,
        lambda *cases: reclassify_by_category(*cases, [0.2, 0.5]).nri,
        improve_discrimination,
    ],
    ids=["continuous", "categories", "idi"],
)
def test_standard_errors_are_those_of_repeated_samples(figure):
    """No published variance with its data could be had: 400 samples of the same source; their spread has 4 % error."""
    rng = np.random.default_rng(2)
    found = [figure(*draw_risks(rng)) for _ in range(400)]
    assert np.mean([one.standard_error for one in found]) == pytest.approx(np.std([o.value for o in found]), rel=0.12)
    middle = np.mean([one.value for one in found])
    covered = np.mean([one.interval_95[0] <= middle <= one.interval_95[1] for one in found])
    assert 0.92 <= covered <= 0.98


def test_exchanging_the_models_turns_every_sign():
    truth, first, second = draw_risks(np.random.default_rng(4))
    for figure in (improve_discrimination, lambda *cases: reclassify_continuously(*cases).nri):
        assert figure(truth, first, second).value == pytest.approx(-figure(truth, second, first).value)


def test_models_that_agree_gain_nothing_and_cannot_be_tested():
    truth, first, _ = draw_risks(np.random.default_rng(6))
    for found in (reclassify_continuously(truth, first, first).nri, improve_discrimination(truth, first, first)):
        assert (found.value, found.standard_error, found.z, found.p) == (0.0, 0.0, None, None)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: reclassify_continuously([1, 1], [0.1, 0.2], [0.2, 0.3]), "one kind"),
        (lambda: reclassify_continuously([1, 0], [0.1, np.nan], [0.2, 0.3]), "missing"),
        (lambda: reclassify_continuously([1, 0], [0.1, 1.2], [0.2, 0.3]), "outside 0 to 1"),
        (lambda: reclassify_by_category([1, 0], [0.1, 0.2], [0.2, 0.3], [0.5, 0.2]), "rise strictly"),
        (lambda: reclassify_by_category([1, 0], [0.1, 0.2], [0.2, 0.3], []), "rise strictly"),
        (lambda: improve_discrimination([1, 0, 0], [0.1] * 3, [0.2] * 3), "two cases of each kind"),
        (lambda: judge_moves(10, 8, 3, 10, 0, 0), "More cases moved"),
        (lambda: judge_moves(0, 0, 0, 10, 0, 0), "both kinds"),
    ],
)
def test_odd_input_is_refused_with_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()
