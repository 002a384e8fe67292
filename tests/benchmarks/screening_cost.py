"""What a study costs: seconds and memory from selection to decision, in the networks and outside them.

`python tests/benchmarks/screening_cost.py [--json FILE]`. Each study is screened by the worker's own journey in a
process of its own, with the shipped bundles and two threads; only the store is a stand-in. Processor seconds stand
beside the clock's, because the machine is rarely ours alone: where both cores are free, a stage takes about its
processor seconds, a network half of them.
"""

import argparse
import dataclasses
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # run as a script, from any folder

from pydicom import dcmread
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from screener.phantom import Phantom, make_phantom
from screener.study import Instance

THREADS = 2
ROWS = 512
LOW_ROWS = 256
MASS_MM = 20.0
NOISE_HU = 8.0
TABLE_MM = 20.0
SHELL_HU, FOAM_HU = 150, -930
MAX_OUTSIDE_SECONDS = 4.0
TO_DECISION = ("selected", "loaded", "localized", "segmented", "decided")


@dataclass(frozen=True, kw_only=True)
class Study:
    """What is measured, and its limits: None where a study is only shown."""

    name: str
    slices: int
    spacing_mm: tuple[float, float, float]
    max_seconds: float | None = None
    max_outside_seconds: float | None = None
    max_bytes: float | None = None
    transfer_syntax: UID = ExplicitVRLittleEndian


STUDIES = (
    Study(
        name="neck",
        slices=130,
        spacing_mm=(0.7, 0.7, 2.5),
        max_seconds=12.0,
        max_outside_seconds=MAX_OUTSIDE_SECONDS,
        max_bytes=3e9,
    ),
    Study(name="thin", slices=600, spacing_mm=(0.5, 0.5, 0.5), max_seconds=40.0, max_bytes=4e9),
    Study(name="neck_jpeg_ls", slices=130, spacing_mm=(0.7, 0.7, 2.5), transfer_syntax=JPEGLSLossless),
    Study(name="neck_jpeg_2000", slices=130, spacing_mm=(0.7, 0.7, 2.5), transfer_syntax=JPEG2000Lossless),
    Study(name="finest", slices=900, spacing_mm=(0.4, 0.4, 0.5)),
)
"""`finest` is measured only where it is asked for by name."""


def main() -> int:
    """Make, screen and tabulate each study; 0 where every limit is kept."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    names = [study.name for study in STUDIES]
    parser.add_argument("--studies", nargs="+", choices=names, default=names[:-1])
    parser.add_argument("--folder", type=Path, help="keep the studies here, and use those that lie there")
    options = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for study in (study for study in STUDIES if study.name in options.studies):
            folder = (options.folder or Path(scratch)) / study.name
            if not folder.exists():
                unfinished = Path(scratch) / "unfinished"
                write_study(study, unfinished)
                shutil.move(unfinished, folder)
            for device in ("cpu", "cuda")[: 1 + _has_cuda()]:
                results.append(_screen_in_child(study, folder, device))
                print(_tabulate(study, results[-1]), flush=True)
    if options.json:
        options.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    return 0 if all(is_met for result in results for _, is_met in result["limits"]) else 1


def write_study(study: Study, folder: Path) -> None:
    """Write a head and neck on a table: painted on half as many rows, interpolated, and then given its noise."""
    x, y, z = study.spacing_mm
    scale = ROWS // LOW_ROWS
    low_z = max(z, 2.5)
    height_mm = (study.slices - 1) * z
    top_mm = min(122.5, 0.4 * height_mm)
    phantom = make_phantom(
        mass_mm=MASS_MM,
        spacing_mm=(x * scale, y * scale, low_z),
        rows=LOW_ROWS,
        z_range_mm=(top_mm - height_mm - low_z, top_mm + low_z),
        uid_salt=f"benchmark {study.name}",
    )
    low = _lay_on_table(phantom.hu.astype(np.float32), round(TABLE_MM / (y * scale)))
    random = np.random.default_rng(0)
    folder.mkdir(parents=True)
    for index in range(study.slices):
        place = 1.0 + index * z / low_z
        below, share = int(place), place - int(place)
        plane = (1 - share) * low[below] + share * low[min(below + 1, len(low) - 1)]
        plane = ndimage.zoom(plane, scale, order=1, grid_mode=True, mode="nearest")
        plane += NOISE_HU * random.standard_normal(plane.shape, dtype=np.float32)
        _write_slice(study, phantom, plane, index, folder / f"CT_{index:04d}.dcm")


def _lay_on_table(hu: NDArray[np.float32], thickness: int) -> NDArray[np.float32]:
    """Put a table of two shells with foam between just below the patient, or as low as the image shows."""
    lowest = int(np.flatnonzero((hu > -300).any(axis=(0, 2))).max())
    top = min(lowest + 2, hu.shape[1] - thickness)
    table = np.full(hu[:, top : top + thickness].shape, FOAM_HU, np.float32)
    table[:, [0, -1]] = SHELL_HU
    hu[:, top : top + thickness] = np.maximum(hu[:, top : top + thickness], table)
    return hu


def _write_slice(study: Study, phantom: Phantom, plane: NDArray[np.float32], index: int, path: Path) -> None:
    ds = deepcopy(phantom.datasets[0])
    x, y, z = study.spacing_mm
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"{ds.SeriesInstanceUID[:50]}.{index + 1}"
    ds.Rows = ds.Columns = ROWS
    ds.PixelSpacing = [f"{y:g}", f"{x:g}"]
    ds.SliceThickness = f"{z:g}"
    ds.ImagePositionPatient = [*phantom.datasets[0].ImagePositionPatient[:2], f"{index * z:.4f}"]
    ds.InstanceNumber = index + 1
    stored = np.clip(np.rint(plane), -1024, 3071) - float(ds.RescaleIntercept)
    ds.PixelData = stored.astype("<i2" if ds.PixelRepresentation else "<u2").tobytes()
    if study.transfer_syntax.is_compressed:
        ds.compress(study.transfer_syntax, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)


def _has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


def _screen_in_child(study: Study, folder: Path, device: str) -> dict[str, Any]:
    """Screen in a fresh process, so that its memory is the study's; the figures, with the limits that they keep."""
    command = [sys.executable, __file__, "--screen", str(folder), device]
    threads = {"OMP_NUM_THREADS": str(THREADS), "OPENBLAS_NUM_THREADS": str(THREADS)}
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=os.environ | threads)
    result: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    total = {key: sum(result["stages"][name][key] for name in TO_DECISION) for key in result["stages"]["selected"]}
    total["peak_bytes"] = max(result["stages"][name]["peak_bytes"] for name in TO_DECISION)
    outside = {
        "seconds": total["seconds"] - total["network_seconds"],
        "cpu_seconds": total["cpu_seconds"] - total["network_cpu_seconds"],
    }
    limits = [
        (f"{name}: {value:.3g} of at most {most:.3g}", value <= most)
        for name, value, most in (
            ("seconds to the decision", total["seconds"], study.max_seconds),
            ("of these outside the networks", outside["seconds"], study.max_outside_seconds),
            ("peak memory, GB", total["peak_bytes"] / 1e9, study.max_bytes and study.max_bytes / 1e9),
        )
        if most is not None
    ]
    return {"study": study.name, "total": total, "outside": outside, "limits": limits, **result}


