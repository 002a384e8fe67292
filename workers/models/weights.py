"""Load the shipped networks, or a hospital's own, from MONAI bundles; only data is read, no code."""

import hashlib
import json
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from monai.inferers import sliding_window_inference
from numpy.typing import NDArray

from screener.outcomes import NeedsPerson
from workers.models.bundle_files import BUNDLES_DIR, read_json
from workers.models.device import run_within_memory
from workers.models.networks import PREPROCESSING_VERSION, build_network
from workers.models.us_image import US_PREPROCESSING_VERSION

_PATCHES_VOXELS: Final = (192, 128, 96, 64)
_STRIDE_VOXELS: Final = 8
"""The networks halve their grid three times, so that each side must be a multiple of this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A network ready to answer, and what identifies it."""

    name: str
    version: str
    digest: str
    """As `bundle_digest` returns it."""
    network: torch.nn.Module
    device: torch.device

    def __call__(self, image: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the class probabilities (classes, z, y, x) of `image` (channels, z, y, x).

        Several images (n, channels, z, y, x) are answered together, (n, classes, z, y, x), in a third of the time on a
        processor. Raises NeedsPerson where there is too little memory, or the answer holds what is no number.
        """
        several = image if image.ndim == 5 else image[None]
        shape = several.shape[2:]
        padding = [(0, -length % _STRIDE_VOXELS) for length in shape]
        padded = np.pad(several, [(0, 0), (0, 0), *padding])  # zero is air

        def run(device: torch.device, patch: int) -> NDArray[np.float32]:
            batch = torch.from_numpy(np.ascontiguousarray(padded)).to(device)
            network = self.network.to(device)
            with torch.inference_mode():
                if max(padded.shape[2:]) <= patch:
                    logits = network(batch)
                else:
                    logits = sliding_window_inference(batch, patch, 1, network, overlap=0.3, mode="gaussian")
                answer: NDArray[np.float32] = logits.float().softmax(1).cpu().numpy()
            return answer

        answer = run_within_memory(run, self.device, _PATCHES_VOXELS)
        if not np.isfinite(answer).all():
            # Without this a broken network would find nothing, which reads as "no mass".
            raise NeedsPerson(f"The network {self.name} answers with values that are no numbers.", code="bad_bundle")
        answer = answer[..., : shape[0], : shape[1], : shape[2]]
        return answer if image.ndim == 5 else answer[0]


def load_bundle(name: str, device: torch.device, bundles_dir: Path | None = None) -> Bundle:
    """Return the bundle `name` below `bundles_dir` (the shipped ones where None), on `device`.

    Raises NeedsPerson where it is missing or does not fit together.
    """
    folder = (bundles_dir or BUNDLES_DIR) / name
    network, version = load_network(folder)
    network.eval().to(device)
    digest = bundle_digest(name, bundles_dir)
    return Bundle(name=name, version=version, digest=digest, network=network, device=device)


def load_network(folder: Path) -> tuple[torch.nn.Module, str]:
    """Return the network of the bundle in `folder` with its weights, and the bundle's version.

    Raises NeedsPerson where it is missing or does not fit together.
    """
    try:
        network = build_network(read_definition(folder))
        network.load_state_dict(read_weights(folder), strict=True)  # half precision becomes single again
        version = str(read_json(folder / "configs" / "metadata.json")["version"])
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as problem:
        reason = f"The model bundle {folder} cannot be loaded: {problem}"
        raise NeedsPerson(reason, code="bad_bundle") from problem
    return network, version


def bundle_digest(name: str, bundles_dir: Path | None = None) -> str:
    """Return the SHA-256, in hexadecimal, of the weights, the network's definition and the preprocessing version.

    To ultrasound's preprocessing belongs the side of the square that the network sees.
    """
    folder = (bundles_dir or BUNDLES_DIR) / name
    definition = read_definition(folder)
    digest = hashlib.sha256(_find_weights(folder).read_bytes())
    digest.update(json.dumps(definition, sort_keys=True).encode())
    side_px = read_json(folder / "configs" / "inference.json").get("side_px")
    preprocessing = PREPROCESSING_VERSION if side_px is None else f"us {US_PREPROCESSING_VERSION} {side_px}"
    digest.update(preprocessing.encode())
    return digest.hexdigest()


def read_definition(folder: Path) -> dict[str, Any]:
    """Return the `network_def` of the bundle in `folder`; raises OSError, ValueError, KeyError or TypeError."""
    return dict(read_json(folder / "configs" / "inference.json")["network_def"])


def read_weights(folder: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of the bundle in `folder`; pickled code in it is refused, never run.

    Raises OSError, ValueError or TypeError.
    """
    path = _find_weights(folder)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, LookupError, AttributeError) as problem:
        message = f"{path} is not a file of weights alone"
        raise ValueError(message) from problem
    if not isinstance(state, dict):
        message = f"{path} holds no state dictionary"
        raise TypeError(message)
    return dict(state)


def _find_weights(folder: Path) -> Path:
    path = folder / "models" / "model.pt"
    if not path.is_file():
        message = f"{path} is missing"
        raise FileNotFoundError(message)
    return path
