"""Put back what a stopped worker left: every running state has a time limit.

A worker renews its lease while it works. One that was killed, froze or lost
its machine does not; its study is given to another, and after
`max_attempts` to a person. A delivery likewise, after `give_up_hours`.
"""

import logging
from datetime import datetime, timedelta

from screener.config import Results
from screener.delays import next_delay
from screener.store import Store

logger = logging.getLogger(__name__)


def recover_expired_leases(store: Store, max_attempts: int, now: datetime) -> int:
    """Put every run whose lease has expired back, or fail it; returns how many."""
    recovered = store.recover_runs(now, max_attempts)
    for study_id, sentence in recovered:
        logger.warning("study=%d recovered: %s", study_id, sentence)
    return len(recovered)


def recover_expired_deliveries(store: Store, settings: Results, now: datetime) -> int:
    """Put every delivery whose lease has expired back, or give it up; returns how many."""
    expired = store.expired_deliveries(now)
    for delivery in expired:
        is_given_up = now - delivery.owed_since >= timedelta(hours=settings.give_up_hours)
        not_before = now + next_delay(delivery.tries, settings.retry_seconds, settings.max_retry_seconds)
        error = "the worker stopped without an answer"
        store.delivery_failed(delivery, error=error, not_before=None if is_given_up else not_before, now=now)
        logger.warning("study=%d not sent to %s: %s", delivery.study_id, delivery.destination, error)
    return len(expired)
