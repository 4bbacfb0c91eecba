"""How the slices that are read relate to the slices that are stored: regular grids and planes.

Two steps, both invertible on the grid. First the stored stack becomes a *regular* stack: the stack itself, or (policy
``resample``) evenly spaced slices without tilt, interpolated linearly between their two neighbours. Then a *view*
permutes and flips its axes to the plane asked for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdm_dicom.options import Plane, ReaderOptions
from hdm_dicom.series.places import Array
from hdm_dicom.series.volume import Volume

Image = npt.NDArray[np.float32]
Fetch = Callable[[int], Image]
"""A stored slice by index: [bands, rows, columns], NaN where invalid."""

# Directions (LPS) of the axes (x, y, z) of an image seen in an anatomical plane, as radiologists look at it.
_DIRECTIONS: dict[Plane, tuple[tuple[int, int, int], ...]] = {
    "axial": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "coronal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "sagittal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
}


_WHOLE_PIXEL = 1e-3
"""Part of a pixel below which a shift is a whole number of pixels."""


@dataclass(frozen=True)
class View:
    """A signed permutation of the axes (x, y, z).

    Attributes:
        axes: for each axis of the view, the axis of the stack.
        flips: for each axis of the view, whether it runs backwards.
    """

    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)

    @property
    def along_slices(self) -> bool:
        """The slices of the view are slices of the stack."""
        return self.axes[2] == 2

    def size(self, stack: tuple[int, int, int]) -> tuple[int, int, int]:
        """(x, y, z) extent of the view for that of the stack."""
        return stack[self.axes[0]], stack[self.axes[1]], stack[self.axes[2]]

    def matrix(self, stack: tuple[int, int, int]) -> Array:
        """[4, 4] from voxel indices of the view to those of the stack."""
        matrix = np.zeros((4, 4))
        matrix[3, 3] = 1
        for mine, (axis, flip) in enumerate(zip(self.axes, self.flips, strict=True)):
            matrix[axis, mine] = -1 if flip else 1
            matrix[axis, 3] = stack[axis] - 1 if flip else 0
        return matrix

    def apply(self, stack: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """An array [..., z, y, x] of the stack as the view sees it; no copy."""
        lead = stack.ndim - 3
        order = [lead + 2 - self.axes[2 - i] for i in range(3)]
        turned = stack.transpose(*range(lead), *order)
        steps = [slice(None, None, -1) if self.flips[2 - i] else slice(None) for i in range(3)]
        return turned[(..., *steps)]

    def undo(self, view: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        """The inverse of `apply`; no copy."""
        lead = view.ndim - 3
        steps = [slice(None, None, -1) if self.flips[2 - i] else slice(None) for i in range(3)]
        straight = view[(..., *steps)]
        order = [lead + 2 - self.axes[2 - i] for i in range(3)]
        return straight.transpose(*range(lead), *(lead + int(i) for i in np.argsort([o - lead for o in order])))


def view_of(plane: Plane, affine: Array) -> View:
    """The view that shows a stack in a plane: each axis of the image is the axis of the stack that is nearest to it."""
    if plane == "acquired":
        return View()
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0, keepdims=True)
    cosines = np.array(_DIRECTIONS[plane], dtype=np.float64) @ directions
    best, best_sum = (0, 1, 2), -1.0
    for axes in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0)):
        total = float(sum(abs(cosines[i, axis]) for i, axis in enumerate(axes)))
        if total > best_sum + 1e-9:
            best, best_sum = axes, total
    x, y, z = (bool(cosines[i, axis] < 0) for i, axis in enumerate(best))
    return View(best, (x, y, z))


@dataclass(frozen=True, eq=False)
class Stack:
    """A regular stack over the stored slices of a volume.

    Attributes:
        volume: the stored slices.
        size: (x, y, z) extent in voxels.
        affine: [4, 4] from voxel indices to LPS millimetres.
        depths: [z] mm along the normal of each slice of a resampled stack; None where slices are taken as stored.
        shifts: [stored slices, 2] where (x, y) pixel 0 of each stored slice lies in the grid of a resampled stack.
    """

    volume: Volume
    size: tuple[int, int, int]
    affine: Array
    depths: Array | None = None
    shifts: Array | None = None

    def read(self, index: int, fetch: Fetch) -> Image:
        """One slice of the stack: [bands, y, x], NaN where invalid."""
        if self.depths is None:
            return fetch(index)
        below, above, weight = self._between(index)
        image = self._placed(below, fetch)
        if weight > 0:
            image = (1 - weight) * image + weight * self._placed(above, fetch)
        return image.astype(np.float32, copy=False)

    def _between(self, index: int) -> tuple[int, int, float]:
        stored = self.volume.depths
        depth = float(self.depths[index])  # type: ignore[index]
        above = int(np.clip(np.searchsorted(stored, depth), 0, stored.size - 1))
        below = max(above - 1, 0)
        gap = float(stored[above] - stored[below])
        weight = (depth - float(stored[below])) / gap if gap > 0 else 0.0
        weight = float(np.clip(weight, 0.0, 1.0))
        if weight < 1e-3:
            return below, below, 0.0
        if weight > 1 - 1e-3:
            return above, above, 0.0
        return below, above, weight

    def _placed(self, index: int, fetch: Fetch) -> Image:
        x, y = self.shifts[index]  # type: ignore[index]
        return _shifted(fetch(index), float(y), float(x), (self.size[1], self.size[0]))

    def label(self, index: int, fetch: Callable[[int], npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
        """Labels of a slice of the stack from those of the nearest stored slice; 255 outside it."""
        if self.depths is None or self.shifts is None:
            return fetch(index)
        nearest = int(np.argmin(np.abs(self.volume.depths - self.depths[index])))
        x, y = (round(float(v)) for v in self.shifts[nearest])
        stored = fetch(nearest)
        label = np.full((self.size[1], self.size[0]), 255, dtype=np.uint8)
        label[y : y + stored.shape[0], x : x + stored.shape[1]] = stored
        return label

    def to_stored(self, index: int, read: Callable[[int], npt.NDArray[np.uint8]]) -> npt.NDArray[np.uint8]:
        """What was made on the stack brought back to a stored slice: nearest slice, nearest pixel.

        Args:
            index: of the stored slice.
            read: [bands, y, x] of a slice of the stack.
        """
        if self.depths is None or self.shifts is None:
            return read(index)
        nearest = int(np.argmin(np.abs(self.depths - self.volume.depths[index])))
        x, y = (round(float(v)) for v in self.shifts[index])
        rows, columns = self.volume.first.instance.rows, self.volume.first.instance.columns
        return read(nearest)[:, y : y + rows, x : x + columns]


def _shifted(image: Image, y: float, x: float, size: tuple[int, int]) -> Image:
    """The image moved by a part of pixels within a larger frame, linearly interpolated; NaN outside."""
    bands, rows, columns = image.shape
    y0, x0 = int(np.floor(y)), int(np.floor(x))
    dy, dx = y - y0, x - x0
    # The rim is repeated once, so that a moved image keeps as many pixels as it has: those nearest to its own.
    moved = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    if dy > _WHOLE_PIXEL:
        moved = (1 - dy) * moved + dy * np.roll(moved, 1, axis=1)
    if dx > _WHOLE_PIXEL:
        moved = (1 - dx) * moved + dx * np.roll(moved, 1, axis=2)
    out = np.full((bands, *size), np.nan, dtype=np.float32)
    top, left = round(y), round(x)
    out[:, top : top + rows, left : left + columns] = moved[
        :, top - y0 + 1 : top - y0 + 1 + rows, left - x0 + 1 : left - x0 + 1 + columns
    ]
    return out


def stack_of(volume: Volume, options: ReaderOptions) -> Stack:
    """The regular stack that a policy makes of a volume."""
    instance = volume.first.instance
    size = (instance.columns, instance.rows, len(volume.frames))
    if options.policy != "resample" or not volume.problems:
        return Stack(volume, size, volume.affine)
    count = max(round(float(volume.depths[-1] - volume.depths[0]) / volume.step), 0) + 1
    depths = volume.depths[0] + np.arange(count) * volume.step
    # In-plane place of each stored slice's first pixel, in pixels, along rows (x) and columns (y).
    row_mm, column_mm = volume.spacing
    offsets = volume.positions - volume.positions[0]
    shifts = np.stack([offsets @ volume.axes[0] / column_mm, offsets @ volume.axes[1] / row_mm], axis=1)
    low = np.floor(shifts.min(axis=0) + 1e-3)
    extent = np.ceil(shifts.max(axis=0) - low - 1e-3).astype(int)
    affine = np.eye(4)
    affine[:3, 0] = volume.axes[0] * column_mm
    affine[:3, 1] = volume.axes[1] * row_mm
    affine[:3, 2] = volume.normal * volume.step
    affine[:3, 3] = volume.positions[0] + affine[:3, 0] * low[0] + affine[:3, 1] * low[1]
    size = (size[0] + int(extent[0]), size[1] + int(extent[1]), count)
    return Stack(volume, size, affine, depths, shifts - low)
