"""Judging the ultrasound models: figures that can be computed by hand, what was not found, and one whole evaluation."""

import csv
import html
import json
import re
from dataclasses import dataclass, replace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from screener.outcomes import NeedsPerson
from screener.us_study import Answer
from tests.conftest import SHARED
from tests.peers.us_bundles import WARNER
from tests.unit.us_cases import write_index
from tests.unit.us_objects import LEFT, RIGHT, TISSUE, draw_picture, make_object, make_region, write_object
from workers.models.networks import build_network
from workers.models.us_networks import LESION_CLASSIFIER, LESION_SEGMENTER
from workers.models.weights import bundle_digest
from workers.training import check_bundle, evaluate, us_evaluate
from workers.training.statistics.compare_aucs import compare_aucs
from workers.training.us_describe_bundle import PUBLISHED, describe_us_data
from workers.training.us_evaluation import fill_tables
from workers.training.us_evaluation.case_result import BENIGN_NOT_ASSESSED, NOT_FOUND, UsResult
from workers.training.us_evaluation.choose_cases import choose_cases, read_trained_sources
from workers.training.us_evaluation.compute_figures import summarize
from workers.training.us_evaluation.judge_probabilities import judge_probabilities, weigh_thresholds
from workers.training.us_evaluation.screen_case import UsModels, is_hit, screen_case
from workers.training.us_read_cases import CaseRow, list_rows
from workers.training.us_split_cases import Part, find_part
from workers.training.write_bundle import write_bundle

REAL_LOAD_MODELS = us_evaluate.load_models
FIND_TRAINED_SOURCES = us_evaluate.find_trained_sources
THRESHOLDS = us_evaluate.make_thresholds(0.5)
SHAPE = (100, 140)
SIDE_PX = 64


def a_row(name="c1", label="benign", *, source="ours", group=None, organ="breast", folder=None, has_outline=True):
    return CaseRow(
        folder=folder, name=name, source=source, organ=organ, label=label, group=group or name, machine="",
        has_outline=has_outline,
    )  # fmt: skip


def a_result(name="c1", label="benign", answer=Answer.BENIGN, probability=0.2, *, dice=0.8, hit=True, **changes):
    row = a_row(name, label, **{key: changes.pop(key) for key in ("source", "group", "organ") if key in changes})
    values = {
        "row": row, "answer": answer, "reason": "", "probability": probability, "dice": dice, "is_hit": hit,
        "is_outlined": dice is not None, "outline_probability": probability, "seconds": 0.5,
    }  # fmt: skip
    return UsResult(**values | changes)


def not_found(name, label):
    return a_result(name, label, Answer.NO_LESION, None, dice=0.0, hit=False, outline_probability=0.5)


def summary_of(*results):
    return summarize(results, THRESHOLDS, {result.row.source: "all" for result in results})


def figures_of(*results):
    (figures,) = summary_of(*results)["sources"].values()
    return figures


# Figures


def test_the_figures_of_five_lesions_are_those_computed_by_hand():
    figures = figures_of(
        a_result("a", "malignant", Answer.MALIGNANT, 0.9, dice=0.9),
        a_result("b", "malignant", Answer.BENIGN, 0.3, dice=0.5),
        a_result("c", "benign", Answer.BENIGN, 0.2, dice=0.7),
        a_result("d", "benign", Answer.MALIGNANT, 0.6, dice=0.1, hit=False),
        a_result("e", "unlabeled", Answer.BENIGN, 0.1, dice=0.4),
    )
    assert (figures["exams"], figures["lesions"], figures["positives"], figures["negatives"]) == (5, 5, 2, 2)
    assert figures["auc_exam"] == pytest.approx(3 / 4)  # 0.9 beats both, 0.3 beats 0.2 alone
    assert figures["auc_found"] == 1
    assert figures["auc_found_count"] == [2, 3]
    assert (figures["sensitivity"], figures["specificity"], figures["ppv"], figures["npv"]) == (0.5, 0.5, 0.5, 0.5)
    assert figures["dice_median"] == 0.5
    assert figures["dice_mean"] == pytest.approx((0.9 + 0.5 + 0.7 + 0.1 + 0.4) / 5)
    assert figures["lesions_found"] == pytest.approx(4 / 5)
    assert figures["seconds_per_case_median"] == 0.5
    assert [row["lesions"] for row in figures["dice_by_label"]] == [2, 2, 1]


