"""COMPLETE: give a whole study to the queue that reads it, or set it aside with the reason.

The run is a row before anybody is told of it. The broker carries a hint only:
"there is work on queue ct"; which work, and in which order, SQL says. A hint
that is lost is sent again.
"""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta

from screener.journey import Queue
from screener.sop_classes import CT, ULTRASOUND
from screener.store import QuietStudy, Store
from screener.study import Thresholds

logger = logging.getLogger(__name__)

HINT_AGAIN_AFTER = timedelta(seconds=60)

Hint = Callable[[Queue], bool]
"""Tell the broker that a queue has work; False where the broker is away."""


def dispatch_study(store: Store, study: QuietStudy, thresholds: Thresholds, now: datetime) -> str | None:
    """Open a run on the queue that reads the study, or set it aside; None when an image came meanwhile."""
    for sop_class_uids, queue in ((CT, Queue.CT), (ULTRASOUND, Queue.US)):
        if study.sop_class_uids & sop_class_uids:
            number = store.open_run(study, queue, thresholds, now)
            return None if number is None else f"run {number} on queue {queue}"
    if study.sop_class_uids:
        code, reason = "no_ct_no_us", "the study holds neither CT nor ultrasound images"
    else:
        code, reason = "no_images", "the study holds documents only, no images"
    return f"set aside: {reason}" if store.set_aside_study(study, code=code, reason=reason, now=now) else None


def send_hints(store: Store, hint: Hint, now: datetime) -> int:
    """Tell the broker of due work that it was not told of lately; returns how many hints it took.

    Rows are marked after the broker has taken the hint: one may be sent
    twice, which costs a worker an empty look, but is never forgotten. Work
    that was told of before gets one hint per queue and minute, not one per
    row: a worker that finds something looks again by itself.
    """
    taken = 0
    for owed in store.owed_hints(now, HINT_AGAIN_AFTER):
        if not hint(owed.queue):
            break
        store.hinted(owed, now)
        taken += 1
    return taken
