"""When a study counts as whole: silence, rows without holes, and what a PACS says it holds."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, ImplicitVRLittleEndian, generate_uid

from screener.complete import CALM, INCOMPLETE, AskCount, Completion, Count
from screener.config import Config, make_config
from screener.find_gaps import find_gaps
from screener.journey import Ending
from screener.read_place import read_place
from screener.store import QuietStudy, Store
from tests.peers.scanner import make_ct
from tests.peers.stores import open_new_store
from tests.peers.values import an_instance

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
QUIET = timedelta(seconds=60)
SECOND = timedelta(seconds=1)
STUDY = "1.2.3"


class World:
    """A store and an archive that images come into, and the look at them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.store: Store = open_new_store(f"sqlite:///{folder}/screener.sqlite")
        self.max_wait = timedelta(hours=1)
        self.begin()

    def begin(self, ask_count: AskCount | None = None, **settings: object) -> None:
        """Start the daemon's part anew."""
        tables = {
            "storage": {"folder": str(self.folder)},
            "completeness": {"max_wait_seconds": self.max_wait.total_seconds(), **settings},
        }
        config: Config = make_config(tables, base=self.folder, environment={})
        assert config.completeness.quiet_seconds == QUIET.total_seconds()
        self.completion = Completion(self.store, config, ask_count)

    def receive(self, slices: Sequence[Dataset], now: datetime = START, study: str = STUDY) -> None:
        for ds in slices:
            path = f"images/{ds.SOPInstanceUID}.dcm"
            (self.folder / "images").mkdir(exist_ok=True)
            ds.save_as(self.folder / path, enforce_file_format=True)
            received = an_instance(
                study_instance_uid=study,
                series_instance_uid=str(ds.SeriesInstanceUID),
                sop_instance_uid=str(ds.SOPInstanceUID),
                path=path,
                sha256=str(ds.SOPInstanceUID)[-64:],
            )
            self.store.record_instance(received, now)

    def look(self, now: datetime) -> int:
        return self.completion.dispatch_complete_studies(now)

    def story(self, study: str = STUDY) -> list[str]:
        study_id = self.store.find_study(study)
        assert study_id is not None
        return [step.sentence for step in self.store.study_report(study_id).steps]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    opened = World(tmp_path)
    yield opened
    opened.store.engine.dispose()


def a_series(count: int = 20, spacing_mm: float = 3.0, begin_mm: float = 0.0, **elements: object) -> list[Dataset]:
    series_instance_uid = generate_uid()
    return [
        make_ct(
            SeriesInstanceUID=series_instance_uid,
            ImageType=["ORIGINAL", "PRIMARY", "AXIAL"],
            AcquisitionNumber=1,
            InstanceNumber=index + 1,
            ImagePositionPatient=[-100, -100, begin_mm + index * spacing_mm],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            **elements,
        )
        for index in range(count)
    ]


def test_a_whole_study_goes_on_once_it_is_quiet(world: World) -> None:
    world.receive(a_series())
    assert world.look(START + QUIET - SECOND) == 0
    assert world.look(START + QUIET) == 1
    assert "no new image for 60 s; no slice is missing between others; run 1 waits" in world.story()[-1]


def test_a_hole_is_waited_for_and_its_study_goes_on_at_once_when_it_is_filled(world: World) -> None:
    slices = a_series()
    world.receive(slices[:8] + slices[9:])
    late = START + QUIET * 5
    assert [world.look(START + QUIET), world.look(START + QUIET * 2), world.look(late)] == [0, 0, 0]
    assert "waits: 1 slice is missing beside 19 of series" in world.story()[-1]
    world.receive([slices[8]], late)
    assert world.look(late + CALM / 2) == 0
    assert world.look(late + CALM) == 1
    assert "what was missing has come" in world.story()[-1]


