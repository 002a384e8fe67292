"""Finds out which studies are of the same patient, a few at a time, beside the serving of pages."""

import logging
import threading
from collections.abc import Callable
from typing import Final

import sqlalchemy.exc

from screener.logs import describe_error
from screener.read_each import TRIED, read_each
from screener.store import Store
from screener.store.web_case import KnownPatient
from screener.web.read_patient import Patient, PatientReader

AT_ONCE: Final = 50
LOOK_SECONDS: Final = 5.0

logger = logging.getLogger(__name__)


def know_new_patients(reader: Store, store: Store, patients: PatientReader) -> int:
    """Read whose the newest studies are that nobody has looked at; returns how many. Their IDs are kept as digests."""
    read = read_each(reader.studies_without_patient(TRIED), patients.ask, AT_ONCE)
    if read:
        store.record_patients([_know_patient(study_id, patient, patients) for study_id, patient in read])
    return len(read)


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
