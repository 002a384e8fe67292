"""The ultrasound networks beside each other: each trained for the same steps or time, judged on the test part.

`python tests/benchmarks/compare_us_networks.py ../shared/data/ultrasound --work DIR --steps 600 --side 128`. The
networks are trained one after the other, on the same samples in the same order. Those on MobileNetV2 are trained twice
where `--pretrained` is given: from nothing, as the others, and from these weights, as only they can. What was trained
stays in DIR: a second call goes on from there, and with the same steps only judges. No public image shows a parotid
tumor: the figures are of breast and thyroid lesions, in the rectangle of their outline, each source by itself.
"""

import argparse
import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, from any folder

from workers.models.networks import build_network
from workers.models.us_image import restore_picture, surround_picture
from workers.models.us_networks import LESION_CLASSIFIER, LESION_SEGMENTER, US_NETWORKS
from workers.models.us_weights import UsNetwork, load_us_bundle
from workers.training.statistics.compare_aucs import quick_auc
from workers.training.statistics.estimate_intervals import bootstrap_interval, resample_patients
from workers.training.us_draw_samples import view_for_classifier, view_for_segmenter
from workers.training.us_judge_networks import answer_all, is_rated, overlap
from workers.training.us_read_cases import MALIGNANT, UsCase, list_rows, read_cases
from workers.training.us_split_cases import Part, take_part
from workers.training.us_train_classifier import cross_entropy
from workers.training.us_train_segmenter import dice_and_cross_entropy

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = {LESION_SEGMENTER: "us-segmenter", LESION_CLASSIFIER: "us-classifier"}
MARKED_SHARE = 0.005
"""Of a healthy picture: less counts as nothing marked."""
Row = dict[str, str]


