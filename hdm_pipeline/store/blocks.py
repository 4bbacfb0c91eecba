"""Arrays cut along the blocks of a scene: a file is a block's cell, written by the one worker that has the block.

Where the last cell of an axis is wider than the others by up to `overlap` pixels, it has narrow files of its own, which
no other block touches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hdm_pipeline.errors import StoreError
from hdm_pipeline.grid import Block, TileGrid, Window
from hdm_pipeline.stitch import BlockScores, strip_shapes
from hdm_pipeline.store.zarr_array import ArrayLayout, Place, Selection, ZarrArray

_CHUNK = 256
"""Longest side of a chunk, unless the stride of the tiles has no divisor below it."""

_LEAST_CHUNK = 64
"""Chunks of a shorter side would cost more in administration than they save in reading."""


class _BlockArray:
    """An array of a scene, with the scene's grid and the shape of its blocks in its attributes."""

    def __init__(self, array: ZarrArray) -> None:
        self._array = array
        try:
            facts: Any = array.attributes["scene"]
            self.grid = TileGrid(tuple(facts["size"]), facts["tile"], facts["overlap"])
            self.block_shape: tuple[int, int, int] = tuple(facts["block"])
        except (KeyError, TypeError) as error:
            where = f"{array.path}/zarr.json"
            raise StoreError("a work file is of another kind", where=where, remedy="run again") from error

    @classmethod
    def open(cls, path: Place) -> Self:
        """Open the array.

        Raises:
            StoreError: there is none, or its metadata are damaged.
        """
        return cls(ZarrArray.open(path))

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the scene."""
        return self.grid.blocks_of_shape(*self.block_shape)


class ShardedArray(_BlockArray):
    """A [channel, z, y, x] array of a scene whose files are the cells of its blocks."""

    @classmethod
    def create(cls, path: Place, channels: int, dtype: str, grid: TileGrid, blocks: Sequence[Block]) -> ShardedArray:
        """Make the array, or open it where it is there already with the same layout.

        Raises:
            OutputError: the folder cannot be written.
        """
        depth, rows, columns = blocks[0].shape
        y_file, y_chunk = _axis_layout(grid.size[1], grid.stride, rows, grid.rows)
        x_file, x_chunk = _axis_layout(grid.size[2], grid.stride, columns, grid.columns)
        layout = ArrayLayout(
            shape=(channels, *grid.size),
            dtype=dtype,
            file=(channels, depth, y_file, x_file),
            chunk=(channels, 1, y_chunk, x_chunk),
        )
        return cls(ZarrArray.create(path, layout, _attributes(grid, blocks[0])))

    @property
    def channels(self) -> int:
        """Length of the first axis."""
        return self._array.layout.shape[0]

    @property
    def cell_shape(self) -> tuple[int, int]:
        """(height, width) of a cell that is not the last one."""
        _, _, height, width = self._array.layout.file
        return min(height, self.grid.size[1]), min(width, self.grid.size[2])

    def write_cell(self, block: Block, values: npt.NDArray[Any]) -> None:
        """Write a block's cell, [channel, z, height, width].

        Raises:
            OutputError: disk full or not writable.
        """
        self._array.write(self._cell(block), values)

    def read_cell(self, block: Block, channels: slice | None = None) -> npt.NDArray[Any]:
        """[channel, z, height, width] of a block's cell.

        Raises:
            StoreError: it was never written, or is damaged.
        """
        return self._array.read(self._cell(block, channels))

    def read(self, z: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """[channel, height, width] of a rectangle within one slice of the scene.

        Raises:
            StoreError: a cell it needs was never written, or is damaged.
        """
        return self._array.read((slice(0, self.channels), slice(z, z + 1), rows, columns))[:, 0]

    def _cell(self, block: Block, channels: slice | None = None) -> Selection:
        rows, columns = self.grid.cell(block).rows_columns(Window(z=0, y=0, x=0, height=1, width=1))
        return channels or slice(0, self.channels), slice(block.z0, block.z1), rows, columns


class StripArray(_BlockArray):
    """The partial sums of a scene's blocks: row b holds all strips of block b, one after the other."""

    @classmethod
    def create(cls, path: Place, classes: int, grid: TileGrid, blocks: Sequence[Block]) -> StripArray:
        """Make the array, or open it where it is there already with the same layout.

        Raises:
            OutputError: the folder cannot be written.
        """
        longest = max(sum(map(math.prod, strip_shapes(grid, block, classes))) for block in blocks)
        row = (1, longest)
        layout = ArrayLayout((len(blocks), longest), "uint32", row, row)
        return cls(ZarrArray.create(path, layout, _attributes(grid, blocks[0])))

    def write(self, scores: BlockScores) -> None:
        """Write the strips of a block.

        Raises:
            OutputError: disk full or not writable.
        """
        row = self._row(scores.block)
        values = np.zeros((1, row[1].stop), dtype=np.uint32)
        end = 0
        for strip in scores.strips:
            start, end = end, end + strip.size
            values[0, start:end] = strip.ravel()
        self._array.write(row, values)

    def read(self, block: Block, interior: npt.NDArray[np.uint8]) -> BlockScores:
        """A block's scores: its strips from here, its interior as given.

        Raises:
            StoreError: the strips were never written, or are damaged.
        """
        values = self._array.read(self._row(block))[0]
        strips, end = [], 0
        for shape in strip_shapes(self.grid, block, interior.shape[0]):
            start, end = end, end + math.prod(shape)
            strips.append(values[start:end].reshape(shape))
        return BlockScores(block, interior, *strips)

    def _row(self, block: Block) -> Selection:
        return slice(block.index, block.index + 1), slice(0, self._array.layout.shape[1])


def _attributes(grid: TileGrid, block: Block) -> dict[str, Any]:
    return {"scene": {"size": grid.size, "tile": grid.tile, "overlap": grid.overlap, "block": block.shape}}


def _axis_layout(size: int, stride: int, tiles: int, count: int) -> tuple[int, int]:
    """(file, chunk) along an axis of `count` tiles, `tiles` of them in a block."""
    if tiles >= count:
        parts = -(-size // _CHUNK)
        chunk = -(-size // parts)
        return parts * chunk, chunk
    if stride <= _CHUNK:
        chunk = stride * max(n for n in range(1, tiles + 1) if tiles % n == 0 and n * stride <= _CHUNK)
    else:
        chunk = next((c for c in range(_CHUNK, _LEAST_CHUNK - 1, -1) if stride % c == 0), stride)
    return stride * tiles, chunk
