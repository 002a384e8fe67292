"""A bundle is data: it loads, it is identified by what it computes, and no code in it is ever run."""

import hashlib
import json
import pickle
import shutil

import numpy as np
import pytest
import torch

from screener.outcomes import NeedsPerson
from workers.models.device import choose_device, run_within_memory
from workers.models.networks import AIR_HU, DEFINITIONS, scale_hu
from workers.models.weights import BUNDLES_DIR, bundle_digest, load_bundle

CPU = torch.device("cpu")
NAMES = sorted(DEFINITIONS)


@pytest.fixture
def bundles(tmp_path):
    """A hospital's own copy of one bundle, to be changed."""
    shutil.copytree(BUNDLES_DIR / NAMES[0], tmp_path / NAMES[0])
    return tmp_path


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_bundle_gives_probabilities_on_its_inputs_grid(name):
    bundle = load_bundle(name, CPU)
    channels = DEFINITIONS[name]["in_channels"]
    answer = bundle(np.zeros((channels, 13, 17, 9), dtype=np.float32))
    assert answer.shape == (DEFINITIONS[name]["out_channels"], 13, 17, 9)
    assert answer.sum(axis=0) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_several_images_are_answered_as_one_by_one(name):
    bundle = load_bundle(name, CPU)
    channels = DEFINITIONS[name]["in_channels"]
    images = np.random.default_rng(4).random((3, channels, 20, 16, 9), dtype=np.float32)
    together = bundle(images)
    for image, answer in zip(images, together, strict=True):
        assert answer == pytest.approx(bundle(image), abs=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_a_shipped_bundle_has_the_parts_that_a_monai_bundle_has(name):
    folder = BUNDLES_DIR / name
    metadata = json.loads((folder / "configs" / "metadata.json").read_text())
    wanted = {
        "version",
        "changelog",
        "monai_version",
        "pytorch_version",
        "numpy_version",
        "task",
        "description",
        "authors",
        "copyright",
        "data_type",
        "intended_use",
        "network_data_format",
    }
    assert wanted <= set(metadata)
    definition = json.loads((folder / "configs" / "inference.json").read_text())["network_def"]
    assert metadata["network_data_format"]["inputs"]["image"]["num_channels"] == definition["in_channels"]
    assert definition == DEFINITIONS[name]
    card = (folder / "docs" / "README.md").read_text()
    assert "not validated for clinical diagnosis" in card
    assert (folder / "models" / "model.pt").stat().st_size < 8 * 2**20


def test_the_digest_follows_the_weights(bundles):
    before = bundle_digest(NAMES[0], bundles)
    assert before == load_bundle(NAMES[0], CPU, bundles).digest == bundle_digest(NAMES[0])
    path = bundles / NAMES[0] / "models" / "model.pt"
    state = torch.load(path, weights_only=True)
    next(iter(state.values())).add_(1)
    torch.save(state, path)
    assert bundle_digest(NAMES[0], bundles) != before


def test_the_digest_follows_the_networks_definition_and_not_the_card(bundles):
    before = bundle_digest(NAMES[0], bundles)
    (bundles / NAMES[0] / "docs" / "README.md").write_text("other words")
    assert bundle_digest(NAMES[0], bundles) == before
    configs = bundles / NAMES[0] / "configs" / "inference.json"
    content = json.loads(configs.read_text())
    content["network_def"]["num_res_units"] += 1
    configs.write_text(json.dumps(content))
    assert bundle_digest(NAMES[0], bundles) != before


def test_the_digest_follows_the_preprocessing(monkeypatch):
    before = bundle_digest(NAMES[0])
    monkeypatch.setattr("workers.models.weights.PREPROCESSING_VERSION", "another")
    assert bundle_digest(NAMES[0]) != before
    assert len(before) == len(hashlib.sha256().hexdigest())


def test_a_missing_bundle_needs_a_person(tmp_path):
    with pytest.raises(NeedsPerson) as raised:
        load_bundle(NAMES[0], CPU, tmp_path)
    assert raised.value.code == "bad_bundle"
    assert str(tmp_path) in raised.value.reason


class Surprise:
    def __reduce__(self):
        return (print, ("this must not be run",))


def test_code_hidden_in_the_weights_is_refused(bundles, capsys):
    path = bundles / NAMES[0] / "models" / "model.pt"
    torch.save({"weight": Surprise()}, path)
    with pytest.raises(NeedsPerson):
        load_bundle(NAMES[0], CPU, bundles)
    path.write_bytes(pickle.dumps(Surprise(), protocol=2))
    with pytest.raises(NeedsPerson):
        load_bundle(NAMES[0], CPU, bundles)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\x80\x02}q\x00."])