def test_a_lesion_that_was_not_found_is_ranked_lowest_and_counted():
    figures = figures_of(
        not_found("a", "malignant"),
        a_result("b", "malignant", Answer.MALIGNANT, 0.9),
        a_result("c", "benign", Answer.BENIGN, 0.01),
    )
    assert figures["auc_exam"] == 0.5
    assert figures["auc_found"] == 1
    assert figures["not_found"] == {"benign": 0, "malignant": 1, "unlabeled": 0}
    assert figures["sensitivity"] == 0.5
    assert figures["dice_median"] == 0.8
    assert figures["calibration"]["cases"] == 2


def test_what_was_not_assessed_is_missed_or_a_false_alarm():
    missed = a_result("a", "malignant", Answer.NOT_ASSESSABLE, None, dice=None, hit=None)
    alarm = a_result("b", "benign", Answer.NOT_ASSESSABLE, None, dice=None, hit=None)
    assert (missed.score, alarm.score) == (NOT_FOUND, BENIGN_NOT_ASSESSED)
    summary = summary_of(missed, alarm)
    assert summary["not_assessed"]["positives"] == summary["not_assessed"]["negatives"] == 1
    figures = summary["sources"]["ours"]
    assert (figures["sensitivity"], figures["specificity"], figures["auc_exam"]) == (0, 0, 0)


def test_sources_are_never_pooled():
    breast = [
        a_result("a", "malignant", Answer.MALIGNANT, 0.6),
        a_result("b", "benign", Answer.BENIGN, 0.4),
    ]
    thyroid = [
        a_result("c", "malignant", Answer.MALIGNANT, 0.9, source="other"),
        a_result("d", "benign", Answer.MALIGNANT, 0.8, source="other"),
    ]
    summary = summary_of(*breast, *thyroid)
    assert [summary["sources"][source]["auc_exam"] for source in ("other", "ours")] == [1, 1]
    pooled = figures_of(*(replace(one, row=replace(one.row, source="ours")) for one in [*breast, *thyroid]))
    assert pooled["auc_exam"] == 0.75
    assert "auc_exam" not in summary
    assert "sensitivity" not in summary


def test_pictures_without_tumor_are_counted_by_organ_and_machine_and_where_the_classifier_is_forced():
    def healthy(name, answer, whole, machine, organ="parotid"):
        row = replace(a_row(name, "no_tumor", organ=organ), machine=machine)
        return a_result(name, answer=answer, probability=None, dice=None, hit=None, row=row, whole_probability=whole)

    rows = figures_of(
        healthy("a", Answer.NO_LESION, 0.1, "GE"),
        healthy("b", Answer.MALIGNANT, 0.9, "GE"),
        healthy("c", Answer.NO_LESION, 0.7, "samsung"),
        healthy("d", Answer.BENIGN, 0.2, "GE", organ="submandibular"),
    )["without_tumor"]
    assert [(row["kind"], row["machine"], row["exams"]) for row in rows] == [
        ("parotid no tumor", "", 3), ("parotid no tumor", "GE", 2), ("parotid no tumor", "samsung", 1),
        ("submandibular no tumor", "", 1),
    ]  # fmt: skip
    assert rows[0]["counts"] == {"no_lesion": 2, "benign": 0, "malignant": 1, "not_assessed": 0}
    assert rows[0]["malignant"] == pytest.approx(1 / 3)
    assert rows[0]["whole_picture"]["malignant"] == pytest.approx(2 / 3)
    assert rows[3]["lesion_found"] == 1


def test_several_pictures_of_one_group_widen_the_intervals_of_shares():
    def lesions(groups):
        return [
            a_result(f"c{n}", "malignant", Answer.MALIGNANT if n % 8 < 4 else Answer.BENIGN, 0.5, group=groups(n))
            for n in range(24)
        ]

    alone = figures_of(*lesions(lambda n: f"g{n}"))["intervals_95"]["sensitivity"]
    together = figures_of(*lesions(lambda n: f"g{n // 4}"))["intervals_95"]["sensitivity"]
    assert together[0] < alone[0] < 0.5 < alone[1] < together[1]


