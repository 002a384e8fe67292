"""Telling a program: one POST of signed JSON per notice.

The signature is HMAC-SHA256, in hexadecimal, over the timestamp, a full stop
and the body, with the webhook's secret as the key. The timestamp is the time
of this try: a receiver that refuses one which is more than five minutes off
its own clock cannot be told an old notice anew. The identifier stays the same
when a notice is sent again, so that a receiver can drop what it holds already;
what another run has found has another.
"""

import hashlib
import hmac
import json
import socket
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPMessage
from typing import IO, Any, Final

from screener.channels.message import RESEARCH_USE, Message, describe_withdrawal
from screener.notice_settings import Webhook
from screener.outcomes import NeedsPerson, TryAgain
from screener.store.values import OwedNotice

CHANNEL = "webhook"
TIMESTAMP_HEADER = "X-Screener-Timestamp"
SIGNATURE_HEADER = "X-Screener-Signature"
IDENTIFIER_HEADER = "X-Screener-Notice"
REPLAY_SECONDS: Final = 300
"""A receiver should refuse a timestamp that is farther off than this."""
_MAY_HEAL = {408, 425, 429}  # RFC 9110 15.5.9, RFC 8470 5.2, RFC 6585 4; and every 5xx


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """What is sent goes to the address in the settings or nowhere."""

    def redirect_request(
        self,
        req: urllib.request.Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> None:
        """Follow none: the answer is an error then."""


class WebhookChannel:
    """Signed JSON to the address of a [[notices.webhooks]] table, by its name."""

    name = CHANNEL

    def __init__(
        self,
        settings: list[Webhook],
        *,
        ssl_context: ssl.SSLContext | None = None,
        timeout_seconds: float = 30,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """Keep the settings; `ssl_context` is for a private certificate authority, `clock` gives seconds since 1970."""
        self._by_name = {webhook.name: webhook for webhook in settings}
        self._ssl_context = ssl_context
        self._timeout_seconds = timeout_seconds
        self._clock = clock

    def send(self, message: Message, recipient: str) -> None:
        """POST `message` to the webhook `recipient`; a 2xx answer takes it.

        Raises TryAgain for what may heal by itself (no connection, a timeout,
        408, 425, 429 and 5xx) and NeedsPerson for what will not.
        """
        webhook = self._by_name.get(recipient)
        if webhook is None or webhook.secret is None:
            raise NeedsPerson(f"no webhook {recipient} is set up in config.toml", code="no_channel")
        where = f"the webhook {recipient}"
        body = json.dumps(describe_message(message), separators=(",", ":")).encode()
        request = self._sign(webhook, body, message.identifier)
        handlers: list[urllib.request.BaseHandler] = [NoRedirects(), urllib.request.ProxyHandler({})]
        handlers.append(urllib.request.HTTPSHandler(context=self._ssl_context or ssl.create_default_context()))
        try:
            with urllib.request.build_opener(*handlers).open(request, timeout=self._timeout_seconds):
                return
        except urllib.error.HTTPError as error:
            error.close()
            kind = TryAgain if error.code >= 500 or error.code in _MAY_HEAL else NeedsPerson
            raise kind(f"{where} refused the notice (status {error.code})", code="webhook_refused") from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                reason = f"the certificate of {where} is not trusted: {error.reason.verify_message}"
                raise NeedsPerson(reason, code="certificate_refused") from error
            raise _unreachable(where, error.reason) from error
        except (OSError, HTTPException) as error:
            raise _unreachable(where, error) from error

    def _sign(self, webhook: Webhook, body: bytes, identifier: str) -> urllib.request.Request:
        assert webhook.secret is not None  # noqa: S101 - for mypy; send has looked
        timestamp = str(int(self._clock()))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "parotid-screener",
            IDENTIFIER_HEADER: identifier,
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: sign_body(webhook.secret.get_secret_value().encode(), timestamp, body),
        }
        # The settings admit https, and http to this machine.
        return urllib.request.Request(webhook.url, data=body, headers=headers, method="POST")  # noqa: S310


def sign_body(secret: bytes, timestamp: str, body: bytes) -> str:
    """Give the value of the signature's header: "v1=" and 64 hexadecimal digits."""
    return "v1=" + hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()


def _unreachable(where: str, error: object) -> TryAgain:
    kind = "timeout" if isinstance(error, socket.timeout) else type(error).__name__
    return TryAgain(f"{where} cannot be reached: {kind}", code="webhook_unreachable")


def describe_message(message: Message) -> Mapping[str, Any]:
    """Give the message as JSON holds it: numbers and words of ours, the patient only where the settings ask for it."""
    kind = "digest" if len(message.notices) != 1 or message.key.startswith("digest") else "finding"
    if kind == "finding" and not message.notices[0].is_flagged:
        kind = "correction" if message.notices[0].standing else "withdrawal"
    return {
        "version": 1,
        "id": message.identifier,
        "kind": kind,
        "owed_since": message.owed_since.isoformat(timespec="seconds"),
        "subject": message.subject,
        "studies": [_describe_notice(notice, message) for notice in message.notices],
        "note": RESEARCH_USE,
    }


def _describe_notice(notice: OwedNotice, message: Message) -> dict[str, Any]:
    described: dict[str, Any] = {
        "study": notice.study_id,
        "is_flagged": notice.is_flagged,
        "modality": "US" if notice.lesion is not None else "CT",
        "rule": notice.rule,
        "why": notice.why,
        "is_escalation": notice.escalates_id is not None,
        "withdrawn_because": " ".join(describe_withdrawal(notice)),
        "changed_settings": notice.changed_settings,
        "standing": list(notice.standing),
        "radiology_report": str(notice.reports.standing),
        "links": {link.label.lower().replace(" ", "_"): link.url for link in message.links.get(notice.notice_id, ())},
    }
    if notice.lesion is not None:
        described["lesion"] = {
            "answer": str(notice.lesion.answer),
            "probability_of_malignancy": notice.lesion.deciding_probability,
            "is_by_fusion": notice.lesion.is_by_fusion,
            "longest_diameter_mm": notice.lesion.longest_diameter_mm,
        }
    else:
        described["glands"] = [
            {
                "side": str(gland.side),
                "mass_above_threshold": str(gland.presence),
                "is_covered_in_part": gland.is_partial,
            }
            for gland in notice.glands
        ]
        described["masses"] = [
            {
                "number": mass.number,
                "side": str(mass.side),
                "voxels_of_1_mm3": mass.voxels,
                "volume_mm3": round(mass.volume_mm3, 1),
                "longest_diameter_mm": round(mass.longest_diameter_mm, 1),
                "highest_probability": round(mass.max_probability, 3),
            }
            for mass in notice.candidates
        ]
    patient = message.patients.get(notice.notice_id)
    if patient:
        described["patient"] = dict(patient) | {"StudyInstanceUID": notice.study_instance_uid}
    return described
