"""Judging the CT models: figures that can be computed by hand, what was not assessed, and one whole evaluation."""

import csv
import html
import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
from pydicom.sr.codedict import codes

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")
nibabel = pytest.importorskip("nibabel")

from screener.phantom import make_phantom, write_phantom  # noqa: E402
from screener.study import GAMMAS, Candidate, GlandAssessment, Mass, Side, Thresholds  # noqa: E402
from tests.unit.heads import make_head, see_glands, see_masses  # noqa: E402
from tests.unit.test_read_cases import segment  # noqa: E402
from workers.training import evaluate  # noqa: E402
from workers.training.evaluation import run_cases  # noqa: E402
from workers.training.evaluation.case_result import (  # noqa: E402
    FAILED,
    SCREENED,
    SET_ASIDE,
    CaseResult,
    Region,
    read_result,
    write_result,
)
from workers.training.evaluation.compute_figures import summarize  # noqa: E402
from workers.training.evaluation.judge_case import (  # noqa: E402
    CALLED,
    MASS_NOT_ASSESSED,
    NEGATIVE_NOT_ASSESSED,
    judge_all,
    judge_case,
    score_candidate,
    score_gland,
)
from workers.training.evaluation.replay_thresholds import (  # noqa: E402
    replay_gamma,
    replay_voxels,
    trace_free_response,
)
from workers.training.evaluation.screen_case import Models, count_regions, diameter_mm, largest_piece  # noqa: E402
from workers.training.statistics.compare_aucs import quick_auc  # noqa: E402
from workers.training.statistics.estimate_intervals import (  # noqa: E402
    bootstrap_interval,
    clustered_interval,
    ppv_at,
    resample_patients,
    wilson_interval,
)

THRESHOLDS = Thresholds(min_voxels=500, min_probability=0.5, config_revision="test", gamma=5, min_score=0.2)
TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def make_candidate(voxels=1000, side=Side.RIGHT, number=1, score=0.9):
    return Candidate(
        side=side,
        number=number,
        voxels=voxels,
        volume_mm3=float(voxels),
        longest_diameter_mm=15.0,
        mean_hu=50.0,
        max_probability=0.9,
        mean_probability=0.8,
        center_mm=(0.0, 0.0, 0.0),
        features={"volume": 7.0},
        scores=() if score is None else (score,) * len(GAMMAS),
    )


def make_assessment(side, *, is_assessed=True, covered_share=1.0):
    reason = "" if is_assessed else "Cut off"
    return GlandAssessment(
        side=side,
        is_assessed=is_assessed,
        reason=reason,
        volume_mm3=20000.0,
        mean_hu=0.0,
        covered_share=covered_share,
    )


def make_case(name="p1", *, mass=None, candidates=(), regions=(), not_assessed=(), **changes):
    """Return a case in which both glands are labelled; `mass` is the side of a mass of 1000 voxels of 1 mm^3."""
    values = {
        "name": name,
        "outcome": SCREENED,
        "spacing_mm": (1.0, 1.0, 1.0),
        "mass_sides": () if mass is None else (mass,),
        "is_positive": mass is not None,
        "mass_voxels": 0 if mass is None else 1000,
        "mass_mm3": 0.0 if mass is None else 1000.0,
        "mass_diameter_mm": 0.0 if mass is None else 12.4,
        "labelled_sides": (Side.LEFT, Side.RIGHT),
        "assessments": tuple(make_assessment(side, is_assessed=side not in not_assessed) for side in Side),
        "candidates": tuple(candidates),
        "regions": tuple(regions),
        "center_errors_mm": dict.fromkeys(Side, 3.0),
        "crop_shares": dict.fromkeys(Side, 1.0),
        "gland_dice": dict.fromkeys(Side, 0.8),
        "seconds": 2.0,
    }
    return CaseResult(**values | changes)


def found_mass(name="p1", *, voxels=1000, of_mass=800):
    region = Region(numbers=(1,), voxels=voxels, mass_voxels=of_mass)
    return make_case(name, mass=Side.RIGHT, candidates=[make_candidate(voxels)], regions=[region])


def summary_of(*cases):
    return summarize(judge_all(cases, THRESHOLDS), THRESHOLDS)


# Scores


