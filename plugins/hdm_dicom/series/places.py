"""Where frames lie: axes, positions and depths in DICOM's patient system (LPS, mm; PS3.3 C.7.6.2.1.1)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from hdm_dicom.files.instances import Frame

Array = npt.NDArray[np.float64]

SAME_PLACE = 1e-2
"""mm along the normal below which two slices lie at one place, where pixels are of the usual size."""

_SAME_PIXELS = 0.02
"""The same as a part of a pixel, which counts where it is less: slices of a microscope are micrometres apart."""


def same_place(frames: Sequence[Frame]) -> float:
    """mm along the normal below which two of these slices lie at one place."""
    first = frames[0]
    smallest = min(first.spacing) if first.spacing is not None else first.thickness
    return min(SAME_PLACE, _SAME_PIXELS * smallest) if smallest > 0 else SAME_PLACE


def axes(frame: Frame) -> Array:
    """[3, 3] unit vectors in rows: along a row (x), along a column (y), along the normal (z)."""
    cosines = np.array(frame.orientation or (1, 0, 0, 0, 1, 0), dtype=np.float64).reshape(2, 3)
    lengths = np.linalg.norm(cosines, axis=1, keepdims=True)
    cosines = cosines / np.where(lengths > 0, lengths, 1)
    return np.vstack([cosines, np.cross(cosines[0], cosines[1])])


def positions(frames: Sequence[Frame]) -> Array:
    """[n, 3] where the first pixels lie, mm; frames without a place are stacked along the normal."""
    if all(frame.position is not None for frame in frames):
        return np.array([frame.position for frame in frames], dtype=np.float64).reshape(-1, 3)
    steps = np.arange(len(frames), dtype=np.float64) * (frames[0].thickness or 1.0)
    return np.outer(steps, axes(frames[0])[2])


def depths(frames: Sequence[Frame]) -> Array:
    """[n] places along the normal of the first frame, mm."""
    return np.asarray(positions(frames) @ axes(frames[0])[2])


def most_at_one_place(frames: Sequence[Frame]) -> int:
    """The most frames that share a place along the normal; 1 without places."""
    if len(frames) < 2 or frames[0].position is None:
        return 1
    return max(counts_at_places(frames))


def counts_at_places(frames: Sequence[Frame]) -> list[int]:
    """How many frames lie at each place along the normal, from the lowest on."""
    ordered = np.sort(depths(frames))
    edges = np.flatnonzero(np.diff(ordered) > same_place(frames))
    return [int(count) for count in np.diff(np.concatenate([[-1], edges, [ordered.size - 1]]))]
