"""RECEIVED -> COMPLETE: decide that a study has stopped arriving.

DICOM has no end-of-study message for C-STORE, so silence is the only signal
that every sender gives. It is counted per study, across associations. After
`max_wait` the study goes on all the same; a late image reopens it.
"""

import logging
from datetime import datetime, timedelta

from screener.config import Completeness, Config
from screener.dispatch import dispatch_study
from screener.store import Store

logger = logging.getLogger(__name__)


def dispatch_complete_studies(store: Store, config: Config, now: datetime) -> int:
    """Dispatch every study that counts as whole at `now`; returns how many."""
    dispatched = 0
    for study in store.quiet_studies(now, quiet=_quiet(config.completeness), max_wait=_max_wait(config.completeness)):
        ended = dispatch_study(store, study, config.thresholds(), now)
        if ended is not None:
            dispatched += 1
            logger.info("study=%d stage=complete signal=%r next=%r", study.study_id, study.signal, ended)
    return dispatched


def _quiet(settings: Completeness) -> timedelta:
    return timedelta(seconds=settings.quiet_seconds)


def _max_wait(settings: Completeness) -> timedelta:
    return timedelta(seconds=settings.max_wait_seconds)