def test_a_candidate_scores_half_or_more_exactly_when_it_is_called():
    called = [make_candidate(500, score=0.2), make_candidate(9000, score=1.0), make_candidate(500, score=None)]
    left = [make_candidate(499, score=1.0), make_candidate(9000, score=0.199), make_candidate(499, score=None)]
    assert all(CALLED <= score_candidate(one, THRESHOLDS) <= 1 for one in called)
    assert all(0 <= score_candidate(one, THRESHOLDS) < CALLED for one in left)


@pytest.mark.parametrize("score", [None, 0.1, 0.9])
def test_a_larger_candidate_never_scores_less(score):
    sizes = [make_candidate(voxels, score=score) for voxels in (30, 100, 499, 500, 501, 5000)]
    scores = [score_candidate(one, replace(THRESHOLDS, min_score=0.05)) for one in sizes]
    assert scores == sorted(scores)


def test_a_likelier_candidate_of_the_same_size_scores_more():
    scores = [score_candidate(make_candidate(800, score=s / 20), THRESHOLDS) for s in range(21)]
    assert scores == sorted(set(scores))


def test_scores_stay_finite_where_the_cut_off_takes_or_rejects_everything():
    for min_score in (0.0, 1.0):
        for score in (0.0, 0.5, 1.0):
            value = score_candidate(make_candidate(800, score=score), replace(THRESHOLDS, min_score=min_score))
            assert 0 <= value <= 1
            assert (value >= CALLED) == (score >= min_score)


def test_a_gland_that_is_not_flagged_scores_by_its_highest_mass_probability():
    cases = [
        make_case(peak_probabilities={Side.RIGHT: peak}, candidates=[make_candidate(100)] if peak >= 0.5 else ())
        for peak in (0.0, 0.1, 0.4, 0.6, 0.99, 1.0)
    ]
    scores = [score_gland(case, Side.RIGHT, THRESHOLDS) for case in cases]
    assert scores == sorted(set(scores))
    assert scores[-1] < CALLED
    flagged = make_case(peak_probabilities={Side.RIGHT: 0.6}, candidates=[make_candidate(500, score=0.2)])
    assert score_gland(flagged, Side.RIGHT, THRESHOLDS) >= CALLED
    assert score_gland(flagged, Side.LEFT, THRESHOLDS) == 0


def test_a_gland_whose_large_candidate_was_rejected_scores_by_the_machine_and_not_by_the_network():
    rejected = make_case(peak_probabilities={Side.RIGHT: 0.99}, candidates=[make_candidate(900, score=0.02)])
    expected = score_candidate(rejected.candidates[0], THRESHOLDS)
    assert score_gland(rejected, Side.RIGHT, THRESHOLDS) == expected < 0.1


# One case


def test_dice_is_twice_the_overlap_over_both_sizes():
    assert judge_case(found_mass(voxels=600, of_mass=500), THRESHOLDS).dice == pytest.approx(2 * 500 / (600 + 1000))


def test_everything_called_enters_the_dice_and_nothing_else():
    candidates = [make_candidate(900, number=1), make_candidate(700, Side.LEFT, 2), make_candidate(100, number=3)]
    regions = [
        Region(numbers=(1,), voxels=800, mass_voxels=600),
        Region(numbers=(1, 3), voxels=100, mass_voxels=90),
        Region(numbers=(2,), voxels=700, mass_voxels=0),
        Region(numbers=(3,), voxels=50, mass_voxels=50),
    ]
    case = make_case(mass=Side.RIGHT, candidates=candidates, regions=regions)
    assert judge_case(case, THRESHOLDS).dice == pytest.approx(2 * (600 + 90) / (800 + 100 + 700 + 1000))


def test_a_flag_on_the_wrong_side_alone_is_a_miss():
    judgment = judge_case(make_case(mass=Side.LEFT, candidates=[make_candidate(side=Side.RIGHT)]), THRESHOLDS)
    assert not judgment.is_flagged
    assert judgment.dice == 0
    assert judgment.gland_scores[Side.LEFT] == 0


def test_a_mass_in_a_gland_without_an_answer_is_missed_with_the_lowest_score():
    other = make_candidate(side=Side.LEFT)
    case = make_case(mass=Side.RIGHT, candidates=[other], not_assessed=[Side.RIGHT])
    judgment = judge_case(case, THRESHOLDS)
    assert not judgment.is_assessed
    assert not judgment.is_flagged
    assert judgment.score == judgment.gland_scores[Side.RIGHT] == MASS_NOT_ASSESSED
    assert judgment.gland_scores[Side.LEFT] == NEGATIVE_NOT_ASSESSED or judgment.gland_scores[Side.LEFT] >= CALLED


