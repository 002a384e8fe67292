"""SELECTED -> LOADED: load the best series that is one sound volume."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from screener.outcomes import NeedsPerson, Outcome, SetAside
from screener.study import Instance, SeriesChoice, Volume
from workers.ct.load_volume import load_volume

NO_VOLUME: Final = frozenset({
    "absurd_size", "duplicate_position", "gap", "missing_position", "missing_spacing", "mixed_acquisitions",
    "mixed_geometry", "mixed_spacing", "multi_frame", "not_axial", "too_few_slices",
})  # fmt: skip
"""Codes of series that are read as they are, and are not one volume: another series of the study may be."""
NO_SERIES: Final = "no_ct_series"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """One series of a study as a volume."""

    volume: Volume
    choices: tuple[SeriesChoice, ...]
    """Those of `select_series`, best first, with what hindered the better."""
    index: int
    """Of the volume's series among the choices."""
    hindered: Outcome | None
    """What the best of those that could not be loaded would have raised; one that a person must look at comes first."""


def load_study(images: Sequence[Instance], choices: Sequence[SeriesChoice], *, first: int = 0) -> Loaded:
    """Return the volume of the chosen series, or else of the next best, beginning with the choice at index `first`.

    `choices` are those of `select_series`, best first. Where none is a volume, or what hinders the best is not how it
    lies, the outcome of the best is raised (see `load_volume`), with the choices in its attribute; one that a person
    must look at counts more than one that is no volume.
    """
    told = tuple(choices)
    hindered: Outcome | None = None
    for index, choice in enumerate(choices):
        if index < first or choice.score <= 0:  # refused by its headers
            continue
        try:
            volume = load_volume(images, choice.series_instance_uid)
        except (NeedsPerson, SetAside) as outcome:
            told = add_reason(told, index, f"It cannot be read as one volume: {outcome.reason}")
            is_first = hindered is None
            hindered = choose_outcome(hindered, outcome.with_traceback(None))
            if is_first and outcome.code not in NO_VOLUME:
                break
        else:
            return Loaded(volume=volume, choices=mark_chosen(told, index), index=index, hindered=hindered)
    if hindered is None:
        raise SetAside("The study holds no series that can be read.", code=NO_SERIES)
    hindered.choices = told
    raise hindered


def choose_outcome(first: Outcome | None, other: Outcome | None) -> Outcome | None:
    """Return what a study ends with of two outcomes: the first, unless only the other asks for a person."""
    return other if first is None or (isinstance(other, NeedsPerson) and isinstance(first, SetAside)) else first


def mark_chosen(choices: Sequence[SeriesChoice], index: int) -> tuple[SeriesChoice, ...]:
    """Return the choices, of which the one at `index` alone is chosen."""
    return tuple(replace(one, is_chosen=number == index) for number, one in enumerate(choices))


def add_reason(choices: Sequence[SeriesChoice], index: int, reason: str) -> tuple[SeriesChoice, ...]:
    """Return the choices with one more reason of the one at `index`."""
    return tuple(
        replace(one, reasons=(*one.reasons, reason)) if number == index else one for number, one in enumerate(choices)
    )
