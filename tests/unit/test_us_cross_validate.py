"""Each lesion is rated by a network that has not seen its group, and the scores make probabilities come true."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from screener.outcomes import NeedsPerson
from tests.unit.us_cases import write_folder
from workers.models.us_networks import LESION_CLASSIFIER
from workers.models.us_weights import load_us_bundle
from workers.training import us_calibrate, us_cross_validate
from workers.training.us_cross_validate import Score, read_scores, write_scores
from workers.training.us_read_cases import list_rows
from workers.training.us_split_cases import Part, find_fold, find_part
from workers.training.us_train_classifier import main as train_classifier

SIDE_PX = 32
CPU = torch.device("cpu")
FEW = ["--network", "mobilenetv2", "--side", str(SIDE_PX), "--steps", "2", "--batch", "4", "--threads", "1"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "cases", 90)


def draw_scores(slope, intercept, count=600):
    """Scores whose log odds are those of the truth, bent: calibration must give slope and intercept back."""
    rng = np.random.default_rng(5)
    true_logits = rng.normal(-0.5, 1.5, count)
    is_malignant = rng.uniform(size=count) < 1 / (1 + np.exp(-true_logits))
    return [
        Score(
            source="ours",
            name=f"case_{number}",
            group=f"g{number}",
            is_malignant=bool(kind),
            fold=1 + number % 5,
            logit=float((logit - intercept) / slope),
        )
        for number, (logit, kind) in enumerate(zip(true_logits, is_malignant, strict=True))
    ]


def test_every_lesion_outside_the_test_part_is_rated_once_in_its_own_fold(data, tmp_path, capsys):
    scores = tmp_path / "scores.csv"
    words = ["--data", str(data), "--out", str(tmp_path / "cv"), "--scores", str(scores), "--folds", "3", *FEW]
    assert us_cross_validate.main(words) == 0
    rated = read_scores(scores)
    known = {row.name: row for row in list_rows(data)}
    wanted = {
        name
        for name, row in known.items()
        if row.label in ("benign", "malignant") and find_part(row.source, row.group) is not Part.TEST
    }
    assert sorted(score.name for score in rated) == sorted(wanted)
    for score in rated:
        assert score.fold == find_fold(score.source, known[score.name].group, 3)
        assert score.is_malignant == (known[score.name].label == "malignant")
        assert math.isfinite(score.logit)
    assert "ours: AUC" in capsys.readouterr().out


def test_a_fold_does_not_learn_from_the_groups_that_it_rates(data, tmp_path, monkeypatch):
    seen = {}
    sort = us_cross_validate.sort_for_classifier

    def note(cases):
        seen[len(seen) + 1] = {case.row.group for case in cases}
        return sort(cases)

    monkeypatch.setattr(us_cross_validate, "sort_for_classifier", note)
    scores = tmp_path / "scores.csv"
    us_cross_validate.main(
        ["--data", str(data), "--out", str(tmp_path / "cv"), "--scores", str(scores), "--folds", "3", *FEW]
    )
    for score in read_scores(scores):
        assert score.group not in seen[score.fold]


def test_a_start_that_knows_the_lesions_is_refused(data, tmp_path):
    """Weights of the same source have learned from what they would rate; so may weights that do not tell."""
    words = ["--data", str(data), "--out", str(tmp_path / "cv"), "--scores", str(tmp_path / "scores.csv"), *FEW]
    start = tmp_path / "start" / "configs"
    start.mkdir(parents=True)
    for metadata, match in ({"training": {"sources": ["ours"]}}, "learned from ours"), ({}, "does not say"):
        (start / "metadata.json").write_text(json.dumps(metadata), encoding="utf-8")
        with pytest.raises(NeedsPerson, match=match):
            us_cross_validate.main([*words, "--init", str(start.parent)])
    assert not (tmp_path / "scores.csv").exists()


def test_scores_are_read_as_they_were_written(tmp_path):
    scores = draw_scores(1.0, 0.0, 20)
    write_scores(tmp_path / "deep" / "scores.csv", scores)
    for before, after in zip(scores, read_scores(tmp_path / "deep" / "scores.csv"), strict=True):
        assert after.logit == pytest.approx(before.logit, abs=1e-5)
        assert (after.source, after.name, after.group) == (before.source, before.name, before.group)
        assert (after.is_malignant, after.fold) == (before.is_malignant, before.fold)


def test_the_line_gives_the_true_log_odds_back():
    slope, intercept = us_calibrate.fit_line(draw_scores(0.4, 0.7, 6000))
    assert slope == pytest.approx(0.4, abs=0.04)
    assert intercept == pytest.approx(0.7, abs=0.1)


def test_scores_that_rank_the_wrong_way_are_refused():
    turned = [replace(score, logit=-score.logit) for score in draw_scores(1.0, 0.0)]
    with pytest.raises(NeedsPerson, match="rank malignant lesions no higher"):
        us_calibrate.fit_line(turned)


def test_other_folds_and_other_cases_begin_anew(data, tmp_path):
    """A network of five folds has seen lesions that a fold of three rates; so may one of other cases."""
    words = ["--data", str(data), "--out", str(tmp_path / "cv"), "--scores", str(tmp_path / "scores.csv"), *FEW]
    us_cross_validate.main([*words, "--folds", "3"])
    three = {folder.name for folder in (tmp_path / "cv").iterdir()}
    us_cross_validate.main([*words, "--folds", "2"])
    both = {folder.name for folder in (tmp_path / "cv").iterdir()}
    assert len(three) == 3
    assert len(both) == 5
    other = write_folder(tmp_path / "other", 60)
    us_cross_validate.main([*words, "--folds", "2", "--data", str(other)])
    assert len(list((tmp_path / "cv").iterdir())) == 7


def test_the_line_is_judged_on_folds_that_it_does_not_know():
    assert us_calibrate.judge_line(draw_scores(0.4, 0.7, 4000)) < 0.03
    spoiled = [replace(score, logit=-score.logit) if score.fold == 1 else score for score in draw_scores(1, 0, 4000)]
    assert us_calibrate.judge_line(spoiled) > 0.06  # one line through all would hide that one fold is turned around


@pytest.mark.parametrize("scores", [draw_scores(1.0, 0.0, 12), [*draw_scores(1.0, 0.0, 200)]])
def test_too_few_or_scores_that_fit_no_line_are_refused(scores):
    if len(scores) > 100:  # all told apart
        scores = [
            Score(source="ours", name=s.name, group=s.group, is_malignant=s.is_malignant, fold=1, logit=s.is_malignant)
            for s in scores
        ]
    with pytest.raises(NeedsPerson, match=r"Calibration needs|cannot be calibrated"):
        us_calibrate.fit_line(scores)


def test_a_calibrated_bundle_answers_on_the_line_and_says_so(data, tmp_path):
    bundle = tmp_path / "bundles" / LESION_CLASSIFIER
    words = ["--data", str(data), "--out", str(bundle), "--checkpoint", str(tmp_path / "us.ckpt"), *FEW]
    assert train_classifier(words) == 0
    image = np.random.default_rng(1).uniform(-1, 1, (4, 1, SIDE_PX, SIDE_PX)).astype(np.float32)
    before = torch.logit(torch.from_numpy(load_us_bundle(LESION_CLASSIFIER, CPU, bundle.parent)(image)))
    write_scores(tmp_path / "scores.csv", draw_scores(0.5, -1.0))
    given = [str(bundle), "--scores", str(tmp_path / "scores.csv"), "--source", "ours"]
    assert us_calibrate.main(given) == 0
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    said = metadata["training"]["calibration"]
    after = torch.logit(torch.from_numpy(load_us_bundle(LESION_CLASSIFIER, CPU, bundle.parent)(image)))
    torch.testing.assert_close(after, before * said["slope"] + said["intercept"], rtol=1e-3, atol=1e-3)
    assert "calibrated by 600 cross-validated lesions of the source ours" in metadata["data_source"]
    with pytest.raises(NeedsPerson, match="calibrated already"):
        us_calibrate.main(given)
