"""Find out what made the images of each study, a few at a time, while the files are there."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from screener.read_each import TRIED, read_each
from screener.read_elements import read_elements
from screener.read_header import NOT_READABLE
from screener.store import Store
from screener.store.quality import Scanner

AT_ONCE: Final = 50
NEW: Final = timedelta(days=7)
"""Of older studies it is not asked any more: their files may have gone."""
_KEYWORDS: Final = {
    "station": "StationName",
    "manufacturer": "Manufacturer",
    "model": "ManufacturerModelName",
    "protocol": "ProtocolName",
}


def know_new_scanners(store: Store, folder: Path, now: datetime) -> int:
    """Read the new studies that nobody has looked at; returns how many. `folder` is the storage folder."""
    found = store.studies_without_scanner(now - NEW, TRIED)
    known = read_each(found, lambda path: read_scanner(folder / path), AT_ONCE)
    for study_id, scanner in known:
        store.record_scanner(study_id, scanner)
    return len(known)


def read_scanner(path: Path) -> Scanner:
    """Read what made an archived image, none of it about the patient; empty where it is no image that can be read.

    Raises OSError where the disk does not give it, or not now.
    """
    try:
        ds = read_elements(path, list(_KEYWORDS.values()))
        texts = {name: _tidy(str(ds.get(keyword) or "")) for name, keyword in _KEYWORDS.items()}
    except OSError:
        raise
    except NOT_READABLE:
        return Scanner()
    return Scanner(**texts)


def _tidy(text: str) -> str:
    """Keep what can be printed, with single spaces."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
