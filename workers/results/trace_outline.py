"""Trace the outer border of a region of pixels as a closed polygon, exactly along the pixels' edges."""

import numpy as np
from numpy.typing import NDArray

MAX_POINTS = 8000
"""An element of 32-bit floats with explicit VR holds at most 65,534 bytes (PS3.5 7.1.2): 8,191 points."""

_Corner = tuple[int, int]


def trace_outline(mask: NDArray[np.bool_], *, max_points: int = MAX_POINTS) -> NDArray[np.float64]:
    """Give the corners of the outer border of the region that holds the first pixel of `mask` (rows, columns).

    Returns (points, 2) as column, row, clockwise on the screen, the last point equal to the first. The first
    pixel's upper left corner is (0, 0), as PS3.3 C.18.6.1.2 counts. Pixels that touch at a corner only belong
    together; holes are filled. A border with more than `max_points` corners loses every other one until it fits.
    ValueError where no pixel is set.
    """
    if not mask.any():
        raise ValueError("no pixel is set: there is nothing to trace")
    onwards = _direct_edges(mask)
    row, column = (int(index) for index in np.argwhere(mask)[0])
    start, step = (row, column), (0, 1)  # only one pixel touches this corner: the border passes it once
    corners = [start]
    here = (row, column + 1)
    while here != start:
        turned = next(turn for turn in _turns(step) if turn in onwards[here])
        if turned != step:
            corners.append(here)
        step = turned
        here = (here[0] + step[0], here[1] + step[1])
    while len(corners) > max_points:
        corners = corners[::2]
    return np.array([*corners, start], dtype=np.float64)[:, ::-1]


def _direct_edges(mask: NDArray[np.bool_]) -> dict[_Corner, set[_Corner]]:
    """Map each corner (row, column) to the steps along borders that leave it with the region at their right."""
    padded = np.pad(mask, 1)
    inside = padded[1:-1, 1:-1]
    borders = (
        (inside & ~padded[:-2, 1:-1], (0, 0), (0, 1)),  # upper edge, to the right
        (inside & ~padded[1:-1, 2:], (0, 1), (1, 0)),
        (inside & ~padded[2:, 1:-1], (1, 1), (0, -1)),
        (inside & ~padded[1:-1, :-2], (1, 0), (-1, 0)),
    )
    onwards: dict[_Corner, set[_Corner]] = {}
    for where, corner, step in borders:
        for row, column in np.argwhere(where).tolist():
            onwards.setdefault((row + corner[0], column + corner[1]), set()).add(step)
    return onwards


def _turns(step: _Corner) -> tuple[_Corner, _Corner, _Corner]:
    """Left, straight on, right: turning left first keeps pixels together that touch at a corner."""
    down, right = step
    return (-right, down), step, (right, -down)
