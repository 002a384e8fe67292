"""The words by which a person says what is seen of an ultrasound lesion: on the command line and on the pages."""

from collections.abc import Mapping
from typing import Final

from screener.us_study import Finding

FINDING_WORDS: Final[Mapping[str, tuple[Finding, Mapping[str, bool | None]]]] = {
    "shape": (Finding.IRREGULAR_SHAPE, {"irregular": True, "regular": False, "unknown": None}),
    "margin": (Finding.POORLY_DEFINED_MARGIN, {"poor": True, "well": False, "unknown": None}),
    "enhancement": (Finding.POSTERIOR_ENHANCEMENT, {"present": True, "absent": False, "unknown": None}),
    "nodes": (Finding.SUSPICIOUS_LYMPH_NODES, {"suspicious": True, "normal": False, "unknown": None}),
}
"""What is asked to the finding that it tells, and what the words of the answer say of it; None: nobody can tell."""


def read_answers(answers: Mapping[str, str]) -> dict[Finding, bool | None]:
    """Give what `answers`, a word for each thing asked, say. Raises KeyError for a word that is none of them."""
    return {FINDING_WORDS[asked][0]: FINDING_WORDS[asked][1][answer] for asked, answer in answers.items()}
