"""Blend tile scores into blocks, blocks into scenes and scores into masks, in integers only.

A pixel's score is the weighted sum of the tiles over it, rounded once: `(sum + 32768) >> 16`, where the weights
(`TileGrid.weights`) add up to exactly 65536. Sums of integers do not depend on their order, so neither the order of
the tiles nor the partition into blocks changes a byte.

A block can finish the pixels that no other block touches, its *interior*. Of the others it knows only its own share:
the partial sums of the first rows and columns of its cell, and of the rows and columns that it spills into the next
cells. `merge_cell` adds the shares up.

                cell                     top     own share of the first `overlap` rows
        +-------------------+-----+      left    own share of the first `overlap` columns below them
        |        top        |     |      right   what spills over the right edge, all rows of the footprint
        +----+--------------+     |      bottom  what spills over the lower edge, the columns of the cell
        |left|   interior   |right|
        |    |              |     |      At the edges of the scene the strips are empty.
        +----+--------------+     |
        |      bottom       |     |
        +-------------------+-----+
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import BACKGROUND, NODATA
from hdm_pipeline.errors import ModelInputError
from hdm_pipeline.grid import AXIS_UNITY, Block, TileGrid

_HALF = AXIS_UNITY * AXIS_UNITY // 2
_SHIFT = 16

UInt8Array = npt.NDArray[np.uint8]
UInt32Array = npt.NDArray[np.uint32]


@dataclass(frozen=True, eq=False)
class BlockScores:
    """What one block knows of its scores; see the module's drawing. z counts the slices of the block.

    Attributes:
        block: the block.
        interior: [classes, z, rows, columns] uint8, final scores of the pixels that only this block touches.
        top: [classes, z, overlap or 0, columns of the cell] uint32 partial sums.
        left: [classes, z, rows of the interior, overlap or 0] uint32 partial sums.
        right: [classes, z, rows of the footprint, overlap or 0] uint32 partial sums.
        bottom: [classes, z, overlap or 0, columns of the cell] uint32 partial sums.
    """

    block: Block
    interior: UInt8Array
    top: UInt32Array
    left: UInt32Array
    right: UInt32Array
    bottom: UInt32Array

    @property
    def complete(self) -> bool:
        """Whether the interior is the whole cell and nothing spills: there is nothing to merge."""
        return not any(strip.size for strip in self.strips)

    @property
    def strips(self) -> tuple[UInt32Array, UInt32Array, UInt32Array, UInt32Array]:
        """(top, left, right, bottom)."""
        return self.top, self.left, self.right, self.bottom


def strip_shapes(grid: TileGrid, block: Block, classes: int) -> tuple[tuple[int, int, int, int], ...]:
    """Shapes of `BlockScores.strips` of a block."""
    cell, footprint = grid.cell(block), grid.footprint(block)
    top, left = grid.lead(block)
    depth = block.z1 - block.z0
    return (
        (classes, depth, top, cell.width),
        (classes, depth, cell.height - top, left),
        (classes, depth, footprint.height, footprint.width - cell.width),
        (classes, depth, footprint.height - cell.height, cell.width),
    )


class BlockAccumulator:
    """Collects the tile scores of one block and blends them.

    Tiles may come in any order; one that comes twice replaces itself, and one that never comes (all its pixels are
    nodata) counts as zeros. Memory: the tiles in uint8 and, in `finish`, the cell in uint8 and the strips; wide
    integers are held only for the seams.

    Args:
        grid: the scene's tiles.
        block: the block.
        classes: number of classes, at least 1.
    """

    def __init__(self, grid: TileGrid, block: Block, classes: int) -> None:
        self.grid = grid
        self.block = block
        self.classes = classes
        self._tiles = np.zeros((*block.shape, classes, grid.tile, grid.tile), dtype=np.uint8)

    def add(self, tile_index: tuple[int, int, int], scores: UInt8Array) -> None:
        """Take the scores of one tile.

        Args:
            tile_index: (z, i, j) within the scene.
            scores: [classes, tile, tile] uint8; copied.

        Raises:
            ModelInputError: the tile is not one of the block's, or the scores have another shape or type.
        """
        z, i, j = tile_index
        b = self.block
        if not (b.z0 <= z < b.z1 and b.i0 <= i < b.i1 and b.j0 <= j < b.j1):
            remedy = "add the tiles of this block's grid only"
            raise ModelInputError(f"tile {tile_index} is not in the block", where=f"block {b.index}", remedy=remedy)
        expected = (self.classes, self.grid.tile, self.grid.tile)
        if scores.shape != expected or scores.dtype != np.uint8:
            raise ModelInputError(
                f"scores of a tile are {scores.dtype} {scores.shape}, not uint8 {expected}",
                where=f"block {b.index}, tile {tile_index}",
                remedy="the network must give one uint8 score for each class and pixel of a tile",
            )
        self._tiles[z - b.z0, i - b.i0, j - b.j0] = scores

    def finish(self) -> BlockScores:
        """Blend what was added. May be called again after further tiles."""
        shapes = strip_shapes(self.grid, self.block, self.classes)
        cell, (top, left) = self.grid.cell(self.block), self.grid.lead(self.block)
        depth = self.block.z1 - self.block.z0
        interior = np.empty((self.classes, depth, cell.height - top, cell.width - left), dtype=np.uint8)
        scores = BlockScores(self.block, interior, *(np.empty(shape, dtype=np.uint32) for shape in shapes))
        blender = _Blender(self.grid, self.block, scores)
        for z in range(depth):
            blender.blend(z, self._tiles[z])
        return scores


class _Blender:
    """Blends the tiles of one slice into the arrays of a `BlockScores`.

    Along each axis the footprint falls into cores, where one tile has the full weight, and seams, where two tiles
    share. Core x core is copied; core rows x column seam fits uint16 (255 * 256); only row seams need uint32.
    Offsets are relative to the footprint's first pixel.
    """

    def __init__(self, grid: TileGrid, block: Block, scores: BlockScores) -> None:
        self.grid, self.block, self.scores = grid, block, scores
        self.cell, self.footprint = grid.cell(block), grid.footprint(block)
        self.top, self.left = grid.lead(block)
        classes = scores.interior.shape[0]
        self._seam = np.empty((classes, grid.tile, grid.overlap), dtype=np.uint16)
        self._seam_b = np.empty_like(self._seam)
        self._row = np.empty((classes, grid.overlap, self.footprint.width), dtype=np.uint16)
        self._sum = np.empty((classes, grid.overlap, self.footprint.width), dtype=np.uint32)
        self._sum_b = np.empty_like(self._sum)
        self.up = grid.ramp
        self.down = np.uint16(AXIS_UNITY) - self.up

    def blend(self, z: int, tiles: UInt8Array) -> None:
        """Blend one slice; `tiles` is [rows, columns, classes, tile, tile]."""
        for i, start, stop in self._cores(0):
            self._core_rows(z, i, tiles[i], start, stop)
        for before, after, start in self._seams(0):
            self._row_seam(z, start, None if before is None else tiles[before], None if after is None else tiles[after])

    def _axis(self, axis: int) -> tuple[int, int, int, int, int]:
        """(first tile, tile count, lead, cell length, footprint length) along y (0) or x (1)."""
        if axis == 0:
            return self.block.i0, self.block.shape[1], self.top, self.cell.height, self.footprint.height
        return self.block.j0, self.block.shape[2], self.left, self.cell.width, self.footprint.width

    def _cores(self, axis: int) -> Iterator[tuple[int, int, int]]:
        """(tile, start, stop) of the stretches where one tile of the block has the full weight."""
        first, count, _, cell, _ = self._axis(axis)
        for k in range(count):
            start = k * self.grid.stride + self.grid.overlap * (first + k > 0)
            stop = cell if k == count - 1 else (k + 1) * self.grid.stride
            if start < stop:
                yield k, start, stop

    def _seams(self, axis: int) -> Iterator[tuple[int | None, int | None, int]]:
        """(tile before, tile after, start) of the stretches that two tiles share; None where it is another block's."""
        _, count, lead, cell, footprint = self._axis(axis)
        if lead:
            yield None, 0, 0
        if self.grid.overlap:
            for k in range(1, count):
                yield k - 1, k, k * self.grid.stride
        if footprint > cell:
            yield count - 1, None, cell

    def _core_rows(self, z: int, i: int, tiles: UInt8Array, start: int, stop: int) -> None:
        """Rows where only tile row `i` counts; `tiles` is [columns, classes, tile, tile]."""
        grid, scores = self.grid, self.scores
        rows = slice(start - i * grid.stride, stop - i * grid.stride)
        inside = slice(start - self.top, stop - self.top)
        interior = scores.interior[:, z, inside]
        for j, x0, x1 in self._cores(1):
            offset = j * grid.stride
            interior[:, :, x0 - self.left : x1 - self.left] = tiles[j, :, rows, x0 - offset : x1 - offset]
        for before, after, x0 in self._seams(1):
            total = self._column_seam(tiles, before, after, rows)
            if before is None:
                np.multiply(total, np.uint32(AXIS_UNITY), out=scores.left[:, z, inside])
            elif after is None:
                np.multiply(total, np.uint32(AXIS_UNITY), out=scores.right[:, z, start:stop])
            else:
                total += np.uint16(AXIS_UNITY // 2)
                x = x0 - self.left
                np.right_shift(total, np.uint16(8), out=interior[:, :, x : x + grid.overlap], casting="unsafe")

    def _column_seam(self, tiles: UInt8Array, before: int | None, after: int | None, rows: slice) -> Any:
        """Horizontal sums of a column seam, [classes, rows, overlap] uint16 in scratch memory."""
        overlap, height = self.grid.overlap, rows.stop - rows.start
        total, share = self._seam[:, :height], self._seam_b[:, :height]
        if before is None:
            return np.multiply(tiles[after, :, rows, :overlap], self.up, out=total)
        np.multiply(tiles[before, :, rows, self.grid.tile - overlap :], self.down, out=total)
        if after is not None:
            np.multiply(tiles[after, :, rows, :overlap], self.up, out=share)
            np.add(total, share, out=total)
        return total

    def _row_seam(self, z: int, start: int, before: UInt8Array | None, after: UInt8Array | None) -> None:
        """Rows that two tile rows share, from row `start` of the footprint."""
        overlap, scores = self.grid.overlap, self.scores
        total = self._sum
        if before is None:
            self._weigh_rows(after, slice(0, overlap), self.up, total)
        else:
            self._weigh_rows(before, slice(self.grid.tile - overlap, self.grid.tile), self.down, total)
            if after is not None:
                self._weigh_rows(after, slice(0, overlap), self.up, self._sum_b)
                np.add(total, self._sum_b, out=total)
        width, left = self.cell.width, self.left
        scores.right[:, z, start : start + overlap] = total[:, :, width:]
        if before is None:
            scores.top[:, z] = total[:, :, :width]
        elif after is None:
            scores.bottom[:, z] = total[:, :, :width]
        else:
            inside = slice(start - self.top, start - self.top + overlap)
            scores.left[:, z, inside] = total[:, :, :left]
            _round_into(total[:, :, left:width], scores.interior[:, z, inside])

    def _weigh_rows(self, tiles: UInt8Array | None, rows: slice, weights: Any, out: UInt32Array) -> None:
        """Sums over the whole width of the footprint, weighted along both axes: [classes, overlap, width] uint32."""
        if tiles is None:
            return
        grid, row = self.grid, self._row
        for j, x0, x1 in self._cores(1):
            offset = j * grid.stride
            source = tiles[j, :, rows, x0 - offset : x1 - offset]
            np.multiply(source, np.uint16(AXIS_UNITY), out=row[:, :, x0:x1])
        for before, after, x0 in self._seams(1):
            row[:, :, x0 : x0 + grid.overlap] = self._column_seam(tiles, before, after, rows)
        np.multiply(row, weights.astype(np.uint32)[:, None], out=out)


def _round_into(sums: UInt32Array, out: UInt8Array) -> None:
    """Full sums (weights 65536) to scores; `sums` is overwritten."""
    np.add(sums, np.uint32(_HALF), out=sums)
    np.right_shift(sums, np.uint32(_SHIFT), out=out, casting="unsafe")


def merge_cell(own: BlockScores, spills: Iterable[BlockScores], grid: TileGrid) -> UInt8Array:
    """Final scores of a block's cell.

    Args:
        own: the block's scores.
        spills: those of `TileGrid.neighbors`, in any order.
        grid: the scene's tiles.

    Returns:
        [classes, z, height, width] uint8 of the cell.
    """
    cell = grid.cell(own.block)
    classes, depth = own.interior.shape[:2]
    if own.top.size == 0 and own.left.size == 0:
        return own.interior
    top, left = own.top.shape[2], own.left.shape[3]
    above, beside = own.top.copy(), own.left.copy()
    for spill in spills:
        source = spill.block
        if source.i0 == own.block.i0:  # left of it
            above[:, :, :, :left] += spill.right[:, :, :top]
            beside += spill.right[:, :, top : cell.height]
        elif source.j0 == own.block.j0:  # above it
            above += spill.bottom
        else:
            above[:, :, :, :left] += spill.right[:, :, -top:]
    merged = np.empty((classes, depth, cell.height, cell.width), dtype=np.uint8)
    _round_into(above, merged[:, :, :top])
    _round_into(beside, merged[:, :, top:, :left])
    merged[:, :, top:, left:] = own.interior
    return merged


def temper(temperature: float) -> UInt8Array:
    """[256] uint8: what each score becomes when its log odds are divided by a temperature.

    Monotone; scores of 128 and more stay so, and so do smaller ones: a mask at the threshold 0.5 does not change.
    """
    if temperature == 1.0:
        return np.arange(256, dtype=np.uint8)
    share = np.clip(np.arange(256), 0.5, 254.5) / 255
    tempered = 255.0 / (1.0 + ((1.0 - share) / share) ** (1.0 / temperature))
    low, high = np.arange(256) < 128, np.arange(256) >= 128
    return np.where(low, np.minimum(tempered.round(), 127), np.maximum(tempered.round(), 128) * high).astype(np.uint8)


def least_score(threshold: float) -> int:
    """Least uint8 score that counts as a class: ceil(255 * threshold), with the threshold in 0..1."""
    return math.ceil(round(threshold * 255, 9))


def labels(
    scores: UInt8Array, valid: npt.NDArray[np.bool_], threshold: float, out: UInt8Array | None = None
) -> UInt8Array:
    """Label image of scores: the class with the highest score that reaches the threshold.

    Args:
        scores: [classes, height, width] uint8.
        valid: [height, width] bool.
        threshold: least probability that counts, 0..1.
        out: [height, width] uint8 to write into.

    Returns:
        [height, width] uint8: 0 background, 1..classes (the lowest of equals), 255 where not valid.
    """
    out = np.empty(scores.shape[1:], dtype=np.uint8) if out is None else out
    best = scores[0]
    if len(scores) == 1:
        np.greater_equal(best, np.uint8(least_score(threshold)), out=out.view(np.bool_))
    else:
        best = best.copy()
        out.fill(1)
        for value, candidate in enumerate(scores[1:], start=2):
            np.copyto(out, np.uint8(value), where=candidate > best)
            np.maximum(best, candidate, out=best)
        np.copyto(out, np.uint8(BACKGROUND), where=best < least_score(threshold))
    np.copyto(out, np.uint8(NODATA), where=~valid)
    return out