def main() -> int:
    """Train what is not yet trained, judge, and print both tables; or time the steps alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?", help="folder of cases with index.csv")
    parser.add_argument("--work", type=Path, default=Path("cache/compare_us"), help="default %(default)s")
    parser.add_argument("--steps", type=int, default=600, help="of each training; default %(default)s")
    parser.add_argument("--minutes", type=float, help="of each training, instead of steps")
    parser.add_argument("--pretrained", type=Path, help="weights that the networks on MobileNetV2 start from")
    parser.add_argument("--side", type=int, default=128, help="default %(default)s")
    parser.add_argument("--batch", type=int, default=8, help="default %(default)s")
    parser.add_argument("--threads", type=int, default=1, help="default %(default)s")
    parser.add_argument("--device", default="auto", help="default %(default)s")
    parser.add_argument("--only", choices=["segmenter", "classifier"], help="one of the two tables")
    parser.add_argument("--time", action="store_true", help="train nothing: print the seconds of a step")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    names = [name for name in US_NETWORKS if args.only is None or name.endswith(args.only)]
    if args.time:
        rows = [time_row(name, network, args) for name in names for network in US_NETWORKS[name]]
        show(f"A step of batch {args.batch} at {args.side}, {args.threads} thread(s) on the CPU", rows)
        return 0
    if args.data is None:
        parser.error("DATA is needed, unless --time is given")
    for name in names:
        for network, weights in list_starts(name, args):
            train(name, network, weights, args)
    cases = list(read_cases(take_part(list_rows(args.data), Part.TEST)))
    for name in names:
        judge = judge_segmenter if name == LESION_SEGMENTER else judge_classifier
        rows = judge_all(name, args, lambda network, judge=judge: judge(network, cases))
        spent = f"{args.steps} steps" if args.minutes is None else f"{args.minutes:g} minutes"
        show(f"{name}, {spent} each at {args.side}, test part of {args.data.resolve().name}", rows)
    return 0


def list_starts(name: str, args: argparse.Namespace) -> list[tuple[str, Path | None]]:
    """Return each network and the weights that it starts from, None for nothing."""
    networks = US_NETWORKS[name]
    known = [] if args.pretrained is None else [(one, args.pretrained) for one in networks if "mobile" in one]
    return [*((one, None) for one in networks), *known]


def find_folder(network: str, weights: Path | None, args: argparse.Namespace) -> Path:
    """Return where a training is kept."""
    return Path(args.work) / f"{network}_{args.side}{'' if weights is None else '_photographs'}"


def train(name: str, network: str, weights: Path | None, args: argparse.Namespace) -> None:
    """Train one network in a process of its own, as the command line does."""
    folder = find_folder(network, weights, args)
    folder.mkdir(parents=True, exist_ok=True)
    line = [sys.executable, "-m", "workers", "train", COMMANDS[name], "--data", str(args.data), "--network", network]
    line += ["--out", str(folder / name), "--checkpoint", str(folder / f"{name}.ckpt"), "--device", args.device]
    line += ["--steps", str(args.steps)] if args.minutes is None else ["--minutes", str(args.minutes)]
    line += [] if weights is None else ["--pretrained", str(weights)]
    line += ["--side", str(args.side), "--batch", str(args.batch), "--threads", str(args.threads)]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "PYTHONPATH": str(ROOT)}
    with (folder / f"{name}.log").open("a") as log:
        if subprocess.run(line, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False).returncode:
            raise SystemExit(f"training failed; see {log.name}")


def judge_all(name: str, args: argparse.Namespace, judge: Callable[[UsNetwork], Row]) -> list[Row]:
    """Return a row for each network: what it is, what it costs, how well it answers."""
    rows = []
    for network, weights in list_starts(name, args):
        bundle = load_us_bundle(name, torch.device("cpu"), find_folder(network, weights, args))
        row = time_row(name, network, args) | judge(bundle)
        if weights is not None:
            row["network"] += ", from photographs"
        rows.append(row)
    return rows


def time_row(name: str, network: str, args: argparse.Namespace) -> Row:
    """Return the network's parameters and the median seconds of a step on the CPU, the first of three left out.

    The processor's own seconds beside them do not count what else the machine does.
    """
    built = build_network(US_NETWORKS[name][network]).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(built.parameters())
    images = torch.randn(args.batch, 1, args.side, args.side).contiguous(memory_format=torch.channels_last)
    is_segmenter = name == LESION_SEGMENTER
    classes = torch.zeros((args.batch, args.side, args.side) if is_segmenter else (args.batch,), dtype=torch.int64)
    loss_of = dice_and_cross_entropy if is_segmenter else cross_entropy(0.1)
    seconds, own_seconds = [], []
    for _ in range(3):
        started, own_started = time.perf_counter(), time.process_time()
        answer = built(images)
        loss = sum(loss_of(one, classes) for one in (answer if isinstance(answer, tuple) else (answer,)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
        own_seconds.append(time.process_time() - own_started)
    count = sum(parameter.numel() for parameter in built.parameters())
    return {
        "network": network,
        "parameters": f"{count:,}",
        "s a step": f"{np.median(seconds[1:]):.2f}",
        "processor s": f"{np.median(own_seconds[1:]):.2f}",
    }


def judge_segmenter(network: UsNetwork, cases: Sequence[UsCase]) -> Row:
    """Judge on the picture's own grid: Dice of each source's lesions, and how many healthy pictures are marked."""
    known = [case for case in cases if case.lesion is not None]
    answers = answer_all(network.network, [view_for_segmenter(case, network.side_px) for case in known])
    dices: dict[str, list[tuple[str, float]]] = defaultdict(list)
    marked: dict[str, list[bool]] = defaultdict(list)
    for case, answer in zip(known, answers, strict=True):
        found = restore_picture(answer, surround_picture(case.gray.shape), case.gray.shape) >= 0.5
        if case.lesion.any():
            dices[case.row.source].append((case.row.group, overlap(found, case.lesion)))
        else:
            marked[case.row.source].append(bool(found.mean() >= MARKED_SHARE))
    row = {}
    for source, pairs in sorted(dices.items()):
        groups, values = zip(*pairs, strict=True)
        scores = np.array(values)
        interval = bootstrap_interval(resample_patients(groups), lambda chosen, v=scores: float(np.median(v[chosen])))
        row[f"Dice {source}, median (95 %), n = {len(scores)}"] = f"{np.median(scores):.3f} {write_interval(interval)}"
    for source, hits in sorted(marked.items()):
        row[f"{source} without lesion, marked"] = f"{sum(hits)} of {len(hits)}"
    return row


def judge_classifier(network: UsNetwork, cases: Sequence[UsCase]) -> Row:
    """Judge by the AUC within each source, with an interval that draws whole groups: pictures of one are alike."""
    row = {}
    known = [case for case in cases if is_rated(case)]
    for source in sorted({case.row.source for case in known}):
        own = [case for case in known if case.row.source == source]
        truth = np.array([case.row.label == MALIGNANT for case in own])
        if truth.all() or not truth.any():
            continue
        scores = answer_all(network.network, [view_for_classifier(case, network.side_px) for case in own])
        draws = resample_patients([case.row.group for case in own])
        interval = bootstrap_interval(draws, lambda chosen, t=truth, s=scores: quick_auc(t[chosen], s[chosen]))
        about = f"AUC {source} (95 %), {truth.sum()} of {len(truth)} malignant"
        row[about] = f"{quick_auc(truth, scores):.3f} {write_interval(interval)}"
    return row


def write_interval(interval: tuple[float, float] | None) -> str:
    """Return an interval in words."""
    return "(-)" if interval is None else f"({interval[0]:.3f}-{interval[1]:.3f})"


def show(title: str, rows: list[Row]) -> None:
    """Print a table in Markdown."""
    print(f"\n{title}\n")
    print("| " + " | ".join(rows[0]) + " |")
    print("|" + "---|" * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(row.values()) + " |", flush=True)


if __name__ == "__main__":
    sys.exit(main())
