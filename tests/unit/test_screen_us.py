"""The ultrasound journey on the real store and archive, with networks small enough to be made here."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch

from screener.archive import Archive
from screener.config import make_config
from screener.dispatch import dispatch_study
from screener.journey import Ending, Queue
from screener.store import Kind, ReceivedInstance, StudyReport
from screener.us_study import MODEL_NAME_US, Answer, Box, Frame, Lesion
from tests.peers.stores import open_new_store
from workers.bench import Bench, UltrasoundModels
from workers.models.networks import build_network
from workers.models.us_networks import LESION_CLASSIFIER, US_NETWORKS
from workers.models.us_weights import UsNetwork
from workers.results.identity import make_identity
from workers.screen_us import screen_us
from workers.tasks import work_on_run
from workers.us.classify_lesion import classify_lesion, map_activation

SIDE_PX = 64
START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


class Bright(torch.nn.Module):
    """Takes what is bright for a lesion."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 20 * (images - 0.6)


class Blind(torch.nn.Module):
    """Sees no lesion."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return 0 * images - 9


class Always(torch.nn.Module):
    """Gives every lesion the same logit."""

    def __init__(self, logit: float) -> None:
        super().__init__()
        self.layer4 = torch.nn.Conv2d(1, 2, 3, padding=1)
        self.logit = logit

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.layer4(images).mean((1, 2, 3))[:, None] * 0.001 + self.logit


Always.__name__ = "ResNet"


def a_network(network: torch.nn.Module, name: str = "net") -> UsNetwork:
    return UsNetwork(
        name=name, version="0", digest="0" * 64, side_px=SIDE_PX, network=network.eval(), device=torch.device("cpu")
    )


def models_with(logit: float, segmenter: torch.nn.Module | None = None) -> UltrasoundModels:
    identity = make_identity(
        weight_digests={"net": "0" * 64},
        preprocessing_version="1",
        version="0",
        device_serial_number="test",
        model_name=MODEL_NAME_US,
    )
    return UltrasoundModels(
        segmenter=a_network(segmenter or Bright()), classifier=a_network(Always(logit)), identity=identity
    )


def an_object(folder: Path, radius_px: float) -> pydicom.Dataset:
    """A gray picture with speckle and, where the radius is not 0, a bright disk; 0.2 mm a pixel."""
    from tests.unit.us_objects import TISSUE, draw_picture, make_object

    ds = make_object(draw_picture(TISSUE))
    rows, columns = int(ds.Rows), int(ds.Columns)
    pixels = np.array(ds.pixel_array)
    gray = pixels if pixels.ndim == 2 else pixels[..., 0]
    values = np.clip(gray.astype(float) * 0.4, 0, 100).astype(np.uint8)
    y, x = np.indices((rows, columns))
    values[((y - rows / 2) ** 2 + (x - columns / 2) ** 2 < radius_px**2)] = 255
    ds.PixelData = (values if pixels.ndim == 2 else np.repeat(values[..., None], 3, 2)).tobytes()
    ds.save_as(folder / "us.dcm", enforce_file_format=True)
    return ds


class Clinic:
    """A study with one picture, and a bench."""

    def __init__(self, folder: Path, radius_px: float, models: UltrasoundModels | None) -> None:
        config = make_config(
            {"results": {"destinations": [{"name": "pacs", "ae_title": "PACS", "host": "127.0.0.1", "port": 104}]},
             "notices": {"email": {"host": "127.0.0.1", "sender": "a@b.test", "recipients": ["ent@hospital.test"]}},
             "models": {} if models else {"us_segmenter": ""}},
            base=folder, environment={},
        )  # fmt: skip
        self.store = open_new_store(f"sqlite:///{folder}/screener.sqlite")
        archive = Archive(config.storage_folder, 0)
        self.ds = an_object(folder, radius_px)
        (folder / "us.dcm").rename(archive.folder / "us.dcm")
        self.bench = Bench(config=config, store=self.store, archive=archive, clock=lambda: START)
        self.bench._ultrasound_models = models
        self.record("us.dcm", str(self.ds.SOPInstanceUID))

    def record(self, name: str, sop_instance_uid: str) -> None:
        """Take a file of the archive for an object of the study, and dispatch that."""
        self.store.record_instance(
            ReceivedInstance(
                study_instance_uid=str(self.ds.StudyInstanceUID), series_instance_uid=str(self.ds.SeriesInstanceUID),
                sop_instance_uid=sop_instance_uid, sop_class_uid=str(self.ds.SOPClassUID), modality="US",
                transfer_syntax_uid=str(self.ds.file_meta.TransferSyntaxUID), kind=Kind.IMAGE, path=name,
                sha256="0" * 64, size_bytes=self.bench.archive.path(name).stat().st_size, calling_ae_title="US1",
            ),
            START - timedelta(hours=1),
        )  # fmt: skip
        (study,) = self.store.quiet_studies(START, quiet=timedelta(seconds=1), max_wait=timedelta(days=1))
        dispatch_study(self.store, study, self.bench.config.thresholds(), START)

    def screen(self) -> StudyReport:
        assert work_on_run(self.bench, Queue.US, screen_us)
        report = self.store.study_report(1)
        assert report is not None
        return report

    def result(self, report: StudyReport, role: str) -> Path:
        (path,) = (result.path for result in report.runs[0].results if result.role == role)
        return self.bench.archive.path(path)


@pytest.fixture
def open_clinic(tmp_path: Path) -> Iterator[object]:
    clinics: list[Clinic] = []

    def make(radius_px: float, models: UltrasoundModels | None) -> Clinic:
        clinics.append(Clinic(tmp_path, radius_px, models))
        return clinics[-1]

    yield make
    for clinic in clinics:
        clinic.store.engine.dispose()


def test_a_malignant_lesion_leaves_report_segmentation_capture_and_a_notice(open_clinic) -> None:  # type: ignore[no-untyped-def]
    clinic = open_clinic(60, models_with(2.0))
    report = clinic.screen()
    (run,) = report.runs
    assert (run.ending, run.is_flagged) == (Ending.DONE, True), report.reason
    assert {result.role for result in run.results} == {"seg", "sr", "capture", "key_image"}
    assert run.lesion.answer is Answer.MALIGNANT
    assert run.lesion.probability == pytest.approx(0.88, abs=0.01)
    assert run.lesion.sop_instance_uid == str(clinic.ds.SOPInstanceUID)
    segmentation = pydicom.dcmread(clinic.result(report, "seg"))
    assert int(segmentation.pixel_array.sum()) == run.lesion.area_px == pytest.approx(np.pi * 60**2, rel=0.1)
    assert segmentation.ManufacturerModelName == MODEL_NAME_US
    assert [stage for step in report.steps if (stage := step.stage) in {"selected", "segmented", "decided", "encoded"}]
    assert len(clinic.store.owed_notices(START)) == 1
    assert clinic.store.claim_delivery("sender", START, timedelta(minutes=1)) is not None


def test_a_benign_lesion_is_reported_and_nobody_is_told(open_clinic) -> None:  # type: ignore[no-untyped-def]
    clinic = open_clinic(60, models_with(-2.0))
    report = clinic.screen()
    assert (report.runs[0].is_flagged, report.runs[0].lesion.answer) == (False, Answer.BENIGN)
    assert clinic.store.owed_notices(START) == []


def test_no_lesion_is_an_answer_with_a_report_alone(open_clinic) -> None:  # type: ignore[no-untyped-def]
    clinic = open_clinic(60, models_with(2.0, Blind()))
    report = clinic.screen()
    assert report.runs[0].lesion.answer is Answer.NO_LESION
    assert [result.role for result in report.runs[0].results] == ["sr"]


def test_no_lesion_is_no_answer_while_a_picture_could_not_be_read(open_clinic) -> None:  # type: ignore[no-untyped-def]
    clinic = open_clinic(60, models_with(2.0, Blind()))
    assert clinic.screen().runs[0].lesion.answer is Answer.NO_LESION
    whole = clinic.bench.archive.path("us.dcm").read_bytes()
    clinic.bench.archive.path("cut.dcm").write_bytes(whole[: len(whole) // 2])
    clinic.record("cut.dcm", "1.2.3")
    run = clinic.screen().runs[-1]
    assert run.lesion.answer is Answer.NOT_ASSESSABLE
    assert run.lesion.reason == "No lesion found, 1 frame searched, but 1 object could not be read."
    assert [result.role for result in run.results] == ["sr"]


def test_without_models_the_study_is_set_aside_unread(open_clinic) -> None:  # type: ignore[no-untyped-def]
    clinic = open_clinic(60, None)
    clinic.bench.archive.path("us.dcm").write_bytes(b"no DICOM")
    report = clinic.screen()
    assert (report.ending, report.code) == (Ending.SET_ASIDE, "no_ultrasound_model")


def test_a_study_without_a_frame_to_be_searched_has_its_reasons_told(open_clinic) -> None:  # type: ignore[no-untyped-def]
    clinic = open_clinic(60, models_with(2.0))
    clinic.bench.archive.path("us.dcm").write_bytes(b"no DICOM")
    report = clinic.screen()
    assert report.ending is Ending.FAILED
    assert [frame.is_taken for frame in report.runs[0].frames] == [False]


def a_lesion() -> Lesion:
    rng = np.random.default_rng(0)
    gray = rng.integers(0, 255, (120, 160)).astype(np.uint8)
    mask = np.zeros(gray.shape, bool)
    mask[30:70, 50:110] = True
    frame = Frame(
        sop_instance_uid="1.2", frame_number=0, box=Box(top=0, left=0, bottom=120, right=160),
        picture_shape=(120, 160), gray=gray, spacing_mm=None,
    )  # fmt: skip
    return Lesion(frame=frame, mask=mask, mean_probability=0.9, area_px=int(mask.sum()), longest_diameter_mm=None)


@pytest.mark.parametrize("name", US_NETWORKS[LESION_CLASSIFIER])
def test_every_classifier_shows_where_it_looked(name: str) -> None:
    torch.manual_seed(1)
    classifier = a_network(build_network(US_NETWORKS[LESION_CLASSIFIER][name]))
    lesion = a_lesion()
    assert 0 < classify_lesion(lesion, classifier) < 1
    shown = map_activation(lesion, classifier)
    assert shown.shape == lesion.frame.gray.shape
    assert shown.min() == 0
    assert shown.max() <= 1
    assert not shown[100:, 140:].any(), "nothing is shown where the network did not look"