def test_true_probabilities_have_a_small_calibration_error_and_wrong_ones_a_large():
    rng = np.random.default_rng(1)
    risks = rng.random(400)
    labels = ["malignant" if rng.random() < risk else "benign" for risk in risks]

    def show(change):
        pairs = zip(labels, change(risks), strict=True)
        return [a_result(f"c{n}", label, Answer.BENIGN, float(risk)) for n, (label, risk) in enumerate(pairs)]

    true, false = show(lambda risk: risk), show(lambda risk: risk**4)
    good, bad = judge_probabilities(true), judge_probabilities(false)
    assert good["expected_error"] < good["expected_error_by_chance_p95"] < 0.1
    assert bad["expected_error"] > 0.2
    assert good["hosmer_lemeshow"]["p"] > 0.01 > bad["hosmer_lemeshow"]["p"]
    assert good["line"]["slope"]["value"] == pytest.approx(1, abs=0.35)
    assert "10 bins" in good["binning"]
    best = {row["threshold"]: row for row in weigh_thresholds(true)}[0.5]
    assert best["model"] > max(best["call_all"], best["call_none"])


def test_what_cannot_be_computed_is_null_and_still_json():
    summary = summary_of(a_result("a", "malignant", Answer.MALIGNANT, 0.9, dice=None, hit=None))
    figures = summary["sources"]["ours"]
    assert figures["auc_exam"] is figures["specificity"] is figures["dice_median"] is figures["calibration"] is None
    assert figures["decision_curve"] == figures["without_tumor"] == []
    json.dumps(summary, allow_nan=False)
    healthy = a_result("h", "normal", Answer.NO_LESION, None, dice=None, hit=None)
    json.dumps(summary_of(healthy), allow_nan=False)


def test_a_certain_probability_that_was_wrong_is_still_json():
    results = [
        a_result(f"{label}{n}", label, Answer.MALIGNANT, 1.0 if n < 5 else 0.3)
        for n in range(10)
        for label in ("malignant", "benign")
    ]
    summary = summary_of(*results)
    json.dumps(summary, allow_nan=False)
    assert summary["sources"]["ours"]["calibration"]["cases"] == 20


def test_where_a_fusion_decides_it_is_judged_beside_the_image_model_on_the_same_outlines():
    scores = [("malignant", 0.9, 0.6), ("malignant", 0.8, 0.3), ("malignant", 0.7, 0.7), ("malignant", 0.65, 0.5),
              ("benign", 0.2, 0.4), ("benign", 0.3, 0.2), ("benign", 0.1, 0.55), ("benign", 0.4, 0.1)]  # fmt: skip
    results = [
        a_result(f"c{n}", label, Answer.BENIGN, fused, image_probability=image)
        for n, (label, fused, image) in enumerate(scores)
    ]
    unmeasured = a_result("x", "malignant", Answer.NOT_ASSESSABLE, None, image_probability=0.95)
    summary = summarize([*results, unmeasured], THRESHOLDS, {"ours": "all"}, is_by_fusion=True)
    found = summary["sources"]["ours"]["fusion_less_image"]
    assert found["auc_fusion"] == summary["sources"]["ours"]["auc_exam"] == pytest.approx(16 / 20)  # the last is missed
    assert found["auc_image"] == pytest.approx((4 + 2 + 4 + 3 + 4) / 20)
    assert found["difference"] == pytest.approx(-1 / 20)
    assert (
        found["p"]
        == compare_aucs(
            [label == "malignant" for label, _, _ in scores] + [True],
            [image for _, _, image in scores] + [0.95],
            [fused for _, fused, _ in scores] + [NOT_FOUND],
        ).p
    )
    assert (found["not_measured"], found["count"]) == (1, [5, 9])
    assert summary["decides"] == "fusion"
    (table,) = [fill_tables.headline("ours", figures) for figures in summary["sources"].values()]
    row = next(row for row in table.rows if row[0] == "AUC, fusion less image model")
    assert row[1].startswith("-0.050 (DeLong p ")
    json.dumps(summary, allow_nan=False)


