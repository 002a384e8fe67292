"""Several networks asked about the same image: the mean of their probabilities errs less than each alone."""

from collections.abc import Sequence
from typing import Final

import torch

MOST_MEMBERS: Final = 8
LEAST_SHARE: Final = 1e-7
"""A probability of nothing has no logarithm."""


class NetworkAverage(torch.nn.Module):
    """The mean of the members' class probabilities (Lakshminarayanan et al. 2017), given as logits.

    (n, channels, z, y, x) to (n, classes, z, y, x), as each member by itself:
    the softmax of the answer is the mean of the members' softmax.
    """

    def __init__(self, members: Sequence[torch.nn.Module]) -> None:
        """Raise ValueError for none, or for more than MOST_MEMBERS."""
        super().__init__()
        if not 1 <= len(members) <= MOST_MEMBERS:
            message = f"an average has 1 to {MOST_MEMBERS} members, not {len(members)}"
            raise ValueError(message)
        self.members = torch.nn.ModuleList(members)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Return the logits."""
        shares = [_full_resolution(member(image)).float().softmax(1) for member in self.members]
        return torch.stack(shares).mean(0).clamp_min(LEAST_SHARE).log()


def _full_resolution(answer: torch.Tensor | tuple[torch.Tensor, ...]) -> torch.Tensor:
    """Return the first of the answers that a network with deep supervision gives while it is trained."""
    return answer if isinstance(answer, torch.Tensor) else answer[0]
