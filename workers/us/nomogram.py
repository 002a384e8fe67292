"""Combine the image model's probability with three findings of a reader: shape, margin and posterior enhancement.

The published study (526 patients) gives an odds ratio for each finding, but neither its intercept nor the factor of
its image score. So the log odds of our calibrated probability are taken as they are, and the logarithm of the odds
ratio is added for each finding that is present:

    log odds = log odds(image) + 0.229 irregular shape + 0.280 poorly defined margin - 0.214 posterior enhancement

What that cannot do: the odds ratios were adjusted for the study's own score and not for ours, so that what our model
has already seen of shape and margin is counted again; a mass without any of the three keeps its probability, although
the model was calibrated over all masses; and all three together move 50 % to no more than 62 %, and no less than 45 %.
It is a default for want of data, not calibrated and not validated: fit it on your own cases
(workers/training/nomogram.py). Research use, not validated for clinical diagnosis.

A finding that is not known is never filled in: there is no combined probability then, but the range that it leaves.
"""

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from screener.outcomes import NeedsPerson
from screener.us_study import Combination, Finding

NEAREST: Final = 1e-6
"""A probability of 0 or 1 has no log odds: it is taken for this far from it."""
MOST_LOG_ODDS: Final = 500.0
"""Beyond this the exponential would overflow; the probability is 0 or 1 long before."""
PUBLISHED_SOURCE: Final = "odds ratios as published (526 patients, parotid ultrasound), not calibrated to this model"


@dataclass(frozen=True, slots=True, kw_only=True)
class Nomogram:
    """Weights in log odds."""

    intercept: float
    of_image: float
    """Factor of the log odds of the image model's probability."""
    of_findings: Mapping[Finding, float]
    """Added where the finding is present. Only these findings count: no other is used, or missed."""
    source: str
    """Where the weights come from, for the report."""
    judge_digest: str = ""
    """Of the bundle whose probability they were fitted beside; empty where the weights are bound to none."""

    def must_fit(self, name: str, digest: str) -> None:
        """Raise NeedsPerson (`bad_nomogram`) where the weights were fitted beside another bundle than `name`."""
        if self.judge_digest and self.judge_digest != digest:
            reason = f"The nomogram was fitted beside other weights than those of {name}: fit it anew."
            raise NeedsPerson(reason, code="bad_nomogram")


PUBLISHED: Final = Nomogram(
    intercept=0.0,
    of_image=1.0,
    of_findings={
        Finding.IRREGULAR_SHAPE: math.log(1.257),
        Finding.POORLY_DEFINED_MARGIN: math.log(1.323),
        Finding.POSTERIOR_ENHANCEMENT: math.log(0.807),
    },
    source=PUBLISHED_SOURCE,
)
"""The third odds ratio is printed beside "absent" in what we have of the study; it is read as that of enhancement that
is present, which speaks for a benign mass. Whoever reads it the other way turns one sign."""


def combine_findings(
    image_probability: float, findings: Mapping[Finding, bool | None], nomogram: Nomogram = PUBLISHED
) -> Combination:
    """Combine the image model's calibrated probability with the findings; None, or no entry, is a missing one.

    Raises ValueError for a probability that is not within 0 to 1.
    """
    if not 0 <= image_probability <= 1:
        raise ValueError("The image model's probability must lie within 0 to 1.")
    missing = tuple(finding for finding in nomogram.of_findings if findings.get(finding) is None)
    known = {finding: bool(findings[finding]) for finding in nomogram.of_findings if finding not in missing}
    possible = [
        _probability(image_probability, known | dict(zip(missing, values, strict=True)), nomogram)
        for values in itertools.product((False, True), repeat=len(missing))
    ]
    lowest, highest = min(possible), max(possible)
    return Combination(
        probability=None if missing else possible[0],
        lowest=lowest,
        highest=highest,
        missing=missing,
        reason=_tell(missing, lowest, highest, nomogram.source),
    )


def read_nomogram(stored: Mapping[str, Any]) -> Nomogram:
    """Return the nomogram of a JSON object, as write_nomogram makes it. Raises ValueError where it is not one."""
    try:
        weights = {Finding(name): float(weight) for name, weight in stored["of_findings"].items()}
        nomogram = Nomogram(
            intercept=float(stored["intercept"]),
            of_image=float(stored["of_image"]),
            of_findings=weights,
            source=str(stored["source"]),
            judge_digest=str(stored.get("judge_digest", "")),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            "This is no nomogram: intercept, of_image, of_findings or source is missing, or a finding is not known."
        ) from error
    if not weights:
        raise ValueError("The nomogram weighs no finding.")
    if not all(map(math.isfinite, (nomogram.intercept, nomogram.of_image, *weights.values()))):
        raise ValueError("A weight of the nomogram is not finite.")
    return nomogram


def load_nomogram(path: Path) -> Nomogram:
    """Read the nomogram of a hospital from its file (JSON). Raises NeedsPerson where it holds none."""
    try:
        return read_nomogram(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise NeedsPerson(f"The nomogram {path.name} cannot be read: {error.strerror}.") from error
    except (TypeError, ValueError) as error:
        raise NeedsPerson(f"The nomogram {path.name} cannot be used. {error}") from error


def write_nomogram(nomogram: Nomogram) -> dict[str, Any]:
    """Return `nomogram` as a JSON object; it names a bundle where the weights are bound to one."""
    bound = {"judge_digest": nomogram.judge_digest} if nomogram.judge_digest else {}
    return {
        "intercept": nomogram.intercept,
        "of_image": nomogram.of_image,
        "of_findings": {finding.value: weight for finding, weight in nomogram.of_findings.items()},
        "source": nomogram.source,
        **bound,
    }


def log_odds(probability: float) -> float:
    """Return the log odds of `probability`, which is kept NEAREST from 0 and 1."""
    kept = min(max(probability, NEAREST), 1 - NEAREST)
    return math.log(kept / (1 - kept))


def _probability(image_probability: float, findings: Mapping[Finding, bool], nomogram: Nomogram) -> float:
    added = sum(weight for finding, weight in nomogram.of_findings.items() if findings[finding])
    odds = nomogram.intercept + nomogram.of_image * log_odds(image_probability) + added
    return 1 / (1 + math.exp(-min(max(odds, -MOST_LOG_ODDS), MOST_LOG_ODDS)))


def _tell(missing: tuple[Finding, ...], lowest: float, highest: float, source: str) -> str:
    if not missing:
        return f"Image and the reader's findings together: probability of malignancy {lowest:.2f} ({source})."
    names = ", ".join(finding.value for finding in missing)
    span = f"{lowest:.2f} to {highest:.2f}"
    return f"No nomogram: not known are {names}; with them it would lie within {span} ({source})."