def test_a_negative_with_one_labelled_gland_without_an_answer_is_a_false_alarm():
    judgment = judge_case(make_case(not_assessed=[Side.LEFT]), THRESHOLDS)
    assert judgment.is_flagged
    assert judgment.score == judgment.gland_scores[Side.LEFT] == NEGATIVE_NOT_ASSESSED
    assert judgment.gland_scores[Side.RIGHT] == 0


def test_a_gland_that_no_label_knows_may_stay_without_an_answer():
    judgment = judge_case(make_case(not_assessed=[Side.LEFT], labelled_sides=(Side.RIGHT,)), THRESHOLDS)
    assert judgment.is_assessed
    assert not judgment.is_flagged


def test_a_gland_covered_too_little_is_not_assessed_however_large_its_mass():
    thin = tuple(make_assessment(side, covered_share=0.3) for side in Side)
    case = replace(found_mass(), assessments=thin)
    assert not judge_case(case, THRESHOLDS).is_assessed
    assert judge_case(case, replace(THRESHOLDS, min_covered_share=0.2)).is_flagged


@pytest.mark.parametrize("outcome", [SET_ASIDE, FAILED])
def test_a_study_without_any_answer_is_missed_or_a_false_alarm(outcome):
    empty = {"outcome": outcome, "assessments": (), "reason": "No neck"}
    missed = judge_case(make_case(mass=Side.LEFT, **empty), THRESHOLDS)
    alarm = judge_case(make_case(**empty), THRESHOLDS)
    assert (missed.is_flagged, missed.score, missed.dice) == (False, MASS_NOT_ASSESSED, 0)
    assert (alarm.is_flagged, alarm.score) == (True, NEGATIVE_NOT_ASSESSED)


# Figures


def test_the_figures_of_four_cases_are_those_computed_by_hand():
    quiet = make_case("p2", candidates=[make_candidate(100)], peak_probabilities={Side.LEFT: 0.6})
    summary = summary_of(
        found_mass("p1", voxels=1000, of_mass=800),
        make_case("p1+mass", mass=Side.RIGHT, peak_probabilities={Side.RIGHT: 0.3}),
        quiet,
        make_case("p3", candidates=[make_candidate(600, Side.LEFT)]),
    )
    # Of four pairs of a mass and none, the found one beats both, if by its size, and the missed one neither.
    assert summary["auc_exam"] == pytest.approx(1 / 4 + 1 / 8)
    assert (summary["exams"], summary["positives"], summary["patients"]) == (4, 2, 3)
    assert (summary["sensitivity"], summary["specificity"], summary["ppv"]) == (0.5, 0.5, 0.5)
    assert summary["dice_median"] == pytest.approx((0.8 + 0) / 2)
    assert summary["dice_iqr"] == pytest.approx([0.2, 0.6])
    assert summary["centre_error_mm_median"] == summary["centre_error_mm_p95"] == 3
    assert summary["crop_holds_95"] == 1
    assert summary["seconds_per_case_median"] == 2


def test_the_area_by_ranks_agrees_with_the_library():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(5)
    truth, score = rng.random(60) < 0.4, np.round(rng.random(60), 1)
    assert quick_auc(truth, score) == pytest.approx(roc_auc_score(truth, score))


def test_what_cannot_be_computed_is_null_and_still_json():
    summary = summary_of(make_case("only", center_errors_mm={Side.LEFT: math.inf, Side.RIGHT: 2.0}))
    assert summary["auc_exam"] is None
    assert summary["sensitivity"] is summary["dice_median"] is summary["dice_iqr"] is None
    assert summary["centre_error_mm_p95"] is None
    assert summary["centre_errors"]["not_found"] == 1
    assert summary["centre_errors"]["largest_found"] == 2
    json.dumps(summary, allow_nan=False)


def test_small_masses_have_a_row_of_their_own():
    small = make_case("s", mass=Side.LEFT, mass_diameter_mm=9.0, mass_mm3=380.0)
    summary = summary_of(found_mass(), small, make_case("n"))
    assert summary["sensitivity"] == 0.5
    assert summary["sensitivity_main"] == 1
    assert (summary["auc_exam"], summary["auc_exam_main"]) == (0.75, 1)  # the small one scores as the healthy one does
    assert summary["dice_median_main"] == pytest.approx(0.8)
    rows = {row["size"]: (row["masses"], row["found"]) for row in summary["masses_by_size"]}
    assert (rows["main"], rows["smaller"]) == ((1, 1), (1, 0))


