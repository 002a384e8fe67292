"""What is said of a key names its line, whatever the file looks like."""

from pathlib import Path

import pytest

from screener.config import ConfigError, load_config, parse_config
from screener.find_lines import add_lines, find_line, find_lines

PROJECT = Path(__file__).resolve().parents[2]
FILE = """# a comment
[decision]
min_voxels = 500 # here

[[listener.peers]]
ae_title = "A"
hosts = [
  "10.0.0.1", # not a = key
]

[[listener.peers]]
"ae_title" = '''
B = 1
'''
hosts = []
port = 1
[web]
notices.email = {host = "h", port = 25}
"""


@pytest.mark.parametrize(
    ("key", "line"),
    [
        ("decision", 2),
        ("decision.min_voxels", 3),
        ("listener.peers.0", 5),
        ("listener.peers.0.ae_title", 6),
        ("listener.peers.0.hosts", 7),
        ("listener.peers.1.ae_title", 12),
        ("listener.peers.1.port", 16),
        ("web.notices.email.port", 18),
    ],
)
def test_each_key_is_found_on_its_line(key: str, line: int) -> None:
    assert find_lines(FILE)[key] == line


def test_a_key_that_is_missing_is_told_by_its_table() -> None:
    assert find_line(find_lines(FILE), "listener.peers.1.host") == 11
    assert find_line(find_lines(FILE), "storage.folder") is None


def test_a_key_before_all_tables_is_found() -> None:
    assert find_lines("a = 1\n[b]\nc = 2\n") == {"a": 1, "b": 2, "b.c": 3}


def test_every_key_of_the_file_that_ships_is_found_where_it_stands() -> None:
    text = (PROJECT / "config.toml").read_text(encoding="utf-8")
    rows = text.splitlines()
    found = find_lines(text)
    keys = {key: line for key, line in found.items() if not rows[line - 1].startswith("[")}
    assert len(keys) > 80
    assert [
        key for key, line in keys.items() if key.rpartition(".")[2] not in rows[line - 1] and key[-1] not in "01"
    ] == []


def test_a_sentence_without_a_key_stays_as_it_is() -> None:
    assert add_lines("config.toml: no such file", FILE) == "config.toml: no such file"


def refuse(tmp_path: Path, text: str) -> str:
    path = tmp_path / "config.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        load_config(path, {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "[decision]\n\nmin_voxels = 20\n",
            "decision.min_voxels: 20 is not allowed, only a whole number, at least 30 (line 3)",
        ),
        (
            "[decision]\nmin_probability = 1.0\n",
            "decision.min_probability: 1.0 is not allowed, only a number, more than 0 and less than 1 (line 2)",
        ),
        ("[decision]\ngamma = 11\n", "decision.gamma: 11 is not allowed, only a whole number, 1 to 10 (line 2)"),
        (
            '[decision]\nus_findings = "ask"\n',
            'decision.us_findings: \'ask\' is not allowed, only one of "report", "decide" (line 2)',
        ),
        (
            "[notices]\ninclude_patient_identity = 1\n",
            "notices.include_patient_identity: 1 is not allowed, only true or false (line 2)",
        ),
        (
            "\n[decision]\nmin_voxel = 20\n",
            "decision.min_voxel: unknown key, did you mean min_voxels? (line 3)",
        ),
        (
            '[listener]\nport = 1\n[[results.destinations]]\nname = "a"\nae_title = "A"\nhost = "h"\n',
            "results.destinations.0.port: this key is required (the table at line 3)",
        ),
    ],
)
def test_a_wrong_key_is_told_with_value_range_and_line(tmp_path: Path, text: str, sentence: str) -> None:
    assert refuse(tmp_path, text) == sentence


def test_a_missing_secret_is_told_with_the_line_of_the_key_that_needs_it(tmp_path: Path) -> None:
    assert refuse(tmp_path, '[notices.email]\nusername = "u"\n').endswith("(line 2)")


def test_text_that_is_no_file_yet_is_checked_as_if_it_were(tmp_path: Path) -> None:
    config = parse_config("[storage]\nfolder = 'x'\n", tmp_path / "new.toml", {})
    assert config.storage_folder == tmp_path.resolve() / "x"
