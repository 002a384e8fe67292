"""LOADED -> LOCALIZED: find the parotid glands in the best series that covers them."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from screener.outcomes import NeedsPerson, Outcome, SetAside
from screener.study import Instance, Parotid, SeriesChoice
from workers.ct.load_study import NO_SERIES, Loaded, choose_outcome, load_study
from workers.ct.localize_parotids import NOT_COVERED, Localizer, localize_parotids

MOST_TRIED: Final = 4
"""Series that are searched for glands, the best included: each takes seconds, and a whole-body study holds many."""


def localize_study(
    images: Sequence[Instance], loaded: Loaded, localizer: Localizer
) -> tuple[Loaded, tuple[Parotid, Parotid]]:
    """Return the series in which the glands were found, `loaded` or one of the next best, and right and left parotid.

    Where none covers a gland, raises the first's SetAside (see `localize_parotids`), or the NeedsPerson of one that
    could not be loaded, for nobody has seen what it covers; the choices are in its attribute.
    """
    begun, hindered = loaded.index, loaded.hindered
    answers: list[SetAside] = []
    while True:
        try:
            return loaded, localize_parotids(loaded.volume, localizer)
        except SetAside as outcome:
            if outcome.code != NOT_COVERED:
                raise
            answers.append(outcome.with_traceback(None))  # whose frames hold the volume
            index, choices = loaded.index, _tell(loaded, outcome)
        if len(answers) == MOST_TRIED:
            break
        del loaded
        try:
            loaded = load_study(images, choices, first=index + 1)
            hindered = choose_outcome(hindered, loaded.hindered)
        except (NeedsPerson, SetAside) as outcome:
            if outcome.code != NO_SERIES:
                hindered, choices = choose_outcome(hindered, outcome), outcome.choices  # type: ignore[assignment]
            break
    raised: Outcome = hindered if isinstance(hindered, NeedsPerson) else answers[0]
    raised.choices = tuple(replace(one, is_chosen=number == begun) for number, one in enumerate(choices))
    raise raised


def _tell(loaded: Loaded, outcome: Outcome) -> tuple[SeriesChoice, ...]:
    """Return the choices with what was found out about the one that was searched."""
    return tuple(
        replace(one, reasons=(*one.reasons, outcome.reason)) if number == loaded.index else one
        for number, one in enumerate(loaded.choices)
    )
