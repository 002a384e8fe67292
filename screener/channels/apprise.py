"""Telling by whatever the library apprise reaches, such as Teams, Slack or a pager: one call per notice."""

import logging
from typing import Any

from screener.channels.message import Message
from screener.notice_settings import AppriseTarget
from screener.outcomes import NeedsPerson, TryAgain

CHANNEL = "apprise"


class AppriseChannel:
    """The destination of a [[notices.apprise]] table, by its name; its URL is a secret and is never told."""

    name = CHANNEL

    def __init__(self, settings: list[AppriseTarget]) -> None:
        """Keep the settings; the library is looked for at the first notice."""
        self._by_name = {target.name: target for target in settings}
        # The library's own lines quote what a service answers, and parts of its address.
        logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)

    def send(self, message: Message, recipient: str) -> None:
        """Hand `message` to the service behind `recipient`.

        Raises NeedsPerson where the library is not installed or does not know
        the address, and TryAgain for all else: the library tells no more than
        that the service has not taken it.
        """
        target = self._by_name.get(recipient)
        if target is None or target.url is None:
            raise NeedsPerson(f"no apprise destination {recipient} is set up in config.toml", code="no_channel")
        service = _open(target)
        try:
            is_taken = service.notify(body=message.text, title=message.subject, body_format="text")
        except (OSError, TypeError, ValueError) as error:
            raise TryAgain(
                f"the service behind {recipient} failed: {type(error).__name__}", code="apprise_failed"
            ) from None
        if not is_taken:
            raise TryAgain(f"the service behind {recipient} has not taken the notice", code="apprise_failed")


def _open(target: AppriseTarget) -> Any:
    assert target.url is not None  # noqa: S101 - for mypy; send has looked
    try:
        import apprise
    except ImportError:
        raise NeedsPerson(
            "the library apprise is not installed: pip install 'parotid-screener[apprise]'", code="not_installed"
        ) from None
    service = apprise.Apprise()
    if not service.add(target.url.get_secret_value()):
        raise NeedsPerson(f"the URL of {target.name} is none that apprise knows", code="bad_address")
    return service
