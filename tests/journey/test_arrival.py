"""How studies arrive: interleaved, in pieces, in any order, twice, late, or as something else."""

import random

from screener.journey import Ending
from screener.phantom import make_phantom
from screener.us_study import Answer
from tests.peers.hospital import Hospital
from tests.unit.us_objects import TISSUE, draw_picture, make_object


def test_two_studies_interleaved_on_one_association_are_one_run_each(clinic: Hospital) -> None:
    first, second = make_phantom(seed=31), make_phantom(seed=32)
    mixed = [ds for pair in zip(first.datasets, second.datasets, strict=False) for ds in pair]
    mixed += first.datasets[len(second.datasets) :] + second.datasets[len(first.datasets) :]
    clinic.scanner.send(mixed)
    for phantom in (first, second):
        report = clinic.wait_for_ending(phantom.study_instance_uid)
        assert (report.ending, len(report.runs)) == (Ending.DONE, 1)
        assert report.images == len(phantom.datasets)


def test_one_study_over_many_associations_in_any_order_is_one_run(clinic: Hospital) -> None:
    phantom = make_phantom(seed=33)
    order = list(range(len(phantom.datasets)))
    random.Random(33).shuffle(order)  # noqa: S311 - an order, not a secret
    clinic.scanner.send(phantom.datasets, associations=6, order=order)
    report = clinic.wait_for_ending(phantom.study_instance_uid)
    assert (report.ending, len(report.runs)) == (Ending.DONE, 1)


def test_a_late_slice_starts_a_run_that_supersedes(clinic: Hospital) -> None:
    phantom = make_phantom(seed=34)
    clinic.scanner.send(phantom.datasets[:-1])
    clinic.wait_for_ending(phantom.study_instance_uid)
    clinic.scanner.send(phantom.datasets[-1:])
    report = clinic.wait_for(phantom.study_instance_uid, lambda seen: len(seen.runs) == 2 and seen.ending is not None)
    assert [run.state for run in report.runs] == ["superseded", "ended"]
    assert report.ending is Ending.DONE


def test_a_late_image_of_another_series_makes_nothing_new(clinic: Hospital) -> None:
    phantom = make_phantom(seed=35, with_localizer=True)
    scout = [ds for ds in phantom.datasets if "LOCALIZER" in ds.ImageType]
    clinic.scanner.send([ds for ds in phantom.datasets if "LOCALIZER" not in ds.ImageType])
    before = clinic.wait_for_ending(phantom.study_instance_uid)
    clinic.scanner.send(scout)
    report = clinic.wait_for(phantom.study_instance_uid, lambda seen: len(seen.runs) == 2 and seen.ending is not None)
    assert report.ending is Ending.DONE
    assert "nothing new" in report.runs[1].reason
    assert report.runs[0].results == before.runs[0].results
    assert report.runs[1].results == ()


def test_reprocess_screens_again_and_keeps_the_first_run(clinic: Hospital) -> None:
    phantom = make_phantom(seed=36)
    clinic.scanner.send(phantom.datasets)
    first = clinic.wait_for_ending(phantom.study_instance_uid)
    assert "screened again" in clinic.command("reprocess", phantom.study_instance_uid)
    report = clinic.wait_for(phantom.study_instance_uid, lambda seen: len(seen.runs) == 2 and seen.ending is not None)
    assert report.runs[0].results == first.runs[0].results
    uids = [{result.sop_instance_uid for result in run.results if result.sop_class_uid} for run in report.runs]
    assert uids[0].isdisjoint(uids[1])


def test_ultrasound_is_screened_by_the_models_that_ship(clinic: Hospital) -> None:
    ds = make_object(draw_picture(TISSUE))
    clinic.scanner.send([ds])
    report = clinic.wait_for_ending(str(ds.StudyInstanceUID))
    assert report.ending is Ending.DONE, report.reason
    (run,) = report.runs
    assert run.lesion is not None
    assert run.lesion.answer in {Answer.NO_LESION, Answer.BENIGN, Answer.MALIGNANT}
    assert "sr" in {result.role for result in run.results}