def test_where_the_image_model_decides_nothing_is_said_of_a_fusion():
    summary = summary_of(a_result("a", "malignant", Answer.MALIGNANT, 0.9), a_result("b"))
    assert summary["decides"] == "image"
    assert summary["sources"]["ours"]["fusion_less_image"] is None
    assert "fusion" not in str(fill_tables.headline("ours", summary["sources"]["ours"]).rows)


# Which cases


def write_metadata(folder, **training):
    (folder / "configs").mkdir(parents=True)
    (folder / "configs" / "metadata.json").write_text(json.dumps({"training": training}))
    return folder


def many_rows(source, count=60):
    return [a_row(f"{source}{n}", source=source) for n in range(count)]


def test_of_a_trained_source_the_test_part_is_judged_and_of_others_all():
    rows = many_rows("busi") + many_rows("ours")
    choice = choose_cases(rows, {"busi"}, None)
    assert choice.parts == {"busi": "test", "ours": "all"}
    chosen = [row for row in choice.rows if row.source == "busi"]
    assert chosen
    assert {find_part(row.source, row.group) for row in chosen} == {Part.TEST}
    assert sum(row.source == "ours" for row in choice.rows) == 60
    assert "Of busi the test part" in choice.sentence
    assert "did not learn from this source" in choice.sentence


@pytest.mark.parametrize("part", ["all", "train", "validation"])
def test_a_part_that_was_learned_from_is_judged_on_demand_and_called_too_good(part):
    choice = choose_cases(many_rows("busi"), {"busi"}, part)
    assert "too good" in choice.sentence
    assert choice.parts == {"busi": part}
    assert part == "all" or {find_part(row.source, row.group).value for row in choice.rows} == {part}


def test_a_bundle_that_does_not_say_what_it_learned_from_is_told_so(tmp_path):
    assert read_trained_sources(tmp_path / "none") is None
    assert read_trained_sources(write_metadata(tmp_path / "a")) is None
    assert "does not say" in choose_cases(many_rows("busi"), None, None).sentence


def test_a_fusion_learned_from_the_sources_whose_lesions_it_counts(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "metadata.json").write_text(json.dumps({"lesions": {"ours": {"benign": 3}}}))
    assert read_trained_sources(tmp_path) == {"ours"}
    args = us_evaluate._make_parser().parse_args(["x", "--report", "r", "--decides", "fusion"])
    assert {"busi", "ddti"} <= FIND_TRAINED_SOURCES(args)
    assert args.fusion == "us_fusion"
    assert us_evaluate._make_parser().parse_args(["x", "--report", "r"]).decides == "image"


def test_what_a_bundle_started_from_counts_as_learned_from(tmp_path):
    bundle = write_metadata(tmp_path / "a", sources=["ours"], start_data_source=f"lesions: {PUBLISHED['busi']}.")
    assert read_trained_sources(bundle) == {"ours", "busi"}


@pytest.mark.parametrize("more", [{}, {"pretrained": "f" * 64}, {"start": "older", "start_data_source": "unknown"}])
def test_the_sources_of_a_start_that_are_not_published_count_too(tmp_path, more):
    told = describe_us_data({"sources": ["clinic-a", "clinic b"], **more}, "us_lesion_classifier")
    bundle = write_metadata(tmp_path / "a", sources=["ours"], start_data_source=told)
    assert read_trained_sources(bundle) == {"ours", "clinic-a", "clinic b"}


# One case


@dataclass
class StandIn:
    """A network that sees only brightness, under the name of a bundle."""

    name: str
    digest: str = "1" * 64
    side_px: int = SIDE_PX


class Segmenter(StandIn):
    """Takes what is dark for a lesion."""

    def __call__(self, images):
        return (images[:, 0] < -0.3).astype(np.float32)


