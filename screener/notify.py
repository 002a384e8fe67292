"""SENT -> NOTIFIED: tell every person to whom a notice is owed, at least once.

A notice is marked after its channel has taken it, never before: a crash
between the two tells a person twice, under the same Message-ID, and never not
at all. What fails is tried again for as long as it is owed. That it leaves is
written down before: whoever may have heard it hears of its withdrawal.
"""

import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Protocol

from screener.channels import hl7
from screener.channels.message import Channel, Linker, Message, compose_digest, compose_message, no_link
from screener.delays import next_delay
from screener.hold_notices import find_hold, is_mentioned, is_quiet
from screener.notice_settings import Address, Notices
from screener.outcomes import NeedsPerson, TryAgain
from screener.store.values import Hold, OwedDigest, OwedNotice

log = logging.getLogger(__name__)

LOOK_SECONDS = 60.0
"""Between two looks at a notice that waits for the end of quiet hours."""


class Departures(Protocol):
    """What may have been heard is known of whatever leaves, before it leaves."""

    def begin_telling(self, notices: Sequence[OwedNotice], now: datetime) -> tuple[OwedNotice, ...]:
        """Write down that these leave now; those that are still owed as they were read."""

    def telling_refused(self, notices: Sequence[OwedNotice]) -> None:
        """Take that back: the other side does not take them."""


class NoticeOutbox(Departures, Protocol):
    """What this stage needs of the store."""

    def owed_notices(self, now: datetime, longest_wait: timedelta) -> list[OwedNotice]:
        """Those that are due, oldest first; one that would wait longer is due too."""

    def owed_notice(self, notice_id: int) -> OwedNotice | None:
        """One of them as it is now; None where it is not owed any more."""

    def notice_sent(self, notice: OwedNotice, now: datetime) -> None:
        """Mark a notice that its channel has taken."""

    def notice_failed(self, notice_id: int, error: str, not_before: datetime, now: datetime) -> None:
        """Put a notice back until `not_before`."""

    def hold_notice(self, notice_id: int, hold: Hold, sentence: str, *, not_before: datetime, now: datetime) -> None:
        """Let a notice wait for the digest, or for the end of quiet hours."""

    def count_told_alone(self, addresses: Collection[tuple[str, str]], since: datetime, notice: OwedNotice) -> int:
        """Count the findings, but for that of `notice`, that these addresses were told one by one since then."""


class DigestOutbox(Departures, Protocol):
    """What digests need of the store."""

    def open_digests(self, night: date, now: datetime, opens_at: datetime | None = None) -> int:
        """Gather what is owed into one digest for each recipient who had none tonight."""

    def owed_digests(self, now: datetime, longest_wait: timedelta) -> list[OwedDigest]:
        """Those that are due, oldest first; one that would wait longer is due too."""

    def owed_digest(self, digest_id: int) -> OwedDigest | None:
        """One of them as it is now; None where it is not owed any more."""

    def digest_told(self, digest: OwedDigest, notice: OwedNotice, now: datetime) -> None:
        """Mark one notice of a digest that its channel has taken."""

    def digest_sent(self, digest: OwedDigest, now: datetime) -> None:
        """Mark a digest that its channel has taken, and what it told."""

    def digest_failed(self, digest: OwedDigest, error: str, not_before: datetime) -> None:
        """Put a digest back until `not_before`."""


def send_owed_notices(
    store: NoticeOutbox,
    channels: Iterable[Channel],
    settings: Notices,
    now: datetime,
    *,
    storage_folder: Path,
    acknowledge: Linker = no_link,
) -> int:
    """Send every notice that is due and need not wait for a person's sake; give how many were taken.

    What the radiology report does not mention goes first, so that a daily limit rather holds back what is known.
    A failure is stored with its sentence and concerns its own notice only. One
    that a person must mend is tried again after the longest delay, and stays
    in sight in `screener explain` as long as it is owed. An address that cannot
    be reached is tried once in a call: its other notices stay due. May be called at any
    time, by one caller at a time. A bug leaves as it is, its notice put back:
    the next call goes on with the others.
    """
    by_name = {channel.name: channel for channel in channels}
    taken = 0
    silent: set[tuple[str, str]] = set()
    due = store.owed_notices(now, timedelta(seconds=settings.max_retry_seconds))
    for listed in sorted(due, key=lambda notice: not notice.reports.is_news):
        address = (listed.channel, listed.recipient)
        if address in silent:  # due still: one that waits for a silent receiver keeps nobody else waiting
            continue
        notice = store.owed_notice(listed.notice_id)  # again: the mails before it may have taken minutes
        if notice is None:
            continue
        if _is_held(store, notice, settings, now):
            continue
        attempt = notice.attempts + 1
        try:
            channel = by_name.get(notice.channel)
            if not _send(store, notice, channel, settings, now, storage_folder=storage_folder, acknowledge=acknowledge):
                continue
        except TryAgain as outcome:
            delay = next_delay(attempt, settings.retry_seconds, settings.max_retry_seconds)
            _put_back(store, notice, outcome.reason, delay, now)
            silent.add(address)
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
    store: DigestOutbox,
    channels: Iterable[Channel],
    settings: Notices,
    now: datetime,
    *,
    digest_at: time,
    acknowledge: Linker = no_link,
) -> int:
    """Tell what waits for the digest, once a day from the local time `digest_at` on; give how many were taken.

    What backfills found, what a rule wants gathered, and what was above a
    person's daily limit. What fails is tried again, as a notice is, and at
    any hour but the recipient's quiet ones. A bug leaves as it is, its digest
    put back: the next call goes on with the others.
    """
    local = now.astimezone()
    if local.time() >= digest_at:
        store.open_digests(local.date(), now, datetime.combine(local.date(), digest_at).astimezone())
    by_name = {channel.name: channel for channel in channels}
    taken = 0
    for listed in store.owed_digests(now, timedelta(seconds=settings.max_retry_seconds)):
        digest = store.owed_digest(listed.digest_id)
        person = settings.find_person(Address(listed.channel, listed.recipient))
        if digest is None or (person is not None and is_quiet(person, local)):
            continue
        try:
            if digest.channel == hl7.CHANNEL:
                told = _send_each(store, digest, by_name.get(digest.channel), settings, acknowledge, now)
            else:
                told = _send_digest(store, digest, by_name.get(digest.channel), settings, acknowledge, now)
        except (TryAgain, NeedsPerson) as outcome:
            delay = next_delay(digest.attempts + 1, settings.retry_seconds, settings.max_retry_seconds)
            if isinstance(outcome, NeedsPerson):
                delay = timedelta(seconds=settings.max_retry_seconds)
            log.warning("digest=%d again in %.0f s: %s", digest.digest_id, delay.total_seconds(), outcome.reason)
            store.digest_failed(digest, outcome.reason, now + delay)
        except Exception as error:  # a bug: the job's edge logs it, and the next round goes on with the others
            reason = f"unexpected {type(error).__name__}; the log has the place"
            store.digest_failed(digest, reason, now + timedelta(seconds=settings.max_retry_seconds))
            raise
        else:
            store.digest_sent(told, now)
            taken += 1
            log.info("digest=%d studies=%d recipient=%s", digest.digest_id, len(told.notices), digest.recipient)
    return taken