def test_a_damaged_weights_file_needs_a_person(bundles, content):
    (bundles / NAMES[0] / "models" / "model.pt").write_bytes(content)
    with pytest.raises(NeedsPerson):
        load_bundle(NAMES[0], CPU, bundles)


@pytest.mark.parametrize("target", ["os.system", "monai.networks.nets.EnsembleNet", ""])
def test_a_network_that_is_not_known_is_refused(bundles, target):
    configs = bundles / NAMES[0] / "configs" / "inference.json"
    content = json.loads(configs.read_text())
    content["network_def"]["_target_"] = target
    configs.write_text(json.dumps(content))
    with pytest.raises(NeedsPerson, match="is not one of"):
        load_bundle(NAMES[0], CPU, bundles)


def test_air_scales_to_zero_and_more_is_never_less():
    values = np.arange(AIR_HU, 2000, 50).reshape(-1, 1, 1)
    scaled = scale_hu(values)[:, :, 0, 0]
    assert (scaled[:, 0] == 0).all()
    assert (np.diff(scaled, axis=1) >= 0).all()
    assert scaled.max() == 1


def test_auto_takes_what_is_there_and_says_why():
    device, reason = choose_device("auto")
    assert device.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert "auto" in reason


def test_cpu_is_cpu():
    assert choose_device("cpu")[0] == CPU


@pytest.mark.parametrize("setting", ["gpu", "cuda:x", "cuda:99", ""])
def test_a_device_that_is_not_there_needs_a_person(setting):
    with pytest.raises(NeedsPerson):
        choose_device(setting)


class Machine:
    """Holds at most `room` voxels a side on the accelerator and, where `cpu_room` is given, on the CPU."""

    def __init__(self, room, cpu_room=None, problem=torch.OutOfMemoryError):
        self.room, self.cpu_room, self.problem, self.tried = room, cpu_room or room, problem, []

    def __call__(self, device, patch):
        self.tried.append((device.type, patch))
        if patch > (self.room if device.type == "cuda" else self.cpu_room):
            raise self.problem("out of memory")
        return patch


CUDA = torch.device("cuda")


def test_enough_memory_takes_the_largest_patch():
    assert run_within_memory(Machine(200), CUDA, (192, 96)) == 192


def test_too_little_memory_takes_a_smaller_patch():
    machine = Machine(100)
    assert run_within_memory(machine, CUDA, (192, 128, 96)) == 96
    assert machine.tried == [("cuda", 192), ("cuda", 128), ("cuda", 96)]


def test_no_patch_that_fits_the_accelerator_goes_to_the_cpu():
    machine = Machine(10, cpu_room=100)
    assert run_within_memory(machine, CUDA, (192, 96)) == 96
    assert machine.tried[-1] == ("cpu", 96)


def test_a_cpu_that_says_it_in_words_only_is_understood():
    assert run_within_memory(Machine(100, problem=RuntimeError), CPU, (192, 96)) == 96


@pytest.mark.parametrize("device", [CPU, CUDA])
def test_too_little_memory_everywhere_needs_a_person(device):
    with pytest.raises(NeedsPerson) as raised:
        run_within_memory(Machine(10), device, (192, 96))
    assert raised.value.code == "out_of_memory"


def test_another_error_is_a_bug_and_not_hidden():
    def fail(device, patch):
        raise RuntimeError(f"shapes do not match on {device} at {patch}")

    with pytest.raises(RuntimeError, match="shapes do not match"):
        run_within_memory(fail, CPU, (192, 96))


def test_calibration_moves_the_chosen_probability_to_one_half():
    from workers.models.networks import SEGMENTER_DEFINITION, build_network
    from workers.training.calibrate_segmenter import shift_probability

    torch.manual_seed(0)
    network = build_network(SEGMENTER_DEFINITION).eval()
    image = torch.randn(1, 3, 16, 16, 16)
    with torch.inference_mode():
        before = network(image).softmax(1)[:, 1]
        state = {name: values.clone() for name, values in network.state_dict().items()}
        shift_probability(state, 0.65)
        network.load_state_dict(state)
        after = network(image).softmax(1)[:, 1]
    assert torch.equal(before >= 0.65, after >= 0.5)
    assert (after < before).all()


def test_a_network_that_answers_no_numbers_needs_a_person(bundles):
    bundle = load_bundle(NAMES[0], CPU, bundles)
    with torch.no_grad():
        next(iter(bundle.network.parameters())).fill_(float("nan"))
    with pytest.raises(NeedsPerson) as raised:
        bundle(np.ones((DEFINITIONS[NAMES[0]]["in_channels"], 16, 16, 16), np.float32))
    assert raised.value.code == "bad_bundle"