def test_volumes_are_compared_whether_or_not_a_mass_was_flagged():
    large = make_case(
        "l", mass=Side.RIGHT, candidates=[make_candidate(1500), make_candidate(400, number=2)],
        regions=[Region(numbers=(1,), voxels=1500, mass_voxels=900), Region(numbers=(2,), voxels=400, mass_voxels=0)],
    )  # fmt: skip
    too_small = make_case(
        "s", mass=Side.LEFT, candidates=[make_candidate(400, side=Side.LEFT)],
        regions=[Region(numbers=(1,), voxels=400, mass_voxels=400)],
    )  # fmt: skip
    beside = make_case(
        "b", mass=Side.LEFT, candidates=[make_candidate(1000, side=Side.LEFT)],
        regions=[Region(numbers=(1,), voxels=1000, mass_voxels=0)],
    )  # fmt: skip
    smaller = make_case("t", mass=Side.LEFT, mass_diameter_mm=9.0, candidates=too_small.candidates,
                        regions=too_small.regions)  # fmt: skip
    summary = summary_of(large, too_small, beside, smaller, make_case("n"))
    assert summary["volume_ratio_median"] == pytest.approx((1.5 + 0.4) / 2)
    assert summary["volume_ratio_iqr"] == pytest.approx([0.675, 1.225])
    assert summary_of(make_case("n"))["volume_ratio_median"] is None


def test_a_crop_that_holds_less_than_95_percent_does_not_count():
    summary = summary_of(make_case(crop_shares={Side.LEFT: 0.95, Side.RIGHT: 0.94}))
    assert summary["crop_holds_95"] == 0.5


def test_those_without_an_answer_are_listed_with_the_reason():
    summary = summary_of(make_case("x", outcome=SET_ASIDE, reason="No neck.", assessments=()))
    assert summary["not_assessed"]["cases"][0]["reason"] == "No neck."
    assert summary["specificity"] == 0


def test_wilson_intervals_of_nine_in_ten_are_as_published():
    # Newcombe, Statistics in Medicine 1998;17:857, table I: 81 of 263 and 0 of 20, score method.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(0, 0) is None


def test_a_rare_finding_lowers_the_predictive_value():
    # 100,000 patients, 200 with a mass: 180 found, and 4,990 of 99,800 false alarms.
    assert ppv_at(0.002, 0.9, 0.95) == pytest.approx(180 / (180 + 4990))
    assert ppv_at(0.01, 0.0, 1.0) is None


def test_patients_are_drawn_whole():
    draws = resample_patients(["a", "a", "a", "b"], repeats=50)
    assert {tuple(sorted(set(draw.tolist()))) for draw in draws} == {(0, 1, 2), (3,), (0, 1, 2, 3)}
    assert bootstrap_interval(draws, lambda _: None) is None


# Replays


def test_a_higher_threshold_is_replayed_without_a_model():
    cases = [found_mass("p1", voxels=1000, of_mass=800), make_case("p2", candidates=[make_candidate(300)])]
    rows = {row["min_voxels"]: row for row in replay_voxels(cases, THRESHOLDS)}
    assert (rows[300]["specificity"], rows[400]["specificity"]) == (0, 1)
    assert (rows[1000]["sensitivity"], rows[1100]["sensitivity"]) == (1, 0)
    assert (rows[1000]["dice_median"], rows[1100]["dice_median"]) == (pytest.approx(0.8), 0)


def test_each_gamma_asks_its_own_machine():
    scores = tuple(0.9 if gamma <= 3 else 0.1 for gamma in GAMMAS)
    case = make_case(mass=Side.RIGHT, candidates=[replace(make_candidate(), scores=scores)])
    found = [row["gamma"] for row in replay_gamma([case], THRESHOLDS) if row["sensitivity"] == 1]
    assert found == [1, 2, 3]
    assert replay_gamma([make_case(candidates=[make_candidate(score=None)])], THRESHOLDS) == []


