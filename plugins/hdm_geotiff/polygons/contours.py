"""The outlines of classes in one strip of a mask: runs of pixels, corners, and the horizontal edges between them.

An outline goes from corner to corner, along horizontal and vertical edges by turns, with its class to the right (rows
run down, so an outer ring goes clockwise on the screen). It keeps to the side of each pixel: pixels that meet by a
corner only are not connected, as in GDAL's polygonize with four neighbours.

Everything here is found for all corners at once. A strip is a flat array with a column of zeros on either side, so that
a pixel's neighbours are at fixed distances and no run goes on into the next row; 0 is what belongs to no class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from hdm_geotiff.polygons.cycles import Flags, Ints, encode

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Runs:
    """Stretches of one class within a row, in reading order.

    Attributes:
        starts: [n] flat index of each one's first pixel.
        ends: [n] flat index behind its last pixel.
        values: [n] its class.
    """

    starts: Ints
    ends: Ints
    values: Bytes


@dataclass(frozen=True, eq=False)
class Edges:
    """The horizontal edges of all outlines: those that go right, then those that go left.

    Attributes:
        starts: [n] code of the vertex where each begins.
        ends: [n] code of the vertex where it ends.
        from_above: [n] whether the outline comes down to its start; it comes up otherwise.
        goes_down: [n] whether the outline goes down from its end; it goes up otherwise.
        pixels: [n] flat index of a pixel of the class that it borders.
    """

    starts: Ints
    ends: Ints
    from_above: Flags
    goes_down: Flags
    pixels: Ints


def changes_of(flat: Bytes) -> Ints:
    """Indices at which a flat strip differs from the pixel before."""
    return np.flatnonzero(flat[1:] != flat[:-1]) + 1


def runs_of(flat: Bytes, changes: Ints) -> Runs:
    """The runs of a flat strip."""
    after, before = flat[changes], flat[changes - 1]
    begins = after != 0
    return Runs(changes[begins], changes[before != 0], after[begins])


def overlaps(runs: Runs, stride: int) -> tuple[Ints, Ints]:
    """Pairs of runs of one class that share the side of a pixel: indices of the upper and of the lower ones."""
    low = np.searchsorted(runs.ends, runs.starts + stride, side="right")
    counts = np.maximum(np.searchsorted(runs.starts, runs.ends + stride, side="left") - low, 0)
    upper = np.repeat(np.arange(counts.size), counts)
    lower = np.arange(upper.size) + np.repeat(low - (np.cumsum(counts) - counts), counts)
    same = runs.values[upper] == runs.values[lower]
    return upper[same], lower[same]


def edges_of(flat: Bytes, changes: Ints, stride: int, top: int) -> Edges:
    """The horizontal edges between the rows of a strip.

    Args:
        flat: rows of `stride` pixels; the first is that above the strip.
        changes: of `flat`.
        stride: the strip's width and 2.
        top: row of the scene, or its height, that is the strip's second row.
    """
    # A vertex is called by the pixel to its lower right. It can be a corner only where a run begins or ends beside it.
    inner = flat.size - stride
    at = np.concatenate([changes[changes >= stride], changes[changes < inner] + stride])
    at.sort(kind="stable")  # two sorted halves are merged
    at = at[np.append(True, at[1:] != at[:-1])] if at.size else at
    a, b, c, d = flat[at - stride - 1], flat[at - stride], flat[at - 1], flat[at]
    ab, cd, ac, bd = a == b, c == d, a == c, b == d
    # Corners of one pixel (named by where it lies: upper left, ...), and corners of three pixels (by what is missing).
    one_ul, one_ur, one_ll, one_lr = (
        (a != 0) & ~(ab | ac),
        (b != 0) & ~(ab | bd),
        (c != 0) & ~(cd | ac),
        (d != 0) & ~(cd | bd),
    )
    no_ul, no_ur = (d != 0) & bd & cd & ~ab, (a != 0) & ac & cd & ~ab
    no_ll, no_lr = (a != 0) & ab & bd & ~ac, (a != 0) & ab & ac & ~bd
    pinch = (one_ul & one_lr & (a == d)) | (one_ur & one_ll & (b == c))
    rows, columns = np.divmod(at, stride)
    codes = encode(rows + (top - 1), columns - 1, pinch)
    right_from, right_to = np.flatnonzero(one_lr | no_ur), np.flatnonzero(one_ll | no_ul)
    left_from, left_to = np.flatnonzero(one_ul | no_ll), np.flatnonzero(one_ur | no_lr)
    start, end = np.concatenate([right_from, left_from]), np.concatenate([right_to, left_to])
    return Edges(
        starts=codes[start],
        ends=codes[end],
        from_above=np.concatenate([no_ur[right_from], one_ul[left_from]]),
        goes_down=np.concatenate([one_ll[right_to], no_lr[left_to]]),
        pixels=np.concatenate([at[right_from], at[left_to] - stride]),
    )
