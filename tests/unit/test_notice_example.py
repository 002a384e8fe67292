"""The image that names the patient of a notice was screened, and its file is there where that of any is."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid

from screener.config import Retention
from screener.expire import expire
from screener.store import Run
from screener.store.values import OwedNotice
from screener.study import SeriesChoice
from screener.us_study import FrameChoice
from tests.peers.scanner import make_ct
from tests.unit.test_expire import START, World
from tests.unit.test_store import a_screening

ENT = ("email", "ent@hospital.test")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World(tmp_path)
    yield opened
    opened.listener.stop()
    opened.store.engine.dispose()


def a_series(study_instance_uid: str, count: int = 2) -> list[FileDataset]:
    series_instance_uid = generate_uid()
    images = []
    for _ in range(count):
        ds = make_ct()
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.SOPInstanceUID = (
            study_instance_uid, series_instance_uid, generate_uid(),
        )  # fmt: skip
        ds.file_meta.MediaStorageSOPInstanceUID = ds.SOPInstanceUID
        images.append(ds)
    return images


def choose(images: list[FileDataset], *, is_chosen: bool = True) -> SeriesChoice:
    return SeriesChoice(
        series_instance_uid=images[0].SeriesInstanceUID, modality="CT", score=1.0, is_chosen=is_chosen, reasons=(),
        instance_count=len(images),
    )  # fmt: skip


def find(world: World, run: Run) -> OwedNotice:
    """Let the run flag the study; return the notice that is owed."""
    world.store.finish_run(run, a_screening(), destinations=[], recipients=[ENT], seconds=1.0, now=world.now)
    (notice,) = world.store.owed_notices(world.now)
    return notice


def paths_of(world: World, run: Run, images: list[FileDataset]) -> set[str]:
    uids = {image.SOPInstanceUID for image in images}
    folder = world.archive.folder
    found = world.store.images_of(run.study_id, folder)
    return {str(one.path.relative_to(folder)) for one in found if one.sop_instance_uid in uids}


def test_an_image_of_the_series_that_was_screened_names_the_patient(world: World) -> None:
    study = generate_uid()
    scout, neck = a_series(study), a_series(study)
    world.receive(*scout, *neck)
    run = world.run()
    choices = (choose(neck), choose(scout, is_chosen=False))
    world.store.record_series(run, choices, "key")
    assert find(world, run).example_path in paths_of(world, run, neck)


def test_a_picture_that_was_screened_names_the_patient(world: World) -> None:
    images = a_series(generate_uid(), 3)
    world.receive(*images)
    run = world.run()
    taken = [
        FrameChoice(sop_instance_uid=one.SOPInstanceUID, frame_number=0, is_taken=one is images[2], reason="")
        for one in images
    ]
    world.store.record_frames(run, taken)
    assert find(world, run).example_path in paths_of(world, run, images[2:])


def test_an_image_whose_file_is_there_names_the_patient_though_the_first_has_gone(world: World) -> None:
    study = generate_uid()
    first, second = a_series(study), a_series(study)
    world.set_aside(*first, *second)
    world.now = START + timedelta(days=40)
    expire(world.store, world.archive, Retention(received_days=30, results_days=0, history_days=0), world.now)
    world.receive(*second)
    run = world.run()
    notice = find(world, run)
    assert (world.archive.folder / notice.example_path).is_file()
