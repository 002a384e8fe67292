"""A worker, or a daemon with such workers, whose networks are a stand-in of fixed time; all else is the product's.

`python -m tests.chaos.stand_in_worker ct --config config.toml` is a Celery worker as `python -m workers ct` is one, and
`... daemon run --config config.toml` the daemon that starts such workers. Series are selected, voxels loaded, results
encoded and sent as ever; the glands and masses of `small_study` are seen in the Hounsfield units, without torch.
`STAND_IN_SECONDS` in the environment is what a screening takes.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from types import ModuleType

import numpy as np

from screener.study import GAMMAS, AlgorithmIdentity, Candidate, Mass, Parotid, Side, Volume
from tests.chaos.small_study import GLAND_HU, MASS_HU, POISON_HU
from workers import __main__ as program
from workers import bench
from workers.bench import Models

MODULE = "tests.chaos.stand_in_worker"
SECONDS_VARIABLE = "STAND_IN_SECONDS"
IDENTITY = "2.25.4242"


def localize_parotids(volume: Volume, localizer: object) -> tuple[Parotid, Parotid]:
    """Both glands, by their Hounsfield units."""
    if (volume.hu == POISON_HU).any():
        os.kill(os.getpid(), signal.SIGKILL)
    right, left = (_see_gland(volume, side) for side in (Side.RIGHT, Side.LEFT))
    return right, left


def segment_masses(
    volume: Volume,
    parotids: Sequence[Parotid],
    segmenter: object,
    *,
    min_probability: float,
    judge: object = None,
) -> tuple[Mass, ...]:
    """The mass, by its Hounsfield units, after the fixed time."""
    time.sleep(float(os.environ.get(SECONDS_VARIABLE, "0.5")))
    masses = []
    for parotid in parotids:
        mask = (volume.hu == MASS_HU) & _half(volume, parotid.side)
        if mask.any():
            voxels = round(mask.sum() * volume.voxel_volume_mm3)
            z, y, x = (float(value.mean()) for value in np.nonzero(mask))
            center = volume.affine @ np.array([x, y, z, 1.0])
            candidate = Candidate(
                side=parotid.side,
                number=len(masses) + 1,
                voxels=voxels,
                volume_mm3=float(voxels),
                longest_diameter_mm=round((6 * voxels / np.pi) ** (1 / 3), 3),
                mean_hu=float(MASS_HU),
                max_probability=1.0,
                mean_probability=1.0,
                center_mm=(float(center[0]), float(center[1]), float(center[2])),
                scores=(1.0,) * len(GAMMAS),
            )
            masses.append(Mass(candidate=candidate, mask=mask))
    return tuple(masses)


def _half(volume: Volume, side: Side) -> np.ndarray:
    columns = np.arange(volume.hu.shape[2])
    is_right = columns < volume.hu.shape[2] / 2
    return is_right if side is Side.RIGHT else ~is_right


def _see_gland(volume: Volume, side: Side) -> Parotid:
    mask = np.isin(volume.hu, (GLAND_HU, MASS_HU)) & _half(volume, side)
    z, y, x = (float(value.mean()) for value in np.nonzero(mask))
    center = volume.affine @ np.array([x, y, z, 1.0])
    return Parotid(
        side=side,
        is_assessed=True,
        reason="",
        center_mm=(float(center[0]), float(center[1]), float(center[2])),
        mask=mask,
        volume_mm3=float(mask.sum() * volume.voxel_volume_mm3),
        mean_hu=float(volume.hu[mask].mean()),
    )


def _put_in_place(name: str, **members: Callable[..., object]) -> None:
    """Let `from name import member` give the stand-in; the module itself, which brings torch, is never imported."""
    module = ModuleType(name)
    for key, value in members.items():
        setattr(module, key, value)
    sys.modules[name] = module


def put_stand_ins_in_place() -> None:
    """Let whoever imports the two stages from now on get the stand-ins."""
    _put_in_place("workers.ct.localize_parotids", localize_parotids=localize_parotids)
    _put_in_place("workers.ct.segment_masses", segment_masses=segment_masses)


def make_models() -> Models:
    """No networks, and an identity for the reports."""
    identity = AlgorithmIdentity(
        manufacturer="Stand-in",
        model_name="Stand-in",
        software_versions="0",
        device_uid=IDENTITY,
        device_serial_number="0",
        family="Artificial Intelligence",
    )
    return Models(localizer=None, segmenter=None, candidates=None, identity=identity)  # type: ignore[arg-type]


def run_worker(words: list[str]) -> None:
    """Be a worker of the queue that `words` name."""
    put_stand_ins_in_place()
    bench.load_models = lambda _: make_models()
    program.main(words)


def run_daemon(words: list[str]) -> int:
    """Be the daemon, whose workers are stand-ins too."""
    from screener import __main__ as daemon
    from screener import run_workers

    run_workers.COMMAND = (sys.executable, "-m", MODULE)
    return daemon.main(words)


if __name__ == "__main__":
    if sys.argv[1] == "daemon":
        sys.exit(run_daemon(sys.argv[2:]))
    run_worker(sys.argv[1:])
