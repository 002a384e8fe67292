"""Put back what a stopped worker left: every running state has a time limit.

A worker renews its lease while it works. One that was killed, froze or lost
its machine does not; its study is given to another, and after
`max_attempts` such ends to a person. A delivery likewise, after `give_up_hours`. A lease
is short, so that a dead worker is missed soon; one that is seen to live on
this machine is only slow, and is waited for.
"""

import logging
from datetime import datetime, timedelta

from screener.claimant import is_alive_here
from screener.config import Results
from screener.delays import next_delay
from screener.store import Store
from screener.store.base import IsSlow

logger = logging.getLogger(__name__)

SLOW = timedelta(hours=1)
"""So long after its lease a living worker is waited for; what hangs is ended by the time limit long before."""


def recover_expired_leases(store: Store, max_attempts: int, now: datetime) -> int:
    """Put every run whose lease has expired back, or fail it; returns how many."""
    recovered = store.recover_runs(now, max_attempts, is_slow=_is_slow(now))
    for study_id, sentence in recovered:
        logger.warning("study=%d recovered: %s", study_id, sentence)
    return len(recovered)


def recover_expired_deliveries(store: Store, settings: Results, now: datetime) -> int:
    """Put every delivery whose lease has expired back, or give it up; returns how many."""
    expired = store.expired_deliveries(now, is_slow=_is_slow(now))
    for delivery in expired:
        is_given_up = now - delivery.owed_since >= timedelta(hours=settings.give_up_hours)
        not_before = now + next_delay(delivery.tries, settings.retry_seconds, settings.max_retry_seconds)
        error = "the worker stopped without an answer"
        store.delivery_failed(delivery, error=error, not_before=None if is_given_up else not_before, now=now)
        logger.warning("study=%d not sent to %s: %s", delivery.study_id, delivery.destination, error)
    return len(expired)


def _is_slow(now: datetime) -> IsSlow:
    return lambda owner, lease_until: now - lease_until < SLOW and is_alive_here(owner)
