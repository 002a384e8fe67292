"""One small input whose answer a bundle brings along, so that another machine can see whether it computes the same."""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from screener.phantom import make_phantom
from workers.models.bundle_files import read_json
from workers.models.networks import LOCALIZER_SPACING_MM, SEGMENTER_SPACING_MM, scale_hu, smooth_gland
from workers.models.us_image import prepare_square, surround_picture
from workers.models.us_weights import load_us_bundle
from workers.models.weights import load_bundle
from workers.training.us_describe_bundle import US_KINDS

CROP_VOXELS: Final = 32
TOLERANCE: Final = 1e-3
"""Largest difference of a probability that another processor, library or rounding may make."""

_SPACINGS_MM: Final = {"localizer": LOCALIZER_SPACING_MM, "segmenter": SEGMENTER_SPACING_MM}
_PHANTOM_MM: Final = 256.0
"""Width of the phantom's image."""


def write_golden(bundle: Path, kind: str) -> None:
    """Write `golden/input.npz` (Hounsfield units and, for the segmenter, the gland) and `golden/expected.npz`.

    For ultrasound the input is a gray picture.
    """
    folder = bundle / "golden"
    folder.mkdir(exist_ok=True)
    if kind not in _SPACINGS_MM:
        given_us = {"gray": _draw_ultrasound()}
        _write_arrays(folder / "input.npz", given_us)
        _write_arrays(folder / "expected.npz", {"probability": _compute(bundle, given_us).astype(np.float16)})
        return
    spacing_mm = _SPACINGS_MM[kind]
    phantom = make_phantom(
        mass_mm=20.0,
        seed=11,
        spacing_mm=(spacing_mm,) * 3,
        rows=round(_PHANTOM_MM / spacing_mm),
        z_range_mm=(-80.0, 80.0),
        uid_salt="golden",
    )
    right = np.array(ndimage.center_of_mass(phantom.right_parotid))
    left = np.array(ndimage.center_of_mass(phantom.left_parotid))
    center = np.rint(right if kind == "segmenter" else (right + left) / 2).astype(int)
    where = tuple(slice(c - CROP_VOXELS // 2, c + CROP_VOXELS // 2) for c in center)
    given: dict[str, NDArray[Any]] = {"hu": phantom.hu[where].astype(np.int16)}
    if kind == "segmenter":
        given["gland"] = phantom.right_parotid[where]
    _write_arrays(folder / "input.npz", given)
    _write_arrays(folder / "expected.npz", {"probability": _compute(bundle, given).astype(np.float16)})


def compare_golden(bundle: Path) -> float:
    """Return the largest difference between the expected and the computed probabilities, on the CPU.

    Raises OSError, KeyError or ValueError where the golden case is missing or damaged, NeedsPerson where the bundle is.
    """
    with np.load(bundle / "golden" / "input.npz", allow_pickle=False) as stored:
        given = {name: stored[name] for name in stored.files}
    with np.load(bundle / "golden" / "expected.npz", allow_pickle=False) as stored:
        expected = stored["probability"].astype(np.float32)
    computed = _compute(bundle, given)
    if computed.shape != expected.shape or not np.isfinite(expected).all():
        message = f"expected.npz has the shape {expected.shape}, the answer {computed.shape}"
        raise ValueError(message)
    return float(np.abs(computed - expected).max())


def _compute(bundle: Path, given: dict[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Return the class probabilities (classes, z, y, x), the scaling of the input included."""
    folder = bundle.resolve()
    if "gray" in given:
        return _compute_us(folder, np.asarray(given["gray"], np.uint8))
    network = load_bundle(folder.name, torch.device("cpu"), folder.parent)
    image = scale_hu(np.asarray(given["hu"], np.int16))
    if "gland" in given:
        gland = smooth_gland(np.asarray(given["gland"], bool), SEGMENTER_SPACING_MM)
        image = np.concatenate([image, gland[None]])  # (3, z, y, x)
    return network(image)


def _compute_us(folder: Path, gray: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return an ultrasound network's answer to the whole picture: (side, side), or (1,) of a classifier."""
    kind = str(read_json(folder / "configs" / "metadata.json")["kind"])
    name = next(name for name, known in US_KINDS.items() if known == kind)
    network = load_us_bundle(folder.name, torch.device("cpu"), folder.parent, kind=name)
    rows, columns = gray.shape
    return np.atleast_1d(network(prepare_square(gray, surround_picture((rows, columns)), network.side_px)[None])[0])


def _draw_ultrasound() -> NDArray[np.uint8]:
    """Return a picture (96, 128) of speckle that darkens with depth, with a dark ellipse in it."""
    rng = np.random.default_rng(11)
    rows, columns = np.indices((96, 128))
    echo = ndimage.gaussian_filter(rng.rayleigh(1.0, rows.shape), (0.6, 1.0)) * np.exp(-rows / 90)
    echo[((rows - 45) / 18) ** 2 + ((columns - 60) / 26) ** 2 < 1] *= 0.25
    return np.asarray(np.clip(60 * np.log1p(8 * echo), 0, 255), dtype=np.uint8)


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write `arrays` as NumPy's compressed archive, without any pickle: objects are refused."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, values in arrays.items():
            stamp = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))  # the same arrays make the same file
            stamp.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(stamp, "w") as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(values), allow_pickle=False)
