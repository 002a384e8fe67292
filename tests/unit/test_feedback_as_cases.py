"""What `screener export-feedback` writes is read by `workers train ct-segmenter` and `workers evaluate ct` as it is."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from screener.export_feedback import Outline, export_feedback
from screener.phantom import Phantom
from screener.store import Store
from screener.store.reviews import Opinion
from tests.unit import test_evaluate as judging
from tests.unit import test_export_feedback as feedback
from tests.unit.test_export_feedback import Screen, outline, receive_segmentation, review
from workers.training import train_segmenter

phantom, screen, models = feedback.phantom, feedback.screen, judging.models


@pytest.fixture
def exported(store: Store, screen: Screen, phantom: Phantom, tmp_path: Path) -> Path:
    """A mass that was missed and others outlined alone, one that people agreed with, and one that they refused."""
    missed, right, wrong = (screen(is_flagged=flag) for flag in (False, True, True))
    drawn = outline(phantom, tmp_path / "received", has_mass=True, has_glands=False)
    receive_segmentation(store, tmp_path, missed, drawn, "drawn.dcm")
    review(store, missed, Opinion.DISAGREE)
    review(store, right, Opinion.AGREE)
    review(store, wrong, Opinion.DISAGREE)
    told = export_feedback(store, tmp_path, tmp_path / "out")
    assert [each.outline for each in told] == [Outline.CORRECTED, Outline.OURS, Outline.OUR_GLANDS]
    return tmp_path / "out"


def test_the_segmenter_is_trained_on_them(exported: Path, phantom: Phantom, tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    cache, bundle = tmp_path / "cache", tmp_path / "my" / "parotid_mass_segmenter"
    words = ["--data", str(exported), "--out", str(bundle), "--cache", str(cache), "--checkpoint", str(tmp_path / "c")]
    small = ["--steps", "1", "--batch", "1", "--variants", "2", "--jobs", "1", "--threads", "1", "--network", "study"]
    assert train_segmenter.main([*words, *small]) == 0
    torch.set_num_threads(threads)
    assert (bundle / "models").is_dir()
    marks = np.load(cache / "marks.npy", mmap_mode="r")
    assert int((cache / "count.txt").read_text()) == len(marks) == 3 * 2 * 2  # three cases, two glands, two variants
    assert sum(bool((each > 0).any()) for each in marks) >= 2  # the real masses are among the samples


def test_they_are_judged_by(exported: Path, tmp_path: Path, models: object) -> None:
    summary = judging.run(exported, tmp_path / "report")
    assert (summary["exams"], summary["positives"], summary["patients"]) == (3, 2, 3)
    assert summary["synthetic_masses"] == 0
    reasons = [case["reason"] for case in summary["not_assessed"]["cases"]]
    assert not any("bad_case" in reason or "cannot be read" in reason for reason in reasons)
    rows = list(csv.DictReader((tmp_path / "report" / "cases.csv").read_text().splitlines()[1:]))
    assert {row["name"] for row in rows} == {"study-1", "study-2", "study-3"}
