"""A volume: a stack of slices of one orientation and size, ordered along the normal, never by instance number."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from hdm_dicom.files.instances import Frame
from hdm_dicom.series.places import Array, axes, most_at_one_place, positions, same_place

_SAME_COSINE = 1e-4
"""What rounding leaves of a direction that is stated with few digits."""

_DIGITS = 10
"""Decimals of a direction, so that it fits a decimal string of DICOM."""


@dataclass(frozen=True, eq=False)
class Volume:
    """A stack of slices of one orientation and size.

    Attributes:
        id: hashed identifier, safe as a folder name.
        frames: ordered along the slice normal; duplicates removed.
        problems: why the stack is no regular grid; empty if it is one.
        notes: facts the user should know.
        shared: frames whose SOP instance UID other images have too, so that nothing can refer to them.
        unplaced: images of the series that may belong to it, but state no place.
    """

    id: str
    frames: tuple[Frame, ...]
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    shared: int = 0
    unplaced: int = 0
    positions: Array = field(init=False)
    depths: Array = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "positions", positions(self.frames))
        object.__setattr__(self, "depths", self.positions @ self.normal)

    @property
    def first(self) -> Frame:
        """The frame at the lowest place along the normal."""
        return self.frames[0]

    @property
    def located(self) -> bool:
        """The frames state where they lie in the patient."""
        return self.first.position is not None and self.first.orientation is not None

    @property
    def crowded(self) -> bool:
        """Several images lie at one place, and nothing tells which belong together."""
        return most_at_one_place(self.frames) > 1

    @property
    def axes(self) -> Array:
        """[3, 3] unit vectors in rows: along a row (x), along a column (y), along the normal (z)."""
        return axes(self.first)

    @property
    def cosines(self) -> tuple[float, ...]:
        """Directions of rows and columns as products state them: as the images do, but of length 1."""
        stated = self.first.orientation
        unit = self.axes[:2].ravel()
        if stated is not None and np.abs(unit - stated).max() <= _SAME_COSINE:
            return stated
        return tuple(round(float(value), _DIGITS) for value in unit)

    @property
    def normal(self) -> Array:
        """Unit vector along the slice normal."""
        return np.asarray(self.axes[2])

    @property
    def spacing(self) -> tuple[float, float]:
        """mm between rows, and between columns; 1 where unknown, which only images without a position may be."""
        return self.first.spacing or (1.0, 1.0)

    @property
    def step(self) -> float:
        """mm from slice to slice: the usual one, or the thickness of a single slice; 1 where that is unknown."""
        if len(self.frames) > 1:
            gaps = np.diff(self.depths)
            gaps = gaps[gaps > same_place(self.frames)]
            if gaps.size:
                return float(np.median(gaps))
        return self.first.thickness or 1.0

    @property
    def affine(self) -> Array:
        """[4, 4] from (x, y, z, 1) of the acquired grid to LPS millimetres."""
        matrix = np.eye(4)
        row_mm, column_mm = self.spacing
        matrix[:3, 0] = self.axes[0] * column_mm
        matrix[:3, 1] = self.axes[1] * row_mm
        count = len(self.frames)
        span = self.positions[-1] - self.positions[0]
        # The mean way from slice to slice, so that a sheared stack (gantry tilt) has its true, sheared affine.
        matrix[:3, 2] = span / (count - 1) if count > 1 and np.any(span) else self.normal * self.step
        matrix[:3, 3] = self.positions[0]
        return matrix
