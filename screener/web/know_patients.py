"""Finds out which studies are of the same patient, a few at a time, beside the serving of pages."""

import logging
import threading
from collections.abc import Callable
from typing import Final

import sqlalchemy.exc

from screener.logs import describe_error
from screener.store import Store
from screener.store.web_case import KnownPatient
from screener.web.read_patient import Patient, PatientReader

AT_ONCE: Final = 50
TRIED: Final = 1000
"""Files that cannot be had now keep no other waiting: so many are tried at once."""
LOOK_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


def know_new_patients(reader: Store, store: Store, patients: PatientReader) -> int:
    """Read whose the newest studies are that nobody has looked at; returns how many. Their IDs are kept as digests."""
    found: list[KnownPatient] = []
    for study_id, path in reader.studies_without_patient(TRIED):
        try:
            patient = patients.ask(path)
        except OSError:  # asked again in the next round
            continue
        found.append(_know_patient(study_id, patient, patients))
        if len(found) == AT_ONCE:
            break
    if found:
        store.record_patients(found)
    return len(found)


def _know_patient(study_id: int, patient: Patient | None, patients: PatientReader) -> KnownPatient:
    if patient is None:
        return KnownPatient(study_id=study_id, patient_key="", study_date=None)
    key, words = patients.key(patient), patients.words(patient)
    return KnownPatient(study_id=study_id, patient_key=key, study_date=patient.study_date, words=words)


def know_patients(reader: Store, store: Store, patients: PatientReader, is_over: threading.Event) -> None:
    """Go on until `is_over`; a database or a disk that is away is asked again."""
    known = 0
    while not is_over.wait(0.1 if known else LOOK_SECONDS):
        known = _try(lambda: know_new_patients(reader, store, patients))


def _try(work: Callable[[], int]) -> int:
    try:
        return work()
    except (sqlalchemy.exc.SQLAlchemyError, OSError) as error:
        logger.warning("which studies are of the same patient is not known for now: %s", describe_error(error))
        return 0
