"""What keeps a stack of frames from being a regular grid."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from hdm_dicom.files.instances import Frame
from hdm_dicom.series.places import SAME_PLACE, axes, depths, most_at_one_place, positions

_SPACING_TOLERANCE = 0.02
"""Share of the usual spacing by which a spacing may differ: positions are written with few digits."""

_TILT_TOLERANCE = 0.01
"""Sine of the angle between the normal and the way from slice to slice, above which the stack is sheared."""


def tolerance(usual: float) -> float:
    """mm by which a spacing may differ from the usual one."""
    return max(_SPACING_TOLERANCE * usual, SAME_PLACE)


def problems(frames: Sequence[Frame]) -> tuple[str, ...]:
    """What keeps a stack from being a regular grid, each in one line without a patient's data."""
    if len(frames) < 2 or any(frame.position is None for frame in frames):
        return ()
    found: list[str] = []
    most = most_at_one_place(frames)
    if most > 1:
        found.append(f"up to {most} different images lie at one place: not one volume")
    gaps = np.diff(depths(frames))
    gaps = gaps[gaps > SAME_PLACE]
    if gaps.size:
        usual = float(np.median(gaps))
        odd = gaps[np.abs(gaps - usual) > tolerance(usual)]
        multiples = np.round(odd / usual)
        if odd.size and np.all(multiples >= 2) and np.all(np.abs(odd - multiples * usual) <= tolerance(usual)):
            found.append(f"{int((multiples - 1).sum())} slices are missing (spacing {usual:.3f} mm)")
        elif odd.size:
            found.append(f"slice spacing is uneven: {gaps.min():.3f} to {gaps.max():.3f} mm")
    shear = _shear(frames)
    if shear > _TILT_TOLERANCE:
        found.append(
            f"slices are shifted against their normal (gantry tilt of {np.degrees(np.arcsin(shear)):.1f} degrees)"
        )
    return tuple(found)


def _shear(frames: Sequence[Frame]) -> float:
    """Sine of the angle between the normal and the way from the first slice to the last."""
    ends = positions((frames[0], frames[-1]))
    way = ends[1] - ends[0]
    length = float(np.linalg.norm(way))
    if length <= SAME_PLACE:
        return 0.0
    across = way - (way @ axes(frames[0])[2]) * axes(frames[0])[2]
    return float(np.linalg.norm(across)) / length