def test_the_free_response_counts_hits_and_false_candidates():
    hit, false = make_candidate(2000, number=1, score=0.8), make_candidate(600, Side.LEFT, 2, score=0.6)
    regions = [Region(numbers=(1,), voxels=900, mass_voxels=800), Region(numbers=(2,), voxels=600, mass_voxels=0)]
    cases = [make_case("p1", mass=Side.RIGHT, candidates=[hit, false], regions=regions), make_case("p2")]
    assert trace_free_response(cases, THRESHOLDS) == [(0, 0), (0, 1), (0.5, 1)]


# Measuring


def test_shared_voxels_count_once_in_any_union():
    masks = np.zeros((2, 1, 1, 10), bool)
    masks[0, ..., :6], masks[1, ..., 4:8] = True, True
    truth = np.zeros((1, 1, 10), bool)
    truth[..., 5:10] = True
    masses = [Mass(candidate=make_candidate(number=n + 1), mask=mask) for n, mask in enumerate(masks)]
    case = make_case(mass=Side.RIGHT, regions=count_regions(masses, truth))
    for numbers in ((1,), (2,), (1, 2)):
        union = np.any([masks[n - 1] for n in numbers], axis=0)
        assert case.overlap(numbers) == (union.sum(), (union & truth).sum())


def test_a_stored_result_comes_back_whole_and_only_to_its_own_key(tmp_path):
    case = replace(found_mass(), center_errors_mm={Side.LEFT: math.inf}, about={"look_alikes": [{"kind": "pads"}]})
    write_result(case, tmp_path / "p1.json", "key")
    assert read_result(tmp_path / "p1.json", "key") == case
    assert read_result(tmp_path / "p1.json", "another") is None
    (tmp_path / "p1.json").write_text('{"key": "key"')
    assert read_result(tmp_path / "p1.json", "key") is None


# The whole evaluation


@dataclass
class StandIn:
    """A network that sees only brightness, under the name of a bundle."""

    name: str
    answer: Callable[[np.ndarray], np.ndarray]
    digest: str = "1"
    asked: int = 0

    def __call__(self, image):
        self.asked += 1
        return self.answer(image)


@pytest.fixture
def models(monkeypatch):
    stand_ins = Models(localizer=StandIn("l", see_glands), segmenter=StandIn("s", see_masses), machines=None)
    for module in (evaluate, run_cases):
        monkeypatch.setattr(module, "load_models", lambda _settings: stand_ins)
    return stand_ins


def save(folder, affine, **arrays):
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in arrays.items():
        nibabel.save(nibabel.Nifti1Image(values.transpose(2, 1, 0), TO_RAS @ affine), folder / f"{name}.nii.gz")


def ball(volume, center, diameter_mm):
    """Return where the distance to `center`, (z, y, x) from the head's middle, is within the radius."""
    matrix = volume.affine[:3, :3][::-1, ::-1]
    places = np.moveaxis(np.indices(volume.hu.shape), 0, -1) @ matrix.T + volume.affine[:3, 3][::-1]
    return np.linalg.norm(places - center, axis=-1) <= diameter_mm / 2


@pytest.fixture
def heads(tmp_path):
    """One patient as he is and with a mass on the left, one without glands, and one whose image is broken."""
    root = tmp_path / "heads"
    plain, ill, empty = make_head(), make_head(masses=[(0, 0, 45)], mass_mm=18.0), make_head(glands=())
    labels = (ball(plain, (0, 0, -45), 30) * 1 + ball(plain, (0, 0, 45), 30) * 2).astype(np.uint8)
    mass = ball(ill, (0, 0, 45), 18).astype(np.uint8)
    save(root / "p1", plain.affine, image=plain.hu, labels=labels)
    save(root / "p1+mass", ill.affine, image=ill.hu, labels=labels, mass=mass)
    (root / "p1+mass" / "case.json").write_text('{"mass": {"synthetic": true}, "look_alikes": ["vessels"]}')
    save(root / "p2", empty.affine, image=empty.hu, mass=np.zeros_like(mass))
    save(root / "p3", empty.affine, image=empty.hu, mass=mass)
    (root / "p3" / "image.nii.gz").write_bytes(b"no image")
    return root


def run(cases, report, *options):
    assert evaluate.main(["ct", str(cases), "--report", str(report), *options]) == 0
    return json.loads((report / "summary.json").read_text())


