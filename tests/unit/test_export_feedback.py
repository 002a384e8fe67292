"""Reviewed studies become cases that the training and the evaluation read, and nothing untrue stands in them."""

import csv
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from screener.__main__ import main
from screener.decide import decide
from screener.dispatch import dispatch_study
from screener.export_feedback import Outline, export_feedback, find_correction
from screener.journey import Queue
from screener.outcomes import NeedsPerson
from screener.phantom import Phantom, make_phantom, write_phantom
from screener.store import Kind, Result, Screening, Store, open_store
from screener.store.reviews import Opinion
from screener.study import Mass, Parotid, SeriesChoice, Side, Thresholds
from tests.peers.values import BOTH_ASSESSED, a_candidate, an_instance
from workers.results.encode_seg import encode_seg
from workers.results.identity import make_identity
from workers.training.read_cases import list_cases, read_case

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LIMITS = Thresholds(min_voxels=500, min_probability=0.5, config_revision="abc")
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    opened = open_store(f"sqlite:///{tmp_path}/screener.sqlite", is_migrating=True)
    yield opened
    opened.engine.dispose()


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(mass_mm=24.0, mass_side=Side.LEFT, spacing_mm=(4.0, 4.0, 5.0), rows=64, uid_salt="feedback")


def outline(phantom: Phantom, folder: Path, *, has_mass: bool) -> Dataset:
    """The screener's own segmentation of the phantom in `folder`."""
    volume = read_case(folder).volume
    paths = {str(dcmread(path).SOPInstanceUID): path for path in folder.rglob("*.dcm")}
    glands = [
        Parotid(side=side, is_assessed=True, reason="", center_mm=None, mask=mask, volume_mm3=1.0, mean_hu=0.0)
        for side, mask in ((Side.RIGHT, phantom.right_parotid), (Side.LEFT, phantom.left_parotid))
    ]
    masses = [Mass(candidate=a_candidate(1, 900, Side.LEFT), mask=phantom.mass)] if has_mass else []
    seg = encode_seg(
        [paths[uid] for uid in volume.sop_instance_uids],
        volume,
        glands,
        masses,
        identity=make_identity(
            weight_digests={"a": "0" * 64}, preprocessing_version="1", version="0", device_serial_number="1"
        ),
        run_key="run 1",
        started_at=START,
        algorithm_parameters="",
    )
    assert seg is not None
    return seg


Screen = Callable[..., int]


@pytest.fixture
def screen(store: Store, phantom: Phantom, tmp_path: Path) -> Screen:
    """Screens the phantom as another study each time; True: with a mass that is flagged."""
    source = tmp_path / "received"
    write_phantom(phantom, source)
    numbers = iter(range(1, 100))

    def work(*, is_flagged: bool) -> int:
        number, at = next(numbers), START
        uid = f"1.2.{number}"
        for path in sorted(source.rglob("*.dcm")):
            ds = dcmread(path, stop_before_pixels=True)
            store.record_instance(
                an_instance(
                    study_instance_uid=uid,
                    series_instance_uid=str(ds.SeriesInstanceUID),
                    sop_instance_uid=f"{ds.SOPInstanceUID}.{number}",
                    path=str(path.relative_to(tmp_path)),
                ),
                at,
            )
        later = at + timedelta(minutes=2)
        (quiet,) = store.quiet_studies(later, quiet=timedelta(minutes=1), max_wait=timedelta(hours=1))
        dispatch_study(store, quiet, LIMITS, later)
        run = store.claim_run(Queue.CT, "worker", later, timedelta(minutes=10))
        assert run is not None
        series = str(phantom.datasets[0].SeriesInstanceUID)
        choice = SeriesChoice(
            series_instance_uid=series, modality="CT", score=1.0, is_chosen=True, reasons=(), instance_count=1
        )
        store.record_series(run, [choice], f"key {number}")
        candidates = (a_candidate(1, 900, Side.LEFT),) if is_flagged else ()
        path = tmp_path / f"seg-{number}.dcm"
        outline(phantom, source, has_mass=is_flagged).save_as(path, enforce_file_format=True)
        screening = Screening(
            assessments=BOTH_ASSESSED,
            candidates=candidates,
            verdict=decide(BOTH_ASSESSED, candidates, LIMITS),
            results=(
                Result(
                    role="seg", sop_class_uid=SEGMENTATION, sop_instance_uid=f"1.9.{number}", path=path.name, sha256=""
                ),
            ),
            model_identity="",
        )
        store.finish_run(run, screening, destinations=[], recipients=[], seconds=1.0, now=later)
        return run.study_id

    return work


def review(store: Store, study_id: int, opinion: Opinion, by: str = "gray") -> None:
    decided = store.decided_number(study_id)
    assert decided is not None
    assert store.add_review(decided.run_id, opinion, by=by, text="", now=START)