class Classifier(StandIn):
    """Calls a lesion malignant whose middle is bright."""

    def __call__(self, images):
        middle = slice(SIDE_PX // 2 - 2, SIDE_PX // 2 + 2)
        return np.where(images[:, 0, middle, middle].mean((1, 2)) > 0.5, 0.9, 0.1).astype(np.float32)


MODELS = UsModels(segmenter=Segmenter(LESION_SEGMENTER), classifier=Classifier(LESION_CLASSIFIER))


def draw_lesion(shape=SHAPE, center=(50, 70), *, is_malignant=False):
    """Return gray tissue with a dark disk of 20 pixels, bright in its middle where malignant, and the disk."""
    rows, columns = np.indices(shape)
    distance = np.hypot(rows - center[0], columns - center[1])
    gray = np.where(distance < 20, 30, 150 + rows % 5).astype(np.uint8)
    if is_malignant:
        gray[distance < 5] = 255
    return gray, distance < 20


def save_case(folder, name, gray, outline=None):
    Image.fromarray(gray).save(folder / f"{name}.png")
    if outline is not None:
        Image.fromarray(outline.astype(np.uint8) * 255).save(folder / f"{name}_mask.png")


def test_an_exact_outline_is_a_dice_near_one_and_the_probability_is_the_products(tmp_path):
    save_case(tmp_path, "m", *draw_lesion(is_malignant=True))
    result = screen_case(a_row("m", "malignant", folder=tmp_path), MODELS, THRESHOLDS).result
    assert result.dice > 0.93
    assert result.is_hit
    assert (result.answer, result.probability) == (Answer.MALIGNANT, pytest.approx(0.9))
    assert result.outline_probability == pytest.approx(0.9)
    assert result.whole_probability is None
    assert result.seconds > 0


def test_a_fusion_decides_with_the_image_models_probability_kept_beside(tmp_path, monkeypatch):
    fuse_features = pytest.importorskip("workers.us.fuse_features")
    save_case(tmp_path, "m", *draw_lesion(is_malignant=True))
    fusion = StandIn("us_fusion", digest="2" * 64)
    models = replace(MODELS, fusion=fusion)
    heard = []
    monkeypatch.setattr(fuse_features, "fuse_features", lambda _, image, machine: heard.append((image, machine)) or 0.3)
    row = a_row("m", "malignant", folder=tmp_path)
    result = screen_case(row, models, THRESHOLDS).result
    assert (result.answer, result.probability, result.outline_probability) == (Answer.BENIGN, 0.3, 0.3)
    assert result.image_probability == pytest.approx(0.9)
    assert heard == [(pytest.approx(0.9), fusion)] * 2
    assert "by the fusion" in result.reason
    assert models.digests["us_fusion"] == "2" * 64
    monkeypatch.setattr(fuse_features, "fuse_features", lambda *_: None)
    result = screen_case(row, models, THRESHOLDS).result
    assert (result.answer, result.score, result.image_score) == (
        Answer.NOT_ASSESSABLE, NOT_FOUND, pytest.approx(0.9),
    )  # fmt: skip
    assert result.outline_probability is None


def test_a_lesion_elsewhere_is_no_hit_and_has_no_dice(tmp_path):
    gray, _ = draw_lesion(center=(30, 40))
    _, elsewhere = draw_lesion(center=(70, 110))
    save_case(tmp_path, "b", gray, elsewhere)
    result = screen_case(a_row("b", folder=tmp_path), MODELS, THRESHOLDS).result
    assert (result.dice, result.is_hit, result.answer) == (0, False, Answer.BENIGN)


def test_a_quarter_of_either_outline_is_a_hit():
    truth, found = np.zeros((10, 40), bool), np.zeros((10, 40), bool)
    truth[:, :20], found[:, 15:35] = True, True
    assert is_hit(found, truth)
    found[:, 15] = False
    assert not is_hit(found, truth)
    assert not is_hit(np.zeros_like(truth), truth)


def test_a_healthy_picture_is_also_rated_as_a_whole(tmp_path):
    gray = np.tile(np.arange(140, dtype=np.uint8), (100, 1)) + 100
    save_case(tmp_path, "h", gray)
    blind = replace(MODELS, segmenter=Classifier("s"))
    blind.segmenter.__class__ = type("Blind", (StandIn,), {"__call__": lambda _self, images: 0 * images[:, 0]})
    result = screen_case(a_row("h", "normal", folder=tmp_path, has_outline=False), blind, THRESHOLDS).result
    assert (result.answer, result.dice, result.probability) == (Answer.NO_LESION, None, None)
    assert result.whole_probability is not None


def test_a_bad_outline_is_no_fault_of_the_product(tmp_path):
    gray, outline = draw_lesion()
    save_case(tmp_path, "b", gray, outline[:-1])
    result = screen_case(a_row("b", folder=tmp_path), MODELS, THRESHOLDS).result
    assert (result.answer, result.dice) == (Answer.BENIGN, None)
    assert "another size" in result.outline_problem
    assert summary_of(result)["outlines_unusable"][0]["name"] == "b"


def test_a_picture_that_cannot_be_read_is_an_answer_too(tmp_path):
    (tmp_path / "x.png").write_bytes(b"no picture")
    screened = screen_case(a_row("x", "malignant", folder=tmp_path, has_outline=False), MODELS, THRESHOLDS)
    assert screened.gray is None
    assert screened.result.answer is Answer.NOT_ASSESSABLE
    assert "cannot be decoded" in screened.result.reason


def write_dicom(folder, name, picture, outline=None, **header):
    write_object(folder, make_object(picture, **header)).path.rename(folder / f"{name}.dcm")
    if outline is not None:
        Image.fromarray(outline.astype(np.uint8) * 255).save(folder / f"{name}_mask.png")


def in_picture(*boxes):
    """Return a stored picture with a lesion in the middle of each box, its outlines and the boxes' regions."""
    picture, outline = draw_picture(*boxes), np.zeros((480, 640), bool)
    for box in boxes:
        shape = (box.bottom - box.top, box.right - box.left)
        gray, lesion = draw_lesion(shape, (shape[0] // 2, shape[1] // 2))
        where = slice(box.top, box.bottom), slice(box.left, box.right)
        picture[where], outline[where] = gray[..., None], lesion
    return picture, outline, [make_region(box) for box in boxes]


def test_dicom_goes_through_the_products_own_choice_of_frames(tmp_path):
    picture, outline, regions = in_picture(TISSUE)
    write_dicom(tmp_path, "d", picture, outline, SequenceOfUltrasoundRegions=regions)
    screened = screen_case(a_row("d", folder=tmp_path), MODELS, THRESHOLDS)
    assert screened.gray.shape == (TISSUE.bottom - TISSUE.top, TISSUE.right - TISSUE.left)
    assert screened.result.dice > 0.8
    assert screened.result.longest_diameter_mm == pytest.approx(4, abs=0.6)


def test_of_a_dual_picture_the_half_that_the_product_chose_is_compared(tmp_path):
    picture, outline, regions = in_picture(LEFT, RIGHT)
    write_dicom(tmp_path, "d", picture, outline, SequenceOfUltrasoundRegions=regions)
    assert screen_case(a_row("d", folder=tmp_path), MODELS, THRESHOLDS).result.dice > 0.8


def test_a_lesion_in_a_picture_that_the_product_refuses_was_not_found(tmp_path):
    picture, outline, regions = in_picture(TISSUE)
    regions[0].RegionDataType = 2  # PS3.3 C.8.5.5.1.3: spectral Doppler
    write_dicom(tmp_path, "d", picture, outline, SequenceOfUltrasoundRegions=regions)
    result = screen_case(a_row("d", folder=tmp_path), MODELS, THRESHOLDS).result
    assert (result.answer, result.dice, result.is_hit) == (Answer.NOT_ASSESSABLE, 0.0, False)
    figures = figures_of(result)
    assert (figures["outlined"], figures["dice_mean"], figures["lesions_found"]) == (1, 0, 0)


def test_an_outlined_clip_is_refused_with_a_sentence(tmp_path):
    picture, outline, _ = in_picture(TISSUE)
    write_dicom(tmp_path, "d", np.stack([picture, picture]), outline)
    result = screen_case(a_row("d", folder=tmp_path), MODELS, THRESHOLDS).result
    assert result.answer is Answer.NOT_ASSESSABLE
    assert "clip" in result.reason


# The whole evaluation


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Breast lesions of both kinds and glands without tumor; one picture is broken, and one row of no known label."""
    root = tmp_path_factory.mktemp("cases") / "clinic"
    root.mkdir()
    rows = []
    for n in range(12):
        gray, outline = draw_lesion(center=(40 + n, 60), is_malignant=n % 3 == 0)
        save_case(root, f"c{n:02}", gray, outline)
        label = "malignant" if n % 2 == 0 else "benign"
        rows.append({"id": f"c{n:02}", "source": "ours", "organ": "breast", "label": label, "group": f"g{n // 2}"})
    for n in range(4):
        save_case(root, f"h{n}", np.tile(np.arange(140, dtype=np.uint8), (100, 1)) + 100)
        rows.append({"id": f"h{n}", "source": "glands", "organ": "parotid", "label": "no_tumour", "group": f"h{n}"})
    (root / "c11.png").write_bytes(b"no picture")
    rows.append({"id": "odd", "source": "ours", "organ": "breast", "label": "who knows", "group": "odd"})
    write_index(root, rows)
    return root


@pytest.fixture(scope="module")
def models():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(us_evaluate, "load_models", lambda _args: MODELS)
        patch.setattr(us_evaluate, "find_trained_sources", lambda _args: {"busi"})
        yield


def run(cases, report, *options):
    assert evaluate.main(["us", str(cases), "--report", str(report), *options]) == 0
    return read_summary(report)


@pytest.fixture(scope="module")
def report(models, folder, tmp_path_factory):
    """The folder of a whole evaluation of `folder`."""
    where = tmp_path_factory.mktemp("report")
    run(folder, where)
    return where


def read_summary(report):
    return json.loads((report / "summary.json").read_text())


def test_cases_are_judged_from_files_to_report(report):
    summary = read_summary(report)
    figures = summary["sources"]["ours"]
    # The stand-in calls every third lesion malignant, every second is; the broken picture is a benign one.
    assert figures["counts"] == {
        "true_positives": 2, "false_negatives": 4, "false_positives": 3, "true_negatives": 3,
    }  # fmt: skip
    assert (summary["exams"], figures["exams"], figures["outlined"], figures["patients"]) == (16, 12, 11, 6)
    assert figures["dice_median"] > 0.9
    assert figures["lesions_found"] == 1
    assert figures["dice_mean"] == pytest.approx(figures["dice_median"], abs=0.03)
    assert summary["not_assessed"]["cases"][0]["name"] == "c11"
    assert summary["rows_passed_over"] == 1
    assert summary["part"] == "all"
    assert summary["bundles"] == MODELS.digests
    (glands,) = summary["sources"]["glands"]["without_tumor"]
    assert (glands["exams"], sum(glands["counts"].values())) == (4, 4)


def test_the_report_says_what_it_is_and_needs_nothing_else(report):
    summary = read_summary(report)
    page, table = (report / "index.html").read_text(), (report / "cases.csv").read_text()
    for text in (page.lower(), table.splitlines()[0], summary["use"]):
        assert "research use, not validated for clinical diagnosis" in text
    assert "clinic" in summary["data"]
    assert "No public image shows a parotid tumor" in summary["data"]
    assert "did not learn from this source" in summary["data"]
    assert summary["data"] in html.unescape(page)
    assert not re.findall(r"""(?:src|href)=["'](?!data:)""", page)
    rows = list(csv.DictReader(table.splitlines()[1:]))
    assert [row["name"] for row in rows] == [f"c{n:02}" for n in range(12)] + [f"h{n}" for n in range(4)]
    assert [row["answer"] for row in rows if row["name"] == "c11"] == ["not assessable"]
    plots = {path.stem for path in report.glob("*.png")}
    assert {"roc_ours", "calibration_ours", "decision_curve_ours", "dice_by_size_ours", "without_tumor_glands"} <= plots
    drawn = [path.name for path in (report / "pictures").glob("*.png")]
    assert sum(name.startswith("worst_dice") for name in drawn) == 10
    assert sum(name.startswith("missed_malignant") for name in drawn) == 4
    assert page.count("data:image/png;base64,") == len(plots) + len(drawn)


def test_another_threshold_is_decided_by(models, folder, tmp_path):
    figures = run(folder, tmp_path / "report", "--min-malignancy", "0.05")["sources"]["ours"]
    assert (figures["sensitivity"], figures["specificity"]) == (1, 0)


def test_a_part_without_a_case_is_an_error_in_words(models, folder, tmp_path, caplog):
    rows = [row for row in list_rows(folder) if find_part(row.source, row.group) is not Part.VALIDATION]
    write_index(tmp_path, [{"id": r.name, "source": r.source, "label": r.label, "group": r.group} for r in rows])
    assert evaluate.main(["us", str(tmp_path), "--report", str(tmp_path / "r"), "--part", "validation"]) == 1
    assert "no case to judge" in caplog.text


def test_a_missing_folder_of_cases_is_an_error_in_words(models, tmp_path, caplog):
    assert evaluate.main(["us", str(tmp_path / "none"), "--report", str(tmp_path / "r")]) == 1
    assert "no folder of ultrasound cases" in caplog.text


def test_a_missing_bundle_is_an_error_in_words(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(us_evaluate, "load_models", REAL_LOAD_MODELS)
    assert evaluate.main(["us", str(tmp_path), "--report", str(tmp_path / "r"), "--models", str(tmp_path)]) == 1
    assert LESION_SEGMENTER in caplog.text


# Figures that are kept with the weights


@pytest.fixture
def bundle(tmp_path):
    """A bundle without sensible weights, as the ultrasound tests make them."""
    folder = tmp_path / LESION_CLASSIFIER
    write_bundle(LESION_CLASSIFIER, folder, WARNER, build_network(WARNER).state_dict(), side_px=SIDE_PX)
    return folder


def record(bundle, summary, path):
    path.write_text(json.dumps(summary))
    return check_bundle.main(["record", str(bundle), str(path)])


def test_the_figures_of_each_source_are_kept_with_the_weights_that_they_are_of(bundle, tmp_path, capsys):
    digest = bundle_digest(bundle.name, bundle.parent)
    lesions = [a_result("a", "malignant", Answer.MALIGNANT, 0.9), a_result("b", "benign", Answer.BENIGN, 0.1 + 0.2)]
    made = {"part": "test", "data": "Data: x.", "bundles": {LESION_CLASSIFIER: digest, LESION_SEGMENTER: "0" * 64}}
    summary = json.loads(json.dumps(summary_of(*lesions) | made))
    assert record(bundle, summary, tmp_path / "summary.json") == 0
    assert "sources.ours.auc_exam: 1.0\n" in capsys.readouterr().out
    kept = json.loads((bundle / "configs" / "metadata.json").read_text())["eval_metrics"]
    assert kept["sources"]["ours"]["dice_median"] == 0.8
    assert kept["bundles"] == made["bundles"]
    assert kept["part"] == "test"
    assert "decision_curve" not in kept["sources"]["ours"]


def test_figures_of_other_weights_or_of_ct_are_refused(bundle, tmp_path):
    summary = json.loads(json.dumps(summary_of(a_result()) | {"bundles": {LESION_CLASSIFIER: "0" * 64}}))
    with pytest.raises(NeedsPerson, match="other weights"):
        record(bundle, summary, tmp_path / "summary.json")
    ct = {"exams": 3, "bundles": {"any": bundle_digest(bundle.name, bundle.parent)}, "sensitivity": 0.9}
    with pytest.raises(NeedsPerson, match="of such a bundle"):
        record(bundle, ct, tmp_path / "summary.json")


def test_the_public_pictures_of_the_test_part_go_through():
    data = SHARED / "data" / "ultrasound"
    if not data.is_dir():
        pytest.skip("the development data are not on this machine")
    rows = [row for row in list_rows(data) if find_part(row.source, row.group) is Part.TEST]
    for row in (rows[0], rows[60], rows[-1]):
        result = screen_case(row, MODELS, THRESHOLDS).result
        assert result.is_assessed
        assert (result.dice is None) == (not row.has_outline)
