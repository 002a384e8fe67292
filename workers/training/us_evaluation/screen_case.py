"""Take one ultrasound case through the product's own stages, and measure the answer against the truth."""

import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from screener.decide_us import decide_ultrasound
from screener.outcomes import Outcome, SetAside
from screener.study import Thresholds
from screener.us_study import Answer, Box, Frame, Lesion, UltrasoundVerdict
from workers.models.fusion_machine import FusionMachine
from workers.models.us_weights import UsNetwork
from workers.training.evaluation.judge_case import HIT_SHARE
from workers.training.us_evaluation.case_result import UsResult, has_lesion
from workers.training.us_judge_networks import overlap
from workers.training.us_read_cases import CaseRow, as_instance, find_picture, read_image, read_outline, refuse
from workers.us.classify_lesion import classify_lesion
from workers.us.read_frames import count_frames, read_header
from workers.us.segment_lesion import keep_largest, segment_lesion
from workers.us.select_frames import select_frames

Bools = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class UsModels:
    """The networks that are judged."""

    segmenter: UsNetwork
    classifier: UsNetwork
    fusion: FusionMachine | None = None
    """Where it decides; None where the classifier does."""

    @property
    def digests(self) -> dict[str, str]:
        """What identifies each bundle."""
        networks = {bundle.name: bundle.digest for bundle in (self.segmenter, self.classifier)}
        return networks if self.fusion is None else networks | {self.fusion.name: self.fusion.digest}


@dataclass(frozen=True, slots=True, kw_only=True)
class Screened:
    """A case's result, and what a picture of it needs."""

    result: UsResult
    gray: NDArray[np.uint8] | None
    """The frame that stands for the case, (rows, columns); None where it could not be read."""
    outlines: dict[str, Bools]
    """On its grid: `truth` and `called`, each where there is one."""


def screen_case(row: CaseRow, models: UsModels, thresholds: Thresholds) -> Screened:
    """Screen the case as the daemon would; one that cannot be screened has an answer too."""
    try:
        frames = read_frames_of(row)
        outline, problem = _read_truth(row, frames[0].picture_shape)
        started = time.perf_counter()
        lesion, verdict, image_probability = ask_product(frames, models, thresholds)
        seconds = time.perf_counter() - started
        screened = _compare(row, frames, lesion, verdict, outline, problem, seconds, models)
        return replace(screened, result=replace(screened.result, image_probability=image_probability))
    except Outcome as outcome:
        return Screened(result=_miss(row, outcome), gray=None, outlines={})


def _miss(row: CaseRow, outcome: Outcome) -> UsResult:
    """Return the result of a case without an answer; where the product refused it, an outlined lesion was not found.

    What the case itself lacks (`refuse`) is no fault of the product.
    """
    is_refused = isinstance(outcome, SetAside) and row.has_outline
    return UsResult(
        row=row,
        answer=Answer.NOT_ASSESSABLE,
        reason=outcome.reason,
        dice=0.0 if is_refused else None,
        is_hit=False if is_refused else None,
    )


def read_frames_of(row: CaseRow) -> tuple[Frame, ...]:
    """Return the frames of a case: those that the product's own stage takes of DICOM, else the whole picture.

    Raises NeedsPerson or SetAside where the case cannot be used.
    """
    path = find_picture(row)
    if path.suffix in (".dcm", ""):
        return _read_dicom(path, has_outline=row.has_outline)
    gray = read_image(path)
    box = Box(top=0, left=0, bottom=gray.shape[0], right=gray.shape[1])
    return (
        Frame(
            sop_instance_uid="",
            frame_number=0,
            box=box,
            picture_shape=(box.bottom, box.right),
            gray=gray,
            spacing_mm=None,
        ),
    )


def _read_dicom(path: Path, *, has_outline: bool) -> tuple[Frame, ...]:
    instance = as_instance(path)
    if has_outline and count_frames(read_header(instance)) > 1:
        raise refuse("it is a clip with an outline, which belongs to one frame; give that frame as a file of its own")
    return select_frames([instance]).frames


def ask_product(
    frames: tuple[Frame, ...], models: UsModels, thresholds: Thresholds
) -> tuple[Lesion | None, UltrasoundVerdict, float | None]:
    """Return the lesion, the verdict and the image model's own probability, by the stages that the daemon uses."""
    lesion = segment_lesion(frames, models.segmenter, models.segmenter.side_px)
    image_probability = None if lesion is None else classify_lesion(lesion, models.classifier)
    verdict = decide_ultrasound(
        frames=len(frames),
        has_lesion=lesion is not None,
        malignancy=None if lesion is None else rate_lesion(lesion, image_probability, models),
        thresholds=thresholds,
        is_by_fusion=models.fusion is not None,
    )
    return lesion, verdict, image_probability


