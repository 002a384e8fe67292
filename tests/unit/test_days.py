"""`--days`: what the pages refuse every command refuses, in the same words; a typo in a cron job hides no alarm."""

import pytest

from screener.__main__ import main

COMMANDS = ("config replay --set decision.min_voxels=300", "replay", "performance", "notices")


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("days", ["0", "-1", "nan", "inf", "4000", "ten"])
def test_days_that_nothing_can_be_told_of_are_refused_in_the_words_of_the_page(
    capsys: pytest.CaptureFixture[str], command: str, days: str
) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*command.split(), "--config", "absent.toml", "--days", days])
    assert stop.value.code == 2
    assert f"{days} is not allowed, only a number, more than 0 and at most 3660" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("days", ["0.5", "3660"])
def test_other_days_are_taken(capsys: pytest.CaptureFixture[str], command: str, days: str) -> None:
    assert main([*command.split(), "--config", "absent.toml", "--days", days]) == 1
    assert "absent.toml" in capsys.readouterr().err
