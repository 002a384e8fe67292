"""Who asks why nobody was told of a study hears the verdict, from both commands that tell of a study."""

from pathlib import Path

import pytest

from screener.__main__ import main
from screener.store import Store
from tests.unit.test_store_ultrasound import claimed, finish


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
