"""COMPLETE: give a whole study to the queue that reads it, or set it aside with the reason.

The run is a row before anybody is told of it. The broker carries a hint only:
"there is work on queue ct"; which work, and in which order, SQL says. A hint
that is lost is sent again.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from screener.journey import Queue
from screener.store import QuietStudy, Store
from screener.study import Thresholds

logger = logging.getLogger(__name__)

# PS3.4 table B.5-1; the two retired ultrasound classes still come from old scanners.
CT_CLASSES = frozenset({"1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2"})
US_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.6.1",
        "1.2.840.10008.5.1.4.1.1.3.1",
        "1.2.840.10008.5.1.4.1.1.6",
        "1.2.840.10008.5.1.4.1.1.3",
    }
)
HINT_AGAIN_AFTER = timedelta(seconds=60)

Hint = Callable[[Queue], None]
"""Tell the broker that a queue has work."""


def dispatch_study(store: Store, study: QuietStudy, thresholds: Thresholds, now: datetime) -> str | None:
    """Open a run on the queue that reads the study, or set it aside; None when an image came meanwhile."""
    if study.sop_class_uids & CT_CLASSES:
        number = store.open_run(study, Queue.CT, thresholds, now)
        return None if number is None else f"run {number} on queue ct"
    if study.sop_class_uids & US_CLASSES:
        number = store.open_run(study, Queue.US, thresholds, now)
        return None if number is None else f"run {number} on queue us"
    if study.sop_class_uids:
        code, reason = "no_ct_no_us", "the study holds neither CT nor ultrasound images"
    else:
        code, reason = "no_images", "the study holds documents only, no images"
    return f"set aside: {reason}" if store.set_aside_study(study, code=code, reason=reason, now=now) else None


def send_hints(store: Store, hint: Hint, now: datetime) -> int:
    """Tell the broker of every due run and delivery that it was not told of lately; returns how many.

    Rows are marked after the broker has taken the hint: a hint may be sent
    twice, which costs a worker one empty look, but is never forgotten.
    """
    runs = store.owed_hints(now, HINT_AGAIN_AFTER)
    for run_id, queue in runs:
        hint(queue)
        store.hinted([run_id], now)
    deliveries = store.owed_delivery_hints(now, HINT_AGAIN_AFTER)
    for delivery_id in deliveries:
        hint(Queue.RESULTS)
        store.delivery_hinted([delivery_id], now)
    return len(runs) + len(deliveries)
