"""Measure both networks through the real stages: `python -m workers.training.evaluate --data DIR [--phantoms N]`.

Patients whose images were trained on must not be in DIR.
"""

import argparse
import json
import logging
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from screener.decide import decide
from screener.outcomes import SetAside
from screener.phantom import make_phantom
from screener.study import Candidate, GlandAssessment, Mass, Parotid, Presence, Side, Thresholds, Volume
from workers.ct.localize_parotids import localize_parotids
from workers.ct.segment_masses import segment_masses
from workers.models.device import choose_device
from workers.models.weights import Bundle, load_bundle
from workers.training.read_patients import LEFT_LABEL, RIGHT_LABEL, Patient, read_patients
from workers.training.synthetic_mass import insert_mass

logger = logging.getLogger(__name__)

LABELS = {Side.RIGHT: RIGHT_LABEL, Side.LEFT: LEFT_LABEL}


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One volume, the truth about it, and the answer."""

    name: str
    mass_side: Side | None
    """Where the mass is; None where there is none."""
    flagged: tuple[Side, ...]
    """Glands in which a mass was called."""
    not_assessed: tuple[Side, ...]
    center_errors_mm: dict[Side, float]
    """Per side; infinite where the gland was not found."""
    gland_dice: dict[Side, float]
    mass_dice: float
    candidates: tuple[str, ...]
    """What was found, for reading: side, voxels, probability."""
    seconds: float

    @property
    def is_right(self) -> bool:
        """Whether the study was flagged exactly when it holds a mass, and the mass's own gland was named."""
        if self.mass_side is None:
            return not self.flagged
        return self.mass_side in self.flagged


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """A volume to be screened and what a perfect reader would find."""

    name: str
    volume: Volume
    glands: dict[Side, NDArray[np.bool_]]
    mass: NDArray[np.bool_] | None
    mass_side: Side | None


def as_volume(hu: NDArray[np.floating] | NDArray[np.integer], spacing_mm: tuple[float, float, float]) -> Volume:
    """Return an upright volume of `hu` (z, y, x) with voxels of `spacing_mm` (z, y, x)."""
    z, y, x = spacing_mm
    return Volume(
        hu=np.clip(np.rint(hu), -1024, 3071).astype(np.int16),
        affine=np.diag([x, y, z, 1.0]),
        body=np.asarray(hu > -950),
        series_instance_uid="1.2",
        frame_of_reference_uid="1.3",
        sop_instance_uids=tuple(f"1.4.{number}" for number in range(len(hu))),
    )


def screen(truth: Truth, localizer: Bundle, segmenter: Bundle, thresholds: Thresholds) -> Case:
    """Screen one volume through the stages and compare with the truth."""
    started = time.monotonic()
    parotids: tuple[Parotid, ...] = ()
    masses: tuple[Mass, ...] = ()
    try:
        parotids = localize_parotids(truth.volume, localizer)
        masses = segment_masses(truth.volume, parotids, segmenter, min_probability=thresholds.min_probability)
    except SetAside as outcome:
        logger.info("%s set aside: %s", truth.name, outcome.reason)
    seconds = time.monotonic() - started
    verdict = decide([assess(side, parotids) for side in Side], [mass.candidate for mass in masses], thresholds)
    flagged = tuple(gland.side for gland in verdict.glands if gland.presence is Presence.PRESENT)
    truth_mass, found_mass = truth.mass, [m.mask for m in masses if m.candidate.voxels >= thresholds.min_voxels]
    return Case(
        name=truth.name,
        mass_side=truth.mass_side,
        flagged=flagged,
        not_assessed=tuple(g.side for g in verdict.glands if g.presence is Presence.UNDETERMINED),
        center_errors_mm={side: center_error_mm(truth, side, parotids) for side in Side},
        gland_dice={side: dice(truth.glands[side], mask_of(side, parotids, truth)) for side in Side},
        mass_dice=float("nan")
        if truth_mass is None
        else dice(truth_mass, np.any([np.zeros_like(truth_mass), *found_mass], axis=0)),
        candidates=tuple(describe(mass.candidate) for mass in masses),
        seconds=seconds,
    )


