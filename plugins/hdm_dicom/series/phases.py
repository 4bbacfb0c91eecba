"""Phases of which some lack slices: told apart by the order in which their images were made, or not at all.

Phases are made one after the other, so a phase ends before its place comes again. Where a slice is missing, the next
phase could fill it, and that would mix two phases without a trace. So a cut counts only if it is the only possible one,
or if time and place speak for it: there is a pause, and the table goes back. What is not clear is left alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from hdm_dicom.files.instances import Frame
from hdm_dicom.files.telling import RANKED, rank_value
from hdm_dicom.series.places import Array, depths, same_place

_CLOCKS = frozenset({"AcquisitionTime", "ContentTime", "FrameAcquisitionTime"})
"""Ranked attributes whose digits are a time of day, or a date with one."""

_NUMBER = "InstanceNumber"
_CLEAR = 1.5
"""How much larger a pause, or a way back, must be than every other one that might be meant."""

Layers = tuple[str, list[list[Frame]]]
"""The attribute that tells phases apart, and their frames, each ordered as the frames were."""


def phases_by_rank(frames: Sequence[Frame]) -> Layers | None:
    """The phases by the first attribute that grows from phase to phase and leaves no doubt; None without one.

    Args:
        frames: ordered along the normal, several at some places.
    """
    places = _places(frames)
    for key in _ranked(frames):
        ranks = _ranks(frames, key)
        if ranks is not None and (found := _cut(frames, places, ranks)) is not None:
            return key, found
    return None


def phases_by_number(frames: Sequence[Frame]) -> Layers | None:
    """The phases by instance number, where nothing that grows with time says otherwise; None if there is doubt.

    Where each place has as many images, the n-th of each place make the n-th phase; see `phases_by_rank` else.
    """
    places = _places(frames)
    numbers = np.array([float(frame.instance.number) for frame in frames])
    stated = [(key, order) for key in _ranked(frames) if (order := _ranks(frames, key)) is not None]
    counts = np.bincount(places)
    if counts.min() == counts.max():
        layers = [
            (key, found) for key, order in [(_NUMBER, numbers), *stated] if (found := _nth(frames, places, order))
        ]
        # Two orders that disagree: one of them is not that of the phases, and which one nobody says.
        if layers and all(_same(layers[0][1], other) for _, other in layers[1:]):
            return layers[0]
        return None
    if stated:
        return None
    found = _cut(frames, places, numbers) if np.unique(numbers).size > 1 else None
    return None if found is None else (_NUMBER, found)


def _ranked(frames: Sequence[Frame]) -> list[str]:
    """Names of the attributes that grow from phase to phase, in the order in which they are tried."""
    return list(dict.fromkeys(name for name, _ in frames[0].keys if name in RANKED))


def _places(frames: Sequence[Frame]) -> npt.NDArray[np.intp]:
    """[n] number of the place of each frame, ascending."""
    steps = np.diff(depths(frames)) > same_place(frames)
    return np.concatenate([[0], np.cumsum(steps)]).astype(np.intp)


def _ranks(frames: Sequence[Frame], key: str) -> Array | None:
    """[n] value of an attribute, times in seconds; None where one has none, or all have the same."""
    found = [_rank(next((value for name, value in frame.keys if name == key), ""), key) for frame in frames]
    known = [value for value in found if value is not None]
    return np.array(known) if len(known) == len(found) and len(set(known)) > 1 else None


def _rank(value: str, key: str) -> float | None:
    number = rank_value(value)
    if number is None or key not in _CLOCKS:
        return None if number is None else float(number)
    whole, _, fraction = value.partition(".")
    try:
        moment = datetime.strptime(whole, "%Y%m%d%H%M%S" if len(whole) > 6 else "%H%M%S")
    except ValueError:
        return None
    return (moment - datetime(1900, 1, 1)) / timedelta(seconds=1) + float(f"0.{fraction or 0}")


def _cut(frames: Sequence[Frame], places: npt.NDArray[np.intp], ranks: Array) -> list[list[Frame]] | None:
    """Phases by cuts in the order of the ranks, as many as images at the fullest place; None if there is doubt."""
    order = np.lexsort((places, ranks))
    place, rank = places[order], ranks[order]
    most = int(np.bincount(places).max())
    latest = _ends(place)
    earliest = sorted(place.size - end for end in _ends(place[::-1]))
    if len(latest) != most - 1:
        return None
    gaps, ways = np.diff(rank), np.abs(np.diff(place))
    cuts = [_clear(first, last, gaps, ways) for first, last in zip(earliest, latest, strict=True)]
    ends = [0, *(cut for cut in cuts if cut is not None), place.size]
    parts = [order[a:b] for a, b in pairwise(ends)]
    if len(parts) != most or any(np.unique(places[part]).size < part.size or not part.size for part in parts):
        return None
    return [[frames[i] for i in sorted(part)] for part in parts]


def _ends(place: npt.NDArray[np.intp]) -> list[int]:
    """Where the longest pieces end that have no place twice, but for the last one."""
    seen: set[int] = set()
    found = []
    for index, here in enumerate(place.tolist()):
        if here in seen:
            found.append(index)
            seen = set()
        seen.add(here)
    return found


def _clear(first: int, last: int, gaps: Array, ways: npt.NDArray[np.intp]) -> int | None:
    """The cut between two indices that pause and way back speak for; None if there is doubt.

    Args:
        first: the earliest index that may begin the next phase.
        last: the latest.
        gaps: [n - 1] how much the rank grows from frame to frame.
        ways: [n - 1] places between the two.
    """
    pause, way = gaps[first - 1 : last], ways[first - 1 : last]
    if pause.size == 1:
        return first if pause[0] > 0 else None
    longest, farthest = int(np.argmax(pause)), int(np.argmax(way))
    others = np.delete(pause, longest).max()
    if pause[longest] > _CLEAR * others and way[longest] >= way.max():
        return first + longest
    if way[farthest] > _CLEAR * np.delete(way, farthest).max() and _CLEAR * pause[farthest] >= pause.max() > 0:
        return first + farthest
    return None


def _nth(frames: Sequence[Frame], places: npt.NDArray[np.intp], ranks: Array) -> list[list[Frame]] | None:
    """The n-th image of each place makes phase n; None where two of a place have one rank."""
    at: dict[int, list[int]] = defaultdict(list)
    for index in np.lexsort((ranks, places)).tolist():
        at[int(places[index])].append(index)
    if any(len({float(ranks[i]) for i in members}) < len(members) for members in at.values()):
        return None
    return [[frames[i] for i in layer] for layer in zip(*at.values(), strict=True)]


def _same(some: Sequence[Sequence[Frame]], others: Sequence[Sequence[Frame]]) -> bool:
    """Whether two ways to split make the same parts, in whatever order."""
    kinds = [
        frozenset(frozenset((f.instance.path, f.index) for f in part) for part in parts) for parts in (some, others)
    ]
    return kinds[0] == kinds[1]
