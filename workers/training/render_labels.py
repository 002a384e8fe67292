"""Render CT from label maps: real shapes of glands amid made-up anatomy, in random contrasts, kernels and resolutions.

The label maps hold organs and no skin, muscle or air. Those are painted about
the organs from typical anatomy that is bent to each patient; the organs
themselves are painted last, so that their labels stay exact.
"""

import argparse
import json
import logging
import time
from collections.abc import Collection
from pathlib import Path

import nibabel
import numpy as np
from scipy import ndimage

from screener.outcomes import NeedsPerson
from workers.training.render_canvas import (
    BRAIN,
    MANDIBLE,
    PAROTIDS,
    Bytes,
    Canvas,
    Floats,
    Spacing,
    fit_frame,
    smooth_noise,
)
from workers.training.render_scanner import choose_scanner, scan
from workers.training.render_tissue import choose_look, paint_patient

logger = logging.getLogger(__name__)

OUTSIDE_HU = -1024
KEPT_LABELS = 5
_BELOW_MM, _WIDE_MM = 60.0, 300.0
_MOST_VOXELS = 9_000_000


def render_ct(labels: Bytes, spacing_mm: Spacing, rng: np.random.Generator) -> tuple[Floats, Bytes]:
    """Return Hounsfield units and the labels, on the grid of `labels` (z, y, x), feet to head, front to back.

    `labels` are those of the label maps (1 and 2 the parotids, at least one
    present, to 15), returned as they came. The patient's right comes first
    along x. What is outside the patient is `OUTSIDE_HU`. Raises ValueError
    where no parotid is labeled.
    """
    look = choose_look(rng)
    frame = fit_frame(labels, spacing_mm, rng)
    canvas = Canvas(
        hu=np.full(labels.shape, OUTSIDE_HU, dtype=np.float32),
        frame=frame,
        grain=smooth_noise(rng, labels.shape, spacing_mm, (10, 5, 5)),
        rng=rng,
    )
    metal = paint_patient(canvas, look, labels, spacing_mm)
    image = scan(canvas.hu, spacing_mm, choose_scanner(rng), metal, rng)
    body = canvas.hu > -500
    body |= frame.depth_mm > 0
    image[~body] = OUTSIDE_HU
    return np.clip(image, OUTSIDE_HU, 3071), labels


def prepare_labels(labels: Bytes, spacing_mm: Spacing, rng: np.random.Generator) -> tuple[Bytes, Spacing]:
    """Cut to head and neck, leave room for flesh, and by chance resample to another resolution."""
    organs = np.isin(labels, (MANDIBLE, *PAROTIDS))
    low = int(np.flatnonzero(organs.any(axis=(1, 2)))[0])
    start = max(0, low - int(_BELOW_MM / spacing_mm[0]))
    gland = np.argwhere(np.isin(labels, PAROTIDS)).mean(axis=0)
    labels = labels[start:]
    if (labels[-1] == BRAIN).sum() * spacing_mm[1] * spacing_mm[2] < 2500:
        labels = np.pad(labels, ((0, round(14 / spacing_mm[0])), (0, 0), (0, 0)))
    if rng.random() < 0.5:  # many scans of the neck end at the orbits
        top = int(gland[0] - start + rng.uniform(50, 110) / spacing_mm[0])
        labels = labels[: max(top, 1)]
    # The glands lie a little in front of the middle of the head.
    wide = [round(_WIDE_MM / s) for s in spacing_mm[1:]]
    begin = [round(gland[1] + 8 / spacing_mm[1] - wide[0] / 2), round(gland[2] - wide[1] / 2)]
    framed = np.zeros((len(labels), *wide), dtype=np.uint8)
    source = [slice(max(b, 0), min(b + w, n)) for b, w, n in zip(begin, wide, labels.shape[1:], strict=True)]
    target = [slice(s.start - b, s.stop - b) for s, b in zip(source, begin, strict=True)]
    framed[:, target[0], target[1]] = labels[:, source[0], source[1]]
    if rng.random() < 0.35:
        return framed, spacing_mm
    plane = float(rng.uniform(0.8, 2.5) if rng.random() < 0.5 else rng.uniform(0.9, 1.4))
    wanted = [float(rng.uniform(1.0, 5.0)), plane, plane]
    extent = [n * s for n, s in zip(framed.shape, spacing_mm, strict=True)]
    excess = float(np.prod(extent) / np.prod(wanted)) / _MOST_VOXELS
    if excess > 1:
        wanted[0] *= excess
    return resample_labels(framed, spacing_mm, (wanted[0], wanted[1], wanted[2])), (wanted[0], wanted[1], wanted[2])