def test_heads_are_judged_from_files_to_report(models, heads, tmp_path):
    report = tmp_path / "report"
    summary = run(heads, report)
    assert (summary["exams"], summary["positives"], summary["patients"]) == (4, 2, 3)
    assert summary["counts"] == {
        "true_positives": 1,
        "false_negatives": 1,  # the broken image
        "false_positives": 1,  # the head without glands
        "true_negatives": 1,
    }
    assert [case["name"] for case in summary["not_assessed"]["cases"]] == ["p2", "p3"]
    assert summary["synthetic_masses"] == 1
    assert summary["crop_holds_95"] == 1
    assert summary["centre_error_mm_p95"] < 2
    stored = next((report / "cases").glob("p1+mass*.json"))
    result = json.loads(stored.read_text())["result"]
    hit = sum(region["mass_voxels"] for region in result["regions"])
    found = sum(region["voxels"] for region in result["regions"])
    assert summary["dice_median"] == pytest.approx(hit / (found + result["mass_voxels"]))  # half of the one, none there
    assert hit > 0.7 * result["mass_voxels"]


def test_the_headline_stands_first_in_the_summary(models, heads, tmp_path):
    summary = run(heads, tmp_path / "report", "--limit", "2")
    assert list(summary)[: len(evaluate.HEADLINE)] == list(evaluate.HEADLINE)


def test_the_report_says_what_it_is_and_needs_nothing_else(models, heads, tmp_path):
    report = tmp_path / "report"
    summary = run(heads, report)
    page, table = (report / "index.html").read_text(), (report / "cases.csv").read_text()
    for text in (page.lower(), table.splitlines()[0], summary["use"]):
        assert "research use, not validated for clinical diagnosis" in text
    assert "heads" in summary["data"]
    assert "1 of them synthetic" in summary["data"]
    assert summary["data"] in html.unescape(page)
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    assert page.count("data:image/png;base64,") >= 8
    rows = list(csv.DictReader(table.splitlines()[1:]))
    assert [row["row"] for row in rows] == ["exam", "right", "left"] * 4
    assert {row["outcome"] for row in rows if row["name"] == "p3"} == {"failed"}
    assert list((report / "pictures").glob("*p2*.png"))


def test_several_examinations_of_one_patient_widen_an_interval_and_never_narrow_it():
    hits = [True] * 8 + [False] * 4
    alone = clustered_interval(hits, [f"p{n}" for n in range(12)])
    together = clustered_interval(hits, [f"p{n // 4}" for n in range(12)])
    assert together[0] < alone[0] < 8 / 12 < alone[1] < together[1]
    assert clustered_interval([True] * 12, ["p"] * 12) == wilson_interval(12, 12)
    assert clustered_interval([], []) is None


def test_two_masses_are_measured_by_the_larger_and_not_across_the_head():
    head = make_head(masses=[(0, 0, 45), (0, 0, -45)], mass_mm=18.0)
    mass = ball(head, (0, 0, 45), 18) | ball(head, (0, 0, -45), 12)
    assert diameter_mm(largest_piece(mass), head) == pytest.approx(18, abs=3)


def test_a_positive_that_could_not_be_read_is_missed_in_the_main_row_too():
    unread = make_case(mass=Side.LEFT, outcome=FAILED, assessments=(), mass_voxels=0, mass_mm3=0, mass_diameter_mm=0)
    summary = summary_of(found_mass(), unread)
    assert summary["sensitivity_main"] == 1 / 2
    masses = {row["size"]: row["masses"] for row in summary["masses_by_size"] if row["masses"]}
    assert masses == {"main": 2, "10 to 15 mm": 1}  # nobody knows the size of the other


@pytest.fixture
def with_gap(tmp_path):
    """A folder of cases with one of DICOM files that cannot be read, for a slice is missing, and its phantom."""
    phantom = make_phantom(mass_mm=24.0, spacing_mm=(4.0, 4.0, 5.0), rows=64)
    slices = phantom.datasets[:20] + phantom.datasets[21:]
    write_phantom(replace(phantom, datasets=slices), tmp_path / "cases" / "p1")
    return tmp_path / "cases", phantom


