"""What the segmenter is trained against: a small mass counts as much as a large one, and so does an invented one."""

import pytest
import torch

from workers.training.train_segmenter import dice_and_cross_entropy, main, tversky_and_cross_entropy

LARGE, SMALL = 20, 4
"""Voxels of 2 mm along a side: 40 and 8 mm."""


def mark(*sides):
    """Classes of one sample per side, a cube of that many voxels each; none where the side is 0."""
    classes = torch.zeros((len(sides), 24, 24, 24), dtype=torch.int64)
    for sample, side in zip(classes, sides, strict=True):
        sample[:side, :side, :side] = 1
    return classes


def loss_of(answer, truth, loss=dice_and_cross_entropy):
    """The loss where the network is sure of `answer`."""
    logits = torch.nn.functional.one_hot(answer, 2).movedim(-1, 1) * 20.0
    return float(loss(logits, truth))


def test_a_perfect_answer_costs_nothing():
    assert loss_of(mark(LARGE, SMALL, 0, 0), mark(LARGE, SMALL, 0, 0)) == pytest.approx(0, abs=1e-3)


def test_a_small_mass_missed_beside_a_large_one_costs_most_of_its_share_of_the_batch():
    missed = loss_of(mark(LARGE, 0, 0, 0), mark(LARGE, SMALL, 0, 0))
    assert missed > 0.8 / 4


def test_a_small_thing_found_where_nothing_is_costs_as_much_as_a_small_mass_missed():
    missed = loss_of(mark(LARGE, 0, 0, 0), mark(LARGE, SMALL, 0, 0))
    invented = loss_of(mark(LARGE, SMALL, 0, 0), mark(LARGE, 0, 0, 0))
    assert invented == pytest.approx(missed, rel=0.05)


def test_the_samples_of_a_batch_are_judged_in_any_order():
    answer, truth = mark(LARGE, 0, SMALL), mark(LARGE, SMALL, 0)
    assert loss_of(answer, truth) == pytest.approx(loss_of(answer.flip(0), truth.flip(0)), rel=1e-6)


def test_with_a_beta_above_a_half_a_mass_marked_too_small_costs_more_than_one_marked_too_large():
    truth, loss = mark(LARGE), tversky_and_cross_entropy(0.8)
    small, large = (loss_of(mark(side), truth, loss) - loss_of(mark(side), truth) for side in (LARGE - 2, LARGE + 2))
    assert small > 0 > large


def test_a_beta_of_a_half_weighs_both_as_the_dice_does():
    truth = mark(LARGE, 0)
    for answer in (mark(LARGE - 2, 0), mark(LARGE, SMALL)):
        by_dice = loss_of(answer, truth)
        assert loss_of(answer, truth, tversky_and_cross_entropy(0.5)) == pytest.approx(by_dice, rel=0.05)


def test_what_is_invented_where_no_mass_is_costs_at_most_a_fifth_less_with_any_beta():
    by_dice = loss_of(mark(SMALL), mark(0))
    for beta in (0.5, 0.9):
        assert 0.8 < loss_of(mark(SMALL), mark(0), tversky_and_cross_entropy(beta)) / by_dice <= 1


@pytest.mark.parametrize("beta", ["0", "1", "-0.3", "nan"])
def test_a_beta_that_is_no_share_is_refused(beta, capsys):
    with pytest.raises(SystemExit):
        main(["--data", "x", "--out", "y", "--tversky-beta", beta])
    assert "between 0 and 1" in capsys.readouterr().err
