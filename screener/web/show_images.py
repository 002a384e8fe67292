"""The pictures of a case: the key image as it was kept, the stack, its outlines, and the planes through a mass."""

from collections import OrderedDict
from collections.abc import Mapping
from threading import Lock
from typing import Annotated, Final, Literal

from fastapi import Query, Request
from starlette.responses import FileResponse, JSONResponse, Response

from screener.store.values import RunReport
from screener.study import Candidate, Side
from screener.web.draw_glands import View, draw_gland, find_views
from screener.web.draw_slices import draw_outline, draw_planes, draw_slice
from screener.web.gate import RefusedError, digest_token
from screener.web.read_stack import CannotShowError, Stack
from screener.web.show_case import read_report
from screener.web.visit import Visit, visit_of

_KEEP_FOR: Final = {"Cache-Control": "private, max-age=600", "Vary": "Cookie"}
"""A person scrolls back and forth; signing out empties the browser's cache, and another session's cookie misses it."""
_PLANES_KEPT: Final = 16

Window = Annotated[str, Query(pattern="^(soft|bone|wide)$")]
ShownRun = Annotated[int | None, Query()]
"""The run whose decision the page shows. Its pictures are kept by the browser; without one they are not."""
_planes: OrderedDict[tuple[object, ...], tuple[bytes, bytes]] = OrderedDict()
_planes_lock = Lock()
_noted: OrderedDict[tuple[str, int], None] = OrderedDict()
"""(digest of a session's secret, study) whose images the audit trail tells already; a new process tells them again."""
_NOTED_KEPT: Final = 10_000


def show_key_image(request: Request, study_id: int, run: ShownRun = None) -> Response:
    """The picture that the workers drew with the decision in force."""
    visit = visit_of(request)
    decided = _decided(visit, study_id, run)
    path = visit.site.reader.result_file(study_id, decided.number, "key_image", visit.site.config.storage_folder)
    if path is None or not path.is_file():
        raise RefusedError(404, "The picture is not kept any more.")
    return FileResponse(path, media_type="image/png", headers=_keep(run))


def show_stack(request: Request, study_id: int, run: ShownRun = None) -> Response:
    """How many slices there are, which have an outline, and where the largest mass lies, as JSON."""
    visit = visit_of(request)
    decided = _decided(visit, study_id, run)
    stack = _read_stack(visit, study_id, decided)
    outlined = [z for z in range(len(stack.slices)) if stack.regions_of(z)]
    masses = [z for z in outlined if any(region.is_mass for region in stack.regions_of(z))]
    start, _, _ = _center(stack, decided)
    labels = sorted({region.label for regions in stack.regions.values() for region in regions})
    return JSONResponse(
        {
            "slices": len(stack.slices),
            "rows": stack.shape[0],
            "columns": stack.shape[1],
            "spacing": stack.spacing_mm,
            "start": start,
            "outlined": outlined,
            "masses": masses,
            "labels": labels,
            "glands": {side.value: view.z for side, view in _find_views(stack, decided).items()},
        },
        headers=_keep(run),
    )


def show_slice(request: Request, study_id: int, number: int, window: Window = "soft", run: ShownRun = None) -> Response:
    """One axial slice, counted from the feet from 0."""
    visit = visit_of(request)
    stack = _read_stack(visit, study_id, _decided(visit, study_id, run))
    _check(stack, number)
    return _png(draw_slice(stack, number, window), run)


def show_outline(request: Request, study_id: int, number: int, run: ShownRun = None) -> Response:
    """The outlines of a slice on nothing."""
    visit = visit_of(request)
    stack = _read_stack(visit, study_id, _decided(visit, study_id, run))
    _check(stack, number)
    return _png(draw_outline(stack, number), run)


def show_plane(
    request: Request,
    study_id: int,
    plane: Literal["coronal", "sagittal"],
    window: Window = "soft",
    run: ShownRun = None,
) -> Response:
    """The plane through the middle of the largest mass, else of the stack."""
    visit = visit_of(request)
    decided = _decided(visit, study_id, run)
    key = (*_identify(study_id, decided), window)
    with _planes_lock:
        drawn = _planes.get(key)
    if drawn is None:
        stack = _read_stack(visit, study_id, decided)
        drawn = draw_planes(stack, _center(stack, decided), window)
        with _planes_lock:
            _planes[key] = drawn
            while len(_planes) > _PLANES_KEPT:
                _planes.popitem(last=False)
    return _png(drawn[0 if plane == "coronal" else 1], run)


