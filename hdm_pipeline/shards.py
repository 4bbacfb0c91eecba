"""zarr arrays cut along the blocks of a scene. Nothing else knows zarr; `store` says what lies where.

A shard is a block's cell, and a block's cell is written by one worker, in whole shards, each put in place by rename
(zarr's own LocalStore does that). Where the last cell of an axis is wider than the others by up to `overlap` pixels,
it has narrow shards of its own, which no other block touches. All shards are stored, those of zeros too: a missing
file is then a `StoreError` and never reads as zeros.

Nothing is flushed to the disk (fsync) here. A killed process loses nothing; after a power cut files may be missing or
cut short although the ledger has their receipt: every chunk carries a checksum, reading a damaged one raises
`StoreError`, and the scene's work is redone.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr
from zarr.storage import LocalStore, StorePath

from hdm_pipeline.errors import StoreError
from hdm_pipeline.grid import Block, TileGrid, Window
from hdm_pipeline.stitch import BlockScores, strip_shapes
from hdm_pipeline.workspace import output_errors

# Two threads keep a disk busy; zarr's default of ten would take the cores from the model and hold ten chunks.
zarr.config.set({"async.concurrency": 2, "threading.max_workers": 2, "array.write_empty_chunks": True})

_CHUNK = 640
"""Longest side of a chunk, unless the stride of the tiles has no divisor below it."""

_LEAST_CHUNK = 64
"""Chunks of a shorter side would cost more in administration than they save in reading."""

_ATTRIBUTE = "hdm"
_CHECKSUM: dict[str, Any] = {"name": "crc32c"}
_DAMAGE = (ValueError, RuntimeError, KeyError, IndexError, OSError)
"""What zarr and its codecs raise for files that are cut short or hold something else."""

Selection = tuple[slice, ...]


class _BlockArray:
    """A zarr array of a scene, with the scene's grid and the shape of its blocks in its attributes."""

    def __init__(self, path: Path, array: zarr.Array[Any]) -> None:
        self.path = path
        self._array = array
        facts: Any = array.metadata.attributes[_ATTRIBUTE]
        self.grid = TileGrid(tuple(facts["size"]), facts["tile"], facts["overlap"])
        self.block_shape: tuple[int, int, int] = tuple(facts["block"])

    @classmethod
    def _create(cls, path: Path, metadata: dict[str, Any]) -> zarr.Array[Any]:
        """Make an array of these metadata, unless it is there already. Anything else in its place is removed."""
        file = path / "zarr.json"
        text = json.dumps(metadata).encode()
        with output_errors(path):
            if not file.is_file() or file.read_bytes() != text:
                if path.exists():
                    shutil.rmtree(path)
                path.mkdir(parents=True)
                temporary = path / ".zarr.json"
                temporary.write_bytes(text)
                os.replace(temporary, file)
        return zarr.Array.from_dict(StorePath(LocalStore(path)), metadata)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks of the scene."""
        return self.grid.blocks_of_shape(*self.block_shape)

    def _files(self, selection: Selection) -> Iterator[Path]:
        """Files that hold a selection."""
        sides = self._array.shards or self._array.chunks
        ranges = [range(s.start // side, -(-s.stop // side)) for s, side in zip(selection, sides, strict=True)]
        for index in product(*ranges):
            yield self.path / self._array.metadata.encode_chunk_key(index)

    def _write(self, selection: Selection, values: npt.NDArray[Any]) -> None:
        shape = tuple(s.stop - s.start for s in selection)
        if values.shape != shape:
            raise ValueError(f"{values.shape} values for a selection of shape {shape} of {self.path}")
        with output_errors(self.path):
            try:
                self._array[selection] = values
            except (ValueError, RuntimeError):
                # zarr reads a shard before it replaces it, and stumbles over one that a power cut left behind.
                for file in self._files(selection):
                    file.unlink(missing_ok=True)
                self._array[selection] = values

    def _read(self, selection: Selection) -> npt.NDArray[Any]:
        for file in self._files(selection):
            if not file.is_file():
                raise _store_error("was never written or is gone", file)
        try:
            return np.asarray(self._array[selection])
        except _DAMAGE as error:
            raise _store_error(f"cannot be read: {error}", self.path) from error


class ShardedArray(_BlockArray):
    """A [channel, z, y, x] array of a scene whose shards are the cells of its blocks."""

    @classmethod
    def create(
        cls,
        path: Path,
        channels: int,
        dtype: npt.DTypeLike,
        grid: TileGrid,
        blocks: Sequence[Block],
        *,
        compress: bool = True,
    ) -> ShardedArray:
        """Make the array, or open it where it is there already with the same layout.

        Raises:
            OutputError: the folder cannot be written.
        """
        depth, rows, columns = blocks[0].shape
        y_shard, y = _axis_layout(grid.size[1], grid.stride, rows, grid.rows)
        x_shard, x = _axis_layout(grid.size[2], grid.stride, columns, grid.columns)
        chunks, shards = (channels, 1, y, x), (channels, depth, y_shard, x_shard)
        codecs = _codecs("noshuffle" if compress else None, dtype)
        if shards != chunks:
            codecs = [_sharding(chunks, codecs)]
        attributes = _attributes(grid, blocks[0])
        return cls(path, cls._create(path, _metadata((channels, *grid.size), dtype, shards, codecs, attributes)))

    @classmethod
    def open(cls, path: Path) -> ShardedArray:
        """Open the array.

        Raises:
            StoreError: there is none, or its metadata is damaged.
        """
        return cls(path, _open(path))

    @property
    def channels(self) -> int:
        """Length of the first axis."""
        return int(self._array.shape[0])

    @property
    def shard_shape(self) -> tuple[int, int]:
        """(height, width) of a shard, clipped to the scene."""
        _, _, height, width = self._array.shards or self._array.chunks
        return min(height, self.grid.size[1]), min(width, self.grid.size[2])

    def write_cell(self, block: Block, values: npt.NDArray[Any]) -> None:
        """Write a block's cell, [channel, z, height, width].

        Raises:
            OutputError: disk full or not writable.
        """
        self._write(self._cell(block), values)

    def read_cell(self, block: Block, channels: slice | None = None) -> npt.NDArray[Any]:
        """[channel, z, height, width] of a block's cell.

        Raises:
            StoreError: it was never written, or is damaged.
        """
        return self._read(self._cell(block, channels))

    def read(self, z: int, rows: slice, columns: slice) -> npt.NDArray[Any]:
        """[channel, height, width] of a rectangle within one slice of the scene.

        Raises:
            StoreError: a cell it needs was never written, or is damaged.
        """
        return self._read((slice(0, self.channels), slice(z, z + 1), rows, columns))[:, 0]

    def _cell(self, block: Block, channels: slice | None = None) -> Selection:
        rows, columns = self.grid.cell(block).rows_columns(Window(0, 0, 0, 1, 1))
        return channels or slice(0, self.channels), slice(block.z0, block.z1), rows, columns


class StripArray(_BlockArray):
    """The partial sums of a scene's blocks: row b holds all strips of block b, one after the other."""

    @classmethod
    def create(cls, path: Path, classes: int, grid: TileGrid, blocks: Sequence[Block]) -> StripArray:
        """Make the array, or open it where it is there already with the same layout.

        Raises:
            OutputError: the folder cannot be written.
        """
        longest = max(sum(map(np.prod, strip_shapes(grid, block, classes))) for block in blocks)
        shape, chunk = (len(blocks), int(longest)), (1, int(longest))
        # Sums have 24 bits: shuffled, every fourth byte is zero.
        codecs = _codecs("shuffle", np.uint32)
        return cls(path, cls._create(path, _metadata(shape, np.uint32, chunk, codecs, _attributes(grid, blocks[0]))))

    @classmethod
    def open(cls, path: Path) -> StripArray:
        """Open the array.

        Raises:
            StoreError: there is none, or its metadata is damaged.
        """
        return cls(path, _open(path))

    def write(self, scores: BlockScores) -> None:
        """Write the strips of a block.

        Raises:
            OutputError: disk full or not writable.
        """
        values = np.zeros((1, self._array.shape[1]), dtype=np.uint32)
        end = 0
        for strip in scores.strips:
            start, end = end, end + strip.size
            values[0, start:end] = strip.ravel()
        self._write(self._row(scores.block), values)

    def read(self, block: Block, interior: npt.NDArray[np.uint8]) -> BlockScores:
        """A block's scores: its strips from here, its interior as given.

        Raises:
            StoreError: the strips were never written, or are damaged.
        """
        values = self._read(self._row(block))[0]
        strips, end = [], 0
        for shape in strip_shapes(self.grid, block, interior.shape[0]):
            start, end = end, end + int(np.prod(shape))
            strips.append(values[start:end].reshape(shape))
        return BlockScores(block, interior, *strips)

    def _row(self, block: Block) -> Selection:
        return slice(block.index, block.index + 1), slice(0, self._array.shape[1])


