"""Move a segmenter's probabilities: `python -m workers.training.calibrate_segmenter BUNDLE_DIR --probability P`.

Training balances found and missed voxels; a screener must first of all not
cry wolf. The last layer's bias is shifted so that what was P becomes 0.5, the
threshold that hospitals see in their settings.
"""

import argparse
import math
from pathlib import Path

import torch

from workers.models.weights import read_definition, read_weights
from workers.training.write_bundle import is_stored_in_half, write_bundle


def shift_probability(state: dict[str, torch.Tensor], probability: float) -> None:
    """Change the weights in place so that a mass probability of `probability` becomes 0.5."""
    names = [
        name for name, values in state.items() if name.endswith(("conv.bias", "head.bias")) and values.shape == (2,)
    ]
    last = "head.bias" if "head.bias" in names else names[-1]
    state[last][1] -= math.log(probability / (1 - probability))


def main() -> None:
    """Read the command line and change the bundle's weights."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--probability", type=float, required=True)
    args = parser.parse_args()
    definition = read_definition(args.bundle)
    if "members" in definition:
        parser.error(f"{args.bundle} is an average of networks: calibrate each before they are averaged")
    state = read_weights(args.bundle)
    is_half = is_stored_in_half(state)
    shift_probability(state, args.probability)
    write_bundle("parotid_mass_segmenter", args.bundle, definition, state, is_half=is_half)


if __name__ == "__main__":
    main()
