"""Mail, sent to a true SMTP server that takes it or refuses it."""

import shutil
import socket
import ssl
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from screener.channels.email import EmailChannel
from screener.channels.message import Message
from screener.notice_settings import Email
from screener.outcomes import NeedsPerson, Outcome, TryAgain
from tests.peers.mailbox import Mailbox, open_mailbox

RECIPIENT = "ent@hospital.example"
MESSAGE = Message(
    key="notice-7.study-12",
    subject="Parotid screener: study 12",
    text="Look at study 12.\n",
    owed_since=datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC),
)


def settings(mailbox: Mailbox, *, password: str | None = None, **more: object) -> Email:
    known = {"host": mailbox.host, "port": mailbox.port, "sender": "screener@hospital.example"}
    email = Email.model_validate(known | more)
    email._password = SecretStr(password) if password is not None else None
    return email


def channel(mailbox: Mailbox, *, ssl_context: ssl.SSLContext | None = None, **more: object) -> EmailChannel:
    return EmailChannel(settings(mailbox, **more), ssl_context=ssl_context, timeout_seconds=5)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate that no authority has signed, and its key."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", *kind, *names, "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


@pytest.fixture(scope="module")
def serving(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    return context


@pytest.fixture(scope="module")
def trusting(certificate: tuple[Path, Path]) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(certificate[0]))


def test_a_mail_arrives_as_it_was_written() -> None:
    with open_mailbox() as mailbox:
        channel(mailbox).send(MESSAGE, RECIPIENT)
    (mail,) = mailbox.mails
    assert mailbox.recipients == [RECIPIENT]
    assert (mail["Subject"], mail["To"], mail["From"]) == (MESSAGE.subject, RECIPIENT, "screener@hospital.example")
    assert mail.get_content().replace("\r\n", "\n") == MESSAGE.text


def test_a_mail_says_that_a_machine_wrote_it_and_when_it_became_owed() -> None:
    with open_mailbox() as mailbox:
        channel(mailbox).send(MESSAGE, RECIPIENT)
    (mail,) = mailbox.mails
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"].datetime == MESSAGE.owed_since


def test_the_same_notice_has_the_same_message_id_and_another_notice_another() -> None:
    other = Message(key="notice-8.study-12", subject="s", text="t", owed_since=MESSAGE.owed_since)
    with open_mailbox() as mailbox:
        for message in (MESSAGE, MESSAGE, other):
            channel(mailbox).send(message, RECIPIENT)
    first, again, another = [mail["Message-ID"] for mail in mailbox.mails]
    assert first == again != another


def test_a_sender_with_a_display_name_is_understood() -> None:
    with open_mailbox() as mailbox:
        channel(mailbox, sender="Parotid screener <screener@hospital.example>").send(MESSAGE, RECIPIENT)
    assert mailbox.mails[0]["Message-ID"].endswith("@hospital.example>")


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_trusted_certificate_protects_the_mail(
    security: str, serving: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    with open_mailbox(**{security: serving}) as mailbox:  # type: ignore[arg-type]
        channel(mailbox, security=security, ssl_context=trusting).send(MESSAGE, RECIPIENT)
    assert len(mailbox.mails) == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_that_nobody_signed_is_refused(security: str, serving: ssl.SSLContext) -> None:
    with open_mailbox(**{security: serving}) as mailbox, pytest.raises(NeedsPerson) as caught:  # type: ignore[arg-type]
        channel(mailbox, security=security).send(MESSAGE, RECIPIENT)
    assert caught.value.code == "certificate_refused"
    assert mailbox.mails == []


def test_a_server_without_starttls_gets_no_mail_in_the_clear() -> None:
    with open_mailbox() as mailbox, pytest.raises(NeedsPerson) as caught:
        channel(mailbox, security="starttls").send(MESSAGE, RECIPIENT)
    assert caught.value.code == "not_offered"
    assert mailbox.mails == []


def test_a_mail_that_was_taken_is_sent_however_the_server_takes_its_leave() -> None:
    with open_mailbox() as mailbox:
        mailbox.quit_reply = "421 closing"
        channel(mailbox).send(MESSAGE, RECIPIENT)
    assert len(mailbox.mails) == 1


def test_a_login_opens_the_door(serving: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    more = {"security": "starttls", "ssl_context": trusting, "username": "screener"}
    with open_mailbox(login=("screener", "right"), starttls=serving) as mailbox:
        channel(mailbox, password="right", **more).send(MESSAGE, RECIPIENT)  # type: ignore[arg-type]
    assert len(mailbox.mails) == 1


def test_a_wrong_password_needs_a_person_and_is_not_told(serving: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    more = {"security": "starttls", "ssl_context": trusting, "username": "screener"}
    with open_mailbox(login=("screener", "right"), starttls=serving) as mailbox, pytest.raises(NeedsPerson) as caught:
        channel(mailbox, password="not-it", **more).send(MESSAGE, RECIPIENT)  # type: ignore[arg-type]
    assert caught.value.code == "login_refused"
    assert "not-it" not in caught.value.reason


def test_a_server_that_is_away_is_tried_again_and_takes_the_mail_when_back() -> None:
    with open_mailbox() as mailbox:
        port = mailbox.port
    with pytest.raises(TryAgain):
        channel(mailbox).send(MESSAGE, RECIPIENT)
    with open_mailbox(mailbox, port=port):
        channel(mailbox).send(MESSAGE, RECIPIENT)
    assert len(mailbox.mails) == 1


def test_a_server_that_says_nothing_is_left_after_the_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        email = Email(host="127.0.0.1", port=silent.getsockname()[1])
        with pytest.raises(TryAgain):
            EmailChannel(email, timeout_seconds=0.3).send(MESSAGE, RECIPIENT)


@pytest.mark.parametrize(("reply", "kind"), [("550 no such user", NeedsPerson), ("451 try later", TryAgain)])
def test_a_refused_recipient_follows_its_reply_code(reply: str, kind: type[Outcome]) -> None:
    mailbox = Mailbox()
    mailbox.replies[RECIPIENT] = reply
    with open_mailbox(mailbox), pytest.raises(kind, match=reply[:3]):
        channel(mailbox).send(MESSAGE, RECIPIENT)


@pytest.mark.parametrize(("reply", "kind"), [("554 no", NeedsPerson), ("452 full", TryAgain)])
def test_a_refused_text_follows_its_reply_code(reply: str, kind: type[Outcome]) -> None:
    mailbox = Mailbox()
    mailbox.data_reply = reply
    with open_mailbox(mailbox), pytest.raises(kind, match=reply[:3]):
        channel(mailbox).send(MESSAGE, RECIPIENT)


@pytest.mark.parametrize("recipient", ["a@b.example\r\nBcc: c@d.example", "ä@hospital.example"])
def test_an_address_that_mail_cannot_carry_needs_a_person(recipient: str) -> None:
    with open_mailbox() as mailbox, pytest.raises(NeedsPerson):
        channel(mailbox).send(MESSAGE, recipient)
    assert mailbox.mails == []
