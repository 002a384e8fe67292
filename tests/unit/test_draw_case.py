"""The slice that an evaluation keeps of a case: the front above, the patient's right at the left."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from screener.study import Side
from tests.conformance.studies import IN_PLANE, THRESHOLDS, Directions, make_study, world_of
from workers.training.evaluation.case_result import FAILED, CaseResult
from workers.training.evaluation.draw_case import cut_slice
from workers.training.evaluation.screen_case import Answer, Truth


@pytest.mark.parametrize("directions", IN_PLANE)
def test_the_right_is_at_the_left_and_the_front_above(tmp_path: Path, directions: Directions) -> None:
    study = make_study(tmp_path, directions=directions, present=(Side.RIGHT,))
    towards = world_of(study.volume)
    towards = towards - towards.reshape(-1, 3).mean(axis=0)
    answer = Answer(parotids=(), masses=(), peak_probabilities={}, outcome=FAILED, reason="", seconds=0.0)
    for world, axis in ((0, 1), (1, 0)):
        volume = replace(study.volume, hu=np.where(towards[..., world] < 0, 180, -80).astype(np.int16))
        truth = Truth(name="one", volume=volume, glands={}, mass=study.masses[0].mask, mass_sides=(Side.RIGHT,))
        kept = cut_slice(truth, CaseResult(name="one", outcome=FAILED), answer, THRESHOLDS)
        first, last = np.array_split(kept.gray, 2, axis=axis)
        assert first.mean() > 2 * last.mean(), "xyz"[world]
        mass = np.argwhere(kept.outlines["truth"]).mean(axis=0) / kept.gray.shape
        assert mass[1] < 0.4
        height_mm, width_mm = np.array(kept.gray.shape) * kept.spacing_mm
        along, across = (study.volume.hu.shape[1 + place] * study.volume.spacing_mm[1 - place] for place in (0, 1))
        is_upright = abs(directions[0][0]) > 0.5
        assert (height_mm, width_mm) == pytest.approx((along, across) if is_upright else (across, along))