def rate_lesion(lesion: Lesion, image_probability: float | None, models: UsModels) -> float | None:
    """Return the probability that decides: the fusion's where there is one, None where it cannot measure the lesion."""
    if models.fusion is None or image_probability is None:
        return image_probability
    # Imported here, for radiomics bring packages that only a fusion needs.
    from workers.us.fuse_features import fuse_features

    return fuse_features(lesion, image_probability, models.fusion)


def _read_truth(row: CaseRow, picture_shape: tuple[int, int]) -> tuple[Bools | None, str]:
    """Return the outline on the stored picture and why there is none; a bad outline is no fault of the product."""
    try:
        outline = read_outline(row)
    except Outcome as outcome:
        return None, outcome.reason
    if outline is None:
        return None, ""
    if outline.shape != picture_shape:
        return None, refuse("its outline has another size than its picture").reason
    return (outline, "") if outline.any() else (None, refuse("its outline is empty").reason)


def _compare(
    row: CaseRow,
    frames: tuple[Frame, ...],
    lesion: Lesion | None,
    verdict: UltrasoundVerdict,
    outline: Bools | None,
    problem: str,
    seconds: float,
    models: UsModels,
) -> Screened:
    shown = _choose_frame(frames, outline) if lesion is None else lesion.frame
    truth = None if outline is None else _keep_near(outline, shown, frames)
    found = np.zeros(shown.picture_shape, bool)
    if lesion is not None:
        _cut(found, shown.box)[...] = lesion.mask
    result = UsResult(
        row=row,
        answer=verdict.answer,
        reason=verdict.reason,
        probability=verdict.probability,
        is_outlined=outline is not None,
        outline_problem=problem,
        dice=None if truth is None else overlap(found, truth),
        is_hit=None if truth is None else is_hit(found, truth),
        outline_probability=None if outline is None else rate_outline(outline, frames, models),
        whole_probability=None if has_lesion(row) else rate_mask(shown, np.ones(shown.gray.shape, bool), models),
        lesion_share=None if truth is None else float(_cut(truth, shown.box).mean()),
        longest_diameter_mm=None if lesion is None else lesion.longest_diameter_mm,
        seconds=seconds,
    )
    outlines = {"called": found} if truth is None else {"called": found, "truth": truth}
    return Screened(
        result=result, gray=shown.gray, outlines={name: _cut(mask, shown.box) for name, mask in outlines.items()}
    )


def is_hit(found: Bools, truth: Bools) -> bool:
    """Return whether the product's lesion is the true one, as for CT: HIT_SHARE of either lies in the other."""
    both = int((found & truth).sum())
    return both > 0 and (both >= HIT_SHARE * found.sum() or both >= HIT_SHARE * truth.sum())


def rate_outline(outline: Bools, frames: tuple[Frame, ...], models: UsModels) -> float | None:
    """Return what decides says of the largest outlined piece; None where no frame shows any, or it has no answer."""
    frame = _choose_frame(frames, outline)
    mask = keep_largest(_cut(outline, frame.box))
    if not mask.any():
        return None
    return rate_lesion(_as_lesion(frame, mask), rate_mask(frame, mask, models), models)


def rate_mask(frame: Frame, mask: Bools, models: UsModels) -> float:
    """Return what the classifier says of `mask` (rows, columns) on the frame, as if the segmenter had made it."""
    return classify_lesion(_as_lesion(frame, mask), models.classifier)


def _as_lesion(frame: Frame, mask: Bools) -> Lesion:
    return Lesion(frame=frame, mask=mask, mean_probability=1.0, area_px=int(mask.sum()), longest_diameter_mm=None)


def _choose_frame(frames: tuple[Frame, ...], outline: Bools | None) -> Frame:
    """Return the frame that shows most of the outline, then the largest."""
    return max(
        frames, key=lambda frame: (0 if outline is None else int(_cut(outline, frame.box).sum()), frame.gray.size)
    )


def _keep_near(outline: Bools, shown: Frame, frames: tuple[Frame, ...]) -> Bools:
    """Return the outline without its parts in the other frames: a dual picture may show the lesion twice."""
    kept = outline.copy()
    for frame in frames:
        if frame.box != shown.box:
            _cut(kept, frame.box)[...] = False
    return kept if kept.any() else outline


def _cut(mask: Bools, box: Box) -> Bools:
    return mask[box.top : box.bottom, box.left : box.right]
