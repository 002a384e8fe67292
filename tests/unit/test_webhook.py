"""Webhooks: signed JSON to a true HTTP server that checks the signature as the README asks of it."""

import json
import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from screener.channels.message import compose_digest, compose_message
from screener.channels.webhook import WebhookChannel, describe_message
from screener.config import ConfigError, make_config
from screener.notice_settings import AppriseTarget, Webhook
from screener.outcomes import NeedsPerson, TryAgain
from screener.show_config import show_config
from screener.store.values import Hold, LesionLine, OwedDigest
from screener.us_study import Answer
from tests.conftest import PATIENT
from tests.peers.webhook import Receiver, open_receiver
from tests.unit.test_notify import owed, write_image

SECRET = "wh-" + "s" * 30
MESSAGE = compose_message(owed(channel="webhook", recipient="ris"), link="https://case/{study}")


def channel(receiver: Receiver, secret: str = SECRET, **more: Any) -> WebhookChannel:
    webhook = Webhook(name="ris", url=receiver.url)
    webhook._secret = SecretStr(secret)
    return WebhookChannel([webhook], timeout_seconds=5, **more)


def test_a_notice_arrives_signed_and_says_what_was_found() -> None:
    with open_receiver(Receiver(SECRET)) as receiver:
        channel(receiver).send(MESSAGE, "ris")
    (notice,) = receiver.notices.values()
    (study,) = notice["studies"]
    assert (notice["kind"], notice["version"], study["study"], study["modality"]) == ("finding", 1, 12, "CT")
    assert [(gland["side"], gland["mass_above_threshold"]) for gland in study["glands"]] == [
        ("right", "undetermined"),
        ("left", "present"),
    ]
    assert study["masses"][0]["voxels_of_1_mm3"] == 8123
    assert study["links"] == {"case_page": "https://case/12"}
    assert "not validated" in notice["note"]


def test_a_notice_that_is_sent_again_has_the_same_identifier_and_another_timestamp() -> None:
    with open_receiver(Receiver(SECRET)) as receiver:
        receiver.now = lambda: 1000.0
        for second in (1000.0, 1200.0):
            channel(receiver, clock=lambda second=second: second).send(MESSAGE, "ris")
    assert len(receiver.calls) == 2
    assert len(receiver.notices) == 1
    assert [headers["x-screener-timestamp"] for headers, _ in receiver.calls] == ["1000", "1200"]


def test_an_old_call_that_somebody_recorded_is_refused_by_its_timestamp() -> None:
    with open_receiver(Receiver(SECRET)) as receiver, pytest.raises(NeedsPerson, match="status 403"):
        channel(receiver, clock=lambda: time.time() - 301).send(MESSAGE, "ris")
    assert receiver.notices == {}


def test_another_secret_is_refused() -> None:
    with open_receiver(Receiver(SECRET)) as receiver, pytest.raises(NeedsPerson, match="status 401"):
        channel(receiver, secret="other").send(MESSAGE, "ris")
    assert receiver.notices == {}


@pytest.mark.parametrize(("status", "outcome"), [(500, TryAgain), (503, TryAgain), (429, TryAgain), (404, NeedsPerson)])
def test_what_may_heal_is_tried_again(status: int, outcome: type[Exception]) -> None:
    with open_receiver(Receiver(SECRET)) as receiver:
        receiver.answers = [status]
        with pytest.raises(outcome, match=str(status)):
            channel(receiver).send(MESSAGE, "ris")


def test_a_redirect_is_not_followed() -> None:
    with open_receiver(Receiver(SECRET)) as receiver, open_receiver(Receiver(SECRET)) as elsewhere:
        receiver.answers, receiver.location = [307], elsewhere.url
        with pytest.raises(NeedsPerson, match="307"):
            channel(receiver).send(MESSAGE, "ris")
    assert elsewhere.calls == []


def test_a_receiver_that_is_away_is_tried_again() -> None:
    with pytest.raises(TryAgain, match="cannot be reached: ConnectionRefusedError"):
        channel(Receiver(SECRET)).send(MESSAGE, "ris")


def test_the_patient_is_named_only_where_the_settings_ask_for_it(tmp_path: Any) -> None:
    write_image(tmp_path / "image.dcm")
    plain = compose_message(owed(), storage_folder=tmp_path)
    named = compose_message(owed(), storage_folder=tmp_path, include_patient_identity=True)
    with open_receiver(Receiver(SECRET)) as receiver:
        channel(receiver).send(plain, "ris")
        channel(receiver).send(named, "ris")
    first, second = (body.decode() for _, body in receiver.calls)
    assert not PATIENT.search(first)
    assert json.loads(second)["studies"][0]["patient"]["PatientID"] == "CANARY-ID"


