"""Labels that refer to none of the slices: each slice takes those of the plane that is nearest to it.

They were drawn on another series of the patient, say, whose slices may lie closer together, or further apart.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hdm_dicom.examples.labels import GRID_TOLERANCE
from hdm_dicom.series.volume import Volume

_WIDE = 1.5
"""Distances of slices from which on the planes of labels lie wider than these."""


class LoosePlanes:
    """Which labels each slice of a volume takes.

    Args:
        volume: the slices.
        depths: mm along the normal of the slices, of each label.
        spacing: mm from plane to plane of the labels, as far as it is stated; 0 where it is not. A plane then stands
            for as much as a slice does.
    """

    def __init__(self, volume: Volume, depths: Sequence[float], spacing: float = 0.0) -> None:
        self._slices, self._depths = volume.depths, np.array(depths, dtype=np.float64)
        self._same = GRID_TOLERANCE * volume.step
        gaps = np.diff(np.unique(self._depths))
        closest = float(gaps[gaps > self._same].min(initial=np.inf))
        self._reach = max(volume.step, min(spacing, closest)) / 2 + self._same
        self._wide = volume.step * _WIDE < closest < np.inf
        # Where slices lie uneven, one may be near to a plane that was drawn on another.
        self._thick = self._reach > volume.step / 2 + self._same

    def at(self, index: int) -> npt.NDArray[np.intp]:
        """The labels of the plane that is nearest to a slice; none where that is too far away."""
        if not self._depths.size:
            return np.empty(0, dtype=np.intp)
        away = np.abs(self._depths - self._slices[index])
        nearest = int(np.argmin(away))
        if away[nearest] > self._reach or (away[nearest] > self._same and self._is_of_a_slice(nearest)):
            return np.empty(0, dtype=np.intp)
        return np.flatnonzero(np.abs(self._depths - self._depths[nearest]) <= self._same)

    def lie_around(self, index: int) -> bool:
        """Whether a slice lies between planes that are all further apart than the slices are."""
        return self._wide and bool(self._depths.min() < self._slices[index] < self._depths.max())

    def _is_of_a_slice(self, label: int) -> bool:
        """Whether a label lies in a slice, and is no thicker than one."""
        return not self._thick and bool(np.abs(self._slices - self._depths[label]).min() <= self._same)
