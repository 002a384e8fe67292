"""Put back what a stopped worker left: every running state has a time limit.

A worker renews its lease while it works. One that was killed, froze or lost
its machine does not; its study is given to another, and after
`max_attempts` to a person.
"""

import logging
from datetime import datetime

from screener.store import Store

logger = logging.getLogger(__name__)


def recover_expired_leases(store: Store, max_attempts: int, now: datetime) -> int:
    """Put every run whose lease has expired back, or fail it; returns how many."""
    recovered = store.recover_runs(now, max_attempts)
    for study_id, sentence in recovered:
        logger.warning("study=%d recovered: %s", study_id, sentence)
    return len(recovered)
