"""Runs of even spacing in an uneven stack: one after the other, or one within the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from hdm_dicom.files.instances import Frame
from hdm_dicom.options import TOLERANCE
from hdm_dicom.series.ordering import places
from hdm_dicom.series.places import Array, depths, same_place
from hdm_dicom.series.regularity import even, steps_aside

_LEAST_INTERLEAVED = 4
"""Frames of a run that others lie within: any three frames are near to even by chance."""

_MEETINGS = 4
"""Frames of a run for each place where it may meet another one: phases have all their places in common."""

_MOST_INTERLEAVED = 4
_MOST_EFFORT = 20_000
"""Runs that are tried before the search for interleaved ones is given up: a second or two."""


def runs(frames: Sequence[Frame], tolerance: float = TOLERANCE) -> list[list[Frame]]:
    """The fewest runs of even spacing that hold all frames, in order.

    Runs that lie one after the other are preferred; runs within one another are found only where each has at least four
    frames. A run ends where a frame lies aside of the straight line.

    Args:
        frames: one a place, ordered along the normal, see `hdm_dicom.series.ordering.ordered`.
        tolerance: share of the spacing by which it may vary within a run.
    """
    following = [run for part in _straight(frames, tolerance) for run in _following(part, tolerance)]
    if len(following) <= 2:
        return following
    return _within(frames, len(following) - 1, tolerance) or following


def runs_that_meet(frames: Sequence[Frame], tolerance: float = TOLERANCE) -> list[list[Frame]] | None:
    """Runs within one another, each of another spacing, that meet at a few places; None if there are none.

    Which of two images at such a place is of which run is not known: the lower instance number goes to the first.

    Args:
        frames: ordered along the normal, some of them at one place.
        tolerance: see `runs`.
    """
    shared = len(frames) - places(frames)
    if shared * _MEETINGS > len(frames) // 2:
        return None
    found = _within(frames, _MOST_INTERLEAVED, tolerance)
    if found is None or shared * _MEETINGS > min(map(len, found)):
        return None
    steps = sorted(float(np.diff(depths(run)).mean()) for run in found)
    return None if any(even(a, b, tolerance) for a, b in pairwise(steps)) else found


def _within(frames: Sequence[Frame], most: int, tolerance: float) -> list[list[Frame]] | None:
    """At most so many even runs that lie within one another, if they hold all frames."""
    search = _Interleaved(depths(frames), same_place(frames), tolerance)
    found = search.runs(min(_MOST_INTERLEAVED, most))
    if found is None:
        return None
    within = [[frames[i] for i in run] for run in found]
    # Looked for along the normal only: what lies on several lines is no run.
    return None if any(steps_aside(run, tolerance) for run in within) else within


def _straight(frames: Sequence[Frame], tolerance: float) -> list[Sequence[Frame]]:
    """The parts between frames that lie aside."""
    ends = [0, *steps_aside(frames, tolerance), len(frames)]
    return [frames[start:end] for start, end in pairwise(ends)]


def _following(frames: Sequence[Frame], tolerance: float) -> list[list[Frame]]:
    """The fewest even runs that follow each other; of several ways, that which cuts at the widest gaps."""
    count = len(frames)
    if count < 3:
        return [list(frames)]
    places = depths(frames)
    starts = _earliest_starts(np.diff(places), tolerance)
    # best[i]: fewest runs of the first i frames, and the length that they bridge; both in one number.
    price = float(places[-1] - places[0]) + 1.0
    best = np.zeros(count + 1)
    came_from = np.zeros(count + 1, dtype=int)
    for end in range(1, count + 1):
        first = starts[end - 1]
        costs = best[first:end] - places[first:end]
        # The latest of equal costs, so that a frame between two runs stays with the lower one.
        pick = end - 1 - int(np.argmin(costs[::-1]))
        best[end] = best[pick] - places[pick] + places[end - 1] + price
        came_from[end] = pick
    found, end = [], count
    while end:
        found.append(list(frames[came_from[end] : end]))
        end = int(came_from[end])
    return found[::-1]


def _earliest_starts(gaps: Array, tolerance: float) -> list[int]:
    """For each frame the first one from which on the spacing to it is even."""
    highest: deque[int] = deque()
    lowest: deque[int] = deque()
    starts, first = [0], 0
    for index, gap in enumerate(gaps):
        for kept, sign in ((highest, 1), (lowest, -1)):
            while kept and sign * gaps[kept[-1]] <= sign * gap:
                kept.pop()
            kept.append(index)
        while not even(float(gaps[lowest[0]]), float(gaps[highest[0]]), tolerance):
            first += 1
            for kept in (highest, lowest):
                if kept[0] < first:
                    kept.popleft()
        starts.append(first)
    return starts


class _Interleaved:
    """Even runs that lie within one another, searched for with a bounded effort.

    Args:
        places: [n] mm along the normal, ascending.
        nearest: mm within which two frames lie at one place.
        tolerance: see `runs`.
    """

    def __init__(self, places: Array, nearest: float, tolerance: float) -> None:
        self._places, self._nearest, self._tolerance = places, nearest, tolerance
        self._effort = 0

    def runs(self, most: int) -> list[list[int]] | None:
        """The fewest even runs, at most so many, that hold all frames, by index; None if none are found."""
        everything = list(range(len(self._places)))
        return next((found for n in range(2, most + 1) if (found := self._cover(everything, n)) is not None), None)

    def _cover(self, left: list[int], count: int) -> list[list[int]] | None:
        """Exactly `count` even runs over the frames left. The lowest frame begins one: only its second is open."""
        if len(left) < count * _LEAST_INTERLEAVED:
            return None
        candidates: set[tuple[int, ...]] = set()
        for second in left[1:]:
            self._effort += 1
            if self._effort > _MOST_EFFORT:
                return None
            run = self._run(left, second)
            # A run may have caught a last frame of another one that happens to lie where it would go on.
            candidates |= {tuple(run[:end]) for end in range(len(run), max(_LEAST_INTERLEAVED, len(run) - 1) - 1, -1)}
        for run_taken in sorted(candidates, key=lambda r: (-len(r), r)):
            taken = set(run_taken)
            rest = [i for i in left if i not in taken]
            if count == 1:
                if not rest:
                    return [list(run_taken)]
            elif (others := self._cover(rest, count - 1)) is not None:
                return [list(run_taken), *others]
        return None

    def _run(self, left: Sequence[int], second: int) -> list[int]:
        """The longest even run from the lowest frame left through `second`; empty if it is short."""
        places = self._places
        run = [left[0], second]
        step = float(places[second] - places[left[0]])
        if step <= self._nearest:
            return []
        where = places[left]
        while True:
            # From the last frame, not from the first: positions are rounded, and the rounding must not add up.
            wanted, off = places[run[-1]] + step, self._tolerance * step
            at = int(np.searchsorted(where, wanted - off))
            near = [i for i in range(at, min(at + _MOST_INTERLEAVED, len(left))) if where[i] <= wanted + off]
            if not near:
                return run if len(run) >= _LEAST_INTERLEAVED else []
            run.append(left[min(near, key=lambda i: abs(where[i] - wanted))])
            step = float(places[run[-1]] - places[run[0]]) / (len(run) - 1)
