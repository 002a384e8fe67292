"""`screener config check` remarks what is sound and yet leaves nobody told, or no PACS served."""

from pathlib import Path

import pytest

from screener.__main__ import main

RECIPIENT = '[notices.email]\nhost = "mail.hospital.test"\nrecipients = ["ent@hospital.test"]\n'
PACS = '[[results.destinations]]\nname = "p"\nae_title = "P"\nhost = "127.0.0.1"\nport = 4242\n'
UNTOLD, UNSENT = "remark: nobody is told of a finding", "remark: results go to no PACS"


@pytest.mark.parametrize(
    ("settings", "untold", "unsent"),
    [("", True, True), (RECIPIENT, False, True), (PACS, True, False), (RECIPIENT + PACS, False, False)],
)
def test_what_reaches_nobody_is_remarked_and_is_no_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: str, untold: bool, unsent: bool
) -> None:
    path = tmp_path / "config.toml"
    path.write_text(settings, encoding="utf-8")
    assert main(["config", "check", "--config", str(path)]) == 0
    told = capsys.readouterr().out
    assert (UNTOLD in told, UNSENT in told) == (untold, unsent)
    assert "good; revision" in told
    assert "warning" not in told


def test_a_provider_without_its_address_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[web.openid]\nclient_id = "screener"\nreaders = ["r"]\n', encoding="utf-8")
    assert main(["config", "check", "--config", str(path)]) == 0
    assert (
        "warning: web.openid.client_id and web.openid.readers are set, but web.openid.issuer is empty: "
        "nobody signs in through a provider" in capsys.readouterr().out
    )
