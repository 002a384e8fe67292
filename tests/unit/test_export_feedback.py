"""Reviewed studies become cases that the training and the evaluation read, and nothing untrue stands in them."""

import csv
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from pydicom import Dataset, dcmread

from screener.__main__ import main
from screener.decide import decide
from screener.dispatch import dispatch_study
from screener.export_feedback import Outline, export_feedback, find_correction
from screener.journey import Queue
from screener.keep_glands import write_glands
from screener.know_segments import Held
from screener.outcomes import NeedsPerson
from screener.phantom import Phantom, make_phantom, write_phantom
from screener.store import Kind, Result, Screening, Store
from screener.store.reviews import Opinion
from screener.study import Mass, Parotid, SeriesChoice, Side, Thresholds
from tests.peers.values import a_candidate, an_assessment, an_instance
from tests.unit.test_store_ultrasound import claimed as claimed_on_us
from tests.unit.test_store_ultrasound import finish as finish_on_us
from workers.results.encode_seg import encode_seg
from workers.results.identity import make_identity
from workers.training.read_cases import list_cases, read_case

START = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
LIMITS = Thresholds(min_voxels=500, min_probability=0.5, config_revision="abc")
SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"


@pytest.fixture(scope="module")
def phantom() -> Phantom:
    return make_phantom(mass_mm=24.0, mass_side=Side.LEFT, spacing_mm=(4.0, 4.0, 5.0), rows=64, uid_salt="feedback")


