"""Rings as cycles of a permutation: put into order, cut apart where they touch themselves, and given a first vertex.

A vertex is one int64, a *code*: row, column, and whether two pixels of one class meet there by their corners only (a
*pinch*). A smaller code lies further up, then further left.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, connected_components

from hdm_geotiff.polygons.small_graphs import SMALL, cycles

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]

_ROW_BITS = 32
_COLUMN = (1 << (_ROW_BITS - 1)) - 1


def encode(rows: Ints, columns: Ints, pinch: Flags) -> Ints:
    """Codes of vertices [n]."""
    return (rows << _ROW_BITS) | (columns << 1) | pinch


def rows_of(codes: Ints) -> Ints:
    """[n] lattice rows: 0 is the scene's upper edge."""
    return codes >> _ROW_BITS


def columns_of(codes: Ints) -> Ints:
    """[n] lattice columns: 0 is the scene's left edge."""
    return (codes >> 1) & _COLUMN


@dataclass(frozen=True, eq=False)
class Rings:
    """Rings, or open chains, one after the other.

    Attributes:
        codes: [vertices]; a ring does not repeat its first vertex. What is inside lies to the right of the way, seen
            with rows running down.
        lengths: [rings] vertices of each.
        regions: [rings] the region whose border each is.
    """

    codes: Ints
    lengths: Ints
    regions: Ints

    @classmethod
    def none(cls) -> Rings:
        """No rings."""
        return cls(*(np.empty(0, dtype=np.int64) for _ in range(3)))

    @property
    def starts(self) -> Ints:
        """[rings] index of each one's first vertex."""
        return np.cumsum(self.lengths) - self.lengths

    def take(self, chosen: Flags) -> Rings:
        """Those that are chosen [rings], in the same order."""
        if chosen.all():
            return self
        return Rings(self.codes[np.repeat(chosen, self.lengths)], self.lengths[chosen], self.regions[chosen])

    def of(self, regions: Ints) -> Rings:
        """The same rings, of regions that are numbered otherwise."""
        return Rings(self.codes, self.lengths, regions)


def join(parts: list[Rings]) -> Rings:
    """All rings of all parts."""
    if not parts:
        return Rings.none()
    codes, lengths, regions = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("codes", "lengths", "regions")
    )
    return Rings(codes, lengths, regions)


def spread(starts: Ints, lengths: Ints) -> Ints:
    """Indices of pieces of an array, one piece after the other: starts[0], starts[0] + 1, ..., starts[1], ..."""
    before = np.cumsum(lengths) - lengths
    return np.repeat(starts - before, lengths) + np.arange(int(lengths.sum()), dtype=np.int64)


def in_order(following: Ints) -> tuple[Ints, Flags]:
    """Walk along every cycle of a permutation.

    Args:
        following: [n] what comes after each element.

    Returns:
        All elements [n], cycle after cycle, each from its smallest element on; and [n] whether a cycle starts there.
    """
    count = following.size
    if not count:
        return following, np.empty(0, dtype=np.bool_)
    order, first = cycles(following) if count <= SMALL else _cycles_by_scipy(following)
    starts = np.zeros(count, dtype=np.bool_)
    starts[first] = True
    return order, starts[order]


def _cycles_by_scipy(following: Ints) -> tuple[Ints, Ints]:
    """`small_graphs.cycles`, for many elements."""
    count = following.size
    every = np.arange(count, dtype=np.int64)
    ones, rows = np.ones(count, dtype=np.int8), np.arange(count + 1)
    cycles, of = connected_components(csr_array((ones, following, rows), (count, count)), directed=False)
    first = np.empty(cycles, dtype=np.int64)
    first[of[::-1]] = every[::-1]  # of several, the last that is written stays: the smallest
    first.sort()
    # Cut each cycle before its first element and hang the next one on: one long way, walked at once.
    before = np.empty(count, dtype=np.int64)
    before[following] = every
    way = following.copy()
    way[before[first]] = np.append(first[1:], first[0])
    order = breadth_first_order(csr_array((ones, way, rows), (count, count)), first[0], return_predecessors=False)
    return order.astype(np.int64), first


def cut_pinches(rings: Rings) -> Rings:
    """Make two rings of one that meets itself at a vertex, so that none touches itself.

    A region of pixels that are connected by their sides may meet itself at a corner. Its border, which keeps to the
    side of each pixel, then passes that corner twice; no valid polygon has such a ring. Exchanging what follows at the
    two visits gives two rings that touch there.
    """
    at = np.flatnonzero(rings.codes & 1)
    if not at.size:
        return rings
    ring = np.repeat(np.arange(rings.lengths.size), rings.lengths)
    order = at[np.lexsort((rings.codes[at], ring[at]))]
    twice = np.flatnonzero((rings.codes[order[1:]] == rings.codes[order[:-1]]) & (ring[order[1:]] == ring[order[:-1]]))
    if not twice.size:
        return rings
    ends = np.cumsum(rings.lengths)
    following = np.arange(1, rings.codes.size + 1, dtype=np.int64)
    following[ends - 1] = rings.starts
    one, other = order[twice], order[twice + 1]
    following[one], following[other] = following[other], following[one].copy()
    touched = np.zeros(rings.lengths.size, dtype=np.bool_)
    touched[ring[one]] = True
    chosen = touched[ring]
    new = np.cumsum(chosen) - 1
    walk, starts = in_order(new[following[chosen]])
    codes, regions = rings.codes[chosen][walk], rings.regions[ring[chosen]][walk][starts]
    lengths = np.diff(np.append(np.flatnonzero(starts), walk.size))
    return join([rings.take(~touched), Rings(codes, lengths, regions)])


def signed_areas(rings: Rings) -> Ints:
    """[rings] pixels that a ring surrounds: positive for an outer ring, negative for a hole."""
    y, x = rows_of(rings.codes), columns_of(rings.codes)
    following = np.arange(1, y.size + 1, dtype=np.int64)
    following[np.cumsum(rings.lengths) - 1] = rings.starts
    return np.add.reduceat(x * y[following] - x[following] * y, rings.starts) // 2 if y.size else y


def from_the_top(rings: Rings) -> Rings:
    """The same rings, each from its uppermost, then leftmost vertex on: whatever the way they were found."""
    if not rings.lengths.size:
        return rings
    codes = rings.codes & ~np.int64(1)
    least = np.repeat(np.minimum.reduceat(codes, rings.starts), rings.lengths)
    turn = np.flatnonzero(codes == least) - rings.starts
    place = np.arange(codes.size) - np.repeat(rings.starts, rings.lengths) + np.repeat(turn, rings.lengths)
    place -= np.where(place >= np.repeat(rings.lengths, rings.lengths), np.repeat(rings.lengths, rings.lengths), 0)
    return Rings(codes[np.repeat(rings.starts, rings.lengths) + place], rings.lengths, rings.regions)
