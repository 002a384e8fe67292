"""Find out under which order each study was made, a few at a time, and file the reports that have waited for it."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from screener.order_keys import OrderKeys
from screener.read_each import TRIED, read_each
from screener.read_elements import read_elements, single_value
from screener.read_header import NOT_READABLE
from screener.store import Store

AT_ONCE: Final = 50
NEW: Final = timedelta(days=30)
"""Of older studies it is not asked any more: their files may have gone, and their reports came long ago."""


def know_new_orders(store: Store, folder: Path, keys: OrderKeys, now: datetime) -> int:
    """Read the new studies that nobody has looked at, then file what waits; returns how many reports were filed.

    `folder` is the storage folder.
    """
    found = store.studies_without_order(now - NEW, TRIED)
    for study_id, (accession_number, patient_id) in read_each(found, lambda path: read_order(folder / path), AT_ONCE):
        store.record_order(study_id, keys.of_accession(accession_number), keys.of_patient(patient_id))
    return store.file_reports(now)


def read_order(path: Path) -> tuple[str, str]:
    """Read accession number and patient ID of an archived image; empty where it is no image that can be read.

    Raises OSError where the disk does not give it, or not now.
    """
    keywords = ["AccessionNumber", "PatientID"]
    try:
        ds = read_elements(path, keywords)
        accession_number, patient_id = (str(single_value(ds, keyword)).strip() for keyword in keywords)
    except OSError:
        raise
    except NOT_READABLE:
        return "", ""
    return accession_number, patient_id


def forget_old_reports(store: Store, wait_days: float, now: datetime) -> int:
    """Delete the reports that have waited for so long; 0 keeps them for ever. Returns how many."""
    return store.forget_sent_reports(now - timedelta(days=wait_days)) if wait_days else 0
