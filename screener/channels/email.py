"""Telling people by mail: one SMTP session per notice."""

import smtplib
import ssl
from contextlib import closing, suppress
from email.message import EmailMessage
from email.utils import format_datetime, parseaddr
from pathlib import Path

from screener.channels.letter import Letter, render_html
from screener.channels.message import Message
from screener.notice_settings import Email
from screener.outcomes import NeedsPerson, TryAgain

CHANNEL = "email"
_PICTURE = "key-image"


class EmailChannel:
    """Mail by SMTP (RFC 5321) as config.toml's [notices.email] says.

    Every channel has this shape: a `name` that the notices table holds, and
    `send`, which returns once the other side has taken the message.
    """

    name = CHANNEL

    def __init__(
        self, settings: Email, *, ssl_context: ssl.SSLContext | None = None, timeout_seconds: float = 30
    ) -> None:
        """Keep the settings; nothing is opened before `send`. `ssl_context` is for a private certificate authority."""
        self._settings = settings
        self._ssl_context = ssl_context
        self._timeout_seconds = timeout_seconds

    def send(self, message: Message, recipient: str) -> None:
        """Hand `message` for `recipient` to the mail server; sending it again repeats the Message-ID.

        Raises TryAgain for whatever may heal by itself (no connection, a 4yz
        reply, a timeout) and NeedsPerson for what will not (a 5yz reply: RFC
        5321 4.2.1; refused credentials; a certificate that is not trusted).
        """
        where = f"the mail server {self._settings.host}:{self._settings.port}"
        try:
            mail = self._compose(message, recipient)
            with closing(self._connect()) as smtp:
                self._log_in(smtp)
                smtp.send_message(mail, from_addr=parseaddr(self._settings.sender)[1], to_addrs=[recipient])
                with suppress(OSError, smtplib.SMTPException):  # the mail is taken, whatever follows
                    smtp.quit()
        except ssl.SSLCertVerificationError as error:
            raise NeedsPerson(
                f"the certificate of {where} is not trusted: {error.verify_message}", code="certificate_refused"
            ) from error
        except ValueError as error:  # a line break in an address, a character that neither ASCII nor IDNA carries
            raise NeedsPerson(f"an address or the user name cannot be used at {where}", code="bad_address") from error
        except smtplib.SMTPRecipientsRefused as error:
            code, _ = next(iter(error.recipients.values()))
            raise _judge(f"{where} refused the recipient", code, "recipient_refused") from error
        except smtplib.SMTPAuthenticationError as error:
            raise _judge(f"{where} refused the user name and password", error.smtp_code, "login_refused") from error
        except smtplib.SMTPResponseException as error:
            raise _judge(f"{where} refused the mail", error.smtp_code, "mail_refused") from error
        except smtplib.SMTPNotSupportedError as error:
            raise NeedsPerson(
                f"{where} does not offer what [notices.email] asks for (STARTTLS, a login or an address outside ASCII)",
                code="not_offered",
            ) from error
        except (OSError, smtplib.SMTPException) as error:
            # smtplib derives its exceptions from OSError; the rest are refused connections and timeouts
            raise TryAgain(f"{where} cannot be reached: {type(error).__name__}", code="mail_unreachable") from error

    def _compose(self, message: Message, recipient: str) -> EmailMessage:
        sender = self._settings.sender
        domain = parseaddr(sender)[1].rpartition("@")[2] or "localhost"
        mail = EmailMessage()
        mail["From"] = sender
        mail["To"] = recipient
        mail["Subject"] = message.subject
        # The instant the notice became owed, not of this try: a repeated mail is the same mail.
        mail["Date"] = format_datetime(message.owed_since)
        mail["Message-ID"] = f"<{message.identifier}@{domain}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834 5: keeps absence replies away
        mail.set_content(message.text)
        if message.letter is not None:
            self._add_html(mail, message.letter, message.key_image)
        return mail

    def _add_html(self, mail: EmailMessage, letter: Letter, key_image: Path | None) -> None:
        """Add the same as HTML (RFC 2046 5.1.4), with its picture (RFC 2387) where the settings want one."""
        picture = _read_picture(key_image) if self._settings.key_image and key_image is not None else None
        mail.add_alternative(render_html(letter, picture=f"cid:{_PICTURE}" if picture else ""), subtype="html")
        if picture:
            html = mail.get_payload()[1]  # type: ignore[index]  # the alternatives, as parts
            html.add_related(picture, "image", "png", cid=f"<{_PICTURE}>", filename="finding.png")  # type: ignore[union-attr]

    def _connect(self) -> smtplib.SMTP:
        """Open the session, protected as `security` says; certificates are verified."""
        host, port, timeout = self._settings.host, self._settings.port, self._timeout_seconds
        if self._settings.security == "none":
            return smtplib.SMTP(host, port, timeout=timeout)
        context = self._ssl_context or ssl.create_default_context()
        if self._settings.security == "tls":
            return smtplib.SMTP_SSL(host, port, timeout=timeout, context=context)
        smtp = smtplib.SMTP(host, port, timeout=timeout)
        try:
            smtp.starttls(context=context)
        except (OSError, smtplib.SMTPException):
            smtp.close()
            raise
        return smtp

    def _log_in(self, smtp: smtplib.SMTP) -> None:
        password = self._settings.password
        if self._settings.username and password is not None:
            smtp.login(self._settings.username, password.get_secret_value())


def _read_picture(path: Path) -> bytes | None:
    """Read the key image; a notice without its picture is better than none."""
    try:
        return path.read_bytes()
    except OSError:
        return None


def _judge(sentence: str, reply_code: int, code: str) -> TryAgain | NeedsPerson:
    """Tell what may heal (4yz) from what will not (5yz); the server's own words are left out, as they may quote."""
    kind = NeedsPerson if 500 <= reply_code < 600 else TryAgain
    return kind(f"{sentence} (reply {reply_code})", code=code)