def test_what_a_study_waits_for_is_told_once(world: World) -> None:
    slices = a_series()
    world.receive(slices[:8] + slices[10:])
    for seconds in range(60, 70):
        world.look(START + SECOND * seconds)
    world.begin()  # as after a restart
    world.look(START + QUIET * 2)
    assert sum("waits:" in line for line in world.story()) == 1
    world.receive([slices[8]], START + QUIET * 3)
    assert world.look(START + QUIET * 4) == 0
    assert [line.split()[1] for line in world.story() if "waits:" in line] == ["2", "1"]


def test_a_hole_that_stays_is_not_waited_for_longer_than_max_wait(world: World) -> None:
    slices = a_series()
    world.receive(slices[:8] + slices[9:])
    assert world.look(START + world.max_wait - SECOND) == 0
    assert world.look(START + world.max_wait) == 1
    told = world.story()[-1]
    assert "not waited for any longer than 3600 s after the first image: 1 slice is missing" in told
    assert "run 1 waits on queue ct" in told


def test_a_hole_that_stays_sets_the_study_aside_where_the_settings_say_so(world: World) -> None:
    world.begin(after_max_wait="set_aside")
    slices = a_series()
    world.receive(slices[:8] + slices[9:])
    assert world.look(START + world.max_wait - SECOND) == 0
    assert world.look(START + world.max_wait) == 1
    report = world.store.study_report(1)
    assert (report.ending, report.code, report.runs) == (Ending.SET_ASIDE, INCOMPLETE, ())
    assert "1 slice is missing" in report.reason
    world.receive([slices[8]], START + world.max_wait + SECOND)  # it comes after all
    assert world.look(START + world.max_wait + QUIET * 2) == 1
    assert len(world.store.study_report(1).runs) == 1


def test_images_that_still_arrive_at_max_wait_say_so(world: World) -> None:
    now = START
    for ds in a_series(80):
        world.receive([ds], now)
        now += SECOND * 50
        assert world.look(now) == (now >= START + world.max_wait)
        if now >= START + world.max_wait:
            break
    assert "images still arrive, but the first is 3600 s old" in world.story()[-1]


@pytest.mark.parametrize("after_max_wait", ["go_on", "set_aside"])
def test_time_in_which_the_daemon_was_down_is_no_waiting(world: World, after_max_wait: str) -> None:
    slices = a_series()
    world.receive(slices[:8] + slices[9:])
    up_again = START + world.max_wait * 2
    world.begin(after_max_wait=after_max_wait)
    world.completion.begin(up_again)
    assert [world.look(up_again), world.look(up_again + QUIET), world.look(up_again + QUIET * 2)] == [0, 0, 0]
    assert "waits: 1 slice is missing" in world.story()[-1]
    world.receive([slices[8]], up_again + QUIET * 2)  # the scanner sends again what had failed
    assert world.look(up_again + QUIET * 2 + CALM) == 1
    assert "what was missing has come" in world.story()[-1]


def test_a_whole_study_goes_on_a_quiet_period_after_the_start(world: World) -> None:
    world.receive(a_series())
    up_again = START + QUIET * 5
    world.completion.begin(up_again)
    assert world.look(up_again + QUIET - SECOND) == 0
    assert world.look(up_again + QUIET) == 1


def test_a_hole_that_stays_is_waited_for_no_longer_than_max_wait_after_the_start(world: World) -> None:
    slices = a_series()
    world.receive(slices[:8] + slices[9:])
    up_again = START + QUIET * 5
    world.completion.begin(up_again)
    assert world.look(up_again + world.max_wait - SECOND) == 0
    assert world.look(up_again + world.max_wait) == 1


def test_a_clock_that_is_set_back_after_the_start_makes_no_study_wait_longer(world: World) -> None:
    world.completion.begin(START + timedelta(days=1))
    world.receive(a_series())
    assert [world.look(START), world.look(START + QUIET)] == [0, 1]


