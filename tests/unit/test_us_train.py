"""An ultrasound training goes on where it stopped, ships its best step, and leaves a bundle that loads and checks."""

import json

import numpy as np
import pytest
import torch

from screener.outcomes import NeedsPerson
from tests.unit.us_cases import write_folder
from workers.__main__ import main
from workers.models.us_networks import LESION_CLASSIFIER, LESION_SEGMENTER
from workers.models.us_weights import load_us_bundle
from workers.models.weights import bundle_digest, read_weights
from workers.training.check_bundle import check_bundle
from workers.training.fit import supervise
from workers.training.keep_checkpoint import Best
from workers.training.us_describe_bundle import NO_PAROTID_TUMOR, NOT_CALIBRATED, describe_us_data
from workers.training.us_judge_networks import judge_classifier, judge_segmenter, overlap
from workers.training.us_load_cases import load_cases
from workers.training.us_split_cases import Part, find_part
from workers.training.us_train_classifier import cross_entropy
from workers.training.us_train_classifier import main as train_classifier
from workers.training.us_train_segmenter import dice_and_cross_entropy
from workers.training.us_train_segmenter import main as train_segmenter

CPU = torch.device("cpu")
SIDE_PX = 32


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "cases", 90)


@pytest.fixture
def train(data, tmp_path):
    """Train the segmenter or classifier in few steps and return its bundle."""

    def run(name, *words, out="bundles", fixed=False):
        main_of = train_segmenter if name == LESION_SEGMENTER else train_classifier
        network = "unet" if name == LESION_SEGMENTER else "efficientnet-b0"
        options = {"--network": network, "--side": str(SIDE_PX), "--steps": "2", "--batch": "4", "--threads": "1"}
        options |= {"--checkpoint": str(tmp_path / out / f"{name}.ckpt"), "--out": str(tmp_path / out / name)}
        options |= dict(zip(words[::2], words[1::2], strict=True))
        given = [word for option, value in options.items() if value for word in (option, value)]
        assert main_of(["--data", str(data), *given, *(["--fixed"] if fixed else [])]) == 0
        return tmp_path / out / name

    return run


@pytest.mark.parametrize("name", [LESION_SEGMENTER, LESION_CLASSIFIER])
def test_a_training_leaves_a_bundle_that_checks_loads_and_answers(train, name):
    bundle = train(name)
    assert [finding.problem for finding in check_bundle(bundle)] == [""] * 4
    network = load_us_bundle(name, CPU, bundle.parent)
    answer = network(np.zeros((3, 1, SIDE_PX, SIDE_PX), np.float32))
    assert answer.shape == ((3, SIDE_PX, SIDE_PX) if name == LESION_SEGMENTER else (3,))
    assert ((answer >= 0) & (answer <= 1)).all()
    metadata = json.loads((bundle / "configs" / "metadata.json").read_text())
    assert metadata["training"]["sources"] == ["ours"]
    assert metadata["training"]["validation"]
    assert metadata["intended_use"] == "Research use, not validated for clinical diagnosis."


@pytest.mark.parametrize("name", [LESION_SEGMENTER, LESION_CLASSIFIER])
def test_a_training_that_was_broken_off_ends_as_one_that_was_not(train, name, monkeypatch):
    """The classifier is EfficientNet, which leaves out parts of itself at random while it trains."""
    whole = read_weights(train(name, "--steps", "4", "--validate-every", "1", out="whole"))
    monkeypatch.setattr("workers.training.fit.CHECKPOINT_SECONDS", 0.0)
    taken = []

    def take_two(*given):
        if len(taken) == 2:
            raise KeyboardInterrupt
        taken.append(1)
        return take_step(*given)

    from workers.training import fit

    take_step = fit._take_step
    monkeypatch.setattr(fit, "_take_step", take_two)
    with pytest.raises(KeyboardInterrupt):
        train(name, "--steps", "4", "--validate-every", "1")
    monkeypatch.setattr(fit, "_take_step", take_step)
    torch.manual_seed(99)  # whatever happened in between
    resumed = read_weights(train(name, "--steps", "4", "--validate-every", "1"))
    assert all(torch.equal(whole[key], values) for key, values in resumed.items())


