"""Draw the ultrasound networks' training samples from cases in memory, and prepare cases to judge a network by.

A source, then a kind of case, then a group, then one of its pictures is drawn:
no source, kind or often-photographed patient outweighs the others, and the
share of malignant lesions is the same in every source. A classifier could
otherwise learn the organ instead of the lesion.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from screener.outcomes import NeedsPerson
from workers.models.us_image import (
    Square,
    cut_square,
    find_box,
    prepare_square,
    scale_gray,
    surround_lesion,
    surround_picture,
)
from workers.training.us_augment import change_look, move_square, turn_view
from workers.training.us_read_cases import BENIGN, MALIGNANT, UsCase

Sample = tuple[NDArray[np.float32], NDArray[np.int64]]
Urn = dict[str, dict[str, list[list[UsCase]]]]
"""By source, then by kind, the groups' cases."""

LEAST_REGION_SHARE, MOST_REGION_SHARE = 0.15, 0.6
"""Of a healthy picture's shorter side: how large a region is that a segmenter may have taken by mistake."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmenterUrns:
    """What the segmenter's samples are drawn from."""

    lesions: Urn
    healthy: Urn


def sort_for_segmenter(cases: Sequence[UsCase]) -> SegmenterUrns:
    """Return the outlined lesions and the pictures without any; a lesion that nobody has outlined teaches nothing.

    Raises NeedsPerson (`no_cases`) where no lesion is outlined.
    """
    known = [case for case in cases if case.lesion is not None]
    lesions = _fill([case for case in known if _has_lesion(case)], lambda _: "lesion")
    if not lesions:
        raise NeedsPerson("No case with an outlined lesion was found to train on.", code="no_cases")
    return SegmenterUrns(lesions=lesions, healthy=_fill([c for c in known if not _has_lesion(c)], lambda _: "healthy"))


def draw_for_segmenter(urns: SegmenterUrns, rng: np.random.Generator, *, side_px: int, healthy_share: float) -> Sample:
    """Return one augmented picture (1, side_px, side_px) and its classes (side_px, side_px): 1 in the lesion."""
    is_healthy = bool(urns.healthy) and rng.random() < healthy_share
    case = _draw_case(urns.healthy if is_healthy else urns.lesions, rng)
    square = move_square(surround_picture(_shape_of(case)), rng, scales=(0.7, 1.15), shift=0.12)
    image, lesion = _draw_view(case, square, rng, side_px=side_px, with_shadow=True)
    return image, lesion.astype(np.int64)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierUrns:
    """What the classifier's samples are drawn from."""

    lesions: Urn
    """Of both kinds in every source."""
    healthy: Urn


def sort_for_classifier(cases: Sequence[UsCase]) -> ClassifierUrns:
    """Return the outlined lesions of known kind, of those sources that hold both, and the pictures without any.

    Raises NeedsPerson (`no_cases`) where no source holds both kinds.
    """
    known = [case for case in cases if _has_lesion(case) and case.row.label in (BENIGN, MALIGNANT)]
    urn = _fill(known, lambda case: case.row.label)
    lesions = {source: kinds for source, kinds in urn.items() if len(kinds) == 2}
    if not lesions:
        reason = "No source among the cases to train on holds outlined lesions of both kinds, benign and malignant."
        raise NeedsPerson(reason, code="no_cases")
    healthy = [case for case in cases if case.lesion is not None and not _has_lesion(case)]
    return ClassifierUrns(lesions=lesions, healthy=_fill(healthy, lambda _: "healthy"))


def draw_for_classifier(
    urns: ClassifierUrns, rng: np.random.Generator, *, side_px: int, healthy_share: float
) -> Sample:
    """Return one augmented lesion (1, side_px, side_px) and its class (): 1 malignant.

    A share `healthy_share` shows a region of a healthy picture, class 0: what
    a segmenter takes there by mistake must not be called malignant.
    """
    if urns.healthy and rng.random() < healthy_share:
        case = _draw_case(urns.healthy, rng)
        square, kind = _draw_region(_shape_of(case), rng), 0
    else:
        case = _draw_case(urns.lesions, rng)
        square, kind = _find_square(case), int(case.row.label == MALIGNANT)
    # The segmenter's rectangle is not the outline's: too large, too small or beside it.
    square = move_square(square, rng, scales=(0.8, 1.25), shift=0.08)
    image, _ = _draw_view(case, square, rng, side_px=side_px, with_shadow=False)
    return image, np.array(kind, dtype=np.int64)


def view_for_classifier(case: UsCase, side_px: int) -> NDArray[np.float32]:
    """Return the outlined lesion of a case as the classifier sees it, unchanged: (1, side_px, side_px)."""
    return prepare_square(case.gray, _find_square(case), side_px)


def view_for_segmenter(case: UsCase, side_px: int) -> NDArray[np.float32]:
    """Return a case as the segmenter sees it, unchanged: (1, side_px, side_px)."""
    return prepare_square(case.gray, surround_picture(_shape_of(case)), side_px)


def _draw_view(
    case: UsCase, square: Square, rng: np.random.Generator, *, side_px: int, with_shadow: bool
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return the augmented square of a case, ready for a network, and the lesion in it."""
    gray, inside = cut_square(case.gray, square, side_px)
    seen, _ = cut_square(_lesion_of(case).astype(np.float32), square, side_px)
    gray, inside, lesion = turn_view(gray, inside, seen > 0.5, rng)
    gray = change_look(gray, inside, rng, with_shadow=with_shadow)
    return np.ascontiguousarray(scale_gray(gray, inside)[None]), np.ascontiguousarray(lesion)


def _fill(cases: Sequence[UsCase], kind_of: Callable[[UsCase], str]) -> Urn:
    """Return the cases sorted, so that the same cases are drawn whatever order they came in."""
    groups: dict[tuple[str, str, str], list[UsCase]] = defaultdict(list)
    for case in sorted(cases, key=lambda case: (case.row.source, case.row.name)):
        groups[case.row.source, kind_of(case), case.row.group].append(case)
    urn: Urn = {}
    for (source, kind, _), members in sorted(groups.items(), key=lambda item: item[0]):
        urn.setdefault(source, {}).setdefault(kind, []).append(members)
    return urn


def _draw_case(urn: Urn, rng: np.random.Generator) -> UsCase:
    kinds = list(urn.values())[rng.integers(len(urn))]
    groups = list(kinds.values())[rng.integers(len(kinds))]
    members = groups[rng.integers(len(groups))]
    return members[rng.integers(len(members))]


def _draw_region(shape: tuple[int, int], rng: np.random.Generator) -> Square:
    """Return a square somewhere in a picture of `shape`."""
    side = rng.uniform(LEAST_REGION_SHARE, MOST_REGION_SHARE) * min(shape)
    top, left = rng.uniform(0, 1, 2) * (np.array(shape) - side)
    return Square(top=float(top), left=float(left), side=float(side))


def _find_square(case: UsCase) -> Square:
    """Return the square around the largest piece of the outline: the product, too, takes one lesion."""
    pieces, _ = ndimage.label(_lesion_of(case))
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return surround_lesion(find_box(pieces == sizes.argmax()))


def _has_lesion(case: UsCase) -> bool:
    return case.lesion is not None and bool(case.lesion.any())


def _lesion_of(case: UsCase) -> NDArray[np.bool_]:
    """Return the outline of a case that is known to have one, or to have no lesion."""
    if case.lesion is None:
        raise ValueError("the lesion of this case is not outlined")
    return case.lesion


def _shape_of(case: UsCase) -> tuple[int, int]:
    rows, columns = case.gray.shape
    return rows, columns
