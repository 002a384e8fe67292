"""What each value of a threshold would have made of the studies that people have reviewed: for ROC and PPV.

Every study is decided again from what is stored, as in `replay`; what people
say of it stands for the truth. They review what was flagged and little else:
a curve from reviews is kinder to a threshold than a curve from all studies.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from screener.journey import Queue
from screener.performance import Share
from screener.replay import replay
from screener.store import Store
from screener.store.feedback import DecidedLesion, Judgment
from screener.store.values import DecidedRun
from screener.study import Thresholds

FEWEST_OF_EACH: Final = 5
"""Reviewed studies with and without a finding, below which no curve is drawn."""
CT: Final = "min_voxels"
ULTRASOUND: Final = "min_malignancy"
VALUES: Final[Mapping[str, Sequence[float]]] = {
    CT: (30, 50, 100, 200, 300, 500, 800, 1200, 2000, 4000, 8000),
    ULTRASOUND: (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One value of the threshold."""

    value: float
    found: Share
    """Flagged, of the reviewed studies with a finding."""
    false_alarms: Share
    """Flagged, of those without one."""

    @property
    def ppv(self) -> Share:
        """With a finding, of the reviewed studies that are flagged."""
        return Share(hits=self.found.hits, count=self.found.hits + self.false_alarms.hits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweep:
    """One threshold over the reviewed studies of a period."""

    key: str
    """Of [decision]."""
    findings: int
    """Reviewed studies in which people say that there is one."""
    clean: int
    """Reviewed studies in which they say that there is none."""
    points: tuple[Point, ...] = ()
    """By value, all other settings as in force; empty where too few studies were reviewed."""
    in_force: Point | None = None
    """One of the points."""
    tried: Point | None = None
    """All that the form holds, where that differs from what is in force."""


def sweep_reviewed(store: Store, thresholds: Thresholds, tried: Thresholds, since: datetime) -> tuple[Sweep, Sweep]:
    """CT and ultrasound: the reviewed studies since then under every value, and under all settings of `tried`."""
    of_ct, of_us = store.judgments(Queue.CT), store.judgments(Queue.US)
    runs = [each for each in store.decided_runs(since, is_reviewed=True) if _is_clear(of_ct.get(each.study_id))]
    lesions = [each for each in store.decided_lesions(since, is_reviewed=True) if _is_clear(of_us.get(each.study_id))]
    return (
        sweep(CT, thresholds, tried, of_ct, runs=runs),
        sweep(ULTRASOUND, thresholds, tried, of_us, lesions=lesions),
    )


def sweep(
    key: str,
    thresholds: Thresholds,
    tried: Thresholds,
    judgments: Mapping[int, Judgment],
    *,
    runs: Sequence[DecidedRun] = (),
    lesions: Sequence[DecidedLesion] = (),
) -> Sweep:
    """Decide `runs` and `lesions`, all of them judged, under each value of the threshold `key`."""
    studies = {*(run.study_id for run in runs), *(lesion.study_id for lesion in lesions)}
    findings = {study_id for study_id in studies if judgments[study_id] is Judgment.FINDING}
    clean = studies - findings
    counted = Sweep(key=key, findings=len(findings), clean=len(clean))
    if min(len(findings), len(clean)) < FEWEST_OF_EACH:
        return counted

    def decide_all(settings: Thresholds) -> Point:
        flagged = replay(runs, settings, lesions).flagged
        return Point(
            value=float(getattr(settings, key)),
            found=Share(hits=len(flagged & findings), count=len(findings)),
            false_alarms=Share(hits=len(flagged & clean), count=len(clean)),
        )

    in_force = decide_all(thresholds)
    others = (decide_all(_set(thresholds, key, value)) for value in VALUES[key] if value != in_force.value)
    return replace(
        counted,
        points=tuple(sorted((in_force, *others), key=lambda point: point.value)),
        in_force=in_force,
        tried=None if tried == thresholds else decide_all(tried),
    )


def _is_clear(judgment: Judgment | None) -> bool:
    return judgment in {Judgment.FINDING, Judgment.NO_FINDING}


def _set(thresholds: Thresholds, key: str, value: float) -> Thresholds:
    return replace(thresholds, min_voxels=int(value)) if key == CT else replace(thresholds, min_malignancy=value)