def test_the_best_step_ships_and_not_the_last(train, monkeypatch):
    scores = iter([0.3, 0.9, 0.5])
    kept = []

    def judge_as_told(_cases, _side_px):
        def judge(network):
            kept.append({key: values.clone() for key, values in network.state_dict().items()})
            return {"dice": next(scores)}

        return judge

    monkeypatch.setattr("workers.training.us_train_segmenter.judge_segmenter", judge_as_told)
    bundle = train(LESION_SEGMENTER, "--steps", "3", "--validate-every", "1")
    shipped = read_weights(bundle)
    assert all(torch.equal(kept[1][key], values) for key, values in shipped.items())
    assert not all(torch.equal(kept[2][key], values) for key, values in shipped.items())
    said = json.loads((bundle / "configs" / "metadata.json").read_text())["training"]
    assert (said["best_step"], said["validation"]) == (2, {"dice": 0.9})


def test_what_is_no_number_is_never_the_best():
    best, network = Best(), torch.nn.Linear(1, 1)
    best.offer(1, float("nan"), {}, network)
    assert best.describe() == {}
    best.offer(2, 0.1, {"auc": 0.1}, network)
    best.offer(3, 0.1, {"auc": 0.1}, network)
    assert best.describe() == {"best_step": 2, "validation": {"auc": 0.1}}


@pytest.mark.parametrize(("option", "value"), [("--side", "64"), ("--healthy-share", "0.5"), ("--batch", "2")])
def test_a_checkpoint_of_another_side_or_share_is_refused(train, option, value):
    train(LESION_SEGMENTER, "--steps", "1")
    with pytest.raises(NeedsPerson, match=option):
        train(LESION_SEGMENTER, "--steps", "1", option, value)


def test_the_test_part_is_neither_read_nor_trained_on(data):
    cases = load_cases([data])
    total = sum(sum(counts.values()) for counts in cases.counts.values())
    test = sum(counts["test"] for counts in cases.counts.values())
    assert test > 0
    assert len(cases.train) + len(cases.validation) == total - test
    assert {case.row.group for case in cases.train}.isdisjoint(case.row.group for case in cases.validation)


def test_a_start_from_a_bundle_takes_its_weights_and_refuses_the_other_kind(train):
    start = train(LESION_SEGMENTER, "--steps", "1", out="start")
    begun = train(LESION_SEGMENTER, "--steps", "0", "--init", str(start), "--network", "")
    assert all(torch.equal(values, read_weights(begun)[key]) for key, values in read_weights(start).items())
    with pytest.raises(NeedsPerson, match="no us-classifier"):
        train(LESION_CLASSIFIER, "--init", str(start), "--network", "")


