"""`screener explain` tells what people did about a study, and none of their words."""

from pathlib import Path

import pytest

from screener.__main__ import main
from screener.store import Store
from screener.store.reviews import Opinion
from tests.unit.test_store import START
from tests.unit.test_store_reviews import LATER, screened


def explain(tmp_path: Path, study_id: int, capsys: pytest.CaptureFixture[str]) -> str:
    config = tmp_path / "config.toml"
    config.write_text(f'[storage]\nfolder = "{tmp_path}"\n', encoding="utf-8")
    assert main(["explain", "--config", str(config), str(study_id)]) == 0
    return capsys.readouterr().out


def test_who_took_note_and_what_was_said_stands_in_the_order_of_time(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = screened(store)
    store.acknowledge(run.run_id, by="alice", how="web", now=START)
    store.add_review(run.run_id, Opinion.DISAGREE, by="bob", text="a node of Mr. CANARY", now=LATER)
    told = explain(tmp_path, run.study_id, capsys)
    first, second = told[told.index("people:") :].splitlines()[1:3]
    assert first.endswith("alice acknowledged run 1 (web)")
    assert second.endswith("bob disagrees with run 1")
    assert "CANARY" not in told


def test_where_nobody_did_anything_nothing_is_told(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "people:" not in explain(tmp_path, screened(store).study_id, capsys)
