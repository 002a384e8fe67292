"""Training goes on where it stopped, stops when it is told to, and leaves a bundle that loads and checks."""

import argparse
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from screener.outcomes import NeedsPerson
from tests.unit.heads import make_head
from workers.__main__ import main
from workers.models.networks import SEGMENTER_DEFINITION, build_network
from workers.models.weights import load_bundle, read_definition, read_weights
from workers.training.cache_samples import write_samples
from workers.training.check_bundle import check_bundle
from workers.training.fit import add_options, choose_precision, fit, load_batches
from workers.training.keep_checkpoint import Averaged, set_learning_rate
from workers.training.sample_localizer import read_heads
from workers.training.synthetic_mass import Inserted, MassPlan, insert_second
from workers.training.train_segmenter import GENERATOR, dice_and_cross_entropy, name_cache

PROJECT = Path(__file__).resolve().parents[2]
NAME = "parotid_mass_segmenter"
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def one_thread():
    """Networks as small as these only wait for a second thread."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def draw_ball(rng):
    """A bright ball to be found: quick to draw, and learnt within a few steps."""
    center = rng.uniform(5, 11, 3).reshape(3, 1, 1, 1)
    inside = ((np.indices((16, 16, 16)) - center) ** 2).sum(0) < 16
    image = rng.normal(0, 0.1, (3, 16, 16, 16)).astype(np.float32)
    image[0] += inside
    return image, inside.astype(np.int64)


@pytest.fixture
def options(tmp_path):
    def make(*words):
        parser = argparse.ArgumentParser()
        add_options(parser, name=NAME, checkpoint=tmp_path / "run.ckpt", batch=2)
        out = tmp_path / NAME
        return parser.parse_args(["--data", str(tmp_path), "--out", str(out), "--threads", "1", *words])

    return make


def train(options):
    fit(NAME, draw_ball, dice_and_cross_entropy, options)
    return read_weights(options.out)


def test_training_lowers_the_loss_and_leaves_a_whole_bundle(options, tmp_path):
    chosen = options("--steps", "50", "--network", "study")
    train(chosen)
    assert read_definition(chosen.out)["_target_"] == "StudyNetwork"
    assert [finding.problem for finding in check_bundle(chosen.out)] == [""] * 4
    log = EventAccumulator(str(tmp_path / "run_log")).Reload()
    assert set(log.Tags()["scalars"]) == {"loss", "learning_rate", "samples_per_second"}
    losses = [event.value for event in log.Scalars("loss")]
    bundle = load_bundle(NAME, CPU, tmp_path)
    image, classes = draw_ball(np.random.default_rng(99))
    found = bundle(image)[1]
    assert found[classes > 0].mean() > found[classes == 0].mean() + 0.2
    assert losses[-1] < 3


def test_a_training_that_was_broken_off_ends_as_one_that_was_not(options, tmp_path, monkeypatch):
    whole = train(options("--steps", "6", "--checkpoint", str(tmp_path / "whole.ckpt")))
    torch.manual_seed(1)  # whatever happened in between
    chosen = options("--steps", "6")

    def draw_until(rng):
        if draw_until.left == 0:
            raise KeyboardInterrupt
        draw_until.left -= 1
        return draw_ball(rng)

    draw_until.left = 6
    monkeypatch.setattr("workers.training.fit.CHECKPOINT_SECONDS", 0.0)
    with pytest.raises(KeyboardInterrupt):
        fit(NAME, draw_until, dice_and_cross_entropy, chosen)
    assert torch.load(chosen.checkpoint, weights_only=True)["step"] == 3
    resumed = train(chosen)
    assert all(torch.equal(whole[name], values) for name, values in resumed.items())


def test_a_checkpoint_of_the_first_release_is_gone_on_from_with_a_warning(options, caplog):
    chosen = options("--steps", "4")
    network = build_network(SEGMENTER_DEFINITION)
    average = Averaged(network)
    optimizer = torch.optim.AdamW(network.parameters())
    state = {
        "step": 3,
        "network": network.state_dict(),
        "optimizer": optimizer.state_dict(),
        "average": average.network.state_dict(),
        "updates": 3,
    }
    torch.save(state, chosen.checkpoint)
    train(chosen)
    assert "does not say which data" in caplog.text
    assert json.loads((chosen.out / "configs" / "metadata.json").read_text())["training"]["steps"] == 4
    assert torch.load(chosen.checkpoint, weights_only=True)["updates"] == 4


def test_minutes_stop_training_and_count_on_when_it_is_resumed(options):
    chosen = options("--minutes", "0.005")
    train(chosen)
    kept = torch.load(chosen.checkpoint, weights_only=True)
    assert kept["step"] >= 1
    assert kept["seconds"] >= 0.3
    train(chosen)
    assert torch.load(chosen.checkpoint, weights_only=True)["step"] == kept["step"]


def test_the_checkpoint_of_another_network_is_refused_with_a_sentence(options):
    train(options("--steps", "1"))
    with pytest.raises(NeedsPerson, match="another network"):
        train(options("--steps", "2", "--network", "study"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--seed", "8"], "--seed was 7 and is 8 now"),
        (["--batch", "1"], "--batch was 2 and is 1 now"),
        (["--data", "more"], "--data was"),
        (["--init", "before"], "--init was not given and is"),
    ],
)
def test_a_checkpoint_of_other_data_start_or_seed_is_refused_with_what_differs(options, tmp_path, words, said):
    train(options("--steps", "1"))
    (tmp_path / "more").mkdir()
    words = [str(tmp_path / word) if word == "more" else word for word in words]
    if "--init" in words:
        words[1] = str((tmp_path / NAME).rename(tmp_path / "before"))
    with pytest.raises(NeedsPerson, match=said) as refused:
        train(options("--steps", "1", *words))
    assert refused.value.code == "bad_checkpoint"
    assert "another file with --checkpoint" in refused.value.reason


def test_a_finished_checkpoint_says_that_no_step_is_trained_and_that_cases_changed(options, tmp_path, caplog):
    chosen = options("--steps", "1")
    train(chosen)
    assert "no step is trained" not in caplog.text
    (tmp_path / "pt_1").mkdir()
    (tmp_path / "pt_1" / "image.nii.gz").write_bytes(b"new")
    train(chosen)
    assert "no step is trained" in caplog.text
    assert "The cases in --data have changed" in caplog.text


def test_cached_samples_are_not_used_for_other_files(options, tmp_path):
    chosen = options()
    chosen.variants, chosen.sample_seed = 2, 11
    image = tmp_path / "pt_1" / "image.nii.gz"
    image.parent.mkdir()
    image.write_bytes(b"image")
    first = name_cache(chosen)
    assert name_cache(chosen) == first
    (tmp_path / "pt_1" / "labels.nii.gz").write_bytes(b"outlined")
    second = name_cache(chosen)
    os.utime(tmp_path / "pt_1" / "labels.nii.gz", (1, 1))
    third = name_cache(chosen)
    chosen.sample_seed = 12
    assert len({first, second, third, name_cache(chosen)}) == 4


def test_cached_samples_are_not_used_for_another_generator(options, monkeypatch):
    chosen = options()
    chosen.variants, chosen.sample_seed = 2, 11
    first = name_cache(chosen)
    monkeypatch.setattr("workers.training.train_segmenter.GENERATOR", GENERATOR[1:])
    assert name_cache(chosen) != first


def test_every_module_that_makes_samples_is_part_of_their_key():
    folder = PROJECT / "workers" / "training"
    assert [name for name in GENERATOR if not (folder / f"{name}.py").exists()] == []
    imported = {
        word
        for name in GENERATOR
        for word in re.findall(r"from workers\.training\.(\w+) import", (folder / f"{name}.py").read_text())
    }
    assert imported <= set(GENERATOR)


def test_a_damaged_checkpoint_is_refused_with_a_sentence(options):
    chosen = options("--steps", "1")
    chosen.checkpoint.write_bytes(b"no checkpoint")
    with pytest.raises(NeedsPerson, match="damaged"):
        train(chosen)


def test_a_hospital_starts_from_the_weights_of_a_bundle(options, tmp_path):
    first = options("--steps", "3", "--network", "study")
    train(first)
    start = first.out.rename(tmp_path / "ours")
    second = options("--steps", "0", "--init", str(start), "--checkpoint", str(tmp_path / "other.ckpt"))
    ours, theirs = read_weights(start), train(second)
    assert read_definition(second.out) == read_definition(start)
    assert all(torch.equal(ours[name], values) for name, values in theirs.items())
    before, after = (
        json.loads((bundle / "configs" / "metadata.json").read_text())["data_source"] for bundle in (start, second.out)
    )
    assert after == f"{before}, starting from the weights of ours, which were trained on: {before}"
    with pytest.raises(NeedsPerson, match="no localizer"):
        fit("parotid_localizer", draw_ball, dice_and_cross_entropy, second)


def test_half_precision_on_disk_is_single_precision_at_work(options, tmp_path):
    single = train(options("--steps", "2"))
    half = train(options("--steps", "2", "--half"))
    kernels = [name for name, values in single.items() if values.ndim > 1]
    assert all(half[name].dtype == torch.float16 for name in kernels)
    assert all(half[name].dtype == values.dtype for name, values in single.items() if name not in kernels)
    network = load_bundle(NAME, CPU, tmp_path).network
    assert all(values.dtype == torch.float32 for values in network.parameters())
    assert not any(finding.problem for finding in check_bundle(tmp_path / NAME))


def test_samples_are_the_same_whoever_draws_them(options):
    def take(*words):
        return list(load_batches(draw_ball, range(4, 7), options(*words), CPU))

    for one, other in zip(take("--loaders", "0"), take("--loaders", "2"), strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_a_loss_that_is_no_number_stops_training_and_spoils_no_checkpoint(options):
    chosen = options("--steps", "2")
    with pytest.raises(NeedsPerson, match="no number"):
        fit(NAME, draw_ball, lambda logits, classes: dice_and_cross_entropy(logits, classes) * np.nan, chosen)
    assert not chosen.checkpoint.exists()
    assert not chosen.out.exists()


def test_reduced_precision_is_for_accelerators():
    assert choose_precision("auto", CPU) is None
    assert choose_precision("bfloat16", torch.device("cuda")) is torch.bfloat16
    with pytest.raises(NeedsPerson):
        choose_precision("float16", CPU)
    with pytest.raises(NeedsPerson):
        choose_precision("bfloat16", CPU)


def test_the_learning_rate_rises_and_falls():
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(1))])
    rates = []
    for done in np.linspace(0, 1, 101):
        set_learning_rate(optimizer, 2.0, float(done))
        rates.append(optimizer.param_groups[0]["lr"])
    assert np.argmax(rates) == 10
    assert rates[10] == pytest.approx(2.0)
    assert rates[0] < 0.01
    assert rates[-1] == pytest.approx(0)


@pytest.mark.gpu
def test_an_accelerator_trains_in_mixed_precision(options):
    if not torch.cuda.is_available():
        pytest.skip("no accelerator")
    chosen = options("--steps", "4", "--device", "cuda")
    train(chosen)
    described = json.loads((chosen.out / "configs" / "metadata.json").read_text())["training"]
    assert described["device"] == "cuda"
    assert described["precision"] in {"bfloat16", "float16"}


@pytest.mark.parametrize("words", [["train", "ct-localizer"], ["train", "ct-segmenter"], ["bundle"]])
def test_every_command_has_help(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert stop.value.code == 0
    assert "usage: python -m workers" in capsys.readouterr().out


def write_patient(folder, labels=(1, 2)):
    """A head with the glands named outlined, as a case of NIfTI files."""
    head = make_head()
    folder.mkdir(parents=True)
    middle = [size // 2 for size in head.hu.shape]
    outlined = np.zeros(head.hu.shape, np.uint8)
    for label, x in ((1, middle[2] - 22), (2, middle[2] + 22)):
        if label in labels:
            outlined[middle[0] - 4 : middle[0] + 4, middle[1] - 6 : middle[1] + 6, x - 6 : x + 6] = label
    for stem, values in (("image", head.hu), ("labels", outlined)):
        image = nibabel.Nifti1Image(values.transpose(2, 1, 0), np.diag([-1.0, -1.0, 1.0, 1.0]) @ head.affine)
        nibabel.save(image, folder / f"{stem}.nii.gz")


def test_a_patient_with_one_gland_outlined_does_not_teach_that_the_other_is_background(tmp_path, caplog):
    write_patient(tmp_path / "both")
    write_patient(tmp_path / "one", labels=[2])
    write_patient(tmp_path / "unknown", labels=[])
    with caplog.at_level("INFO"):
        heads = read_heads(tmp_path)
    assert [head.gland_centers.shape for head in heads] == [(2, 3)]
    assert "patient=one passed over" in caplog.text
    assert "patient=unknown passed over" in caplog.text


def test_a_case_that_cannot_be_read_stops_no_cache(tmp_path, caplog):
    write_patient(tmp_path / "data" / "b_good")
    write_patient(tmp_path / "data" / "a_bad")
    image = tmp_path / "data" / "a_bad" / "image.nii.gz"
    image.write_bytes(image.read_bytes()[:500])
    count = write_samples([tmp_path / "data"], tmp_path / "cache", variants=1, seed=3)
    assert count == 2
    assert "case=a_bad passed over" in caplog.text
    assert (np.load(tmp_path / "cache" / "marks.npy", mmap_mode="r")[:count] > 0).any(axis=(1, 2, 3)).all()
    write_patient(tmp_path / "data" / "c_later")
    assert write_samples([tmp_path / "data"], tmp_path / "cache", variants=1, seed=3) == count


def test_a_cache_without_samples_is_made_again_once_there_are_some(tmp_path):
    cache = tmp_path / "cache"
    write_patient(tmp_path / "data" / "case", labels=[])
    assert write_samples([tmp_path / "data"], cache, variants=1, seed=3) == 0
    assert not (cache / "count.txt").exists()
    (cache / "count.txt").write_text("0\n")  # as it was marked before
    write_patient(tmp_path / "data" / "mended")
    assert write_samples([tmp_path / "data"], cache, variants=1, seed=3) == 2


def test_a_second_mass_is_as_blurred_as_the_scan_that_shows_the_first():
    head = make_head((2.0, 2.0, 2.0))
    gland = np.zeros(head.hu.shape, bool)
    middle = [size // 2 for size in gland.shape]
    gland[middle[0] - 7 : middle[0] + 7, middle[1] - 7 : middle[1] + 7, middle[2] - 30 : middle[2] - 15] = True
    plan = MassPlan(diameter_mm=16.0, place="deep", form="ovoid", content="homogeneous", is_enhanced=True)

    def steepest(psf_mm):
        flat = np.full(head.hu.shape, -60.0, np.float32)
        first = Inserted(hu=flat, mask=np.zeros(flat.shape, bool), plan=plan, level_hu=100.0, gland_hu=-60.0)
        second = insert_second(first, gland, (2.0, 2.0, 2.0), np.random.default_rng(4), psf_mm=psf_mm)
        return np.abs(np.diff(second.hu, axis=2)).max()

    assert steepest(2.0) < 0.7 * steepest(0.5)


def test_no_case_to_train_on_is_said_plainly(tmp_path, capsys):
    for model in ("ct-localizer", "ct-segmenter"):
        with pytest.raises(SystemExit) as stop:
            main(
                [
                    "train",
                    model,
                    "--data",
                    str(tmp_path),
                    "--out",
                    str(tmp_path / "out"),
                    "--checkpoint",
                    str(tmp_path / "c"),
                ]
            )
        assert stop.value.code == 1
        assert "No case with an outlined parotid gland" in capsys.readouterr().err


def test_a_missing_training_extra_is_named_with_its_remedy():
    program = "import sys; sys.modules['nibabel'] = None; from workers.__main__ import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", program, "train", "ct-localizer"]
    done = subprocess.run(words, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "nibabel is not installed" in done.stderr
    assert ".[worker,train]" in done.stderr


def test_a_queue_is_still_a_queue(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["no-such-queue"])
    assert stop.value.code == 2
    assert "results" in capsys.readouterr().err
