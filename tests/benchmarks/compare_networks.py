"""The screening study's networks beside those that ship: both trained for the same time, judged on other patients.

`python tests/benchmarks/compare_networks.py TRAIN HELD_OUT --work DIR --minutes 15`, where both folders hold cases
without masses whose glands are outlined. The two networks of a pair train at the same time, one thread each, on the
same samples. What was trained stays in DIR: a second call goes on from there, and with the same minutes only judges.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, from any folder

from workers.ct.localize_parotids import find_parotids
from workers.models.networks import scale_hu, smooth_gland
from workers.models.weights import Bundle, load_bundle
from workers.training.cache_samples import CROP_VOXELS, GLAND_BIT, MASS_BIT, write_samples
from workers.training.evaluation.screen_case import center_error_mm, gland_dice
from workers.training.read_cases import list_cases, read_case

ROOT = Path(__file__).resolve().parents[2]
NETWORKS = ("study", "unet")
LEAST_VOXELS = 63
"""500 mm^3 on the 2 mm grid: smaller masses are not asked for."""
Row = dict[str, str]


def main() -> int:
    """Train what is not yet trained, judge, and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train", type=Path, help="folder of cases to train on")
    parser.add_argument("held_out", type=Path, help="folder of cases of other patients to judge by")
    parser.add_argument("--work", type=Path, default=Path("cache/compare"), help="default %(default)s")
    parser.add_argument("--minutes", type=float, default=15.0, help="of each training; default %(default)s")
    parser.add_argument("--jobs", type=int, default=2, help="processes that make samples; default %(default)s")
    parser.add_argument("--only", choices=["segmenter", "localizer"], help="one of the two tables")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    if args.only != "localizer":
        cache = args.work / "samples"
        write_samples([args.train], cache, variants=6, seed=11, jobs=args.jobs)
        train_pair("ct-segmenter", "parotid_mass_segmenter", args, ["--cache", str(cache)])
        held_out = args.work / "held_out_samples"
        write_samples([args.held_out], held_out, variants=6, seed=90210, jobs=args.jobs)
        rows = judge_pair("parotid_mass_segmenter", args.work, lambda bundle: judge_segmenter(bundle, held_out))
        show(f"Segmenter, {args.minutes:g} minutes on one thread each", rows)
    if args.only != "segmenter":
        train_pair("ct-localizer", "parotid_localizer", args, [])
        rows = judge_pair("parotid_localizer", args.work, lambda bundle: judge_localizer(bundle, args.held_out))
        show(f"Localizer, {args.minutes:g} minutes on one thread each", rows)
    return 0


def train_pair(command: str, name: str, args: argparse.Namespace, more: Sequence[str]) -> None:
    """Train both networks side by side, so that whatever else the machine does slows both."""
    running = []
    for network in NETWORKS:
        folder = args.work / network
        folder.mkdir(exist_ok=True)
        line = [sys.executable, "-m", "workers", "train", command, "--data", str(args.train), "--network", network]
        line += ["--out", str(folder / name), "--checkpoint", str(folder / f"{name}.ckpt"), "--threads", "1"]
        line += ["--minutes", str(args.minutes), "--device", "cpu", *more]
        log = (folder / f"{name}.log").open("a")
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        running.append(subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT, env=environment))
    codes = [process.wait() for process in running]
    if any(codes):
        raise SystemExit(f"training failed; see the logs in {args.work}")


def judge_pair(name: str, work: Path, judge: Callable[[Bundle], Row]) -> list[Row]:
    """Return a row for each network: what it is, what it costs, how well it answers."""
    rows = []
    for network in NETWORKS:
        bundle = load_bundle(name, torch.device("cpu"), work / network)
        count = sum(parameter.numel() for parameter in bundle.network.parameters())
        rows.append({"network": network, "parameters": f"{count:,}"} | judge(bundle))
    return rows


def judge_segmenter(bundle: Bundle, cache: Path) -> Row:
    """Judge on crops around held-out glands, half of them with a synthetic mass."""
    count = int((cache / "count.txt").read_text())
    hu, marks = (np.load(cache / f"{name}.npy", mmap_mode="r") for name in ("hu", "marks"))
    truths: list[bool] = []
    peaks: list[float] = []
    dices: list[float] = []
    seconds: list[float] = []
    for image, mark in zip(hu[:count], marks[:count], strict=True):
        mass = (mark & MASS_BIT) > 0
        gland = smooth_gland((mark & (GLAND_BIT | MASS_BIT)) > 0, 2.0)
        channels = np.concatenate([scale_hu(image.astype(np.float32)), gland[None]])
        started = time.perf_counter()
        probability = bundle(channels)[1]
        seconds.append(time.perf_counter() - started)
        if 0 < mass.sum() < LEAST_VOXELS:
            continue
        truths.append(bool(mass.any()))
        peaks.append(float(probability.max()))
        if mass.any():
            dices.append(overlap(probability >= 0.5, mass))
    return {
        "AUC per gland": f"{roc_auc_score(truths, peaks):.3f}",
        "mass Dice, median": f"{np.median(dices):.2f}",
        "mean": f"{np.mean(dices):.2f}",
        "glands with / without": f"{sum(truths)} / {len(truths) - sum(truths)}",
        f"ms per {CROP_VOXELS}^3 crop": f"{1000 * np.median(seconds):.0f}",
    }


def judge_localizer(bundle: Bundle, held_out: Path) -> Row:
    """Judge by where the stage finds the glands of held-out patients, and by their overlap."""
    errors, dices, seconds = [], [], []
    for folder in list_cases(held_out):
        case = read_case(folder)
        started = time.perf_counter()
        found = {parotid.side: parotid for parotid in find_parotids(case.volume, bundle)}
        seconds.append(time.perf_counter() - started)
        for side, gland in case.glands.items():
            errors.append(center_error_mm(gland, case.volume, found.get(side)))
            dices.append(gland_dice(gland, found.get(side)))
    return {
        "center error, median": f"{np.median(errors):.1f} mm",
        "95th percentile": f"{np.percentile(errors, 95, method='higher'):.1f} mm",
        "gland Dice, median": f"{np.median(dices):.2f}",
        "glands": str(len(errors)),
        "s per study": f"{np.median(seconds):.2f}",
    }


def overlap(found: NDArray[np.bool_], true: NDArray[Any]) -> float:
    """Return the Dice coefficient of two masks of which `true` is not empty."""
    return float(2 * (found & true).sum() / (found.sum() + true.sum()))


def show(title: str, rows: list[Row]) -> None:
    """Print a table in Markdown."""
    print(f"\n{title}\n")
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(row.values()) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
