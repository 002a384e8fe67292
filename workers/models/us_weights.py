"""Load an ultrasound network from its MONAI bundle, and let it answer with probabilities."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from screener.outcomes import NeedsPerson
from workers.models.bundle_files import BUNDLES_DIR, read_json
from workers.models.device import run_within_memory
from workers.models.us_networks import SIDE_MULTIPLE, is_for
from workers.models.weights import bundle_digest, load_network, read_definition

MOST_SIDE_PX: Final = 1024
"""A bundle that asks for more is refused: no picture is as large, and memory is bounded."""
_BATCHES: Final = (16, 4, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsNetwork:
    """A lesion segmenter or classifier ready to answer, and what identifies it."""

    name: str
    version: str
    digest: str
    """As `bundle_digest` returns it: of the weights, the network's definition, the side and the preprocessing."""
    side_px: int
    """Of the square that the network sees (`us_image.prepare_square`)."""
    network: torch.nn.Module
    device: torch.device
    learned_from: str = ""
    """What it was trained on, as a noun phrase; empty where the bundle does not say."""

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probabilities for `images` (n, 1, side_px, side_px).

        Of a segmenter (n, side_px, side_px), that a pixel belongs to a lesion; of
        a classifier (n,), that the lesion is malignant, as it comes from the
        network: not yet calibrated. Raises NeedsPerson where there is too little
        memory, or the answer holds what is no number.
        """
        wanted = (1, self.side_px, self.side_px)
        if images.ndim != 4 or images.shape[1:] != wanted:
            message = f"the network {self.name} takes images of {wanted}, not {images.shape[1:]}"
            raise ValueError(message)

        def run(device: torch.device, batch: int) -> NDArray[np.float32]:
            return answer_in_batches(self.network.to(device), images, device, batch)

        answer = run_within_memory(run, self.device, _BATCHES, unit="images at a time")
        if not np.isfinite(answer).all():
            # Without this a broken network would find nothing, which reads as "no lesion".
            raise NeedsPerson(f"The network {self.name} answers with values that are no numbers.", code="bad_bundle")
        return answer


def answer_in_batches(
    network: torch.nn.Module, images: NDArray[np.float32], device: torch.device, batch: int
) -> NDArray[np.float32]:
    """Return the probabilities of `images` (n, 1, side, side): (n, side, side), or (n,) of a classifier.

    Each is the mean of what the network says of an image and of its mirror
    image: a probe may be held either way around.
    """
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), batch):
            part = torch.from_numpy(np.ascontiguousarray(images[start : start + batch])).to(device)
            seen, mirrored = network(part).float().sigmoid()[:, 0], network(part.flip(-1)).float().sigmoid()[:, 0]
            back = mirrored.flip(-1) if mirrored.ndim == 3 else mirrored
            parts.append(((seen + back) / 2).cpu().numpy())
    return np.concatenate(parts)


def load_us_bundle(
    name: str, device: torch.device, bundles_dir: Path | None = None, *, kind: str | None = None
) -> UsNetwork:
    """Return the ultrasound bundle `name` below `bundles_dir` (the shipped ones where None), on `device`.

    `kind`, LESION_SEGMENTER or LESION_CLASSIFIER, is what it must be where it has a name of a hospital's own. Raises
    NeedsPerson where the bundle is missing, does not fit together or is of another kind.
    """
    folder = (bundles_dir or BUNDLES_DIR) / name
    network, version = load_network(folder)
    try:
        side_px = read_side(folder)
        is_wanted = is_for(kind or name, read_definition(folder))
        digest = bundle_digest(name, bundles_dir)
        learned_from = read_learned_from(folder)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        reason = f"The model bundle {folder} cannot be loaded: {problem}"
        raise NeedsPerson(reason, code="bad_bundle") from problem
    if not is_wanted:
        raise NeedsPerson(f"The model bundle {folder} holds a network of another kind.", code="bad_bundle")
    network.eval().to(device)
    return UsNetwork(
        name=name,
        version=version,
        digest=digest,
        side_px=side_px,
        network=network,
        device=device,
        learned_from=learned_from,
    )


def read_learned_from(folder: Path) -> str:
    """Return what the bundle says that it learned from, empty where it says nothing; raises OSError or ValueError."""
    return str(read_json(folder / "configs" / "metadata.json").get("learned_from") or "")


def read_side(folder: Path) -> int:
    """Return the side of the square that the bundle's network sees; raises OSError, ValueError, KeyError, TypeError."""
    side_px = read_json(folder / "configs" / "inference.json")["side_px"]
    if not isinstance(side_px, int) or not 0 < side_px <= MOST_SIDE_PX or side_px % SIDE_MULTIPLE:
        message = f"side_px is {side_px!r}, and must be a multiple of {SIDE_MULTIPLE} up to {MOST_SIDE_PX}"
        raise ValueError(message)
    return side_px
