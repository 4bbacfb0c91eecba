"""Pure geometry: windows, tiles, blocks, blending weights. No I/O, no torch.

The tile grid is anchored at the scene's origin: tile (z, i, j) starts at pixel (i * stride, j * stride) of slice z.
Since twice the overlap never exceeds the tile, a pixel lies in at most two tiles along each axis. A block is a box of
whole tiles; all blocks of a scene have the shape of the first one, except the last along each axis, which may be
smaller.

    cell        pixels that belong to only one block: from its first tile's origin to the next block's first tile.
                The cells of a scene are disjoint and leave nothing out, so a cell is also a file of the stores.
    footprint   pixels that a block's tiles touch: its cell, and `overlap` pixels to the right and below of it, which
                are the first rows and columns of the next cells.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from hdm_pipeline.errors import ConfigError

AXIS_UNITY = 256
"""What the weights of all tiles over a pixel add up to along one axis; 65536 for a pixel."""


@dataclass(frozen=True, order=True, kw_only=True)
class Window:
    """A rectangle of one slice, in pixels of the scene. Made with names, so that rows and columns cannot be swapped.

    Attributes:
        z: slice index; 0 for a raster.
        y: first row.
        x: first column.
        height: rows, at least 1.
        width: columns, at least 1.
    """

    z: int
    y: int
    x: int
    height: int
    width: int

    @classmethod
    def whole(cls, z: int, size: tuple[int, int]) -> Window:
        """All of slice `z` of a scene whose slices have (rows, columns) `size`."""
        height, width = size
        return cls(z=z, y=0, x=0, height=height, width=width)

    @property
    def bottom(self) -> int:
        """First row below the window."""
        return self.y + self.height

    @property
    def right(self) -> int:
        """First column right of the window."""
        return self.x + self.width

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    def rows_columns(self, origin: Window) -> tuple[slice, slice]:
        """Slices that cut this window out of an array whose first pixel is the first pixel of `origin`."""
        y, x = self.y - origin.y, self.x - origin.x
        return slice(y, y + self.height), slice(x, x + self.width)

    def shared_with(self, other: Window) -> Window:
        """What this window and another one of the same slice, which it touches, have in common."""
        y, x = max(self.y, other.y), max(self.x, other.x)
        height, width = min(self.bottom, other.bottom) - y, min(self.right, other.right) - x
        return Window(z=self.z, y=y, x=x, height=height, width=width)


@dataclass(frozen=True, order=True, kw_only=True)
class Block:
    """A box of whole tiles: the unit of work, of retry and of resume.

    Attributes:
        index: position in `TileGrid.blocks`, by slices, then rows, then columns.
        z0: first slice.
        z1: slice after the last.
        i0: first row of tiles.
        i1: row of tiles after the last.
        j0: first column of tiles.
        j1: column of tiles after the last.
    """

    index: int
    z0: int
    z1: int
    i0: int
    i1: int
    j0: int
    j1: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """(slices, rows of tiles, columns of tiles)."""
        return self.z1 - self.z0, self.i1 - self.i0, self.j1 - self.j0

    @property
    def tile_count(self) -> int:
        """Number of tiles."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class TileGrid:
    """The tiles of a scene.

    Attributes:
        size: (z, y, x) of the scene in pixels, each at least 1.
        tile: side of a tile in pixels.
        overlap: pixels that neighboring tiles share, at most half a tile.

    Raises:
        ConfigError: a size below 1, or an overlap that is negative or more than half a tile.
    """

    size: tuple[int, int, int]
    tile: int
    overlap: int

    def __post_init__(self) -> None:
        if min(self.size) < 1:
            raise ConfigError(f"scene of size {self.size} holds no pixel", remedy="leave the empty scene out")
        if self.tile < 1:
            raise ConfigError(
                f"tile size {self.tile} is not positive", where="tiling.size", remedy="use a size such as 512"
            )
        if not 0 <= 2 * self.overlap <= self.tile:
            raise ConfigError(
                f"overlap of {self.overlap} pixels does not fit tiles of {self.tile}",
                where="tiling.overlap",
                remedy=f"use an overlap between 0 and {self.tile // 2} (half a tile)",
            )

    @property
    def stride(self) -> int:
        """Pixels from one tile's origin to the next one's."""
        return self.tile - self.overlap

    @property
    def rows(self) -> int:
        """Rows of tiles in a slice."""
        return self._count(self.size[1])

    @property
    def columns(self) -> int:
        """Columns of tiles in a slice."""
        return self._count(self.size[2])

    @property
    def tile_count(self) -> int:
        """Tiles of all slices."""
        return self.size[0] * self.rows * self.columns

    def _count(self, pixels: int) -> int:
        return max(1, -(-(pixels - self.overlap) // self.stride))

    def tile_window(self, z: int, i: int, j: int) -> Window:
        """Window of tile (z, i, j): always `tile` x `tile`; the last ones may stick out of the scene."""
        return Window(z=z, y=i * self.stride, x=j * self.stride, height=self.tile, width=self.tile)

    def seen(self, z: int, i: int, j: int) -> Window:
        """What the network sees for tile (z, i, j): a window within the scene, as large for all tiles of a scene.

        A tile that would stick out is moved back, so that it sees what lies there instead of a mirror image; along an
        axis that is shorter than a tile it sees all of the scene.
        """
        height, width = min(self.tile, self.size[1]), min(self.tile, self.size[2])
        y, x = min(i * self.stride, self.size[1] - height), min(j * self.stride, self.size[2] - width)
        return Window(z=z, y=y, x=x, height=height, width=width)

    def own(self, z: int, i: int, j: int) -> tuple[slice, slice]:
        """Rows and columns of `seen` that lie in the tile itself: from its first pixel on."""
        seen = self.seen(z, i, j)
        return slice(i * self.stride - seen.y, seen.height), slice(j * self.stride - seen.x, seen.width)

    def as_tile(self, index: tuple[int, int, int], maps: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Maps [n, y, x] of what was seen for a tile, as maps [n, tile, tile] of the tile: 0 outside of the scene."""
        rows, columns = self.own(*index)
        if maps.shape[1:] == (self.tile, self.tile) and not (rows.start or columns.start):
            return maps
        placed = np.zeros((len(maps), self.tile, self.tile), dtype=maps.dtype)
        own = maps[:, rows, columns]
        placed[:, : own.shape[1], : own.shape[2]] = own
        return placed

    def weights(self, i: int, j: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.uint16]]:
        """Blending weights of a tile along y and x, [tile] each, 0..256; the pixel's weight is their product.

        Over each pixel of the scene the weights of all tiles add up to exactly 256 along each axis, so the products
        add up to exactly 65536. Read-only.
        """
        y = _axis_weights(self.tile, self.overlap, i > 0, i < self.rows - 1)
        x = _axis_weights(self.tile, self.overlap, j > 0, j < self.columns - 1)
        return y, x

    @property
    def ramp(self) -> npt.NDArray[np.uint16]:
        """Weights of a tile over the first `overlap` pixels that it shares, rising; the earlier tile has 256 - ramp."""
        return _axis_weights(self.tile, self.overlap, True, False)[: self.overlap]

    def blocks(self, tiles_per_block: int = 16) -> tuple[Block, ...]:
        """Group the tiles into blocks of `tiles_per_block` tiles at most, which bounds a worker's memory.

        Square-ish groups within a slice first; where a whole slice has fewer tiles, several slices make a block.
        Groups are balanced: 5 rows of tiles become 3 and 2, not 4 and 1.
        """
        if tiles_per_block < 1:
            raise ConfigError(f"{tiles_per_block} tiles per block", remedy="use 1 or more, such as 16")
        side = math.isqrt(tiles_per_block)
        rows = _balanced(self.rows, side)
        columns = _balanced(self.columns, max(1, tiles_per_block // rows))
        if columns == self.columns:  # a narrow scene: what the columns cannot give, the rows do
            rows = _balanced(self.rows, max(1, tiles_per_block // columns))
        whole_slice = (rows, columns) == (self.rows, self.columns)
        slices = _balanced(self.size[0], max(1, tiles_per_block // (rows * columns))) if whole_slice else 1
        return self.blocks_of_shape(slices, rows, columns)

    def blocks_of_shape(self, slices: int, rows: int, columns: int) -> tuple[Block, ...]:
        """Blocks of a given shape (slices, rows and columns of tiles), clipped at the end of each axis."""
        corners = (
            (z, i, j)
            for z in range(0, self.size[0], slices)
            for i in range(0, self.rows, rows)
            for j in range(0, self.columns, columns)
        )
        return tuple(
            Block(
                index=index,
                z0=z,
                z1=min(z + slices, self.size[0]),
                i0=i,
                i1=min(i + rows, self.rows),
                j0=j,
                j1=min(j + columns, self.columns),
            )
            for index, (z, i, j) in enumerate(corners)
        )

    def tiles(self, block: Block) -> Iterator[tuple[int, int, int]]:
        """Tile indices (z, i, j) of a block, always in the same order."""
        for z in range(block.z0, block.z1):
            for i in range(block.i0, block.i1):
                for j in range(block.j0, block.j1):
                    yield z, i, j

    def cell(self, block: Block) -> Window:
        """The pixels that belong only to this block, as a window of its first slice."""
        y, x = block.i0 * self.stride, block.j0 * self.stride
        bottom = self.size[1] if block.i1 == self.rows else block.i1 * self.stride
        right = self.size[2] if block.j1 == self.columns else block.j1 * self.stride
        return Window(z=block.z0, y=y, x=x, height=bottom - y, width=right - x)

    def footprint(self, block: Block) -> Window:
        """The pixels of the scene that this block's tiles touch, as a window of its first slice."""
        cell = self.cell(block)
        down, right = self.spill(block)
        return Window(z=cell.z, y=cell.y, x=cell.x, height=cell.height + down, width=cell.width + right)

    def lead(self, block: Block) -> tuple[int, int]:
        """Rows at the top and columns at the left of its cell that earlier blocks spill into: `overlap`, or 0."""
        return self.overlap * (block.i0 > 0), self.overlap * (block.j0 > 0)

    def spill(self, block: Block) -> tuple[int, int]:
        """Rows below and columns right of its cell that a block's tiles touch: `overlap`, or 0 at the scene's edge."""
        return (
            0 if block.i1 == self.rows else self.overlap,
            0 if block.j1 == self.columns else self.overlap,
        )

    def neighbors(self, block: Block, blocks: Sequence[Block]) -> tuple[Block, ...]:
        """The blocks of `blocks` that spill into a block's cell: those above-left, above and left of it."""
        if self.overlap == 0:
            return ()
        across = -(-self.columns // blocks[0].shape[2])
        above, left = block.i0 > 0, block.j0 > 0
        steps = [across + 1] * (above and left) + [across] * above + [1] * left
        return tuple(blocks[block.index - step] for step in steps)

    def reads(self, block: Block, blocks: Sequence[Block]) -> tuple[Block, ...]:
        """The blocks of `blocks` whose cells must be staged before this block's tiles can be read.

        Apart from the block itself these are the cells it spills into, and those into which its last tiles are moved
        back (`seen`).
        """
        _, rows, columns = blocks[0].shape
        i0, i1 = self._touched(block.i0, block.i1, self.size[1])
        j0, j1 = self._touched(block.j0, block.j1, self.size[2])
        across, down = -(-self.columns // columns), -(-self.rows // rows)
        first = block.index - (block.i0 // rows) * across - block.j0 // columns
        return tuple(
            blocks[first + i * across + j]
            for i in range(i0 // (rows * self.stride), min(down, -(-i1 // (rows * self.stride))))
            for j in range(j0 // (columns * self.stride), min(across, -(-j1 // (columns * self.stride))))
        )

    def _touched(self, first: int, stop: int, size: int) -> tuple[int, int]:
        """Range of pixels along one axis that the network sees for tiles `first`..`stop`."""
        last = max(0, size - self.tile)
        return min(first * self.stride, last), min((stop - 1) * self.stride, last) + min(self.tile, size)


def _balanced(count: int, target: int) -> int:
    """Size of equal groups of `target` at most that `count` things fall into; the last group may be smaller."""
    groups = -(-count // target)
    return -(-count // groups)


@lru_cache(maxsize=64)
def _axis_weights(tile: int, overlap: int, rises: bool, falls: bool) -> npt.NDArray[np.uint16]:
    weights = np.full(tile, AXIS_UNITY, dtype=np.uint16)
    if overlap:
        up = (AXIS_UNITY * (2 * np.arange(overlap, dtype=np.int64) + 1) + overlap) // (2 * overlap)
        if rises:
            weights[:overlap] = up
        if falls:
            weights[tile - overlap :] = AXIS_UNITY - up
    weights.flags.writeable = False
    return weights
