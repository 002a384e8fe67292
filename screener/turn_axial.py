"""How a picture of an axial slice is turned for a person: the face up, the patient's right at its left.

The patient's side at each edge is that of the largest component of a direction, as in PatientOrientation
(PS3.3 C.7.6.1.1.1). Rows of a file may run from front to back, and its columns from side to side.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """What is done to rows and columns, in this order."""

    is_transposed: bool
    """True: they change places."""
    is_upside_down: bool
    """True: the rows are reversed then."""
    is_mirrored: bool
    """True: the columns are reversed then."""


def find_turn(across: NDArray[np.float64], down: NDArray[np.float64]) -> Turn:
    """Tell how to turn a slice, of which columns follow each other `across` and rows `down`: LPS, of any length."""
    across, down = across / np.linalg.norm(across), down / np.linalg.norm(down)
    is_transposed = abs(across[1]) + abs(down[0]) > abs(across[0]) + abs(down[1])
    if is_transposed:
        across, down = down, across
    return Turn(is_transposed=bool(is_transposed), is_upside_down=bool(down[1] < 0), is_mirrored=bool(across[0] < 0))