def receive_segmentation(store: Store, tmp_path: Path, study_id: int, seg: Dataset, name: str) -> None:
    seg.save_as(tmp_path / name, enforce_file_format=True)
    store.record_instance(
        an_instance(
            study_instance_uid=f"1.2.{study_id}",
            sop_instance_uid=f"1.8.{study_id}.{len(name)}",
            sop_class_uid=SEGMENTATION,
            modality="SEG",
            kind=Kind.DOCUMENT,
            path=name,
        ),
        START,
    )


def test_reviewed_studies_are_read_as_cases(store: Store, screen: Screen, phantom: Phantom, tmp_path: Path) -> None:
    right, wrong, clean, missed, disputed, silent = (
        screen(is_flagged=flag) for flag in (True, True, False, False, True, True)
    )
    review(store, right, Opinion.AGREE)
    review(store, wrong, Opinion.DISAGREE)
    review(store, clean, Opinion.AGREE)
    review(store, missed, Opinion.DISAGREE)
    review(store, disputed, Opinion.AGREE)
    review(store, disputed, Opinion.DISAGREE, by="white")
    review(store, silent, Opinion.COMMENT)
    exported = {each.study_id: each for each in export_feedback(store, tmp_path, tmp_path / "out")}
    assert set(exported) == {right, wrong, clean, missed, disputed}
    assert [exported[study].outline for study in (right, wrong, clean)] == [Outline.OURS, Outline.NONE, Outline.OURS]
    assert "nobody has outlined it" in exported[missed].left_out
    assert "contradict" in exported[disputed].left_out
    cases = {path.name: read_case(path) for path in list_cases(tmp_path / "out")}
    assert set(cases) == {f"study-{number}" for number in (right, wrong, clean)}
    assert (cases[f"study-{right}"].mass == phantom.mass).all()
    assert cases[f"study-{wrong}"].mass is None
    assert cases[f"study-{clean}"].mass is None
    assert set(cases[f"study-{clean}"].glands) == set(Side)
    assert all((case.volume.hu == phantom.hu).all() for case in cases.values())


def test_a_mass_that_was_missed_comes_with_the_outline_that_others_sent(
    store: Store, screen: Screen, phantom: Phantom, tmp_path: Path
) -> None:
    missed = screen(is_flagged=False)
    review(store, missed, Opinion.DISAGREE)
    drawn = outline(phantom, tmp_path / "received", has_mass=True)
    receive_segmentation(store, tmp_path, missed, drawn, "drawn.dcm")
    other = outline(phantom, tmp_path / "received", has_mass=True)
    other.ReferencedSeriesSequence[0].SeriesInstanceUID = "1.2.3"
    receive_segmentation(store, tmp_path, missed, other, "of another series.dcm")
    (exported,) = export_feedback(store, tmp_path, tmp_path / "out")
    assert (exported.outline, exported.left_out) == (Outline.CORRECTED, "")
    assert (read_case(tmp_path / "out" / f"study-{missed}").mass == phantom.mass).all()


def test_the_newest_of_several_outlines_is_taken(screen: Screen, phantom: Phantom, tmp_path: Path) -> None:
    paths = []
    for number, date in enumerate(["20260103", "20260105", "20260104"]):
        seg = outline(phantom, tmp_path / "received", has_mass=True)
        seg.ContentDate = date
        paths.append(tmp_path / f"{number}.dcm")
        seg.save_as(paths[-1], enforce_file_format=True)
    series = str(phantom.datasets[0].SeriesInstanceUID)
    assert find_correction(paths, series) == paths[1]
    assert find_correction(paths, "1.2.3") is None
    (tmp_path / "broken.dcm").write_bytes(b"no DICOM")
    assert find_correction([tmp_path / "broken.dcm"], series) is None


def test_a_folder_that_holds_something_is_left_alone(store: Store, tmp_path: Path) -> None:
    with pytest.raises(NeedsPerson, match="not empty"):
        export_feedback(store, tmp_path, tmp_path)


def test_the_command_says_that_the_files_name_patients(
    store: Store, screen: Screen, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text('[storage]\nfolder = "."\n', encoding="utf-8")
    review(store, screen(is_flagged=True), Opinion.AGREE)
    assert main(["export-feedback", "--config", str(tmp_path / "config.toml"), str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    assert "De-identification is the hospital's" in told
    assert "CANARY" not in told
    assert (tmp_path / "out" / "README.md").read_text(encoding="utf-8") == told.rstrip("\n") + "\n"
    rows = list(csv.DictReader((tmp_path / "out" / "index.csv").read_text(encoding="utf-8").splitlines()))
    assert [(row["case"], row["truth"], row["outline"]) for row in rows] == [("study-1", "mass", "ours")]
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
    assert main(["export-feedback", "--config", str(tmp_path / "config.toml"), str(tmp_path / "out")]) == 1
