"""Settings of the right type that cannot work: two doors on one port, and addresses that are none."""

from pathlib import Path

import pytest

from screener.config import ConfigError, load_config


def refuse(tmp_path: Path, text: str) -> str:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    return str(caught.value)


@pytest.mark.parametrize(("mine", "other"), [("0.0.0.0", "127.0.0.1"), ("10.0.0.5", "10.0.0.5"), ("::", "127.0.0.1")])  # noqa: S104
def test_two_doors_on_one_port_are_refused(tmp_path: Path, mine: str, other: str) -> None:
    said = refuse(
        tmp_path,
        f'[listener]\nhost = "{mine}"\nport = 2600\n[reports]\nenabled = true\nhost = "{other}"\nport = 2600\n',
    )
    assert said.splitlines() == [
        "listener.port: 2600 is reports.port too, on the same host (line 3)",
        "reports.port: 2600 is listener.port too, on the same host (line 7)",
    ]


def test_the_pages_have_a_port_of_their_own(tmp_path: Path) -> None:
    said = refuse(tmp_path, "[web]\nenabled = true\n[reports]\nenabled = true\nport = 8443\n")
    assert "reports.port: 8443 is web.port too, on the same host (line 5)" in said
    assert "web.port: 8443 is reports.port too" in said


@pytest.mark.parametrize(
    "text",
    [
        "[listener]\nport = 2575\n",  # no reports are taken
        "[listener]\nport = 8443\n",  # no pages are served
        '[listener]\nhost = "10.0.0.5"\nport = 2575\n[reports]\nenabled = true\n',
        "[listener]\nport = 0\n[reports]\nenabled = true\nport = 0\n",
    ],
)
def test_doors_that_do_not_meet_may_have_one_port(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.toml").write_text(text, encoding="utf-8")
    load_config(tmp_path / "config.toml", {})


@pytest.mark.parametrize("address", ["ent hospital", "ent", "ent@", "@hospital.test", "ent@hospital.test ", "a@b, c@d"])
def test_what_is_no_mail_address_is_refused(tmp_path: Path, address: str) -> None:
    said = refuse(tmp_path, f'[notices.email]\nhost = "mail.test"\nrecipients = ["a@b.test", "{address}"]\n')
    assert said == (f"notices.email.recipients.1: a mail address has one @, and no space, got '{address}' (line 3)")


def test_a_rule_and_a_person_have_mail_addresses_too(tmp_path: Path) -> None:
    for table in ("rules", "people"):
        said = refuse(
            tmp_path, f'[notices.email]\nhost = "mail.test"\n[[notices.{table}]]\nname = "a"\nemails = ["ent"]\n'
        )
        assert f"notices.{table}.0.emails.0: a mail address has one @" in said
