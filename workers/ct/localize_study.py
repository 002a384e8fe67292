"""LOADED -> LOCALIZED: find the parotid glands in the best series that covers them."""

from collections.abc import Sequence
from typing import Final

from screener.outcomes import NeedsPerson, Outcome, SetAside
from screener.study import Instance, Parotid
from workers.ct.load_study import NO_SERIES, Loaded, add_reason, choose_outcome, load_study, mark_chosen
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
            index, choices = loaded.index, add_reason(loaded.choices, loaded.index, outcome.reason)
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
    raised.choices = mark_chosen(choices, begun)
    raise raised
