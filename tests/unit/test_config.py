"""What config.toml may hold, and what is said when it holds something else."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from screener.config import (
    Config,
    ConfigError,
    Decision,
    Peer,
    find_config,
    load_config,
    make_config,
)
from screener.folder_broker import SCHEME
from screener.read_secrets import PASSWORD_VARIABLE
from screener.show_config import show_config
from screener.study import Thresholds

PROJECT = Path(__file__).resolve().parents[2]
SECRET = "open-sesame"


def read(tables: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> Config:
    return make_config(tables, base=Path("/srv/screener"), environment=environment or {})


def complaint(tables: Mapping[str, Any], environment: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tables, environment)
    return str(caught.value)


def test_the_file_that_ships_holds_the_defaults() -> None:
    assert load_config(PROJECT / "config.toml", {}).model_dump() == Config().model_dump()


def test_an_unknown_key_is_named() -> None:
    assert complaint({"decision": {"min_voxel": 500}}) == "decision.min_voxel: unknown key, did you mean min_voxels?"
    assert complaint({"decision": {"zzz": 500}}) == "decision.zzz: unknown key"
    peers = {"listener": {"peers": [{"ae_title": "A", "hosts": [], "prot": 1}]}}
    assert complaint(peers) == "listener.peers.0.prot: unknown key, did you mean port?"


def test_an_unknown_table_is_named() -> None:
    assert complaint({"decisions": {}}) == "decisions: unknown key, did you mean decision?"


def test_single_brackets_are_told_from_double_ones() -> None:
    one = {"name": "a", "ae_title": "A", "host": "h", "port": 1}
    assert complaint({"results": {"destinations": one}}) == "results.destinations: write [[results.destinations]]"


def test_every_wrong_key_has_its_line() -> None:
    lines = complaint({"decision": {"min_voxels": 0}, "listener": {"port": 70000}}).splitlines()
    assert {line.partition(":")[0] for line in lines} == {"decision.min_voxels", "listener.port"}


@pytest.mark.parametrize(
    ("table", "key", "value"),
    [
        ("listener", "port", "11112"),
        ("decision", "min_voxels", 500.5),
        ("decision", "min_voxels", True),
        ("notices", "include_patient_identity", "no"),
        ("storage", "folder", 7),
        ("models", "device", "gpu"),
        ("decision", "min_probability", 1.0),
        ("decision", "gamma", 11),
        ("decision", "min_score", 1.5),
        ("decision", "min_covered_share", 0.1),
        ("models", "localizer", "../../etc"),
        ("models", "candidates", "../../etc"),
    ],
)
def test_a_wrong_type_or_value_is_named_with_what_was_given(table: str, key: str, value: object) -> None:
    sentence = complaint({table: {key: value}})
    assert sentence.startswith(f"{table}.{key}: ")
    assert repr(value) in sentence


def test_a_destination_without_a_port_is_named_by_its_place() -> None:
    destination = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1"}
    assert complaint({"results": {"destinations": [destination]}}).startswith("results.destinations.0.port: ")


def test_two_destinations_of_one_name_are_refused() -> None:
    destination = {"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": 4242}
    assert "same name" in complaint({"results": {"destinations": [destination, destination]}})


def test_a_name_longer_than_its_column_is_refused() -> None:
    destination = {"name": "p" * 65, "ae_title": "PACS", "host": "pacs", "port": 104}
    assert "results.destinations.0.name" in complaint({"results": {"destinations": [destination]}})
    assert "notices.email.recipients.0" in complaint({"notices": {"email": {"recipients": ["r" * 256]}}})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: no such file"):
        load_config(tmp_path / "absent.toml", {})


def test_a_file_that_is_not_toml_is_named_with_the_line(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text("[listener\n")
    with pytest.raises(ConfigError, match=r"config\.toml: .*line 1"):
        load_config(path, {})


def test_a_user_name_without_a_password_stops_the_start() -> None:
    sentence = complaint({"notices": {"email": {"username": "screener"}}})
    assert sentence.startswith("notices.email.username: ")
    assert PASSWORD_VARIABLE in sentence


def test_the_password_comes_from_the_environment() -> None:
    config = read({"notices": {"email": {"username": "screener"}}}, {PASSWORD_VARIABLE: SECRET})
    assert config.notices.email.password is not None
    assert config.notices.email.password.get_secret_value() == SECRET


def test_the_password_comes_from_a_file_without_its_last_line_end(tmp_path: Path) -> None:
    path = tmp_path / "password"
    path.write_text(f"{SECRET}\n")
    config = read({"notices": {"email": {"username": "screener"}}}, {f"{PASSWORD_VARIABLE}_FILE": str(path)})
    assert config.notices.email.password is not None
    assert config.notices.email.password.get_secret_value() == SECRET


def test_a_password_file_that_cannot_be_read_stops_the_start(tmp_path: Path) -> None:
    environment = {f"{PASSWORD_VARIABLE}_FILE": str(tmp_path / "absent")}
    assert f"{PASSWORD_VARIABLE}_FILE" in complaint({"notices": {"email": {"username": "screener"}}}, environment)


def test_a_password_has_no_place_in_the_file() -> None:
    assert complaint({"notices": {"email": {"password": SECRET}}}) == "notices.email.password: unknown key"


def test_the_settings_are_shown_with_every_secret_masked() -> None:
    config = read(
        {
            "database": {"url": f"postgresql+psycopg://screener:{SECRET}@db/screener"},
            "queue": {"broker": f"redis://:{SECRET}@queue:6379/0"},
            "notices": {"email": {"username": "screener"}},
        },
        {PASSWORD_VARIABLE: SECRET},
    )
    shown = show_config(config)
    assert SECRET not in shown
    assert SECRET not in repr(config.notices.email.password)
    assert 'database.url = "postgresql+psycopg://screener:********@db/screener"' in shown
    assert 'queue.broker = "redis://:********@queue:6379/0"' in shown
    assert 'notices.email.password = "********"' in shown


@pytest.mark.parametrize("url", ["", "redis://127.0.0.1:6379/0", "postgresql+psycopg://screener@db/screener"])
def test_an_address_without_a_password_is_shown_as_it_is(url: str) -> None:
    assert f'queue.broker = "{url}"' in show_config(read({"queue": {"broker": url}}))


@pytest.mark.parametrize("key", ["password", "sslpassword", "PASSWORD"])
def test_a_password_behind_the_question_mark_is_masked_too(key: str) -> None:
    url = f"postgresql+psycopg://db/screener?user=screener&{key}=quite-secret&sslmode=require"
    shown = show_config(read({"database": {"url": url}}))
    assert "quite-secret" not in shown
    assert "sslmode=require" in shown


@given(st.text(st.characters(codec="ascii", exclude_characters='"\\', exclude_categories=["C"]), min_size=1))
def test_no_password_is_ever_shown_whatever_it_holds(text: str) -> None:
    secret = f"<{text}>"
    url = f"redis://user:{secret}@queue:6379/0"
    assert secret not in show_config(read({"queue": {"broker": url}}))


def test_every_setting_is_shown() -> None:
    shown = {line.partition(" = ")[0] for line in show_config(read({})).splitlines()}
    expected = {f"{table}.{key}" for table, inner in Config().model_dump().items() for key in inner}
    nested = {"listener.peers", "notices.email", "web.openid"}
    assert expected - nested <= shown
    assert {"listener.peers[0].ae_title", "notices.email.host"} <= shown


@pytest.mark.parametrize("ae_title", ["A", "PAROTID", "a b", "SIXTEEN_LETTERS_"])
def test_an_ae_title_of_1_to_16_characters_is_accepted(ae_title: str) -> None:
    assert read({"listener": {"ae_title": ae_title}}).listener.ae_title == ae_title


@pytest.mark.parametrize("ae_title", ["", " ", "SEVENTEEN_LETTERS", "BACK\\SLASH", "TAB\t", "LINE\n", "PARÓTIDA"])
def test_an_ae_title_outside_the_standard_is_refused(ae_title: str) -> None:
    assert complaint({"listener": {"ae_title": ae_title}}).startswith("listener.ae_title: ")


@pytest.mark.parametrize(
    ("ae_title", "hosts", "caller", "host", "is_admitted"),
    [
        ("CT1", ["10.0.0.7"], "CT1", "10.0.0.7", True),
        ("CT1", ["10.0.0.7"], "CT1", "10.0.0.8", False),
        ("CT1", ["10.0.0.7"], "CT2", "10.0.0.7", False),
        ("CT1", ["10.0.0.7"], "CT1  ", "10.0.0.7", True),
        ("CT1", ["10.0.0.7"], "ct1", "10.0.0.7", False),
        ("*", ["10.0.0.0/24"], "ANY", "10.0.0.200", True),
        ("*", ["10.0.0.0/24"], "ANY", "10.0.1.1", False),
        ("*", ["10.0.0.7/24"], "ANY", "10.0.0.9", True),
        ("*", ["127.0.0.0/8"], "ANY", "::ffff:127.0.0.1", True),
        ("*", ["127.0.0.0/8"], "ANY", "::ffff:10.0.0.7", False),
        ("*", ["::1"], "ANY", "::1", True),
        ("*", ["fd00::/8"], "ANY", "10.0.0.7", False),
        ("*", [], "ANY", "127.0.0.1", False),
    ],
)
def test_a_peer_admits_by_title_and_address(
    ae_title: str, hosts: list[str], caller: str, host: str, *, is_admitted: bool
) -> None:
    assert Peer(ae_title=ae_title, hosts=hosts).admits(caller, host) is is_admitted


def test_the_default_admits_this_machine_only() -> None:
    peers = Config().listener.peers
    assert any(peer.admits("ANY", "127.0.0.1") for peer in peers)
    assert not any(peer.admits("ANY", "192.168.1.2") for peer in peers)


def test_a_host_name_is_no_address() -> None:
    assert complaint({"listener": {"peers": [{"ae_title": "CT1", "hosts": ["scanner"]}]}}).startswith(
        "listener.peers.0.hosts.0: "
    )


def test_the_revision_changes_with_any_decision_setting() -> None:
    changed = {"min_voxels": 501, "min_probability": 0.6, "gamma": 6, "min_score": 0.3, "min_covered_share": 0.5}
    changed |= {"min_malignancy": 0.6, "us_findings": "decide"}
    assert set(changed) == set(Decision.model_fields)
    revisions = {read({"decision": {key: value}}).thresholds().config_revision for key, value in changed.items()}
    assert len(revisions | {read({}).thresholds().config_revision}) == len(changed) + 1


def test_the_revision_stays_when_another_setting_changes() -> None:
    other = read({"completeness": {"quiet_seconds": 5.0}})
    assert other.thresholds() == read({}).thresholds()


def test_the_thresholds_carry_the_settings() -> None:
    settings = {"min_voxels": 750, "min_probability": 0.25, "gamma": 3, "min_score": 0.1, "min_covered_share": 0.6}
    settings |= {"min_malignancy": 0.7, "us_findings": "decide"}
    thresholds = read({"decision": settings}).thresholds()
    assert {key: getattr(thresholds, key) for key in Decision.model_fields} == settings


def test_a_default_in_the_settings_is_the_one_of_the_thresholds() -> None:
    plain = Thresholds(min_voxels=500, min_probability=0.5, config_revision="")
    assert replace(read({}).thresholds(), config_revision="") == plain


def test_settings_cannot_be_changed_after_the_start() -> None:
    with pytest.raises(ValidationError):
        Config().decision.min_voxels = 1


def test_folders_are_relative_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[storage]\nfolder = "received"\n[models]\nfolder = "bundles"\n')
    config = load_config(path, {})
    assert config.storage_folder == tmp_path.resolve() / "received"
    assert config.bundles_folder == tmp_path.resolve() / "bundles"
    assert config.database_url == f"sqlite:///{tmp_path.resolve() / 'received' / 'screener.sqlite'}"


def test_an_empty_url_stands_for_the_embedded_default() -> None:
    config = read({})
    assert config.database_url.startswith("sqlite:///")
    assert config.broker_url.startswith(f"{SCHEME}://")


def test_two_urls_switch_to_servers() -> None:
    config = read({"database": {"url": "postgresql+psycopg://db/s"}, "queue": {"broker": "redis://queue/0"}})
    assert (config.database_url, config.broker_url) == ("postgresql+psycopg://db/s", "redis://queue/0")


def test_a_worker_finds_its_settings_by_the_environment() -> None:
    assert find_config({"SCREENER_CONFIG": "/etc/screener.toml"}) == Path("/etc/screener.toml")
    assert find_config({}) == Path("config.toml")