def test_a_person_who_asks_again_after_the_start_does_not_wait(world: World) -> None:
    world.receive(a_series())
    assert world.look(START + QUIET) == 1
    world.completion.begin(START + QUIET * 2)
    world.store.reprocess(1, START + QUIET * 2)
    assert world.look(START + QUIET * 2 + SECOND) == 1


def test_two_spacings_do_not_wait(world: World) -> None:
    narrow = a_series(15, 2.5)
    wide = a_series(10, 5.0, 40.0)
    for ds in wide:
        ds.SeriesInstanceUID = narrow[0].SeriesInstanceUID
    world.receive([*narrow, *wide])
    assert world.look(START + QUIET) == 1


def test_a_study_whose_question_fails_holds_up_no_other_and_ends_at_max_wait(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    def ask(study: QuietStudy, _: datetime) -> Count:
        if study.study_instance_uid == STUDY:
            raise RuntimeError("CANARY^DONOTLOG")
        return Count()

    world.begin(ask)
    world.receive(a_series())
    world.receive(a_series(), START + SECOND, "1.2.4")
    assert world.look(START + QUIET + SECOND) == 1
    assert "run 1 waits" in world.story("1.2.4")[-1]
    assert "waits: nobody can tell whether it is whole (RuntimeError)" in world.story()[-1]
    assert world.look(START + world.max_wait) == 1
    assert "3600 s after the first image: nobody can tell whether it is whole (RuntimeError)" in world.story()[-1]
    assert "RuntimeError at complete.py" in caplog.text
    assert "CANARY" not in caplog.text


def test_a_study_that_cannot_be_dispatched_holds_up_no_other(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    open_run = world.store.open_run

    def fail_once(study: QuietStudy, *others: Any) -> int | None:
        if study.study_instance_uid == STUDY:
            raise OSError
        return open_run(study, *others)

    monkeypatch.setattr(world.store, "open_run", fail_once)
    world.receive(a_series())
    world.receive(a_series(), START + SECOND, "1.2.4")
    assert world.look(START + QUIET + SECOND) == 1
    monkeypatch.undo()
    assert world.look(START + QUIET + SECOND * 2) == 1


@pytest.mark.parametrize(
    ("position", "orientation"),
    [([-100, -100, "1.7e308"], [1, 0, 0, 0, 1, 0]), ([-100, -100, 24], ["1e308", 0, 0, 0, "1e308", 0])],
    ids=["position", "orientation"],
)
def test_a_slice_that_lies_nowhere_on_earth_does_not_say_where_it_lies(
    world: World, position: list[object], orientation: list[object]
) -> None:
    slices = a_series()
    slices[8].ImagePositionPatient, slices[8].ImageOrientationPatient = position, orientation
    world.receive(slices[:3] + slices[5:])
    assert [world.look(START + QUIET), world.look(START + QUIET + SECOND)] == [0, 0]
    assert "waits: 3 slices are missing beside 17 of series" in world.story()[-1]


def test_of_slices_that_do_not_say_where_they_lie_nobody_says_that_none_is_missing(world: World) -> None:
    slices = a_series()
    for ds in slices:
        ds.ImagePositionPatient = [0, 0, "1.7e308"]
    world.receive(slices)
    assert world.look(START + QUIET) == 1
    assert "no slice says where it lies" in world.story()[-1]
    assert "no slice is missing" not in world.story()[-1]


def test_a_study_that_a_person_asks_for_again_does_not_wait(world: World) -> None:
    slices = a_series()
    world.receive(slices[:8] + slices[9:])
    assert world.look(START + QUIET) == 0
    world.store.reprocess(1, START + QUIET)
    assert world.look(START + QUIET) == 1


def test_a_pacs_that_holds_more_is_waited_for(world: World) -> None:
    answers: list[Count | None] = [
        None, Count(missing=("3 images of series 1.2, which pacs holds, have not come",)),
        Count(remarks=("pacs holds no more images",)),
    ]  # fmt: skip
    world.begin(lambda *_: answers.pop(0))
    world.receive(a_series())
    assert world.look(START + QUIET) == 0
    assert not any("waits" in line for line in world.story())
    assert world.look(START + QUIET + SECOND) == 0
    assert "waits: 3 images of series 1.2" in world.story()[-1]
    assert world.look(START + QUIET + SECOND * 2) == 1
    assert "pacs holds no more images" in world.story()[-1]


def test_a_pacs_that_never_answers_is_not_waited_for_beyond_max_wait(world: World) -> None:
    world.begin(lambda *_: None)
    world.receive(a_series())
    assert world.look(START + world.max_wait - SECOND) == 0
    assert world.look(START + world.max_wait) == 1


@pytest.mark.parametrize(
    "syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian], ids=lambda uid: uid.name
)
def test_places_are_read_in_every_encoding(tmp_path: Path, syntax: str) -> None:
    slices = a_series(8, 2.0, -3.0, PixelData=bytes(512))
    for ds in slices:
        ds.file_meta.TransferSyntaxUID = syntax
        ds["PixelData"].VR = "OW"
        ds.save_as(tmp_path / f"{ds.InstanceNumber}.dcm", enforce_file_format=True)
    places = [read_place(tmp_path / f"{ds.InstanceNumber}.dcm", str(ds.SeriesInstanceUID)) for ds in slices]
    assert [place.position_mm for place in places] == [(-100.0, -100.0, -3.0 + 2.0 * index) for index in range(8)]
    assert [place.instance_number for place in places] == list(range(1, 9))
    assert "AXIAL" in places[0].image_type
    assert find_gaps(places[:3] + places[4:])[0].missing == 1


@pytest.mark.parametrize("value", [b"1\\2 ", b"1\\nan\\3 ", b"1\\x\\3 ", b""])
def test_a_broken_position_is_none(tmp_path: Path, value: bytes) -> None:
    path = tmp_path / "slice.dcm"
    ds = make_ct(InstanceNumber=4, ImageOrientationPatient=[1, 0, 0, 0, 1, 0], ImagePositionPatient="1\\2\\3")
    ds.save_as(path, enforce_file_format=True)
    whole = path.read_bytes()
    begin = whole.index(b"1\\2\\3 ")
    path.write_bytes(whole[: begin - 2] + len(value).to_bytes(2, "little") + value + whole[begin + 6 :])
    place = read_place(path, "1.2")
    assert (place.position_mm, place.instance_number) == (None, 4)


def test_a_file_that_is_gone_or_none_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "none.dcm").write_bytes(b"nothing of the kind")
    for name in ("none.dcm", "gone.dcm"):
        assert read_place(tmp_path / name, "1.2").position_mm is None


def test_a_study_whose_disk_is_away_is_not_taken_for_whole(world: World) -> None:
    world.receive(a_series())
    (world.folder / "images").rename(world.folder / "away")
    assert world.look(START + QUIET + SECOND) == 0
    assert "waits: the disk does not give its images now (FileNotFoundError)" in world.story()[-1]
    (world.folder / "away").rename(world.folder / "images")
    assert world.look(START + QUIET + SECOND * 2) == 1


@pytest.mark.parametrize("after_max_wait", ["go_on", "set_aside"])
def test_a_disk_that_stays_away_sets_no_study_aside(
    world: World, after_max_wait: str, caplog: pytest.LogCaptureFixture
) -> None:
    world.begin(after_max_wait=after_max_wait)
    world.receive(a_series())
    (world.folder / "images").rename(world.folder / "away")
    for second in range(5):
        assert world.look(START + QUIET + SECOND * second) == 0
    assert caplog.text.count("the disk does not give its images") == 1
    assert world.look(START + world.max_wait) == 1
    assert "run 1 waits" in world.story()[-1]
    assert "the disk does not give its images now (FileNotFoundError)" in world.story()[-1]