def test_a_withdrawal_and_a_digest_say_what_they_are() -> None:
    lesion = LesionLine(answer=Answer.MALIGNANT, probability=0.8, reason="")
    on_us = replace(owed(2), lesion=lesion, glands=(), candidates=(), hold=Hold.RULE)
    digest = OwedDigest(
        digest_id=4,
        channel="webhook",
        recipient="ris",
        attempts=0,
        owed_since=datetime(2031, 1, 1, tzinfo=UTC),
        notices=(owed(1), on_us),
    )
    withdrawn = replace(owed(3), glands=owed().glands[:1], candidates=())
    with open_receiver(Receiver(SECRET)) as receiver:
        channel(receiver).send(compose_digest(digest), "ris")
        channel(receiver).send(compose_message(withdrawn), "ris")
    first, second = receiver.notices.values()
    assert (first["kind"], len(first["studies"]), second["kind"]) == ("digest", 2, "withdrawal")
    assert first["studies"][1]["lesion"]["probability_of_malignancy"] == 0.8


def test_a_withdrawal_says_why() -> None:
    withdrawn = replace(owed(3), glands=owed().glands[:1], candidates=())
    changed = replace(withdrawn, changed_settings="min_voxels 1000 instead of 500")
    with open_receiver(Receiver(SECRET)) as receiver:
        for number, notice in enumerate((owed(1), withdrawn, changed), 1):
            channel(receiver).send(compose_message(replace(notice, notice_id=number)), "ris")
    finding, plain, by_settings = (notice["studies"][0] for notice in receiver.notices.values())
    assert (finding["withdrawn_because"], finding["changed_settings"]) == ("", "")
    assert plain["withdrawn_because"].startswith(
        "A later run of the parotid screener, on the CT images now at hand, no longer finds a mass"
    )
    assert plain["changed_settings"] == ""
    assert by_settings["changed_settings"] == "min_voxels 1000 instead of 500"
    assert "The finding itself is not refuted." in by_settings["withdrawn_because"]


def test_the_readme_names_every_field_of_a_webhook() -> None:
    """The numbers of glands, masses and lesions stand for themselves."""
    text = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
    on_us = replace(owed(2), lesion=LesionLine(answer=Answer.MALIGNANT, probability=0.8, reason=""), glands=())
    message = compose_message(owed())
    named = replace(message, patients={message.notices[0].notice_id: {"PatientID": "X"}})
    told = [describe_message(each) for each in (named, compose_message(on_us))]
    fields = {key for each in told for key in (*each, *each["studies"][0])}
    assert [field for field in sorted(fields) if f"`{field}`" not in text] == []


def test_a_webhook_without_its_secret_stops_the_start_and_a_secret_is_never_shown(tmp_path: Any) -> None:
    tables = {"notices": {"webhooks": [{"name": "ris-1", "url": "https://ris.test/"}], "apprise": [{"name": "pager"}]}}
    with pytest.raises(ConfigError, match="SCREENER_WEBHOOK_SECRET_RIS_1"):
        make_config(tables, base=tmp_path, environment={})
    (tmp_path / "url").write_text(f"json://{SECRET}\n")
    variables = {"SCREENER_WEBHOOK_SECRET_RIS_1": SECRET, "SCREENER_APPRISE_URL_PAGER_FILE": str(tmp_path / "url")}
    config = make_config(tables, base=tmp_path, environment=variables)
    assert config.notices.apprise[0].url == SecretStr(f"json://{SECRET}")
    assert SECRET not in show_config(config) + repr(config) + repr(config.notices.webhooks)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # the library's own import
class Test_apprise:
    def target(self, url: str) -> Any:
        from screener.channels.apprise import AppriseChannel

        target = AppriseTarget(name="pager")
        target._url = SecretStr(url)
        return AppriseChannel([target])

    @pytest.fixture(autouse=True)
    def needs_the_library(self) -> None:
        pytest.importorskip("apprise")

    def test_a_service_takes_the_notice(self) -> None:
        with open_receiver(AnyBody()) as receiver:
            self.target(f"json://127.0.0.1:{receiver.port}/notices").send(MESSAGE, "pager")
        assert receiver.body["title"] == MESSAGE.subject
        assert "mass above the threshold" in receiver.body["message"]

    def test_a_service_that_refuses_is_tried_again_and_its_address_stays_secret(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        with open_receiver(AnyBody()) as receiver:
            receiver.answers = [500]
            with pytest.raises(TryAgain) as caught:
                self.target(f"json://user:{SECRET}@127.0.0.1:{receiver.port}/").send(MESSAGE, "pager")
        assert receiver.calls
        assert SECRET not in caplog.text + str(caught.value)
        assert "127.0.0.1" not in str(caught.value)

    def test_an_address_that_the_library_does_not_know_needs_a_person(self) -> None:
        with pytest.raises(NeedsPerson, match="pager is none that apprise knows"):
            self.target("nowhere://x").send(MESSAGE, "pager")


class AnyBody(Receiver):
    """A service that asks for no signature."""

    def __init__(self) -> None:
        super().__init__("")
        self.body: dict[str, Any] = {}

    def take(self, headers: dict[str, str], body: bytes) -> int:
        self.calls.append((headers, body))
        self.body = json.loads(body)
        return self.answers.pop(0) if self.answers else 200
