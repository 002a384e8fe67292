"""SELECTED -> LOADED: load the best series that is one sound volume."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from screener.outcomes import NeedsPerson, Outcome, SetAside
from screener.study import Instance, SeriesChoice, Volume
from workers.ct.load_volume import load_volume

NO_VOLUME: Final = frozenset({
    "absurd_size", "duplicate_position", "gap", "missing_position", "missing_spacing", "mixed_acquisitions",
    "mixed_geometry", "mixed_spacing", "multi_frame", "not_axial", "too_few_slices",
})  # fmt: skip
"""Codes of series that are read as they are, and are not one volume: another series of the study may be."""


def load_study(images: Sequence[Instance], choices: Sequence[SeriesChoice]) -> tuple[Volume, tuple[SeriesChoice, ...]]:
    """Return the volume of the chosen series, or else of the next best, and `choices` with what hindered the better.

    `choices` are those of `select_series`, best first. Where none is a volume, or what hinders the chosen one is not
    how it lies, the chosen one's outcome is raised (see `load_volume`), with the choices in its attribute.
    """
    told = list(choices)
    first: Outcome | None = None
    for index, choice in enumerate(choices):
        if choice.score <= 0:  # refused by its headers
            continue
        try:
            volume = load_volume(images, choice.series_instance_uid)
        except (NeedsPerson, SetAside) as outcome:
            told[index] = _add_reason(choice, outcome)
            first = first or outcome
            if first.code not in NO_VOLUME:
                break
        else:
            return volume, tuple(replace(one, is_chosen=number == index) for number, one in enumerate(told))
    if first is None:
        raise SetAside("The study holds no series that can be read.", code="no_ct_series")
    first.choices = tuple(told)
    raise first


def _add_reason(choice: SeriesChoice, outcome: Outcome) -> SeriesChoice:
    return replace(choice, reasons=(*choice.reasons, f"It cannot be read as one volume: {outcome.reason}"))