def _axis_layout(size: int, stride: int, tiles: int, count: int) -> tuple[int, int]:
    """(shard, chunk) along an axis of `count` tiles, `tiles` of them in a block."""
    if tiles >= count:
        parts = -(-size // _CHUNK)
        chunk = -(-size // parts)
        return parts * chunk, chunk
    if stride <= _CHUNK:
        chunk = stride * max(n for n in range(1, tiles + 1) if tiles % n == 0 and n * stride <= _CHUNK)
    else:
        chunk = next((c for c in range(_CHUNK, _LEAST_CHUNK - 1, -1) if stride % c == 0), stride)
    return stride * tiles, chunk


def _metadata(
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    shard: tuple[int, ...],
    codecs: list[dict[str, Any]],
    attributes: dict[str, Any],
) -> dict[str, Any]:
    """The content of an array's zarr.json (zarr core specification v3, "Array metadata").

    Written by hand, as an archive of small scenes makes thousands of arrays and zarr.create_array takes three times
    as long as all of this.
    """
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": np.dtype(dtype).name,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(shard)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": codecs,
        "attributes": {_ATTRIBUTE: attributes},
        "storage_transformers": [],
    }


def _attributes(grid: TileGrid, block: Block) -> dict[str, Any]:
    return {"size": list(grid.size), "tile": grid.tile, "overlap": grid.overlap, "block": list(block.shape)}


def _codecs(shuffle: str | None, dtype: npt.DTypeLike) -> list[dict[str, Any]]:
    """Bytes, lz4 unless `shuffle` is None, and a checksum."""
    size = np.dtype(dtype).itemsize
    blosc = {"typesize": size, "cname": "lz4", "clevel": 1, "shuffle": shuffle, "blocksize": 0}
    return [
        {"name": "bytes", "configuration": {"endian": "little"}} if size > 1 else {"name": "bytes"},
        *([] if shuffle is None else [{"name": "blosc", "configuration": blosc}]),
        _CHECKSUM,
    ]


def _sharding(chunk: tuple[int, ...], codecs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": list(chunk),
            "codecs": codecs,
            "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}, _CHECKSUM],
            "index_location": "end",
        },
    }


def _open(path: Path) -> zarr.Array[Any]:
    try:
        array = zarr.Array.from_dict(StorePath(LocalStore(path)), json.loads((path / "zarr.json").read_bytes()))
        array.metadata.attributes[_ATTRIBUTE]
    except (*_DAMAGE, TypeError) as error:
        raise _store_error(f"cannot be opened: {error}", path) from error
    return array


def _store_error(what: str, path: Path) -> StoreError:
    return StoreError(
        f"work file {what}", where=str(path), remedy="run again: what the file held is then computed again"
    )
