"""What was answered of a gland or an ultrasound study, in the few words of a list: "not assessed" is no "nothing"."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

from screener.study import Presence, Side
from screener.us_study import Answer

NOT_ASSESSED: Final = "not assessed"
_GLANDS: Final = MappingProxyType(
    {
        Presence.PRESENT: "mass above the threshold",
        Presence.ABSENT: "nothing above the threshold",
        Presence.UNDETERMINED: NOT_ASSESSED,
    }
)
_LESIONS: Final = MappingProxyType(
    {
        Answer.MALIGNANT: "lesion called malignant",
        Answer.BENIGN: "lesion called benign",
        Answer.NO_LESION: "no lesion found",
        Answer.NOT_ASSESSABLE: "not assessable",
    }
)


def say_gland(presence: Presence | None) -> str:
    """Say what was found of one gland; None, of which nothing was kept, is not assessed."""
    return NOT_ASSESSED if presence is None else _GLANDS[presence]


def say_lesion(answer: Answer) -> str:
    """Say what was found of an ultrasound study, which knows no side."""
    return _LESIONS[answer]


def say_beside_masses(presences: Mapping[Side, Presence], answer: Answer | None) -> Sequence[str]:
    """Say all that the masses of a decided study do not tell: one sentence where both glands are alike, else one each.

    `presences` is empty and `answer` is not None of ultrasound.
    """
    if answer is not None:
        return () if answer is Answer.MALIGNANT else (say_lesion(answer),)
    found = {side: presences.get(side) for side in Side}
    if len(set(found.values())) == 1 and Presence.PRESENT not in found.values():
        return (say_gland(next(iter(found.values()))),)
    is_flagged = Presence.PRESENT in found.values()
    said = {side: presence for side, presence in found.items() if presence is not Presence.PRESENT}
    return tuple(
        f"{side}: {say_gland(presence)}"
        for side, presence in said.items()
        if not (is_flagged and presence is Presence.ABSENT)
    )