def assess(side: Side, parotids: tuple[Parotid, ...]) -> GlandAssessment:
    """Return what the decision needs to know of the gland of `side`."""
    for parotid in parotids:
        if parotid.side is side:
            return parotid.assessment
    return GlandAssessment(side=side, is_assessed=False, reason="Set aside.", volume_mm3=0, mean_hu=None)


def describe(candidate: Candidate) -> str:
    """Return a candidate in a few words."""
    return f"{candidate.side} {candidate.voxels} vx p={candidate.mean_probability:.2f} {candidate.mean_hu:.0f} HU"


def mask_of(side: Side, parotids: tuple[Parotid, ...], truth: Truth) -> NDArray[np.bool_]:
    """Return the gland found on `side`, empty where none was."""
    masks = [p.mask for p in parotids if p.side is side and p.mask is not None]
    return masks[0] if masks else np.zeros(truth.volume.hu.shape, dtype=bool)


def center_error_mm(truth: Truth, side: Side, parotids: tuple[Parotid, ...]) -> float:
    """Return how far the found center is from the true one."""
    centers = [p.center_mm for p in parotids if p.side is side and p.center_mm is not None]
    if not centers:
        return float("inf")
    z, y, x = ndimage.center_of_mass(truth.glands[side])
    place = truth.volume.affine @ np.array([x, y, z, 1.0])
    return float(np.linalg.norm(place[:3] - np.array(centers[0])))


def dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    """Return the Dice overlap."""
    return float(2 * (a & b).sum() / max(1, a.sum() + b.sum()))


def patients_with_and_without(data: Path, diameter_mm: float, limit: int | None) -> Iterator[Truth]:
    """Yield each patient as it is and with one synthetic mass, in the right and the left gland by turns."""
    for number, patient in enumerate(read_patients(data, limit)):
        side = (Side.RIGHT, Side.LEFT)[number % 2]
        glands = {side: patient.labels == label for side, label in LABELS.items()}
        yield Truth(
            name=patient.name,
            volume=as_volume(patient.hu, patient.spacing_mm),
            glands=glands,
            mass=None,
            mass_side=None,
        )
        if glands[side].any():
            yield with_mass(patient, glands, side, diameter_mm, number)


def with_mass(
    patient: Patient, glands: dict[Side, NDArray[np.bool_]], side: Side, diameter_mm: float, number: int
) -> Truth:
    """Return the patient with a mass in the gland of `side`."""
    hu, mass = insert_mass(patient.hu, glands[side], patient.spacing_mm, (2026, number), diameter_mm=diameter_mm)
    return Truth(
        name=f"{patient.name}+mass",
        volume=as_volume(hu, patient.spacing_mm),
        glands=glands | {side: glands[side] | mass},
        mass=mass,
        mass_side=side,
    )


def parts_without_glands(data: Path, limit: int | None) -> Iterator[Volume]:
    """Yield what each scan shows at least 20 mm below and above both glands, where that is 40 mm or more."""
    for patient in read_patients(data, limit):
        step = patient.spacing_mm[0]
        heights = np.flatnonzero(np.isin(patient.labels, list(LABELS.values())).any(axis=(1, 2)))
        if not len(heights):
            continue
        for part in (patient.hu[: max(0, heights[0] - round(20 / step))], patient.hu[heights[-1] + round(20 / step) :]):
            if len(part) * step >= 40:
                yield as_volume(part, patient.spacing_mm)


def count_set_aside(volumes: Iterator[Volume], localizer: Bundle) -> dict[str, int]:
    """Return how many volumes there are, and how many were answered with "not covered"."""
    answers = []
    for volume in volumes:
        try:
            found = localize_parotids(volume, localizer)
        except SetAside:
            answers.append(True)
        else:
            answers.append(False)
            wrong = [f"{p.side} {p.volume_mm3:.0f} mm3 at {p.center_mm}" for p in found if p.is_assessed]
            logger.info("a gland in a part without: %s slices, %s", len(volume.hu), "; ".join(wrong))
    return {"parts": len(answers), "set_aside": sum(answers)}