@pytest.mark.parametrize(
    ("label", "is_empty", "is_cut", "is_positive"),
    [
        ("GTV", False, False, True),
        ("GTV", True, False, False),
        ("GTV", True, True, True),  # whether it is empty cannot be read any more
        ("Parotid_R", False, False, False),
        ("Parotid_R", False, True, False),
    ],
)
def test_dicom_files_that_cannot_be_read_are_a_positive_where_a_mass_is_outlined(
    models, with_gap, tmp_path, label, is_empty, is_cut, is_positive
):
    cases, phantom = with_gap
    seg = segment(phantom.datasets, [(label, codes.SCT.Organ, phantom.mass)])
    if is_empty:
        seg.PixelData = bytes(len(seg.PixelData))
    if is_cut:
        seg.PixelData = seg.PixelData[:100]
    seg.save_as(cases / "p1" / "seg.dcm")
    summary = run(cases, tmp_path / "report")
    (case,) = summary["not_assessed"]["cases"]
    assert "slice is missing" in case["reason"]
    assert case["is_positive"] is is_positive
    counts = summary["counts"]
    assert (counts["false_negatives"], counts["false_positives"]) == ((1, 0) if is_positive else (0, 1))


def test_a_file_that_cannot_be_read_is_a_negative_where_its_mass_is_empty(models, heads, tmp_path):
    (heads / "p2" / "image.nii.gz").write_bytes(b"no image")
    (heads / "p1+mass" / "image.nii.gz").write_bytes(b"no image")
    (heads / "p1+mass" / "mass.nii.gz").write_bytes(b"no mask")
    cases = run(heads, tmp_path / "report")["not_assessed"]["cases"]
    assert {case["name"]: case["is_positive"] for case in cases} == {"p1+mass": True, "p2": False, "p3": True}


def test_a_patient_who_is_left_out_is_named_and_a_name_that_is_none_is_refused(models, heads, tmp_path, caplog):
    summary = run(heads, tmp_path / "report", "--without", "p1", "--without", "p3")
    assert (summary["exams"], summary["patients"]) == (1, 1)
    assert "without p1, p3" in summary["data"]
    assert evaluate.main(["ct", str(heads), "--report", str(tmp_path / "report"), "--without", "p9"]) == 1
    assert "p9" in caplog.text


def test_kept_results_are_not_asked_for_again_until_a_model_or_a_file_changes(models, heads, tmp_path):
    first = run(heads, tmp_path / "report", "--limit", "2", "--keep")
    asked = models.localizer.asked
    assert asked > 0
    again = run(heads, tmp_path / "report", "--limit", "2", "--keep", "--min-voxels", "100000")
    assert models.localizer.asked == asked
    assert (first["sensitivity"], again["sensitivity"]) == (1, 0)
    os.utime(heads / "p1" / "labels.nii.gz", ns=(1, 1))
    run(heads, tmp_path / "report", "--limit", "2", "--keep")
    of_one = models.localizer.asked - asked
    assert 0 < of_one < asked
    models.segmenter.digest = "2"
    run(heads, tmp_path / "report", "--limit", "2", "--keep")
    assert models.localizer.asked == asked + of_one + asked


def test_without_keep_everything_is_asked_again(models, heads, tmp_path):
    run(heads, tmp_path / "report", "--limit", "1")
    asked = models.localizer.asked
    run(heads, tmp_path / "report", "--limit", "1")
    assert models.localizer.asked == 2 * asked


def test_no_cases_at_all_is_an_error_in_words(tmp_path, caplog):
    assert evaluate.main(["ct", str(tmp_path / "none"), "--report", str(tmp_path / "report")]) == 1
    assert "no folder of cases" in caplog.text
    assert evaluate.main(["ct", "--report", str(tmp_path / "report")]) == 1


def test_the_shipped_models_find_the_mass_of_a_small_phantom(tmp_path):
    for name, mass_mm in (("a", None), ("b", 25.0)):
        phantom = make_phantom(mass_mm=mass_mm, seed=5002, spacing_mm=(2.0, 2.0, 4.0), rows=128)
        labels = (phantom.right_parotid * 1 + phantom.left_parotid * 2).astype(np.uint8)
        mass = {} if phantom.mass is None else {"mass": phantom.mass.astype(np.uint8)}
        save(tmp_path / "phantoms" / name, phantom.affine, image=phantom.hu, labels=labels, **mass)
    summary = run(tmp_path / "phantoms", tmp_path / "report")
    assert (summary["exams"], summary["positives"]) == (2, 1)
    assert (summary["sensitivity"], summary["specificity"], summary["auc_exam"]) == (1, 1, 1)
    assert summary["dice_median"] > 0.5
    assert summary["centre_error_mm_p95"] < 12
    assert summary["crop_holds_95"] == 1
    assert summary["synthetic_masses"] == 0
    assert set(summary["bundles"]) == {"parotid_localizer", "parotid_mass_segmenter", "parotid_candidates"}