def _is_held(store: NoticeOutbox, notice: OwedNotice, settings: Notices, now: datetime) -> bool:
    """Tell whether the notice waits, and write down why.

    Looked at again after the longest delay at most, so that settings and a clock that change are followed.
    """
    if settings.mentioned_in_report == "digest" and is_mentioned(notice):
        _hold(store, notice, settings, Hold.REPORTED, "the radiology report mentions it", now)
        return True
    person = settings.find_person(Address(notice.channel, notice.recipient))
    if person is None:
        return False

    def count_told(since: datetime) -> int:
        return store.count_told_alone(person.addresses, since, notice)

    hold, sentence = find_hold(person, notice, now.astimezone(), count_told)
    if hold is Hold.NONE:
        return False
    _hold(store, notice, settings, hold, sentence, now)
    return True


def _hold(store: NoticeOutbox, notice: OwedNotice, settings: Notices, hold: Hold, sentence: str, now: datetime) -> None:
    if hold is not notice.hold:
        log.info("study=%d notice=%d waits: %s", notice.study_id, notice.notice_id, sentence)
    again_at = now + timedelta(seconds=min(LOOK_SECONDS, settings.max_retry_seconds))
    store.hold_notice(notice.notice_id, hold, sentence, not_before=again_at, now=now)


def _send_digest(
    store: DigestOutbox,
    digest: OwedDigest,
    channel: Channel | None,
    settings: Notices,
    acknowledge: Linker,
    now: datetime,
) -> OwedDigest:
    """Send what of the digest is still owed, and give it back as it was told."""
    if not digest.notices:  # all taken back before they were told
        return digest
    if channel is None:
        raise NeedsPerson(_no_channel(digest.channel), code="no_channel")
    leaving = replace(digest, notices=store.begin_telling(digest.notices, now))
    if leaving.notices:
        message = compose_digest(leaving, link=settings.link, acknowledge=acknowledge)
        _hand_over(store, message, channel, digest.recipient)
    return leaving


def _send_each(
    store: DigestOutbox,
    digest: OwedDigest,
    channel: Channel | None,
    settings: Notices,
    acknowledge: Linker,
    now: datetime,
) -> OwedDigest:
    """Send and mark each study's message of a digest for itself: one that is refused holds back no other.

    Gives back what was told. Raises the first refusal once all others are out, and at once what may heal.
    """
    refusal: NeedsPerson | None = None
    told: list[OwedNotice] = []
    for notice in digest.notices:
        try:
            alone = _send_digest(store, replace(digest, notices=(notice,)), channel, settings, acknowledge, now)
        except NeedsPerson as outcome:
            refusal = refusal or outcome
        else:
            for each in alone.notices:
                store.digest_told(digest, each, now)
            told += alone.notices
    if refusal is not None:
        raise refusal
    return replace(digest, notices=tuple(told))


def _no_channel(name: str) -> str:
    return f"the channel {name} is no longer set up in config.toml"


def _send(
    store: NoticeOutbox,
    notice: OwedNotice,
    channel: Channel | None,
    settings: Notices,
    now: datetime,
    *,
    storage_folder: Path,
    acknowledge: Linker,
) -> bool:
    """Send the notice; False where a newer run has taken it back, or found otherwise, at the last moment."""
    if channel is None:
        raise NeedsPerson(_no_channel(notice.channel), code="no_channel")
    message = compose_message(
        notice,
        link=settings.link,
        include_patient_identity=settings.include_patient_identity,
        storage_folder=storage_folder,
        acknowledge=acknowledge,
    )
    if not store.begin_telling([notice], now):
        return False
    _hand_over(store, message, channel, notice.recipient)
    return True


def _hand_over(store: Departures, message: Message, channel: Channel, recipient: str) -> None:
    try:
        channel.send(message, recipient)
    except NeedsPerson:
        store.telling_refused(message.notices)
        raise


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
