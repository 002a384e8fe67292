"""Paint organs into a volume: stacks of superellipses with blurred edges, one over another."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

NOTHING, RIGHT_PAROTID, LEFT_PAROTID, OTHER, BONE = range(5)
"""Who owns a voxel, in `Canvas.owner`."""


@dataclass(frozen=True, slots=True)
class Loft:
    """One organ: superellipses between `table`'s heights, nothing above or below."""

    table: tuple[tuple[float, ...], ...]
    """Rows of (z, x, y, half width, front half depth[, back half depth]), from feet to head."""
    exponent: float = 2.0
    """2 is an ellipse, more is squarer, less is more pointed."""
    angle_degrees: float = 0.0
    """Turn in the axial plane on the patient's left; mirrored on the right."""
    is_paired: bool = False
    """True: painted on both sides. False: painted where x says."""


def make_ellipsoid(
    x: float, y: float, z: float, a: float, b: float, c: float, *, is_paired: bool = True, angle_degrees: float = 0.0
) -> Loft:
    """An ellipsoid with half axes (a, b, c) along x, y, z as a loft."""
    angles = np.linspace(-0.5 * np.pi, 0.5 * np.pi, 9)
    table = tuple((z + c * np.sin(t), x, y, a * np.cos(t) + 0.05, b * np.cos(t) + 0.05) for t in angles)
    return Loft(table, is_paired=is_paired, angle_degrees=angle_degrees)


def make_tube(x: float, y: float, radius: float, z_low: float, z_high: float) -> Loft:
    """A short paired cylinder, such as a tooth."""
    return Loft(((z_low, x, y, radius, radius), (z_high, x, y, radius, radius)), is_paired=True)


@dataclass(slots=True)
class Canvas:
    """The volume being painted, and where its voxels lie in the patient."""

    x_mm: Floats
    """(y, x): anatomical position toward the patient's left."""
    y_mm: Floats
    """(y, x): anatomical position toward the back."""
    z_mm: Floats
    """(z): anatomical height."""
    shift_mm: Floats
    """(z, 2): how far the tilted head has moved in x and y at each height."""
    texture: Floats
    """(z, y, x): smooth noise of unit deviation, scaled by each tissue."""
    edge_mm: float
    """Width of the ramp between two tissues: the scanner's resolution."""
    hu: Floats = field(init=False)
    """(z, y, x)"""
    owner: NDArray[np.uint8] = field(init=False)
    """(z, y, x)"""

    def __post_init__(self) -> None:
        self.hu = np.full(self.texture.shape, -1000.0, np.float32)
        self.owner = np.zeros(self.texture.shape, np.uint8)

    def measure(self, loft: Loft, reach_mm: float = 0.0) -> Iterator[tuple[int, slice, slice, Floats, int]]:
        """Yield (z index, rows, columns, depth below the surface in mm, sign of the side) per slice.

        The depth is taken along the ray from the organ's center: exact for a
        circle, near enough for an organ. `reach_mm` widens the window.
        """
        table = np.array([(*row, row[4])[:6] for row in loft.table], np.float64)
        signs = (1, -1) if loft.is_paired else (1,)
        inside = np.flatnonzero((self.z_mm >= table[0, 0]) & (self.z_mm <= table[-1, 0]))
        for index in inside:
            x, y, half_width, front, back = (
                float(np.interp(self.z_mm[index], table[:, 0], table[:, column])) for column in range(1, 6)
            )
            for sign in signs:
                center_x, center_y = sign * x + self.shift_mm[index, 0], y + self.shift_mm[index, 1]
                reach = max(half_width, front, back) * (1.0 if loft.exponent >= 2 else 1.05) + self.edge_mm + reach_mm
                rows, columns = self._window(center_x, center_y, reach)
                if rows.start >= rows.stop or columns.start >= columns.stop:
                    continue
                dx, dy = self.x_mm[rows, columns] - center_x, self.y_mm[rows, columns] - center_y
                if loft.angle_degrees:
                    c, s = np.cos(np.radians(loft.angle_degrees)), sign * np.sin(np.radians(loft.angle_degrees))
                    dx, dy = c * dx + s * dy, c * dy - s * dx
                u, v = np.abs(dx) / half_width, np.where(dy < 0, dy / -front, dy / back)
                if loft.exponent == 2.0:
                    level = np.sqrt(u * u + v * v)
                else:
                    level = (u**loft.exponent + v**loft.exponent) ** (1.0 / loft.exponent)
                level = np.maximum(level, 1e-3)
                yield int(index), rows, columns, ((1.0 - level) * np.hypot(dx, dy) / level).astype(np.float32), sign

    def _window(self, center_x: float, center_y: float, reach: float) -> tuple[slice, slice]:
        """The rows and columns within `reach` of a point, allowing for the turned head."""
        ny, nx = self.x_mm.shape
        step_x = float(self.x_mm[0, -1] - self.x_mm[0, 0]) / (nx - 1)
        step_y = float(self.y_mm[-1, 0] - self.y_mm[0, 0]) / (ny - 1)
        shear_x = float(self.x_mm[-1, 0] - self.x_mm[0, 0]) / (ny - 1)
        shear_y = float(self.y_mm[0, -1] - self.y_mm[0, 0]) / (nx - 1)
        determinant = step_x * step_y - shear_x * shear_y
        px, py = center_x - float(self.x_mm[0, 0]), center_y - float(self.y_mm[0, 0])
        column = (step_y * px - shear_x * py) / determinant
        row = (step_x * py - shear_y * px) / determinant
        wide_x, wide_y = 1.15 * reach / step_x + 2, 1.15 * reach / step_y + 2
        return (
            slice(max(0, int(row - wide_y)), min(ny, int(row + wide_y) + 1)),
            slice(max(0, int(column - wide_x)), min(nx, int(column + wide_x) + 1)),
        )

    def paint(
        self,
        loft: Loft,
        hu: float | Floats,
        *,
        roughness_hu: float = 0.0,
        inset_mm: float = 0.0,
        front_of_mm: Floats | None = None,
        owners: tuple[int, int] | None = (OTHER, OTHER),
    ) -> None:
        """Cover the organ with `hu` (one value, or one per slice), its edge blended over `edge_mm`.

        `inset_mm` shrinks it; `front_of_mm`, one per slice, keeps only what
        lies before that y. `owners` are the labels on the right and left; None leaves them.
        """
        values = np.broadcast_to(np.asarray(hu, np.float32), self.z_mm.shape)
        for index, rows, columns, whole_depth, sign in self.measure(loft, max(0.0, -inset_mm)):
            depth = whole_depth - inset_mm
            if front_of_mm is not None:
                depth = np.minimum(depth, front_of_mm[index] + self.shift_mm[index, 1] - self.y_mm[rows, columns])
            share = np.clip(depth / self.edge_mm + 0.5, 0.0, 1.0)
            window = self.hu[index, rows, columns]
            tissue = (
                values[index] + roughness_hu * self.texture[index, rows, columns] if roughness_hu else values[index]
            )
            window += share * (tissue - window)
            if owners is not None:
                self.owner[index, rows, columns][share > 0.5] = owners[0 if sign < 0 else 1]