def outline(phantom: Phantom, folder: Path, *, has_mass: bool, has_glands: bool = True) -> Dataset:
    """The screener's own segmentation of the phantom in `folder`."""
    volume = read_case(folder).volume
    paths = {str(dcmread(path).SOPInstanceUID): path for path in folder.rglob("*.dcm")}
    glands = [
        Parotid(side=side, is_assessed=True, reason="", center_mm=None, mask=mask, volume_mm3=1.0, mean_hu=0.0)
        for side, mask in ((Side.RIGHT, phantom.right_parotid), (Side.LEFT, phantom.left_parotid))
        if has_glands
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
    """Screens the phantom, as another study each time unless one is named; True: with a mass that is flagged there."""
    source = tmp_path / "received"
    write_phantom(phantom, source)
    numbers = iter(range(1, 100))

    def work(
        *,
        is_flagged: bool,
        is_assessed: bool = True,
        study_id: int | None = None,
        center_mm: tuple[float, float, float] = (1.0, 2.0, 3.0),
    ) -> int:
        number = next(numbers)
        at = START + timedelta(minutes=5 * number)
        uid = f"1.2.{study_id or number}"
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
        candidates = (replace(a_candidate(1, 900, Side.LEFT), center_mm=center_mm),) if is_flagged else ()
        path = tmp_path / f"seg-{number}.dcm"
        outline(phantom, source, has_mass=is_flagged).save_as(path, enforce_file_format=True)
        glands = (an_assessment(Side.RIGHT, is_assessed=is_assessed), an_assessment(Side.LEFT))
        screening = Screening(
            assessments=glands,
            candidates=candidates,
            verdict=decide(glands, candidates, LIMITS),
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


def receive_segmentation(
    store: Store, tmp_path: Path, study_id: int, seg: Dataset, name: str, kind: Kind = Kind.DOCUMENT
) -> None:
    seg.save_as(tmp_path / name, enforce_file_format=True)
    store.record_instance(
        an_instance(
            study_instance_uid=f"1.2.{study_id}",
            sop_instance_uid=f"1.8.{study_id}.{len(name)}",
            sop_class_uid=SEGMENTATION,
            modality="SEG",
            kind=kind,
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
    outlines = [exported[study].outline for study in (right, wrong, clean)]
    assert outlines == [Outline.OURS, Outline.OUR_GLANDS, Outline.OURS]
    assert "nobody has outlined it" in exported[missed].left_out
    assert "contradict" in exported[disputed].left_out
    cases = {path.name: read_case(path) for path in list_cases(tmp_path / "out")}
    assert set(cases) == {f"study-{number}" for number in (right, wrong, clean)}
    assert (cases[f"study-{right}"].mass == phantom.mass).all()
    for study in (wrong, clean):
        case = cases[f"study-{study}"]
        assert case.mass is None
        assert (case.glands[Side.RIGHT] == phantom.right_parotid).all()
        assert (case.glands[Side.LEFT] == phantom.left_parotid).all()
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


def test_where_others_outlined_the_mass_alone_the_glands_are_ours(
    store: Store, screen: Screen, phantom: Phantom, tmp_path: Path
) -> None:
    study = screen(is_flagged=True)
    review(store, study, Opinion.AGREE)
    drawn = outline(phantom, tmp_path / "received", has_mass=True, has_glands=False)
    receive_segmentation(store, tmp_path, study, drawn, "mass.dcm")
    (exported,) = export_feedback(store, tmp_path, tmp_path / "out")
    assert (exported.outline, exported.has_our_glands) == (Outline.CORRECTED, True)
    case = read_case(tmp_path / "out" / f"study-{study}")
    assert (case.mass == phantom.mass).all()
    assert (case.glands[Side.LEFT] == phantom.left_parotid).all()
    assert case.mass_sides == (Side.LEFT,)


@pytest.mark.parametrize(
    ("was_flagged", "opinion"), [(True, Opinion.AGREE), (True, Opinion.DISAGREE), (False, Opinion.DISAGREE)]
)
def test_what_people_said_of_an_earlier_finding_is_no_truth_of_another(
    store: Store, screen: Screen, tmp_path: Path, *, was_flagged: bool, opinion: Opinion
) -> None:
    study = screen(is_flagged=was_flagged)
    review(store, study, opinion)
    screen(is_flagged=True, study_id=study, center_mm=(60.0, 2.0, 3.0))
    (exported,) = export_feedback(store, tmp_path, tmp_path / "out")
    assert "another finding" in exported.left_out
    assert list_cases(tmp_path / "out") == []


def test_what_people_said_of_an_earlier_finding_speaks_against_no_outline_of_another(
    store: Store, screen: Screen, phantom: Phantom, tmp_path: Path
) -> None:
    study = screen(is_flagged=True)
    review(store, study, Opinion.DISAGREE)
    screen(is_flagged=True, study_id=study, center_mm=(60.0, 2.0, 3.0))
    receive_segmentation(store, tmp_path, study, outline(phantom, tmp_path / "received", has_mass=True), "drawn.dcm")
    (exported,) = export_feedback(store, tmp_path, tmp_path / "out")
    assert (exported.outline, exported.has_mass) == (Outline.CORRECTED, True)
    assert "1 outlined by others (1 of them not reviewed)" in (tmp_path / "out" / "README.md").read_text()


@pytest.mark.parametrize("opinion", [Opinion.AGREE, Opinion.DISAGREE])
def test_what_people_say_of_a_gland_that_was_not_assessed_makes_no_case(
    store: Store, screen: Screen, tmp_path: Path, opinion: Opinion
) -> None:
    review(store, screen(is_flagged=False, is_assessed=False), opinion)
    (exported,) = export_feedback(store, tmp_path, tmp_path / "out")
    assert "not assessed" in exported.left_out
    assert list_cases(tmp_path / "out") == []


@pytest.mark.parametrize("has_mass", [True, False])
def test_a_mass_that_others_outlined_counts_also_where_a_gland_was_not_assessed(
    store: Store, screen: Screen, phantom: Phantom, tmp_path: Path, *, has_mass: bool
) -> None:
    study = screen(is_flagged=False, is_assessed=False)
    review(store, study, Opinion.AGREE)
    drawn = outline(phantom, tmp_path / "received", has_mass=has_mass)
    receive_segmentation(store, tmp_path, study, drawn, "drawn.dcm")
    (exported,) = export_feedback(store, tmp_path, tmp_path / "out")
    assert exported.has_mass is has_mass
    assert ("nobody has said whether there is one" in exported.left_out) is not has_mass


def test_what_people_agreed_with_stays_agreed_with_where_a_later_run_finds_the_same(
    store: Store, screen: Screen, tmp_path: Path
) -> None:
    study = screen(is_flagged=True)
    review(store, study, Opinion.AGREE)
    screen(is_flagged=True, study_id=study)
    (exported,) = export_feedback(store, tmp_path, tmp_path / "out")
    assert (exported.outline, exported.has_mass, exported.left_out) == (Outline.OURS, True, "")


@pytest.mark.parametrize(
    ("is_flagged", "opinion", "has_mass", "sentence"),
    [
        (True, Opinion.AGREE, False, "the newest segmentation by others holds none"),
        (False, Opinion.DISAGREE, False, "the newest segmentation by others holds none"),
        (True, Opinion.DISAGREE, True, "the newest segmentation by others holds one"),
        (True, None, False, "nobody has said whether there is one"),
    ],
)
def test_what_contradicts_itself_is_no_case(
    store: Store,
    screen: Screen,
    phantom: Phantom,
    tmp_path: Path,
    is_flagged: bool,
    opinion: Opinion | None,
    has_mass: bool,
    sentence: str,
) -> None:
    study = screen(is_flagged=is_flagged)
    if opinion is not None:
        review(store, study, opinion)
    drawn = outline(phantom, tmp_path / "received", has_mass=has_mass)
    receive_segmentation(store, tmp_path, study, drawn, "drawn.dcm")
    (exported,) = export_feedback(store, tmp_path, tmp_path / "out")
    assert sentence in exported.left_out
    assert list_cases(tmp_path / "out") == []


def test_glands_that_others_corrected_are_those_of_a_case_without_a_mass(
    store: Store, screen: Screen, phantom: Phantom, tmp_path: Path
) -> None:
    wrong = screen(is_flagged=True)
    review(store, wrong, Opinion.DISAGREE)
    moved = replace(phantom, left_parotid=np.roll(phantom.left_parotid, 1, axis=1))
    receive_segmentation(store, tmp_path, wrong, outline(moved, tmp_path / "received", has_mass=False), "glands.dcm")
    (exported,) = export_feedback(store, tmp_path, tmp_path / "out")
    assert (exported.outline, exported.has_mass, exported.has_our_glands) == (Outline.CORRECTED, False, False)
    case = read_case(tmp_path / "out" / f"study-{wrong}")
    assert case.mass is None
    assert (case.glands[Side.LEFT] == moved.left_parotid).all()


def test_an_outlined_mass_that_nobody_reviewed_is_a_case_and_the_index_says_so(
    store: Store, screen: Screen, phantom: Phantom, tmp_path: Path
) -> None:
    study, _ = screen(is_flagged=False), screen(is_flagged=True)
    receive_segmentation(store, tmp_path, study, outline(phantom, tmp_path / "received", has_mass=True), "drawn.dcm")
    (exported,) = export_feedback(store, tmp_path, tmp_path / "out")
    assert (exported.study_id, exported.judgment, exported.has_mass) == (study, None, True)
    (row,) = csv.DictReader((tmp_path / "out" / "index.csv").read_text(encoding="utf-8").splitlines())
    assert (row["truth"], row["reviewed"], row["outline"]) == ("mass", "nobody", "corrected")
    assert "1 outlined by others (1 of them not reviewed)" in (tmp_path / "out" / "README.md").read_text()


def test_our_own_result_that_a_pacs_sent_back_is_no_correction_and_what_an_editor_made_of_it_is(
    store: Store, screen: Screen, phantom: Phantom, tmp_path: Path
) -> None:
    study = screen(is_flagged=True)
    ours = outline(phantom, tmp_path / "received", has_mass=True)
    receive_segmentation(store, tmp_path, study, ours, "ours of another installation.dcm", Kind.OWN)
    assert export_feedback(store, tmp_path, tmp_path / "first") == []
    edited = outline(phantom, tmp_path / "received", has_mass=True)
    edited.Manufacturer = "An editor"
    receive_segmentation(store, tmp_path, study, edited, "edited.dcm", Kind.OWN)
    (exported,) = export_feedback(store, tmp_path, tmp_path / "second")
    assert (exported.outline, exported.judgment) == (Outline.CORRECTED, None)


def test_a_newer_segmentation_that_cannot_be_read_or_shows_something_else_is_passed_over(
    phantom: Phantom, screen: Screen, tmp_path: Path
) -> None:
    good = outline(phantom, tmp_path / "received", has_mass=True)
    good.save_as(tmp_path / "good.dcm", enforce_file_format=True)
    paths = [tmp_path / "good.dcm"]
    for name, change in (("spoiled", "PixelData"), ("jaw", "SegmentSequence")):
        seg = outline(phantom, tmp_path / "received", has_mass=True)
        seg.ContentDate = "20991231"
        if change == "PixelData":
            del seg.PixelData
        else:
            for segment in seg.SegmentSequence:
                segment.SegmentLabel = segment.SegmentDescription = "Mandible"
                segment.SegmentedPropertyTypeCodeSequence[0].CodeValue = "91609006"
                segment.SegmentedPropertyTypeCodeSequence[0].CodeMeaning = "Mandible"
        seg.save_as(tmp_path / f"{name}.dcm", enforce_file_format=True)
        paths.append(tmp_path / f"{name}.dcm")
    found = find_correction(paths, str(phantom.datasets[0].SeriesInstanceUID))
    assert found is not None
    assert found.path == tmp_path / "good.dcm"


def test_the_glands_that_are_kept_are_a_sound_file_of_their_own(
    phantom: Phantom, screen: Screen, tmp_path: Path
) -> None:
    seg = outline(phantom, tmp_path / "received", has_mass=True)
    seg.save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    assert write_glands(tmp_path / "seg.dcm", tmp_path / "glands.dcm")
    kept = dcmread(tmp_path / "glands.dcm")
    assert kept.SOPInstanceUID != seg.SOPInstanceUID
    assert [segment.SegmentLabel for segment in kept.SegmentSequence] == ["Right parotid gland", "Left parotid gland"]
    assert kept.NumberOfFrames == len(kept.PerFrameFunctionalGroupsSequence) == len(kept.pixel_array)
    assert kept.pixel_array.sum() == phantom.right_parotid.sum() + phantom.left_parotid.sum()
    mass = outline(phantom, tmp_path / "received", has_mass=True, has_glands=False)
    mass.save_as(tmp_path / "mass.dcm", enforce_file_format=True)
    assert not write_glands(tmp_path / "mass.dcm", tmp_path / "none.dcm")
    assert not write_glands(tmp_path / "nothing.dcm", tmp_path / "none.dcm")
    assert not (tmp_path / "none.dcm").exists()


def test_the_newest_of_several_outlines_is_taken(screen: Screen, phantom: Phantom, tmp_path: Path) -> None:
    paths = []
    for number, date in enumerate(["20260103", "20260105", "20260104"]):
        seg = outline(phantom, tmp_path / "received", has_mass=True)
        seg.ContentDate = date
        paths.append(tmp_path / f"{number}.dcm")
        seg.save_as(paths[-1], enforce_file_format=True)
    series = str(phantom.datasets[0].SeriesInstanceUID)
    newest = find_correction(paths, series)
    assert newest is not None
    assert (newest.path, newest.held) == (paths[1], Held(has_mass=True, has_gland=True))
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
    told_of = [(row["case"], row["truth"], row["reviewed"], row["outline"]) for row in rows]
    assert told_of == [("study-1", "mass", "finding", "ours")]
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
    assert [line.action for line in store.audit_lines(study_id=1)] == ["export-feedback"]
    assert main(["export-feedback", "--config", str(tmp_path / "config.toml"), str(tmp_path / "out")]) == 1


def test_reviews_on_ultrasound_are_counted_and_said_to_be_left_out(
    store: Store, screen: Screen, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    review(store, screen(is_flagged=True), Opinion.AGREE)
    run, at = claimed_on_us(store, 1)
    finish_on_us(store, run, 0.9, at)
    review(store, run.study_id, Opinion.DISAGREE)
    (tmp_path / "config.toml").write_text('[storage]\nfolder = "."\n', encoding="utf-8")
    assert main(["export-feedback", str(tmp_path / "out"), "--config", str(tmp_path / "config.toml")]) == 0
    told = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert "Ultrasound is not exported; 1 reviewed study of it is not here" in told
    assert capsys.readouterr().out.strip() == told.strip()
    assert [path.name for path in (tmp_path / "out").iterdir() if path.is_dir()] == ["study-1"]


def test_the_help_and_the_readme_say_that_only_ct_is_exported(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["export-feedback", "--help"])
    assert "ultrasound is not exported" in " ".join(capsys.readouterr().out.split())
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    assert "Ultrasound is not exported" in " ".join(readme.split())
