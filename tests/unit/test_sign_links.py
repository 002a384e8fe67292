"""Links that acknowledge: what was signed is believed until it expires, and nothing else is."""

import base64
import hmac
import json
import stat
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from screener.config import ConfigError
from screener.link_secret import FILE_NAME, load_link_secret
from screener.sign_links import Claim, LinkError, digest_address, is_owed_since, sign_claim, verify_token

NOW = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)
SECRET = b"s" * 32
CLAIM = Claim(
    notice_id=7,
    study_id=12,
    run_id=20,
    finding="left+right#1@3",
    recipient=digest_address("email", "ent@hospital.example"),
    owed_since=NOW,
    expires_at=NOW + timedelta(days=14),
)


def test_a_link_says_what_was_signed() -> None:
    assert verify_token(SECRET, sign_claim(SECRET, CLAIM), NOW) == CLAIM


def test_a_link_shows_no_address_and_needs_no_escaping() -> None:
    token = sign_claim(SECRET, CLAIM)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
    assert "hospital" not in CLAIM.recipient


def test_a_link_works_until_its_last_second() -> None:
    token = sign_claim(SECRET, CLAIM)
    assert verify_token(SECRET, token, CLAIM.expires_at - timedelta(seconds=1)) == CLAIM
    with pytest.raises(LinkError, match="expired"):
        verify_token(SECRET, token, CLAIM.expires_at)


def test_a_link_fits_the_notice_that_became_owed_then_and_no_later_one() -> None:
    claim = verify_token(SECRET, sign_claim(SECRET, replace(CLAIM, owed_since=NOW + timedelta(microseconds=9))), NOW)
    assert is_owed_since(claim, NOW + timedelta(microseconds=9))
    assert not is_owed_since(claim, NOW + timedelta(seconds=2))


def test_a_link_of_another_secret_is_refused() -> None:
    with pytest.raises(LinkError, match="not one of ours"):
        verify_token(b"t" * 32, sign_claim(SECRET, CLAIM), NOW)


def test_a_link_of_an_earlier_version_is_refused_for_it_does_not_say_which_run_it_told() -> None:
    times = [int(instant.timestamp()) for instant in (CLAIM.owed_since, CLAIM.expires_at)]
    body = json.dumps([CLAIM.notice_id, CLAIM.study_id, CLAIM.finding, CLAIM.recipient, *times]).encode()
    signature = hmac.digest(SECRET, b"acknowledge 2\n" + body, "sha256")
    token = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in (body, signature))
    with pytest.raises(LinkError, match="earlier version"):
        verify_token(SECRET, token, NOW)


def test_a_signature_does_not_fit_another_claim() -> None:
    signature = sign_claim(SECRET, CLAIM).partition(".")[2]
    other = sign_claim(SECRET, replace(CLAIM, notice_id=8)).partition(".")[0]
    with pytest.raises(LinkError, match="not one of ours"):
        verify_token(SECRET, f"{other}.{signature}", NOW)


@given(st.text(max_size=200))
def test_whatever_is_no_link_is_refused(text: str) -> None:
    with pytest.raises(LinkError):
        verify_token(SECRET, text, NOW)


@given(st.integers(min_value=0), st.characters())
def test_a_link_with_a_character_changed_is_refused(place: int, character: str) -> None:
    token = sign_claim(SECRET, CLAIM)
    place %= len(token)
    changed = token[:place] + character + token[place + 1 :]
    try:
        assert verify_token(SECRET, changed, NOW) == CLAIM
    except LinkError:
        assert changed != token


def test_the_secret_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(load_link_secret(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert set(found) == {load_link_secret(tmp_path)}
    assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_a_damaged_secret_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).write_bytes(b"short")
    with pytest.raises(ConfigError, match="damaged"):
        load_link_secret(tmp_path)
