"""Read from an archived file where its study was asked for and made: never who the patient is.

What is read is compared with the patterns of the settings and goes no further:
neither into the database nor into a log.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

ELEMENTS: Final[Mapping[str, tuple[str, ...]]] = {
    "institutions": ("InstitutionName",),
    "departments": ("InstitutionalDepartmentName", "RequestingService"),
    "wards": ("CurrentPatientLocation",),
    "stations": ("StationName",),
}
"""The elements that each list of patterns in [[notices.rules]] is held against."""
Origin = Mapping[str, tuple[str, ...]]
"""Key of ELEMENTS to what the header says; empty where it says nothing."""


def read_origin(path: Path) -> Origin:
    """Read a file that the archive wrote; whatever in it cannot be read is absent.

    Raises OSError where the disk does not give it now.
    """
    # Here: the daemon keeps decoders out before it first loads pydicom (leave_out_decoders.py).
    from screener.read_elements import is_away, read_elements
    from screener.read_header import NOT_READABLE

    keywords = [keyword for several in ELEMENTS.values() for keyword in several]
    try:
        ds = read_elements(path, keywords)
        texts = {keyword: str(ds.get(keyword) or "").strip() for keyword in keywords}
    except NOT_READABLE as error:
        if is_away(path, error):
            raise
        texts = {}
    return {
        name: tuple(texts[keyword] for keyword in several if texts.get(keyword)) for name, several in ELEMENTS.items()
    }