def change(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def test_a_bundle_of_another_side_is_another_model_and_an_odd_side_is_refused(train):
    bundle = train(LESION_CLASSIFIER, "--steps", "1")
    before = bundle_digest(bundle.name, bundle.parent)
    change(bundle / "configs" / "inference.json", side_px=64)
    assert bundle_digest(bundle.name, bundle.parent) != before
    assert any(finding.problem for finding in check_bundle(bundle))
    for odd in (33, 0, 1 << 20, "64", None):
        change(bundle / "configs" / "inference.json", side_px=odd)
        with pytest.raises(NeedsPerson):
            load_us_bundle(bundle.name, CPU, bundle.parent)
    change(bundle / "configs" / "inference.json", side_px=SIDE_PX)
    with pytest.raises(NeedsPerson, match="another kind"):
        load_us_bundle(bundle.name, CPU, bundle.parent, kind=LESION_SEGMENTER)


def test_a_network_that_answers_no_numbers_needs_a_person(train):
    bundle = train(LESION_CLASSIFIER, "--steps", "1")
    network = load_us_bundle(bundle.name, CPU, bundle.parent)
    images = np.zeros((1, 1, SIDE_PX, SIDE_PX), np.float32)
    with pytest.raises(ValueError, match="takes images"):
        network(images[:, :, 1:])
    with torch.no_grad():
        next(iter(network.network.parameters())).fill_(float("nan"))
    with pytest.raises(NeedsPerson) as raised:
        network(images)
    assert raised.value.code == "bad_bundle"


class Oracle(torch.nn.Module):
    """Answers what a function makes of the images."""

    def __init__(self, answer):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.answer = answer

    def forward(self, images):
        return self.answer(images) + self.weight


def test_a_segmenter_is_judged_by_dice_in_each_source_and_by_what_it_marks_in_healthy_pictures(data):
    judge = judge_segmenter(load_cases([data]).validation, SIDE_PX)
    nothing = judge(Oracle(lambda images: torch.full_like(images, -9.0)))
    assert nothing == {"dice": 0.0, "dice_ours": 0.0, "healthy_marked": 0.0}
    everything = judge(Oracle(lambda images: torch.full_like(images, 9.0)))
    assert 0 < everything["dice"] < 0.5
    assert everything["healthy_marked"] == 1.0
    dark = judge(Oracle(lambda images: torch.where((images < -0.3) & (images > -0.99), 9.0, -9.0)))
    assert dark["dice"] > 0.7


def test_a_classifier_is_judged_by_the_area_under_its_curve_in_each_source(data):
    judge = judge_classifier(load_cases([data]).validation, SIDE_PX)
    assert judge(Oracle(lambda images: torch.zeros(len(images), 1))) == {"auc": 0.5, "auc_ours": 0.5}
    with pytest.raises(NeedsPerson, match="both kinds"):
        judge_classifier([], SIDE_PX)


def test_overlap_of_a_mask_with_itself_and_with_its_half():
    mask = np.zeros((4, 4), bool)
    mask[:2] = True
    half = mask.copy()
    half[1] = False
    assert overlap(mask, mask) == 1
    assert overlap(half, mask) == pytest.approx(2 / 3)


def test_the_losses_are_least_for_the_truth():
    classes = torch.zeros(2, 8, 8, dtype=torch.int64)
    classes[0, 2:5, 2:5] = 1
    right = torch.where(classes[:, None] > 0, 6.0, -6.0)
    assert dice_and_cross_entropy(right, classes) < 0.1
    assert dice_and_cross_entropy(-right, classes) > 1
    kinds = torch.tensor([1, 0])
    sure, modest = torch.tensor([[20.0], [-20.0]]), torch.tensor([[2.94], [-2.94]])
    smoothed = cross_entropy(0.1)
    assert smoothed(modest, kinds) < smoothed(sure, kinds)
    assert cross_entropy(0.0)(sure, kinds) < 1e-6


def test_every_nested_answer_is_supervised_in_two_dimensions():
    classes = torch.zeros(1, 8, 8, dtype=torch.int64)
    good, bad = torch.full((1, 1, 8, 8), -6.0), torch.full((1, 1, 8, 8), 6.0)
    assert supervise(dice_and_cross_entropy, (good, bad), classes) > 1 + supervise(
        dice_and_cross_entropy, (good, good), classes
    )


def test_published_sources_are_named_with_what_they_lack_and_a_hospitals_own_are_not_called_public():
    assert "breast" in describe_us_data({"sources": ["busi"]})
    assert NO_PAROTID_TUMOR in describe_us_data({"sources": ["busi", "sgus"]})
    own = describe_us_data({"sources": ["ours"]})
    assert own == "cases of the source ours"
    assert "not recorded" in describe_us_data(None)


@pytest.mark.parametrize("model", ["us-segmenter", "us-classifier"])
def test_every_command_has_help(model, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", model, "--help"])
    assert stop.value.code == 0
    assert "--side" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--side", "33"], ["--side", "0"], ["--healthy-share", "1"]])
def test_an_impossible_option_is_refused(words, capsys):
    with pytest.raises(SystemExit):
        train_segmenter(["--data", "x", "--out", "y", *words])
    assert "must be" in capsys.readouterr().err


@pytest.mark.parametrize("name", [LESION_SEGMENTER, LESION_CLASSIFIER])
def test_a_fixed_training_learns_from_all_but_the_test_part_and_ships_its_last_step(train, name, monkeypatch):
    module = f"workers.training.us_train_{name.removeprefix('us_lesion_')}"
    seen = []

    def note(folders, *, is_fixed):
        cases = load_cases(folders, is_fixed=is_fixed)
        seen.extend(cases.train)
        return cases

    monkeypatch.setattr(f"{module}.load_cases", note)
    bundle = train(name, fixed=True)
    parts = {find_part(case.row.source, case.row.group) for case in seen}
    assert parts == {Part.TRAIN, Part.VALIDATION}
    said = json.loads((bundle / "configs" / "metadata.json").read_text())["training"]
    assert said["trained_on"] == ["train", "validation"]
    assert "best_step" not in said


def test_a_classifier_is_called_calibrated_only_where_it_is_itself():
    line = {"source": "busi", "lesions": 294, "malignant": 100, "error": 0.04}
    shipped = describe_us_data({"sources": ["busi"], "calibration": line}, LESION_CLASSIFIER)
    assert "calibrated by 294" in shipped
    own = describe_us_data({"sources": ["ours"], "start": "shipped", "start_data_source": shipped}, LESION_CLASSIFIER)
    assert "calibrated by" not in own
    assert NOT_CALIBRATED in own
    assert "breast" in own
    again = describe_us_data({"sources": ["ours"], "start": "own", "start_data_source": own, "calibration": line})
    assert NOT_CALIBRATED not in again
    assert NOT_CALIBRATED not in describe_us_data({"sources": ["busi"]}, LESION_SEGMENTER)
