"""From strips of a mask to its regions with their outlines, in one pass from top to bottom.

Kept between two strips are the last row of pixels, the outlines that cross the line below it, and the rings and sums of
the regions that touch it. An outline's part above the line is a *chain*: the outline comes up over the line, goes along
the chain and comes down over the line again. In the next strip a chain is one element among the horizontal edges. So an
outline has no seam, and its parts are never compared or merged as geometries.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from hdm_geotiff.polygons.contours import Bytes, Edges, Runs, changes_of, edges_of, overlaps, runs_of
from hdm_geotiff.polygons.cycles import (
    Flags,
    Ints,
    Rings,
    columns_of,
    cut_pinches,
    from_the_top,
    in_order,
    join,
    rows_of,
    signed_areas,
    spread,
)
from hdm_geotiff.polygons.small_graphs import SMALL, components

Floats = npt.NDArray[np.float64]
AreasOfRuns: TypeAlias = Callable[[Ints, Ints, Ints], Floats]

_FAR = 2**31 - 1
"""A row below all rows."""


@dataclass(frozen=True, eq=False)
class Sums:
    """What is added up over the pixels of each region.

    Attributes:
        values: [regions] class.
        pixels: [regions] number of pixels.
        scores: [regions] sum of scores, 0..255 a pixel.
        areas: [regions] square metres; 0 where the scene has no coordinates.
    """

    values: Bytes
    pixels: Ints
    scores: Floats
    areas: Floats

    @classmethod
    def none(cls) -> Sums:
        """Of no region."""
        return cls(np.empty(0, np.uint8), np.empty(0, np.int64), np.empty(0), np.empty(0))

    def take(self, chosen: Flags | Ints) -> Sums:
        """Of some regions."""
        return Sums(self.values[chosen], self.pixels[chosen], self.scores[chosen], self.areas[chosen])


@dataclass(frozen=True, eq=False)
class Regions:
    """Finished regions, from the upper left to the lower right.

    Attributes:
        sums: of each region.
        rings: region by region, the outer ring first; `rings.regions` counts from 0.
    """

    sums: Sums
    rings: Rings


@dataclass(frozen=True, eq=False)
class _Open:
    """Chains of outlines that cross the line below the last strip.

    Attributes:
        chains: their vertices; `chains.regions` counts open regions.
        up: [chains] column in which the outline comes up to the chain.
        down: [chains] column in which it goes down from it.
    """

    chains: Rings
    up: Ints
    down: Ints


class RegionTracer:
    """Finds connected regions of one class (by sides of pixels) and their outlines.

    Args:
        width: columns of the scene.
    """

    def __init__(self, width: int) -> None:
        self._stride = width + 2
        self._row = 0
        self._last = np.zeros(self._stride, dtype=np.uint8)
        self._run_regions = np.empty(0, dtype=np.int64)  # of the runs of the last row
        self._sums = Sums.none()  # of open regions
        self._rings: list[Rings] = []  # of open regions: a part for each strip that finished some
        self._open = _Open(Rings.none(), np.empty(0, np.int64), np.empty(0, np.int64))

    def feed(self, classes: Bytes, scores: Bytes, areas: AreasOfRuns | None = None) -> Regions:
        """Take the next rows.

        Args:
            classes: [rows, width] classes, 0 for what belongs to none.
            scores: [rows, width] score of each pixel's class, 0..255.
            areas: gives the square metres of runs by row, first column and length; None without coordinates.

        Returns:
            The regions that end above the last of these rows.
        """
        height = classes.shape[0]
        strip = np.zeros((height + 1, self._stride), dtype=np.uint8)
        strip[0] = self._last
        strip[1:, 1:-1] = classes
        flat = strip.reshape(-1)
        changes = changes_of(flat)
        runs = runs_of(flat, changes)
        old = self._run_regions.size  # runs of the row above
        labels = self._label(runs, old)
        sums = self._add_up(labels, runs, old, scores, areas)
        edges = edges_of(flat, changes, self._stride, self._row)
        at_bottom = runs.starts >= height * self._stride
        rings, chains = self._trace(edges, runs, labels, at_bottom)
        self._last = strip[-1].copy()
        self._row += height
        self._rings = [part.of(labels[part.regions]) for part in self._rings]
        return self._settle(sums, rings, chains, labels[self._sums.values.size :][at_bottom])

    def finish(self) -> Regions:
        """The regions that touch the scene's lower edge."""
        nothing = np.zeros((1, self._stride - 2), dtype=np.uint8)
        return self.feed(nothing, nothing)

    def _label(self, runs: Runs, old: int) -> Ints:
        """New number of each open region, then of each run's region."""
        known = self._sums.values.size
        upper, lower = overlaps(runs, self._stride)
        one = np.concatenate([self._run_regions, known + upper])
        other = np.concatenate([known + np.arange(old), known + lower])
        count = known + runs.starts.size
        if count <= SMALL:
            return components(one, other, count)
        graph = csr_array((np.ones(one.size, dtype=np.int8), (one, other)), (count, count))
        return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)

    def _add_up(self, labels: Ints, runs: Runs, old: int, scores: Bytes, areas: AreasOfRuns | None) -> Sums:
        """Sums of all regions that are open or new."""
        known = self._sums
        count = int(labels.max()) + 1 if labels.size else 0
        starts, ends = runs.starts[old:], runs.ends[old:]
        lengths = ends - starts
        rows, columns = np.divmod(starts, self._stride)
        rows, columns = rows - 1, columns - 1
        within = rows * scores.shape[1] + columns
        places = np.stack([within, within + lengths], axis=1).reshape(-1)
        padded = scores.reshape(-1)
        if places.size and places[-1] == padded.size:
            padded = np.append(padded, np.uint8(0))
        of_runs = np.add.reduceat(padded, places, dtype=np.int64)[::2] if places.size else np.empty(0, np.int64)
        on_ground = np.zeros(starts.size) if areas is None else areas(self._row + rows, columns, lengths)
        values = np.zeros(count, dtype=np.uint8)
        values[labels] = np.concatenate([known.values, runs.values])
        where = np.concatenate([labels[: known.values.size], labels[known.values.size + old :]])

        def added(before: npt.NDArray[np.generic], now: npt.NDArray[np.generic]) -> Floats:
            sums = np.bincount(where, weights=np.concatenate([before, now]), minlength=count)
            return sums.astype(np.float64)  # integers where there is nothing to add

        pixels = added(known.pixels, lengths).astype(np.int64)
        return Sums(values, pixels, added(known.scores, of_runs), added(known.areas, on_ground))

    def _trace(self, edges: Edges, runs: Runs, labels: Ints, at_bottom: Flags) -> tuple[Rings, _Open]:
        """Follow the outlines through the strip: rings that close in it, and chains that go on below.

        The elements of the walk, in this order: one for each run of the last row (outlines leave the strip at its end,
        and others come up at its start); then the chains; then the horizontal edges.
        """
        chains = self._open.chains
        known = self._sums.values.size
        run_labels = labels[known:]
        up, down = (side[at_bottom] % self._stride - 1 for side in (runs.starts, runs.ends))
        order, cycle = in_order(self._following(edges, up, down))
        exits, above = up.size, up.size + chains.lengths.size
        piece = cycle | (order < exits)  # where a ring or a chain begins
        first = order[piece]
        # Where its vertices lie, in the chains' and then the edges' own.
        vertices = np.concatenate([chains.codes, np.stack([edges.starts, edges.ends], axis=1).reshape(-1)])
        counts = np.concatenate([np.zeros(exits, np.int64), chains.lengths, np.full(edges.starts.size, 2)])[order]
        places = np.concatenate(
            [np.zeros(exits, np.int64), chains.starts, chains.codes.size + 2 * np.arange(edges.starts.size)]
        )[order]
        lengths = np.add.reduceat(counts, np.flatnonzero(piece)) if order.size else counts
        regions = np.empty(first.size, dtype=np.int64)
        leaving, old, new = first < exits, (first >= exits) & (first < above), first >= above
        regions[leaving] = run_labels[at_bottom][first[leaving]]
        regions[old] = labels[chains.regions[first[old] - exits]]
        inside = edges.pixels[first[new] - above]
        regions[new] = run_labels[np.searchsorted(runs.starts, inside, side="right") - 1]
        found = Rings(vertices[spread(places, counts)], lengths, regions)
        # A chain ends where the next piece of its cycle leaves the strip: that piece's first element, round the cycle.
        numbers = np.cumsum(cycle[piece])
        following = np.append(first[1:], 0)
        last = np.append(numbers[1:] != numbers[:-1], True) if first.size else leaving
        following[last] = first[np.searchsorted(numbers, numbers[last])]
        open_now = _Open(found.take(leaving), up[first[leaving]], down[following[leaving]])
        return cut_pinches(found.take(~leaving)), open_now

    def _following(self, edges: Edges, up: Ints, down: Ints) -> Ints:
        """What follows each element: vertical edges join the end of one to the start of another.

        Of the vertical edges that go down in one column no two overlap, so sorted by column and row their upper ends
        and their lower ends belong together one by one; and so with those that go up.
        """
        opened = self._open
        above, below = np.zeros(opened.up.size, np.int64), np.full(up.size, _FAR)
        starts = np.concatenate([_by_column(down, below), _by_column(opened.up, above), _turned(edges.starts)])
        ends = np.concatenate([_by_column(up, below), _by_column(opened.down, above), _turned(edges.ends)])
        yes, no = np.ones_like, np.zeros_like
        from_above = np.concatenate([yes(up, np.bool_), no(opened.up, np.bool_), edges.from_above])
        goes_down = np.concatenate([no(up, np.bool_), yes(opened.up, np.bool_), edges.goes_down])
        following = np.empty(starts.size, dtype=np.int64)
        for leaves, arrives in ((goes_down, from_above), (~goes_down, ~from_above)):
            one, other = np.flatnonzero(leaves), np.flatnonzero(arrives)
            following[one[np.argsort(ends[one])]] = other[np.argsort(starts[other])]
        return following

    def _settle(self, sums: Sums, rings: Rings, open_now: _Open, at_bottom: Ints) -> Regions:
        """Keep what is open, numbered anew, and hand out what is finished."""
        count = sums.values.size
        is_open = np.zeros(count, dtype=np.bool_)
        is_open[at_bottom] = True
        number = np.where(is_open, np.cumsum(is_open) - 1, np.cumsum(~is_open) - 1)
        finished, kept = [], []
        for part in [*self._rings, rings]:
            stays = is_open[part.regions]
            if not stays.all():
                finished.append(part.take(~stays))
            if stays.any():
                kept.append(part.take(stays))
        self._rings = [part.of(number[part.regions]) for part in kept]
        self._open = _Open(open_now.chains.of(number[open_now.chains.regions]), open_now.up, open_now.down)
        self._run_regions = number[at_bottom]
        self._sums = sums.take(is_open)
        done = join(finished)
        return _arranged(sums.take(~is_open), done.of(number[done.regions]))


def _by_column(columns: Ints, rows: Ints) -> Ints:
    """Keys that sort by column, then row."""
    return (columns << 32) | rows


def _turned(codes: Ints) -> Ints:
    """Codes as keys that sort by column, then row; 0 is above all of them."""
    return _by_column(columns_of(codes), rows_of(codes) + 1)


def _arranged(sums: Sums, rings: Rings) -> Regions:
    """Regions in the order of their first vertices, each with its outer ring first."""
    rings = from_the_top(rings)
    inner = signed_areas(rings) < 0
    first = np.empty(sums.values.size, dtype=np.int64)
    outer = np.flatnonzero(~inner)
    first[rings.regions[outer]] = rings.codes[rings.starts[outer]]
    regions = np.argsort(first)
    number = np.empty_like(regions)
    number[regions] = np.arange(regions.size)
    order = np.lexsort((rings.codes[rings.starts], inner, number[rings.regions]))
    codes = rings.codes[spread(rings.starts[order], rings.lengths[order])]
    return Regions(sums.take(regions), Rings(codes, rings.lengths[order], number[rings.regions[order]]))
