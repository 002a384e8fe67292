"""A finding on its way through the running daemon: told by rule, passed on, acknowledged from the mail."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from screener.decide import decide
from screener.link_secret import load_link_secret
from screener.match_rules import find_on_ct, match_rules
from screener.notice_settings import Notices
from screener.sign_links import verify_token
from screener.study import Side
from tests.conftest import PATIENT
from tests.peers.hospital import Hospital, open_hospital, wait_until
from tests.peers.mailbox import open_mailbox
from tests.peers.values import BOTH_ASSESSED, a_candidate, an_instance
from tests.peers.webhook import Receiver, open_receiver
from tests.unit.test_store import QUIET, THRESHOLDS, a_screening, claimed, dispatch

RULES = [
    {"name": "first", "emails": ["ent@hospital.test"], "escalate_after_minutes": 0.02, "escalate_to": "next"},
    {"name": "next", "webhooks": ["ris"], "otherwise": True},
]


def find(hospital: Hospital, notices: Notices) -> int:
    """Make a worker's entry: a mass in the left parotid of a study that has just come; our study number."""
    now = datetime.now(UTC)
    store = hospital.store
    store.record_instance(an_instance(), now - QUIET - timedelta(hours=1))
    dispatch(store, now)
    masses = (a_candidate(1, 900, Side.LEFT),)
    screening = replace(a_screening(), candidates=masses, verdict=decide(BOTH_ASSESSED, masses, THRESHOLDS), results=())
    recipients = match_rules(notices, find_on_ct(masses), {}, now.astimezone())
    run = claimed(store, now)
    store.finish_run(run, screening, destinations=[], recipients=recipients, seconds=1.0, now=now)
    return run.study_id


def test_a_finding_is_told_passed_on_and_its_link_is_one_that_the_pages_believe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiver = Receiver("s" * 32)
    monkeypatch.setenv("SCREENER_WEBHOOK_SECRET_RIS", receiver.secret)
    settings = {"web": {"url": "https://pages.test"}, "notices.email": {"recipients": []}}
    tables = {"notices.webhooks": [{"name": "ris", "url": receiver.url}], "notices.rules": RULES}
    with open_mailbox() as mailbox, open_receiver(receiver):
        hospital = Hospital(tmp_path / "hospital", mailbox, [], settings=settings, tables=tables)
        email = {"host": mailbox.host, "port": mailbox.port}
        notices = Notices.model_validate({"email": email} | {key.split(".")[1]: rows for key, rows in tables.items()})
        with open_hospital(hospital, "--no-workers"):
            study = find(hospital, notices)
            (mail,) = mailbox.wait(lambda mails: len(mails) == 1, seconds=60)
            wait_until(lambda: bool(receiver.notices), 60, "the next step is told")
            listed = hospital.command("notices", "--study", str(study))
        (notice,) = receiver.notices.values()
        assert notice["studies"][0]["is_escalation"]
        assert "nobody has acknowledged" in notice["studies"][0]["why"]
        text = mail.get_body(("plain",))
        assert text is not None
        link = re.search(r"https://pages\.test/acknowledge\?token=(\S+)", text.get_content())
        assert link is not None
        claim = verify_token(load_link_secret(hospital.folder / "var"), link[1], datetime.now(UTC))
        assert claim.study_id == study
        assert f"https://pages.test/studies/{study}" in text.get_content()
        assert "passed on, as nobody had acknowledged" in listed
        assert "first: takes it: left parotid" in listed
        assert not PATIENT.search(mail.as_string() + listed + str(receiver.calls))
