"""SENT -> NOTIFIED: tell every person to whom a notice is owed, at least once.

A notice is marked after its channel has taken it, never before: a crash
between the two tells a person twice, under the same Message-ID, and never not
at all. What fails is tried again for as long as it is owed.
"""

import logging
from collections.abc import Iterable
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Protocol

from screener.channels.message import Channel, compose_digest, compose_message
from screener.delays import next_delay
from screener.notice_settings import Notices
from screener.outcomes import NeedsPerson, TryAgain
from screener.store.values import OwedDigest, OwedNotice

log = logging.getLogger(__name__)


class NoticeOutbox(Protocol):
    """What this stage needs of the store."""

    def owed_notices(self, now: datetime, longest_wait: timedelta) -> list[OwedNotice]:
        """Those that are due, oldest first; one that would wait longer is due too."""

    def owed_notice(self, notice_id: int) -> OwedNotice | None:
        """One of them as it is now; None where it is not owed any more."""

    def notice_sent(self, notice: OwedNotice, now: datetime) -> None:
        """Mark a notice that its channel has taken."""

    def notice_failed(self, notice_id: int, error: str, not_before: datetime, now: datetime) -> None:
        """Put a notice back until `not_before`."""


class DigestOutbox(Protocol):
    """What digests need of the store."""

    def open_digests(self, night: date, now: datetime) -> int:
        """Gather what is owed into one digest for each recipient who had none tonight."""

    def owed_digests(self, now: datetime, longest_wait: timedelta) -> list[OwedDigest]:
        """Those that are due, oldest first; one that would wait longer is due too."""

    def owed_digest(self, digest_id: int) -> OwedDigest | None:
        """One of them as it is now; None where it is not owed any more."""

    def digest_sent(self, digest: OwedDigest, now: datetime) -> None:
        """Mark a digest that its channel has taken, and what it told."""

    def digest_failed(self, digest: OwedDigest, error: str, not_before: datetime) -> None:
        """Put a digest back until `not_before`."""


def send_owed_notices(
    store: NoticeOutbox, channels: Iterable[Channel], settings: Notices, now: datetime, *, storage_folder: Path
) -> int:
    """Send every notice that is due; give how many were taken.

    A failure is stored with its sentence and concerns its own notice only. One
    that a person must mend is tried again after the longest delay, and stays
    in sight in `screener explain` as long as it is owed. May be called at any
    time, by one caller at a time. A bug leaves as it is, its notice put back:
    the next call goes on with the others.
    """
    by_name = {channel.name: channel for channel in channels}
    taken = 0
    for listed in store.owed_notices(now, timedelta(seconds=settings.max_retry_seconds)):
        notice = store.owed_notice(listed.notice_id)  # again: the mails before it may have taken minutes
        if notice is None:
            continue
        attempt = notice.attempts + 1
        try:
            _send(notice, by_name.get(notice.channel), settings, storage_folder)
        except TryAgain as outcome:
            delay = next_delay(attempt, settings.retry_seconds, settings.max_retry_seconds)
            _put_back(store, notice, outcome.reason, delay, now)
        except NeedsPerson as outcome:
            _put_back(store, notice, outcome.reason, timedelta(seconds=settings.max_retry_seconds), now)
        except Exception as error:  # a bug: the job's edge logs it, and the next round goes on with the others
            reason = f"unexpected {type(error).__name__}; the log has the place"
            _put_back(store, notice, reason, timedelta(seconds=settings.max_retry_seconds), now)
            raise
        else:
            store.notice_sent(notice, now)
            taken += 1
            log.info(
                "study=%d stage=notified channel=%s recipient=%s attempt=%d",
                notice.study_id,
                notice.channel,
                notice.recipient,
                attempt,
            )
    return taken


def send_owed_digests(
    store: DigestOutbox, channels: Iterable[Channel], settings: Notices, now: datetime, *, digest_at: time
) -> int:
    """Tell what backfills found, once a day from the local time `digest_at` on; give how many digests were taken.

    What fails is tried again, as a notice is, and at any hour.
    """
    local = now.astimezone()
    if local.time() >= digest_at:
        store.open_digests(local.date(), now)
    by_name = {channel.name: channel for channel in channels}
    taken = 0
    for listed in store.owed_digests(now, timedelta(seconds=settings.max_retry_seconds)):
        digest = store.owed_digest(listed.digest_id)
        if digest is None:
            continue
        try:
            _send_digest(digest, by_name.get(digest.channel), settings)
        except (TryAgain, NeedsPerson) as outcome:
            delay = next_delay(digest.attempts + 1, settings.retry_seconds, settings.max_retry_seconds)
            if isinstance(outcome, NeedsPerson):
                delay = timedelta(seconds=settings.max_retry_seconds)
            log.warning("digest=%d again in %.0f s: %s", digest.digest_id, delay.total_seconds(), outcome.reason)
            store.digest_failed(digest, outcome.reason, now + delay)
        else:
            store.digest_sent(digest, now)
            taken += 1
            log.info("digest=%d studies=%d recipient=%s", digest.digest_id, len(digest.notices), digest.recipient)
    return taken


def _send_digest(digest: OwedDigest, channel: Channel | None, settings: Notices) -> None:
    if not digest.notices:  # all taken back before they were told
        return
    if channel is None:
        raise NeedsPerson(_no_channel(digest.channel), code="no_channel")
    channel.send(compose_digest(digest, link=settings.link), digest.recipient)


def _no_channel(name: str) -> str:
    return f"the channel {name} is no longer set up in config.toml"


def _send(notice: OwedNotice, channel: Channel | None, settings: Notices, storage_folder: Path) -> None:
    if channel is None:
        raise NeedsPerson(_no_channel(notice.channel), code="no_channel")
    message = compose_message(
        notice,
        link=settings.link,
        include_patient_identity=settings.include_patient_identity,
        storage_folder=storage_folder,
    )
    channel.send(message, notice.recipient)


def _put_back(store: NoticeOutbox, notice: OwedNotice, reason: str, delay: timedelta, now: datetime) -> None:
    log.warning(
        "study=%d stage=notified channel=%s recipient=%s attempt=%d, again in %.0f s: %s",
        notice.study_id,
        notice.channel,
        notice.recipient,
        notice.attempts + 1,
        delay.total_seconds(),
        reason,
    )
    store.notice_failed(notice.notice_id, reason, now + delay, now)
