"""What is said of a config.toml that is no TOML names the key, and of a rule on two keys no whole table."""

from pathlib import Path

import pytest

from tests.unit.test_find_lines import refuse


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[web]\nport = 1\n[log]\n[web]\n", "the table [web] stands at line 1 already (at line 4)"),
        ("[web.openid]\n[log]\n[web.openid]\n", "the table [web.openid] stands at line 1 already (at line 3)"),
        ("[[listener.peers]]\n[listener.peers]\n", "the table [listener.peers] stands at line 1 already (at line 2)"),
        ("[web]\nport = 1\nport = 2\n", "web.port stands at line 2 already (at line 3)"),
        ("[web]\n\nenabled = True\n", "web.enabled: TOML writes true and false in small letters (at line 3)"),
        ("[web]\nenabled = FALSE # no\n", "web.enabled: TOML writes true and false in small letters (at line 2)"),
        ("[web]\nport =\n", "web.port: Invalid value (at line 2, column 7)"),
        ("[web]\nurl = https://a.test\n", "web.url: Invalid value (at line 2, column 7)"),
        ('[notices.email]\nhost = "True\n', "notices.email.host: Illegal character '\\n' (at line 2, column 13)"),
        ('[web]\nproxies = ["10.0.0.1"\nport = 1\n', "Unclosed array (at line 3, column 1)"),
    ],
)
def test_what_is_no_toml_is_told_by_its_key(tmp_path: Path, text: str, sentence: str) -> None:
    assert refuse(tmp_path, text) == f"{tmp_path / 'config.toml'}: {sentence}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '[web.openid]\nissuer = "https://idp.test"\nclient_id = "c"\nreaders = ["r"]\n',
            "web: openid.issuer needs url: the provider sends people back there",
        ),
        (
            '[[notices.rules]]\nname = "a"\nemails = ["a@b.test"]\n',
            "notices: a tells by mail, but notices.email.host is empty",
        ),
    ],
)
def test_a_rule_on_several_keys_tells_no_whole_table(tmp_path: Path, text: str, sentence: str) -> None:
    assert refuse(tmp_path, text).partition(" (")[0] == sentence
