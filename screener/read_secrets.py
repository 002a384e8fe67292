"""Read the secrets that the settings call for, from variables of the environment or from the files these name."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from screener.notice_settings import Notices
from screener.web_settings import OpenId

PASSWORD_VARIABLE: Final = "SCREENER_EMAIL_PASSWORD"  # noqa: S105 - the name of a variable, not a secret
WEBHOOK_VARIABLE: Final = "SCREENER_WEBHOOK_SECRET"
APPRISE_VARIABLE: Final = "SCREENER_APPRISE_URL"
OPENID_VARIABLE: Final = "SCREENER_OPENID_SECRET"


@dataclass(frozen=True, slots=True)
class MissingSecret:
    """A secret that the settings call for and that could not be read."""

    key: str
    """Of the settings, which calls for it."""
    variable: str
    problem: str = ""
    """Path of the file that the variable names, and why it cannot be read; empty where no variable is set."""

    @property
    def refusal(self) -> str:
        """What stops the start."""
        if self.problem:
            return f"{self.variable}_FILE: {self.problem}; {self.key} needs it"
        return f"{self.key}: set, but neither {self.variable} nor {self.variable}_FILE is"

    @property
    def lack(self) -> str:
        """What a running daemon says: its environment stays as it was at the start."""
        if self.problem:
            return self.refusal
        return (
            f"{self.key}: the daemon's environment has neither {self.variable} nor {self.variable}_FILE; "
            "restart it with one of them"
        )

    @property
    def remark(self) -> str:
        """What is said where the secret is not used."""
        if self.problem:
            return self.refusal
        return (
            f"{self.key}: neither {self.variable} nor {self.variable}_FILE is set in this shell; "
            "daemon and pages need one of them in the environment that they are started with"
        )


def read_secrets(notices: Notices, openid: OpenId, environment: Mapping[str, str]) -> Iterator[MissingSecret]:
    """Read every secret into its table; yields those that are missing."""
    if notices.email.username:
        found = _read_secret(PASSWORD_VARIABLE, "notices.email.username", environment)
        notices.email._password = found if isinstance(found, SecretStr) else None
        yield from _list_missing(found)
    for number, webhook in enumerate(notices.webhooks):
        found = _read_secret(_name_variable(WEBHOOK_VARIABLE, webhook.name), f"notices.webhooks.{number}", environment)
        webhook._secret = found if isinstance(found, SecretStr) else None
        yield from _list_missing(found)
    for number, target in enumerate(notices.apprise):
        found = _read_secret(_name_variable(APPRISE_VARIABLE, target.name), f"notices.apprise.{number}", environment)
        target._url = found if isinstance(found, SecretStr) else None
        yield from _list_missing(found)
    if openid.issuer:
        found = _read_secret(OPENID_VARIABLE, "web.openid.client_id", environment)
        openid._secret = found if isinstance(found, SecretStr) else None
        yield from _list_missing(found)


def _name_variable(prefix: str, name: str) -> str:
    """Name the variable that holds the secret of the webhook or the apprise destination `name`."""
    return f"{prefix}_{name.upper().replace('-', '_')}"


def _read_secret(variable: str, key: str, environment: Mapping[str, str]) -> SecretStr | MissingSecret:
    if variable in environment:
        return SecretStr(environment[variable])
    if f"{variable}_FILE" not in environment:
        return MissingSecret(key, variable)
    path = Path(environment[f"{variable}_FILE"])
    try:
        return SecretStr(path.read_text(encoding="utf-8").rstrip("\n"))
    except OSError as error:
        return MissingSecret(key, variable, f"{path} cannot be read: {error.strerror}")
    except UnicodeDecodeError:
        return MissingSecret(key, variable, f"{path} cannot be read: it is no text in UTF-8")


def _list_missing(found: SecretStr | MissingSecret) -> list[MissingSecret]:
    return [found] if isinstance(found, MissingSecret) else []
