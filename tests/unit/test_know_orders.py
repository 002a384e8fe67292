"""The order of a study is read from its files; those that cannot be had for a while are asked for again."""

from datetime import timedelta
from pathlib import Path

import pytest

from screener import know_orders
from screener.order_keys import load_order_keys
from screener.read_oru import Status
from screener.store import Store
from screener.store.sent_reports import SentReport
from tests.unit.test_take_reports import LEFT, NOW, know, receive


@pytest.fixture(autouse=True)
def sent(store: Store, tmp_path: Path) -> None:
    """A report of the accession number under which `receive` files each study is kept already."""
    keys = load_order_keys(tmp_path)
    report = SentReport(
        accession_key=keys.of_accession("CANARY-ACC-1"),
        patient_keys=(),
        order_key="",
        status=Status.FINAL,
        mention=LEFT,
        sha256="0" * 64,
    )
    assert store.keep_reports([report], NOW) == 1


def test_a_study_whose_file_cannot_be_had_for_a_while_still_finds_its_report(store: Store, tmp_path: Path) -> None:
    study = receive(store, tmp_path)
    image, away = tmp_path / "image-1.dcm", tmp_path / "away.dcm"
    image.rename(away)
    assert know(store, tmp_path) == 0
    assert store.mention_of(study) is None
    away.rename(image)
    assert know(store, tmp_path) == 1
    assert store.mention_of(study) == LEFT


def test_files_that_cannot_be_had_keep_no_other_study_from_its_report(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(know_orders, "AT_ONCE", 2)
    for number in (1, 2, 3):
        receive(store, tmp_path, number)
        (tmp_path / f"image-{number}.dcm").unlink()
    study = receive(store, tmp_path, 4)
    assert know(store, tmp_path) == 1
    assert store.mention_of(study) == LEFT


def test_an_image_that_is_spoiled_is_looked_at_once(store: Store, tmp_path: Path) -> None:
    receive(store, tmp_path)
    (tmp_path / "image-1.dcm").write_bytes(b"no DICOM file")
    know(store, tmp_path)
    assert store.studies_without_order(NOW - timedelta(days=1), 50) == []
