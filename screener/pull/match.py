"""Which studies and series of a source are wanted: its settings against what C-FIND says of them.

What a PACS leaves empty rules nothing out: matching keys beyond the unique
ones are optional for it (PS3.4 C.6.2.1), and scanners leave them empty too.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pydicom import Dataset

from screener.config import Source
from screener.sop_classes import IMAGES


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One series as a PACS describes it."""

    series_instance_uid: str
    modality: str
    body_part: str
    station_name: str
    images: int | None
    """The PACS's count; None where it does not say."""

    @classmethod
    def of(cls, answer: Dataset) -> "Series":
        """Read one answer to C-FIND at SERIES level."""
        count = _text(answer, "NumberOfSeriesRelatedInstances")
        return cls(
            series_instance_uid=_text(answer, "SeriesInstanceUID"),
            modality=_text(answer, "Modality"),
            body_part=_text(answer, "BodyPartExamined").upper(),
            station_name=_text(answer, "StationName"),
            images=int(count) if count.isascii() and count.isdigit() else None,
        )


def pick_images(found: Mapping[str, str]) -> frozenset[str]:
    """Of SOP Instance UIDs by SOP Class UID: those that the door takes as images; an unknown class may be one."""
    return frozenset(uid for uid, sop_class_uid in found.items() if not sop_class_uid or sop_class_uid in IMAGES)


def is_wanted_study(answer: Dataset, source: Source, modality: str) -> bool:
    """Tell whether an answer at STUDY level may hold wanted series."""
    modalities = _texts(answer, "ModalitiesInStudy")
    if modalities and modality not in modalities:
        return False
    description = _text(answer, "StudyDescription").upper()
    patterns = source.study_descriptions
    return not patterns or any(fnmatchcase(description, pattern.upper()) for pattern in patterns)


def is_wanted_series(series: Series, source: Source, modalities: Sequence[str], body_parts: Sequence[str]) -> bool:
    """Tell whether a series is to be fetched; "HEADNECK" is both HEAD and NECK."""
    if series.modality not in modalities:
        return False
    if source.station_names and series.station_name not in source.station_names:
        return False
    if not body_parts:
        return True
    if not series.body_part:
        return source.takes_unnamed_body_parts
    return any(part.upper() in series.body_part for part in body_parts)


def _text(answer: Dataset, keyword: str) -> str:
    value = answer.get(keyword)
    return "" if value is None else str(value).strip()


def _texts(answer: Dataset, keyword: str) -> list[str]:
    value = answer.get(keyword)
    if value is None or value == "":
        return []
    return [value] if isinstance(value, str) else [str(one) for one in value]