def _tabulate(study: Study, result: dict[str, Any]) -> str:
    """The table of one study; seconds by the clock and, after the slash, of the processor."""

    def row(name: str, figures: dict[str, float]) -> str:
        clock, cpu = figures["seconds"], figures["cpu_seconds"]
        inside, inside_cpu = figures["network_seconds"], figures["network_cpu_seconds"]
        pairs = ((clock, cpu), (inside, inside_cpu), (clock - inside, cpu - inside_cpu))
        return (
            f"{name:<12}" + "".join(f"{a:>9.2f} /{b:>7.2f}" for a, b in pairs) + f"{figures['peak_bytes'] / 1e9:>9.2f}"
        )

    lines = [
        "",
        f"{study.name}: {study.slices} slices of {ROWS} x {ROWS}, voxels of "
        + " x ".join(f"{size:g}" for size in study.spacing_mm)
        + f" mm ({result['voxels'] / 1e6:.0f} million), {study.transfer_syntax.name}",
        f"{result['device']}, {result['threads']} threads, {result['precision']}, batches of {result['batch']}; "
        f"other processes' load at the start {result['load']:.1f}",
        f"{'stage':<12}{'seconds /  cpu':>18}{'networks /  cpu':>18}{'outside /  cpu':>18}{'peak GB':>9}",
        *(row(name, result["stages"][name]) for name in ("start", *TO_DECISION)),
        row("TO DECISION", result["total"]),
        row("encoded", result["stages"]["encoded"]),
        f"flagged: {'yes' if result['is_flagged'] else 'no'}, {result['candidates']} candidate(s)",
        *(f"{'met   ' if is_met else 'MISSED'}  {sentence}" for sentence, is_met in result["limits"]),
    ]
    return "\n".join(lines)


