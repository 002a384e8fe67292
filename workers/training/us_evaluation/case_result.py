"""What screening one ultrasound case left behind, and how it is held against its truth.

What was not assessed is never left out: a malignant lesion without an answer
is missed, a benign one is a false alarm.
"""

from dataclasses import dataclass
from typing import Final

from screener.us_study import Answer
from workers.training.us_read_cases import BENIGN, MALIGNANT, UNLABELED, CaseRow

NOT_FOUND: Final = -1.0
"""Score of a lesion that the product did not find, and of a malignant one without an answer: below every other."""
BENIGN_NOT_ASSESSED: Final = 2.0
"""Above every other score, so that it counts as a false alarm at any threshold."""


def has_lesion(row: CaseRow) -> bool:
    """Return whether the row's label is that of a lesion."""
    return row.label in (BENIGN, MALIGNANT, UNLABELED)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsResult:
    """One case after the product's stages."""

    row: CaseRow
    answer: Answer
    reason: str
    """The product's sentence, or why the case could not be screened."""
    probability: float | None = None
    """Calibrated, of malignancy, of the lesion that the product outlined, by what decides; None without one."""
    image_probability: float | None = None
    """The image model's of the same outline, whatever decides; None without a lesion."""
    is_outlined: bool = False
    """Whether the truth holds a usable outline."""
    outline_problem: str = ""
    """Why an outline that the index promises could not be used; empty where all is well."""
    dice: float | None = None
    """Of the product's outline against the truth, 0 where it found none; None without a usable outline."""
    is_hit: bool | None = None
    """Whether the product's lesion is the outlined one; None without a usable outline."""
    outline_probability: float | None = None
    """What decides says of the outlined lesion; None where it has no answer."""
    whole_probability: float | None = None
    """What the classifier says of the whole picture; for pictures without a lesion only."""
    lesion_share: float | None = None
    """Of the picture, what the true outline covers; None without a usable outline."""
    longest_diameter_mm: float | None = None
    """Of the lesion found; None where the picture is not calibrated."""
    seconds: float | None = None
    """Segmenting, classifying and deciding, reading not included; None where the case could not be screened."""

    @property
    def has_lesion(self) -> bool:
        """Whether the truth holds a lesion."""
        return has_lesion(self.row)

    @property
    def is_rated(self) -> bool:
        """Whether the truth says benign or malignant."""
        return self.row.label in (BENIGN, MALIGNANT)

    @property
    def is_malignant(self) -> bool:
        """Whether the truth is a malignant lesion."""
        return self.row.label == MALIGNANT

    @property
    def is_assessed(self) -> bool:
        """Whether the product gave an answer."""
        return self.answer is not Answer.NOT_ASSESSABLE

    @property
    def is_called(self) -> bool:
        """Whether the case counts as called malignant: a lesion that is not malignant and not assessed does."""
        return self.answer is Answer.MALIGNANT or (not self.is_assessed and not self.is_malignant)

    @property
    def score(self) -> float:
        """What the case is ranked by: the probability, or one of the values above where there is none."""
        if self.probability is not None:
            return self.probability
        return NOT_FOUND if self.is_assessed or self.is_malignant else BENIGN_NOT_ASSESSED

    @property
    def image_score(self) -> float:
        """What the case would be ranked by if the image model decided."""
        return self.score if self.image_probability is None else self.image_probability