def show_gland(request: Request, study_id: int, side: Side, window: Window = "soft", run: ShownRun = None) -> Response:
    """One gland as it is held against the other: the left one is mirrored."""
    visit = visit_of(request)
    decided = _decided(visit, study_id, run)
    stack = _read_stack(visit, study_id, decided)
    view = _find_views(stack, decided).get(side)
    if view is None:
        raise RefusedError(404, f"Nothing is outlined on the {side} side.")
    return _png(draw_gland(stack, side, view, window), run)


def _decided(visit: Visit, study_id: int, shown: int | None) -> RunReport:
    """The run whose decision is in force; the first picture of it that a session asks for is written down.

    Refused where the page shows the decision of another: pictures of one run never stand under the answer of another.
    """
    _note(visit, study_id)
    in_force = visit.site.reader.decided_number(study_id)
    report = read_report(visit, study_id)
    decided = next((run for run in report.runs if in_force is not None and run.number == in_force.number), None)
    if decided is None:
        raise RefusedError(404, "Nothing has been decided of this study: there is nothing to show yet.")
    if shown is not None and shown != decided.number:
        raise RefusedError(409, "A later run has decided since this page was loaded: load it again.")
    return decided


def _identify(study_id: int, run: RunReport) -> tuple[object, ...]:
    """Name a run by the UIDs of what it screened and made too: a database put back from a copy gives them again."""
    chosen = (series.series_instance_uid for series in run.series if series.is_chosen)
    return (study_id, run.number, *chosen, *(result.sop_instance_uid for result in run.results))


def _note(visit: Visit, study_id: int) -> None:
    key = (digest_token(visit.token), study_id)  # a database may give a session's number out again
    with _planes_lock:
        is_new = key not in _noted
        _noted[key] = None
        while len(_noted) > _NOTED_KEPT:
            _noted.popitem(last=False)
    if is_new:
        visit.audit("images", study_id)


def _read_stack(visit: Visit, study_id: int, run: RunReport) -> Stack:
    """The slices of the series that was screened; CannotShowError says why not."""
    site = visit.site
    chosen = [series.series_instance_uid for series in run.series if series.is_chosen]
    if not chosen:
        raise CannotShowError("No series of this study was screened.")
    pictures = site.reader.series_images(study_id, chosen[0], site.config.storage_folder)
    segmentation = site.reader.result_file(study_id, run.number, "seg", site.config.storage_folder)
    return site.stacks.read(pictures, segmentation)


def _find_views(stack: Stack, run: RunReport) -> Mapping[Side, View]:
    """How each outlined gland is shown beside the other: at the height of the largest mass, else in its middle."""
    largest = _largest_mass(run)
    return find_views(stack, None if largest is None else (largest.side, stack.index_of(largest.center_mm)[0]))


def _largest_mass(run: RunReport) -> Candidate | None:
    above = [candidate for candidate, is_above in run.candidates if is_above]
    return max(above, key=lambda candidate: candidate.volume_mm3, default=None)


def _center(stack: Stack, run: RunReport) -> tuple[int, int, int]:
    """Slice, row and column in the middle of the largest mass, else of the fullest outline, else of the stack."""
    largest = _largest_mass(run)
    if largest is not None:
        return stack.index_of(largest.center_mm)
    middle = len(stack.slices) // 2
    fullest = max(range(len(stack.slices)), key=lambda z: sum(int(r.mask.sum()) for r in stack.regions_of(z)))
    return (fullest if stack.regions_of(fullest) else middle), stack.shape[0] // 2, stack.shape[1] // 2


def _check(stack: Stack, number: int) -> None:
    if not 0 <= number < len(stack.slices):
        raise RefusedError(404, f"There are {len(stack.slices)} slices.")


def _png(content: bytes, run: int | None) -> Response:
    return Response(content, media_type="image/png", headers=_keep(run))


def _keep(run: int | None) -> Mapping[str, str]:
    """How long a picture may be kept: one whose address does not tell its run may show another's the next moment."""
    return {} if run is None else _KEEP_FOR