class _Meter:
    """Stands in for a worker's store: at each stage reached, notes seconds, processor seconds and memory."""

    def __init__(self, instances: list[Instance]) -> None:
        self.instances = instances
        self.network = np.zeros(2)
        """Seconds by the clock and of the processor, in either network so far."""
        self.stages: dict[str, dict[str, float]] = {}
        self.screening: Any = None
        self.voxels = 0
        self._last = np.zeros(4)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"the journey asks its store for {name}: the benchmark must learn it")

    def images_of(self, *_: object) -> list[Instance]:
        return self.instances

    def record_series(self, *_: object) -> None:
        """No earlier run has the same key."""

    def name_results(self, _run: object, run_key: str) -> str:
        """No earlier run has the same key."""
        return run_key

    def reached(self, _run: object, stage: str, **_: object) -> None:
        self.note(str(stage))

    def finish_run(self, _run: object, screening: Any, *, seconds: float, **_: object) -> None:
        self.screening = screening
        self.note("encoded")
        # The decision has no step of its own in the history: what was not encoding was deciding.
        deciding = max(self.stages["encoded"]["seconds"] - seconds, 0.0)
        self.stages["decided"] = self.stages["segmented"] | {
            "seconds": deciding, "cpu_seconds": deciding, "network_seconds": 0.0, "network_cpu_seconds": 0.0,
        }  # fmt: skip
        for key in ("seconds", "cpu_seconds"):
            self.stages["encoded"][key] -= deciding

    def note(self, stage: str) -> None:
        now = np.array([time.monotonic(), time.process_time(), *self.network])
        names = ("seconds", "cpu_seconds", "network_seconds", "network_cpu_seconds")
        figures = dict(zip(names, (now - self._last).tolist(), strict=True))
        self.stages[stage] = figures | {"peak_bytes": _peak_bytes()}
        self._last = now

    def wrap(self, bundle: Any) -> Any:
        """The bundle, with what it takes added to `network`."""
        meter = self

        class Timed:
            def __getattr__(self, name: str) -> Any:
                return getattr(bundle, name)

            def __call__(self, *args: Any, **options: Any) -> Any:
                began = np.array([time.monotonic(), time.process_time()])
                answer = bundle(*args, **options)
                meter.network += np.array([time.monotonic(), time.process_time()]) - began
                return answer

        return Timed()


def _peak_bytes() -> float:
    """The most memory that this process ever held; unlike `ru_maxrss`, without what its parent held before it."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return float(line.split()[1]) * 1024
    raise SystemExit("needs /proc/self/status")


def _describe(path: Path) -> Instance:
    ds = dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"])
    return Instance(
        sop_instance_uid=str(ds.SOPInstanceUID),
        sop_class_uid=str(ds.SOPClassUID),
        series_instance_uid=str(ds.SeriesInstanceUID),
        path=path,
        sha256="",
    )


def _screen(folder: Path, device: str) -> dict[str, Any]:
    """Carry the study through the worker's journey; the figures."""
    meter = _Meter([_describe(path) for path in sorted(folder.iterdir())])
    load = os.getloadavg()[0]
    meter.note("before")
    import torch

    from screener.archive import Archive
    from screener.config import make_config
    from screener.journey import Queue
    from screener.store import Run
    from workers import screen_ct
    from workers.bench import Bench, load_models

    with tempfile.TemporaryDirectory() as scratch:
        config = make_config({"models": {"device": device, "threads": THREADS}}, base=Path(scratch), environment={})
        models = load_models(config)
        seen = _watch([models.localizer.network, models.segmenter.network])
        timed = dataclasses.replace(
            models, localizer=meter.wrap(models.localizer), segmenter=meter.wrap(models.segmenter)
        )
        store: Any = meter
        bench = Bench(config=config, store=store, archive=Archive(Path(scratch), 0), _models=timed)
        run = Run(
            run_id=1, study_id=1, study_instance_uid="2.25.1", number=1, queue=Queue.CT, owner="benchmark",
            attempts=1, thresholds=config.thresholds(), reprocess_number=0,
        )  # fmt: skip
        meter.note("start")
        screen_ct.screen_ct(bench, run)
    del meter.stages["before"]
    return {
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "threads": torch.get_num_threads(),
        "precision": str(seen.dtype).removeprefix("torch."),
        "batch": seen.batch,
        "load": load,
        "voxels": len(meter.instances) * ROWS * ROWS,
        "is_flagged": meter.screening.verdict.is_flagged,
        "candidates": len(meter.screening.candidates),
        "candidate_voxels": [candidate.voxels for candidate in meter.screening.candidates],
        "gland_volumes_mm3": [gland.volume_mm3 for gland in meter.screening.assessments],
        "stages": meter.stages,
    }


def _watch(networks: list[Any]) -> SimpleNamespace:
    """Note with how many crops at once, and in which precision, the networks are called."""
    seen = SimpleNamespace(batch=0, dtype=next(networks[0].parameters()).dtype)

    def note(_network: object, inputs: tuple[Any, ...], output: Any) -> None:
        seen.batch, seen.dtype = max(seen.batch, len(inputs[0])), output.dtype

    for network in networks:
        network.register_forward_hook(note)
    return seen


if __name__ == "__main__":
    if sys.argv[1:2] == ["--screen"]:
        warnings.filterwarnings("ignore", module=r"pydicom\..*")
        print(json.dumps(_screen(Path(sys.argv[2]), sys.argv[3])))
        raise SystemExit(0)
    raise SystemExit(main())
