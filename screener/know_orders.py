"""Find out under which order each study was made, a few at a time, and file the reports that have waited for it."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import pydicom

from screener.order_keys import OrderKeys
from screener.read_header import NOT_READABLE
from screener.store import Store

AT_ONCE: Final = 50
TRIED: Final = 1000
"""Files that cannot be had now keep no other waiting: so many are tried at once."""
NEW: Final = timedelta(days=30)
"""Of older studies it is not asked any more: their files may have gone, and their reports came long ago."""


def know_new_orders(store: Store, folder: Path, keys: OrderKeys, now: datetime) -> int:
    """Read the new studies that nobody has looked at, then file what waits; returns how many reports were filed.

    `folder` is the storage folder.
    """
    known = 0
    for study_id, path in store.studies_without_order(now - NEW, TRIED):
        known += _know_order(store, study_id, folder / path, keys)
        if known == AT_ONCE:
            break
    return store.file_reports(now)


def _know_order(store: Store, study_id: int, path: Path, keys: OrderKeys) -> bool:
    """Keep under which order a study was made; False where its file cannot be had now, so that it is asked again."""
    try:
        accession_number, patient_id = read_order(path)
    except OSError:
        return False
    store.record_order(study_id, keys.of_accession(accession_number), keys.of_patient(patient_id))
    return True


def read_order(path: Path) -> tuple[str, str]:
    """Read accession number and patient ID of an archived image; empty where it is no image that can be read.

    Raises OSError where the disk does not give it, or not now.
    """
    keywords = ["AccessionNumber", "PatientID"]
    try:
        ds = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SpecificCharacterSet", *keywords])
        accession_number, patient_id = (str(ds.get(keyword) or "").strip() for keyword in keywords)
    except OSError:
        raise
    except NOT_READABLE:
        return "", ""
    return accession_number, patient_id


def forget_old_reports(store: Store, wait_days: float, now: datetime) -> int:
    """Delete the reports that have waited for so long; 0 keeps them for ever. Returns how many."""
    return store.forget_sent_reports(now - timedelta(days=wait_days)) if wait_days else 0
