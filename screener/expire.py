"""Remove what has been kept long enough, or what a full disk needs; never what is unfinished, owed or failed.

The row says "expired" before the file goes. A crash between the two leaves a
file that no row names, and the sweep removes it: nothing is ever named that
is not there.
"""

import logging
from datetime import datetime, timedelta
from itertools import groupby, islice

import sqlalchemy as sa

from screener.archive import ASIDE, RECEIVED, RESULTS, Archive
from screener.config import Retention, Storage
from screener.store import Store
from screener.store.tables import instances, results

logger = logging.getLogger(__name__)

ORPHAN_AFTER = timedelta(days=1)
"""A file that no row names is younger than this while its row is being written."""
REPORTS_KEPT = timedelta(days=30)
REFUSALS_KEPT = timedelta(days=30)
BATCH = 500


def expire(store: Store, archive: Archive, settings: Retention, now: datetime) -> int:
    """Remove received files, those kept aside, results and history that are older than the settings say.

    Returns how many studies. What somebody who was killed has left half written goes as well.
    """
    archive.remove_unfinished()
    expired = 0
    for table, days, what in (
        (instances, settings.received_days, "retention.received_days"),
        (results, settings.results_days, "retention.results_days"),
    ):
        if not days:
            continue
        before = now - timedelta(days=days)
        while found := store.expirable_studies(table, before):
            removed = [expire_study(store, archive, table, study_id, f"{what} = {days:g}", now) for study_id in found]
            expired += sum(count > 0 for count in removed)
            if not any(removed):  # each was reopened meanwhile
                break
    if settings.received_days:
        before = now - timedelta(days=settings.received_days)
        why = f"retention.received_days = {settings.received_days:g}"
        remove_aside(store, archive, before, taken_before=before, why=why)
    if settings.history_days:
        while store.forget_studies(now - timedelta(days=settings.history_days)):
            pass
    store.forget_reports(now - REPORTS_KEPT)
    store.forget_refusals(now - REFUSALS_KEPT)
    return expired


def expire_study(store: Store, archive: Archive, table: sa.Table, study_id: int, why: str, now: datetime) -> int:
    """Mark a study's received files, or its results, as expired and remove them; returns how many."""
    paths = store.expire_files(study_id, table, why=why, now=now)
    for begin in range(0, len(paths), BATCH):
        store.remove_expired(table, study_id, paths[begin : begin + BATCH], archive.remove)
    if paths:
        logger.info("study=%d expired %s=%d: %s", study_id, table.name, len(paths), why)
    return len(paths)


def remove_aside(store: Store, archive: Archive, before: datetime, *, taken_before: datetime, why: str) -> int:
    """Remove files that were refused before then, or taken before `taken_before`, and kept aside; returns how many."""
    removed = 0
    old = archive.files_before(ASIDE, before)
    while batch := list(islice(old, BATCH)):
        removed += sum(archive.remove(path) for path in store.give_up_aside(batch, taken_before))
    if removed:
        logger.info("files kept aside, removed: %d: %s", removed, why)
    return removed


def clean_disk(store: Store, archive: Archive, storage: Storage, retention: Retention, now: datetime) -> int:
    """Remove images of finished studies early, oldest first, while the disk is below `storage.clean_below_mib`.

    Refused files that were kept aside go before them, once they are a day old: their senders know.

    Returns how many studies. Nothing goes where received files are kept for ever, nor for what is still arriving:
    a sender that never ends would cost one study after the other.
    """
    least_bytes = storage.clean_below_mib << 20
    if not retention.received_days or archive.free_bytes() >= least_bytes:
        return 0
    why = "the disk is below storage.clean_below_mib"
    taken_before = now - timedelta(days=retention.received_days)
    remove_aside(store, archive, now - ORPHAN_AFTER, taken_before=taken_before, why=why)
    least_bytes -= archive.unfinished_bytes()
    cleaned = 0
    while archive.free_bytes() < least_bytes:
        found = store.expirable_studies(instances, now, limit=1)
        if not found or not expire_study(store, archive, instances, found[0], why, now):
            break
        cleaned += 1
    return cleaned


def sweep_orphans(store: Store, archive: Archive, now: datetime) -> int:
    """Remove received files and results that are older than a day and that no row names; returns how many.

    A sixteenth of the received files at a time, whose folders are named by digests: their rows are read as often, and
    only what no row names is looked for again while nobody can commit one.
    """
    swept = 0
    for part, table in ((RECEIVED, instances), (RESULTS, results)):
        old = archive.files_before(part, now - ORPHAN_AFTER)
        for begin, paths in groupby(old, key=lambda path: path[: path.index("/") + 2]):
            nameless = store.find_unreferenced(table, begin, list(paths))
            for first in range(0, len(nameless), BATCH):
                swept += store.remove_unreferenced(table, nameless[first : first + BATCH], archive.remove)
    if swept:
        logger.info("files that no row names, removed: %d", swept)
    return swept