def phantoms(count: int, diameter_mm: float, first_seed: int) -> Iterator[Truth]:
    """Yield phantoms, every other one with a mass."""
    for number in range(count):
        side = None if number % 2 == 0 else (Side.RIGHT, Side.LEFT)[number // 2 % 2]
        phantom = make_phantom(
            mass_mm=None if side is None else diameter_mm, mass_side=side or Side.RIGHT, seed=first_seed + number
        )
        x, y, z = (float(length) for length in np.linalg.norm(phantom.affine[:3, :3], axis=0))
        yield Truth(
            name=f"phantom {number}",
            volume=as_volume(phantom.hu, (z, y, x)),
            glands={Side.RIGHT: phantom.right_parotid, Side.LEFT: phantom.left_parotid},
            mass=phantom.mass,
            mass_side=side,
        )


def summarize(cases: list[Case]) -> dict[str, Any]:
    """Return the figures that the model cards and the release name."""
    plain = [case for case in cases if case.mass_side is None]
    errors = np.array([list(case.center_errors_mm.values()) for case in plain])
    dices = [value for case in plain for value in case.gland_dice.values()]
    table = Counter((bool(case.mass_side), bool(case.flagged)) for case in cases)
    return {
        "patients": len(plain),
        "center_error_median_mm": float(np.median(errors)),
        "center_error_95th_mm": float(np.percentile(errors, 95, method="higher")),
        "both_centers_within_12_mm": float((errors.max(axis=1) <= 12).mean()),
        "gland_dice_median": float(np.median(dices)),
        "gland_dice_5th": float(np.percentile(dices, 5)),
        "cases": len(cases),
        "decisions_right": sum(case.is_right for case in cases),
        "true_positives": table[(True, True)],
        "false_negatives": table[(True, False)],
        "false_positives": table[(False, True)],
        "true_negatives": table[(False, False)],
        "glands_not_assessed": sum(len(case.not_assessed) for case in cases),
        "mass_dice_median": float(np.nanmedian([case.mass_dice for case in cases])),
        "seconds_median": float(np.median([case.seconds for case in cases])),
    }


def main() -> None:
    """Read the command line, screen everything, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder of patients, such as openkbp_validation")
    parser.add_argument("--phantoms", type=int, default=0)
    parser.add_argument("--phantom-seed", type=int, default=5000)
    parser.add_argument("--mass-mm", type=float, default=25.0)
    parser.add_argument("--min-voxels", type=int, default=500)
    parser.add_argument("--min-probability", type=float, default=0.5)
    parser.add_argument("--bundles", type=Path)
    parser.add_argument("--limit", type=int)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(args.threads)
    device, _ = choose_device(args.device)
    models = [load_bundle(name, device, args.bundles) for name in ("parotid_localizer", "parotid_mass_segmenter")]
    thresholds = Thresholds(
        min_voxels=args.min_voxels, min_probability=args.min_probability, config_revision="evaluation"
    )
    report: dict[str, Any] = {"digests": {model.name: model.digest for model in models}}
    sets: list[tuple[str, Iterator[Truth]]] = []
    if args.data:
        sets.append(("patients", patients_with_and_without(args.data, args.mass_mm, args.limit)))
    if args.phantoms:
        sets.append(("phantoms", phantoms(args.phantoms, args.mass_mm, args.phantom_seed)))
    for name, truths in sets:
        cases = []
        for truth in truths:
            case = screen(truth, models[0], models[1], thresholds)
            cases.append(case)
            errors = " ".join(f"{error:.1f}" for error in case.center_errors_mm.values())
            overlap = " ".join(f"{value:.2f}" for value in case.gland_dice.values())
            logger.info(
                "%-14s %-5s mass=%-5s center_mm=%s dice=%s mass_dice=%.2f seconds=%.1f | %s",
                case.name,
                "right" if case.is_right else "WRONG",
                case.mass_side,
                errors,
                overlap,
                case.mass_dice,
                case.seconds,
                "; ".join(case.candidates),
            )
        report[name] = {"summary": summarize(cases), "cases": [asdict(case) for case in cases]}
        logger.info("%s", json.dumps(report[name]["summary"], indent=1))
    if args.data:
        report["parts_without_glands"] = count_set_aside(parts_without_glands(args.data, args.limit), models[0])
        logger.info("%s", json.dumps(report["parts_without_glands"]))
    if args.out:
        args.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
