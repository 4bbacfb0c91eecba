"""What keeps a stack of frames from being a regular grid: an even one, along a straight line.

The grid is the one that products tell: from the first slice to the last in equal steps. Every slice is held against its
place there in all three coordinates. What counts as even is a share of the usual spacing, so that it is the same for a
whole-body PET and for a microscope.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdm_dicom.files.instances import Frame
from hdm_dicom.options import TOLERANCE
from hdm_dicom.series.places import Array, axes, counts_at_places, most_at_one_place, positions, same_place
from hdm_pipeline.errors import counted

_PIXELS_ASIDE = 0.5
"""Part of a pixel by which a slice may lie beside the straight line: more would move its pixels on the grid."""

_TILT_TOLERANCE = 0.01
"""Sine of the angle between the normal and the way from slice to slice, above which the stack is sheared."""


@dataclass(frozen=True, eq=False)
class _Steps:
    """The places of a stack, one for slices that share one.

    Attributes:
        starts: [n] index of the first frame of each place.
        gaps: [n - 1] mm from place to place along the normal.
        aside: [n - 1, 3] mm from place to place across the normal.
        along: [n] mm along the normal by which each place misses an even grid from the first to the last.
        off: [n] mm across the normal by which each place misses the straight line from the first to the last.
        usual: the median of `gaps`.
        pixel: mm, the shorter side of a pixel; 0 if it is unknown.
    """

    starts: npt.NDArray[np.intp]
    gaps: Array
    aside: Array
    along: Array
    off: Array
    usual: float
    pixel: float


def _steps(frames: Sequence[Frame]) -> _Steps | None:
    """The places of a stack that is ordered along its normal; None where there are fewer than two."""
    if len(frames) < 2 or any(frame.position is None for frame in frames):
        return None
    places, normal = positions(frames), axes(frames[0])[2]
    depths = places @ normal
    starts = np.concatenate([[0], np.flatnonzero(np.diff(depths) > same_place(frames)) + 1])
    if starts.size < 2:
        return None
    places, depths = places[starts], depths[starts]
    gaps = np.diff(depths)
    across = places - np.outer(depths, normal)
    share = (depths - depths[0]) / (depths[-1] - depths[0])
    even = np.linspace(0, 1, depths.size)
    off = across - across[0] - np.outer(share, across[-1] - across[0])
    return _Steps(
        starts,
        gaps,
        np.diff(across, axis=0),
        np.abs(share - even) * (depths[-1] - depths[0]),
        np.linalg.norm(off, axis=1),
        float(np.median(gaps)),
        min(frames[0].spacing or (0.0,)),
    )


def problems(frames: Sequence[Frame], tolerance: float = TOLERANCE) -> tuple[str, ...]:
    """What keeps a stack from being a regular grid, each in one line without a patient's data.

    Args:
        frames: ordered along the normal.
        tolerance: share of the usual spacing by which spacings and places may differ.
    """
    found: list[str] = []
    if len(frames) > 1 and frames[0].position is not None:
        most = most_at_one_place(frames)
        if most > 1:
            found.append(f"up to {most} different images lie at one place{_lacking(frames, most)}: not one volume")
    steps = _steps(frames)
    if steps is None:
        return tuple(found)
    allowed = tolerance * steps.usual
    odd = steps.gaps[np.abs(steps.gaps - steps.usual) > allowed]
    multiples = np.round(odd / steps.usual)
    if odd.size and np.all(multiples >= 2) and np.all(np.abs(odd - multiples * steps.usual) <= multiples * allowed):
        missing = int((multiples - 1).sum())
        are = "is" if missing == 1 else "are"
        found.append(f"{counted(missing, 'slice')} {are} missing (spacing {_mm(steps.usual)} mm)")
    elif odd.size:
        found.append(f"slice spacing is uneven: {_mm(steps.gaps.min())} to {_mm(steps.gaps.max())} mm")
    elif steps.along.max() > allowed:
        found.append(
            f"slice spacing is uneven: slices lie up to {_mm(steps.along.max())} mm off an even grid"
            f" of {_mm(steps.usual)} mm"
        )
    aside = _allowed_aside(steps, tolerance)
    if _sideways(steps, aside).any() or steps.off.max() > aside:
        found.append(f"slices lie up to {_mm(steps.off.max())} mm beside the straight line through the stack")
        return tuple(found)
    shear = _shear(steps)
    if shear > _TILT_TOLERANCE:
        found.append(
            f"slices are shifted against their normal (gantry tilt of {np.degrees(np.arcsin(shear)):.1f} degrees)"
        )
    return tuple(found)


def _lacking(frames: Sequence[Frame], most: int) -> str:
    """At how many places there are fewer images than at others: what a phase lacks."""
    counts = counts_at_places(frames)
    fewer = sum(count < most for count in counts)
    return f", but fewer at {fewer} of {len(counts)} places" if fewer else ""


def note(frames: Sequence[Frame], tolerance: float = TOLERANCE) -> str:
    """What to say of a stack without problems that is no perfect grid all the same; empty if it is as good as one."""
    steps = _steps(frames)
    if steps is None:
        return ""
    miss = float(max(steps.along.max(), steps.off.max()))
    if miss <= _TILT_TOLERANCE * steps.usual:
        return ""
    return (
        f"slices lie up to {_mm(miss)} mm off an even grid of {_mm(steps.usual)} mm, which is within the tolerance"
        f" of {tolerance:.3g} of the spacing: they are taken as even"
    )


def even(low: float, high: float, tolerance: float = TOLERANCE) -> bool:
    """Whether spacings between two lengths in mm differ by no more than the tolerance from the one in their middle."""
    middle = (low + high) / 2
    return high - middle <= tolerance * middle


def steps_aside(frames: Sequence[Frame], tolerance: float = TOLERANCE) -> list[int]:
    """Indices of the frames that lie further aside from the one before than the others do.

    Args:
        frames: one a place, ordered along the normal.
        tolerance: see `problems`.
    """
    steps = _steps(frames) if len(frames) > 2 else None
    if steps is None:
        return []
    return [
        int(steps.starts[index + 1]) for index in np.flatnonzero(_sideways(steps, _allowed_aside(steps, tolerance)))
    ]


def _allowed_aside(steps: _Steps, tolerance: float) -> float:
    """mm by which places may miss a straight line: thick slices of fine pixels show less than their spacing allows."""
    along = tolerance * steps.usual
    return min(along, _PIXELS_ASIDE * steps.pixel) if steps.pixel else along


def _sideways(steps: _Steps, allowed: float) -> npt.NDArray[np.bool_]:
    """[n - 1] whether a step goes further aside than the usual one, which a tilted stack has too."""
    usual = np.median(steps.aside, axis=0)
    share = (steps.gaps / steps.usual)[:, np.newaxis]
    found: npt.NDArray[np.bool_] = np.linalg.norm(steps.aside - share * usual, axis=1) > allowed
    return found


def _shear(steps: _Steps) -> float:
    """Sine of the angle between the normal and the way from the first slice to the last."""
    along, across = float(steps.gaps.sum()), float(np.linalg.norm(steps.aside.sum(axis=0)))
    return across / float(np.hypot(along, across))


def _mm(length: float) -> str:
    """A length with three decimals, or three digits where it is small."""
    return f"{length:.3f}" if length >= 0.1 else f"{length:.3g}"
