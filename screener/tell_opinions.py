"""What people did about a study, for `screener explain`: who took note, and what they said of a decision."""

from collections.abc import Sequence

from screener.explain import tell_moment
from screener.store.reviews import Acknowledgement, Opinion, Review

_SAID = {
    Opinion.AGREE: "agrees with",
    Opinion.DISAGREE: "disagrees with",
    Opinion.REPORTED: "says that the report has the finding already, of",
    Opinion.COMMENT: "comments on",
}


def tell_opinions(acknowledgements: Sequence[Acknowledgement], reviews: Sequence[Review]) -> str:
    """Return a line for each, oldest first; empty where nobody did anything.

    The words of an opinion may name the patient and are left to the case page.
    """
    told = [(one.at, f"{one.by} acknowledged run {one.run_number} ({one.how})") for one in acknowledgements]
    told += [(one.at, f"{one.by} {_SAID[one.opinion]} run {one.run_number}") for one in reviews]
    if not told:
        return ""
    return "\n".join(["people:", *(f"  {tell_moment(at)}  {sentence}" for at, sentence in sorted(told))])
