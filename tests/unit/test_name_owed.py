"""Who is owed a notice is not decided while the disk does not say where the study was made."""

from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from screener.match_rules import Found, find_on_ct
from screener.outcomes import TryAgain
from screener.study import Side
from tests.peers.values import a_candidate
from tests.unit.test_match_rules import notices, rule, write_image
from workers.run_stages import name_owed

MASS = find_on_ct([a_candidate(1, 900, Side.LEFT)])
NOTHING = find_on_ct([])


def a_bench(*rules: dict[str, Any]) -> Any:
    config = SimpleNamespace(notices=notices(*rules), results=SimpleNamespace(destinations=[]))
    return SimpleNamespace(config=config, clock=lambda: datetime(2031, 5, 6, 12, tzinfo=UTC))


def takers(bench: Any, found: Found, image: Any) -> list[str]:
    return [told.recipient for told in name_owed(bench, found, [image])["recipients"] if told.takes]


def test_a_ward_is_told_once_the_disk_is_back_and_not_passed_over(tmp_path: Path) -> None:
    folder = tmp_path / "received"
    folder.mkdir()
    image: Any = SimpleNamespace(path=write_image(folder / "a.dcm", CurrentPatientLocation="W3"))
    bench = a_bench(rule("w3", wards=["W3"], takes_unnamed_places=False))
    folder.rename(tmp_path / "away")
    with pytest.raises(TryAgain, match="cannot be read now") as raised:
        name_owed(bench, MASS, [image])
    assert raised.value.code == "disk"
    assert takers(bench, NOTHING, image) == []  # nobody asks where: nobody waits for the disk
    assert takers(a_bench(), MASS, image) == []
    (tmp_path / "away").rename(folder)
    assert takers(bench, MASS, image) == ["w3@x.test"]


def test_an_image_that_has_gone_holds_no_notice_back(tmp_path: Path) -> None:
    image: Any = SimpleNamespace(path=tmp_path / "gone.dcm")
    assert "all@x.test" in takers(a_bench(rule("w3", wards=["W3"]), rule("all")), MASS, image)
