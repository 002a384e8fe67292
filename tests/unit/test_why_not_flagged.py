"""Who asks why nobody was told of a study hears the verdict, from both commands that tell of a study."""

from pathlib import Path

import pytest

from screener.__main__ import main
from screener.store import Store
from tests.unit.test_store import QUIET, START, THRESHOLDS
from tests.unit.test_store_ultrasound import claimed, finish
from tests.unit.test_taken_back import LATER, Mail, tell
from tests.unit.test_why_withdrawn import find


@pytest.mark.parametrize(("malignancy", "verdict"), [(0.2, "not flagged"), (0.8, "flagged")])
def test_the_verdict_is_said_in_words(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], malignancy: float, verdict: str
) -> None:
    run, now = claimed(store, 1)
    finish(store, run, malignancy, now)
    config = tmp_path / "config.toml"
    config.write_text('[storage]\nfolder = "."\n', encoding="utf-8")
    assert main(["explain", "1", "--config", str(config)]) == 0
    assert f"\n  {verdict}\n" in capsys.readouterr().out
    assert main(["notices", "--study", "1", "--config", str(config)]) == 0
    is_said = "it is not flagged, and nobody is told of such a study" in capsys.readouterr().out
    assert is_said == (verdict == "not flagged")


def test_of_a_withdrawal_that_is_owed_it_is_not_said_that_nobody_is_told(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    find(store, 1, 900, THRESHOLDS, START + QUIET)
    tell(store, Mail(), START + QUIET)
    find(store, 2, 100, THRESHOLDS, LATER)
    config = tmp_path / "config.toml"
    config.write_text('[storage]\nfolder = "."\n', encoding="utf-8")
    assert main(["notices", "--study", "1", "--config", str(config)]) == 0
    told = capsys.readouterr().out
    assert "withdrawal of run 2, owed since" in told
    assert "nobody is told" not in told
    assert "it is no longer flagged: who was told of it is told of the withdrawal; why: screener explain 1" in told
