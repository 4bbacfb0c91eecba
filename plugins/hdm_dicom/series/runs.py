"""Runs of even spacing in an uneven stack: one after the other, or one within the other."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import numpy as np

from hdm_dicom.files.instances import Frame
from hdm_dicom.series.places import SAME_PLACE, Array, depths
from hdm_dicom.series.regularity import tolerance

_LEAST_INTERLEAVED = 4
"""Frames of a run that others lie within: any three frames are near to even by chance."""

_MOST_INTERLEAVED = 4
_MOST_EFFORT = 20_000
"""Runs that are tried before the search for interleaved ones is given up: a second or two."""


def runs(frames: Sequence[Frame]) -> list[list[Frame]]:
    """The fewest runs of even spacing that hold all frames, in order.

    Runs that lie one after the other are preferred; runs within one another are found only where each has at least four
    frames. Several frames at one place go to several layers, the n-th by instance number to the n-th.

    Args:
        frames: ordered along the normal, see `hdm_dicom.series.ordering.ordered`.
    """
    following = [run for layer in _layers(frames) for run in _following(layer)]
    if len(following) <= 2:
        return following
    found = _Interleaved(depths(frames)).runs(min(_MOST_INTERLEAVED, len(following) - 1))
    return following if found is None else [[frames[i] for i in run] for run in found]


def _layers(frames: Sequence[Frame]) -> list[list[Frame]]:
    """The n-th image of each place goes to layer n."""
    layers: list[list[Frame]] = []
    last, level = None, 0
    for frame, depth in zip(frames, depths(frames), strict=True):
        level = level + 1 if last is not None and depth - last <= SAME_PLACE else 0
        last = depth
        if level == len(layers):
            layers.append([])
        layers[level].append(frame)
    return layers


def _following(frames: Sequence[Frame]) -> list[list[Frame]]:
    """The fewest even runs that follow each other; of several ways, that which cuts at the widest gaps."""
    count = len(frames)
    if count < 3:
        return [list(frames)]
    places = depths(frames)
    starts = _earliest_starts(np.diff(places))
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


def _earliest_starts(gaps: Array) -> list[int]:
    """For each frame the first one from which on the spacing to it is even."""
    highest: deque[int] = deque()
    lowest: deque[int] = deque()
    starts, first = [0], 0
    for index, gap in enumerate(gaps):
        for kept, sign in ((highest, 1), (lowest, -1)):
            while kept and sign * gaps[kept[-1]] <= sign * gap:
                kept.pop()
            kept.append(index)
        while not _even(float(gaps[lowest[0]]), float(gaps[highest[0]])):
            first += 1
            for kept in (highest, lowest):
                if kept[0] < first:
                    kept.popleft()
        starts.append(first)
    return starts


def _even(low: float, high: float) -> bool:
    middle = (low + high) / 2
    return high - middle <= tolerance(middle)


class _Interleaved:
    """Even runs that lie within one another, searched for with a bounded effort.

    Args:
        places: [n] mm along the normal, ascending.
    """

    def __init__(self, places: Array) -> None:
        self._places = places
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
        if step <= SAME_PLACE:
            return []
        where = places[left]
        while True:
            # From the last frame, not from the first: positions are rounded, and the rounding must not add up.
            wanted, off = places[run[-1]] + step, tolerance(step)
            at = int(np.searchsorted(where, wanted - off))
            near = [i for i in range(at, min(at + _MOST_INTERLEAVED, len(left))) if where[i] <= wanted + off]
            if not near:
                return run if len(run) >= _LEAST_INTERLEAVED else []
            run.append(left[min(near, key=lambda i: abs(where[i] - wanted))])
            step = float(places[run[-1]] - places[run[0]]) / (len(run) - 1)