def resample_labels(labels: Bytes, spacing_mm: Spacing, wanted_mm: Spacing) -> Bytes:
    """Return `labels` on another grid with the same first voxel: of the organs, the one with the most of a voxel."""
    counts = [max(2, int((n - 1) * s / w) + 1) for n, s, w in zip(labels.shape, spacing_mm, wanted_mm, strict=True)]
    best = np.full(counts, 0.5, dtype=np.float32)
    result = np.zeros(counts, dtype=np.uint8)
    sigma = [0.4 * max(w / s, 1.0) for w, s in zip(wanted_mm, spacing_mm, strict=True)]
    for label, inner in enumerate(ndimage.find_objects(labels), start=1):
        if inner is None:
            continue
        window = tuple(slice(max(s.start - 3, 0), s.stop + 3) for s in inner)
        share = ndimage.gaussian_filter((labels[window] == label).astype(np.float32), sigma, mode="nearest")
        at, target = [], []
        for axis, (s, w) in enumerate(zip(spacing_mm, wanted_mm, strict=True)):
            places = np.arange(counts[axis]) * w / s - window[axis].start
            inside = np.flatnonzero((places >= 0) & (places <= share.shape[axis] - 1))
            at.append(places[inside])
            target.append(slice(int(inside[0]), int(inside[-1]) + 1) if len(inside) else slice(0, 0))
        if any(len(a) == 0 for a in at):
            continue
        for axis, places in enumerate(at):
            first = np.minimum(places.astype(int), max(share.shape[axis] - 2, 0))
            part = (places - first).astype(np.float32).reshape([-1 if k == axis else 1 for k in range(3)])
            last = np.minimum(first + 1, share.shape[axis] - 1)
            share = np.take(share, first, axis) * (1 - part) + np.take(share, last, axis) * part
        more = share > best[tuple(target)]
        result[tuple(target)][more] = label
        best[tuple(target)][more] = share[more]
    return result


def read_label_map(path: Path) -> tuple[Bytes, Spacing]:
    """Return the labels (z, y, x), feet to head, front to back, right to left, and the spacing in millimeters."""
    stored = nibabel.nifti1.load(path)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(stored.affine), nibabel.orientations.axcodes2ornt(("L", "P", "S"))
    )
    labels = nibabel.orientations.apply_orientation(np.asarray(stored.dataobj), turn).transpose(2, 1, 0)
    sizes = np.linalg.norm(stored.affine[:3, :3], axis=0)
    along = {int(axis): float(size) for (axis, _), size in zip(turn, sizes, strict=True)}
    return np.ascontiguousarray(labels, dtype=np.uint8), (along[2], along[1], along[0])


def write_rendered_cases(
    source: Path, out: Path, *, per_patient: int, seed: int, limit: int | None, without: Collection[str] = ()
) -> None:
    """Write `per_patient` cases for each label map of `source` below `out`; those without a parotid are passed over.

    The patient is what a case's name holds before "+". The maps named in
    `without` are left out; the others come out the same as if they were there.
    Raises NeedsPerson (`no_cases`) where `without` names no map of `source`.
    """
    paths = {path.name.removesuffix(".nii.gz"): path for path in sorted(source.glob("*.nii.gz"))}
    unknown = sorted(set(without) - set(paths))
    if unknown:
        raise NeedsPerson(f"{source} holds no label map named {', '.join(unknown)}.", code="no_cases")
    for number, (name, path) in enumerate(list(paths.items())[:limit]):
        if name in without:
            logger.info("patient=%s left out", name)
            continue
        whole, whole_mm = read_label_map(path)
        if not np.isin(whole, PAROTIDS).any():
            logger.info("patient=%s passed over: no parotid contoured", name)
            continue
        for turn in range(1, per_patient + 1):
            began = time.monotonic()
            rng = np.random.default_rng((seed, number, turn))
            labels, spacing_mm = prepare_labels(whole, whole_mm, rng)
            hu, labels = render_ct(labels, spacing_mm, rng)
            _write_case(out / f"{name}+r{turn}", hu, labels, spacing_mm, {"source": name, "seed": [seed, number, turn]})
            logger.info("case=%s+r%d shape=%s seconds=%.1f", name, turn, hu.shape, time.monotonic() - began)


def _write_case(folder: Path, hu: Floats, labels: Bytes, spacing_mm: Spacing, facts: dict[str, object]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    affine = np.diag([-spacing_mm[2], -spacing_mm[1], spacing_mm[0], 1.0])  # our axes are LPS, NIfTI's RAS
    kept = np.where(labels <= KEPT_LABELS, labels, 0).astype(np.uint8)
    for name, array in (("image", np.round(hu).astype(np.int16)), ("labels", kept)):
        nibabel.save(nibabel.Nifti1Image(array.transpose(2, 1, 0), affine), folder / f"{name}.nii.gz")
    facts = facts | {"spacing_mm": spacing_mm, "is_rendered": True}
    (folder / "case.json").write_text(json.dumps(facts, indent=1) + "\n")


def main(argv: list[str] | None = None) -> int:
    """Render a folder of label maps into a folder of cases."""
    parser = argparse.ArgumentParser(description="Render CT from label maps of the head and neck.")
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-patient", type=int, default=2)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--limit", type=int, default=None)
    parser.add_argument(
        "--without", metavar="NAME", action="append", default=[], help="leave out a label map, such as one held out"
    )
    chosen = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        write_rendered_cases(
            chosen.source,
            chosen.out,
            per_patient=chosen.per_patient,
            seed=chosen.seed,
            limit=chosen.limit,
            without=chosen.without,
        )
    except NeedsPerson as outcome:
        logger.error("%s", outcome.reason)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
