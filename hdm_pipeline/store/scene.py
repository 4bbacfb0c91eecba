"""What lies where in the work folders of one scene: staged pixels, scores and validity.

    <stage folder>/            [band, z, y, x] uint16: 0 invalid, 1..65535 = 0..1
    <score folder>/scores/     [map + 1, z, y, x] uint8: final scores of all classes, where asked for then the
                               uncertainties of all classes, and last 1 where the pixels held data, which is so still
                               known when the staged image is deleted
                   partials/interior/, partials/strips/     what blocks know before they are merged

All are zarr arrays whose files are the cells of the scene's blocks: see `zarr_array` for what that promises.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from threading import Lock

import numpy as np
import numpy.typing as npt

from hdm_pipeline.grid import Block, TileGrid, Window
from hdm_pipeline.stitch import BlockScores, labels, merge_cell, temper
from hdm_pipeline.store.blocks import ShardedArray, StripArray
from hdm_pipeline.store.zarr_array import Place, remove


class ImageStore:
    """The staged pixels of one scene. Make one with `create` or `open`."""

    def __init__(self, array: ShardedArray) -> None:
        self._array = array
        self.grid = array.grid

    @classmethod
    def create(cls, path: Place, bands: int, grid: TileGrid, blocks: Sequence[Block]) -> ImageStore:
        """Make the store in a folder, or open it where it is there already with the same layout.

        Raises:
            OutputError: the folder cannot be written.
        """
        return cls(ShardedArray.create(path, bands, "uint16", grid, blocks))

    @classmethod
    def open(cls, path: Place) -> ImageStore:
        """Open a store.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        return cls(ShardedArray.open(path))

    def write_cell(self, block: Block, slices: Sequence[npt.NDArray[np.uint16]]) -> None:
        """Write a block's cell.

        Args:
            block: whose cell it is.
            slices: one [bands, height, width] uint16 for each slice of the block.

        Raises:
            OutputError: disk full or not writable.
        """
        self._array.write_cell(block, slices[0][:, None] if len(slices) == 1 else np.stack(slices, axis=1))

    def read(self, window: Window) -> npt.NDArray[np.uint16]:
        """[bands, height, width] uint16 of a window within the scene.

        Raises:
            StoreError: a cell it needs was never written, or is damaged.
        """
        rows, columns = slice(window.y, window.bottom), slice(window.x, window.right)
        pixels: npt.NDArray[np.uint16] = self._array.read(window.z, rows, columns)
        return pixels

    def read_valid(self, block: Block) -> npt.NDArray[np.bool_]:
        """[z, height, width] bool of a block's cell.

        Raises:
            StoreError: the cell was never written, or is damaged.
        """
        valid: npt.NDArray[np.bool_] = self._array.read_cell(block, slice(0, 1))[0] != 0
        return valid


class ScoreStore:
    """Scores and validity of one scene: what each block knows, and the final scores. Make it by `create` or `open`.

    A block's life: `write_block` when it is inferred, `finish` when its neighbors are, too, and `drop_partials` when
    all blocks are finished. Each may be repeated after a crash.

    Attributes:
        grid: the scene's tiles.
        classes: number of classes.
        maps: [classes], or twice as many where it holds uncertainties as well: what `write_block` takes.
    """

    def __init__(self, path: Place, scores: ShardedArray, *, uncertain: bool = False) -> None:
        self._path = path
        self._scores = scores
        self.grid = scores.grid
        self.maps = scores.channels - 1
        self.classes = self.maps // 2 if uncertain else self.maps
        self._tables: list[npt.NDArray[np.uint8]] = []

    @classmethod
    def create(
        cls, path: Place, classes: int, grid: TileGrid, blocks: Sequence[Block], *, uncertain: bool = False
    ) -> ScoreStore:
        """Make the store in a folder, or open it where it is there already with the same layout.

        Args:
            path: the folder.
            classes: number of classes.
            grid, blocks: of the scene.
            uncertain: it holds uncertainties beside the scores.

        Raises:
            OutputError: the folder cannot be written.
        """
        maps = 2 * classes if uncertain else classes
        scores = ShardedArray.create(path / "scores", maps + 1, "uint8", grid, blocks)
        store = cls(path, scores, uncertain=uncertain)
        if not store._seamless:
            ShardedArray.create(path / "partials" / "interior", maps + 1, "uint8", grid, blocks)
            StripArray.create(path / "partials" / "strips", maps, grid, blocks)
        return store

    @classmethod
    def open(cls, path: Place, *, uncertain: bool = False) -> ScoreStore:
        """Open a store that was made so.

        Raises:
            StoreError: there is none, or it is damaged.
        """
        return cls(path, ShardedArray.open(path / "scores"), uncertain=uncertain)

    @property
    def cell_shape(self) -> tuple[int, int]:
        """(height, width) in which reading is cheapest."""
        return self._scores.cell_shape

    @property
    def _seamless(self) -> bool:
        """Whether no block touches another's cell: what a block knows is final then."""
        return self.grid.overlap == 0 or self._scores.block_shape[1:] == (self.grid.rows, self.grid.columns)

    @cached_property
    def _interior(self) -> ShardedArray:
        return ShardedArray.open(self._path / "partials" / "interior")

    @cached_property
    def _strips(self) -> StripArray:
        return StripArray.open(self._path / "partials" / "strips")

    def write_block(self, scores: BlockScores, valid: npt.NDArray[np.bool_]) -> None:
        """Write what a block knows of its scores.

        Args:
            scores: of the block, with uncertainties as further classes where the store holds them.
            valid: [z, height, width] of its cell: which pixels held data.

        Raises:
            OutputError: disk full or not writable.
        """
        top, left = self.grid.lead(scores.block)
        cell = np.zeros((self.maps + 1, *valid.shape), dtype=np.uint8)
        cell[:-1, :, top:, left:] = scores.interior
        cell[-1] = valid
        if self._seamless:
            self._scores.write_cell(scores.block, cell)
        else:
            self._interior.write_cell(scores.block, cell)
            self._strips.write(scores)

    def finish(self, block: Block) -> None:
        """Make a block's scores final, from what it and its neighbors know.

        Raises:
            OutputError: disk full or not writable.
            StoreError: what the block or a neighbor knows was never written, or is damaged.
        """
        if self._seamless:
            return  # `write_block` did it
        cell = self._interior.read_cell(block)
        top, left = self.grid.lead(block)
        own = self._strips.read(block, cell[:-1, :, top:, left:])
        spills = [self._strips.read(other, own.interior) for other in self.grid.neighbors(block, self._scores.blocks)]
        cell[:-1] = merge_cell(own, spills, self.grid)
        self._scores.write_cell(block, cell)

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """Final scores [classes, height, width] of a window within the scene.

        Raises:
            StoreError: a cell it needs was never written, or is damaged.
        """
        return self.read_with_valid(window)[0]

    def read_with_valid(self, window: Window) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Final scores [classes, height, width] of a window within the scene, and validity [height, width].

        Raises:
            StoreError: a cell it needs was never written, or is damaged.
        """
        return self.parts(self.channels(window))

    def parts(self, channels: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
        """Scores [classes, height, width] and validity [height, width] of what `channels` gave."""
        scores, valid = channels[: self.classes], channels[-1].view(np.bool_)
        if self._tables:
            scores = np.stack([table[one] for table, one in zip(self._tables, scores, strict=True)])
        return scores, valid

    def channels(self, window: Window) -> npt.NDArray[np.uint8]:
        """[maps + 1, height, width] of a window within the scene: scores as stored, uncertainties, validity.

        Raises:
            StoreError: a cell it needs was never written, or is damaged.
        """
        rows, columns = slice(window.y, window.bottom), slice(window.x, window.right)
        channels: npt.NDArray[np.uint8] = self._scores.read(window.z, rows, columns)
        return channels

    def calibrate(self, temperatures: Sequence[float]) -> None:
        """Read final scores as each class's temperature has them (`stitch.temper`); what is stored stays as it is."""
        self._tables = [temper(each) for each in temperatures] if any(each != 1.0 for each in temperatures) else []

    def drop_partials(self) -> None:
        """Delete what only `finish` needs. Does nothing where that was done before."""
        remove(self._path / "partials")

    @cached_property
    def _windows(self) -> _LastRead:
        return _LastRead(self)

    def score_source(self) -> ScoreSource:
        """The final scores as a writer pulls them."""
        return ScoreSource(self._windows)

    def uncertainty_source(self) -> UncertaintySource | None:
        """The uncertainties as a writer pulls them; None for a store that holds none."""
        return UncertaintySource(self._windows) if self.maps > self.classes else None

    def mask_source(self, threshold: float) -> MaskSource:
        """The mask at a threshold (0..1), computed as a writer pulls it."""
        return MaskSource(self._windows, threshold)


class _LastRead:
    """Windows of a store, the last of which is remembered: decoding is what reading costs. For several threads."""

    def __init__(self, store: ScoreStore) -> None:
        self.store = store
        self._last: tuple[Window, npt.NDArray[np.uint8]] | None = None
        self._lock = Lock()

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """See `ScoreStore.channels`; not to be changed."""
        with self._lock:
            if self._last is None or self._last[0] != window:
                self._last = None  # before the next is there, so that never two are held
                self._last = window, self.store.channels(window)
            return self._last[1]


class ScoreSource:
    """The final scores of a scene (a `contracts.PixelSource`)."""

    def __init__(self, read: _LastRead) -> None:
        self._read = read
        self.shape = (read.store.classes, *read.store.grid.size)

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """[classes, height, width] uint8, 0..255 = probability 0..1."""
        channels = self._read.read(window)
        scores = self._read.store.parts(channels)[0]
        # A writer may do with it what it likes, so not with what is remembered; calibrated scores are new already.
        return scores.copy() if np.may_share_memory(scores, channels) else scores


class UncertaintySource:
    """The uncertainties of a scene's scores (a `contracts.PixelSource`)."""

    def __init__(self, read: _LastRead) -> None:
        self._read = read
        self.shape = (read.store.classes, *read.store.grid.size)

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """[classes, height, width] uint8, 0..255 = uncertainty 0..1."""
        return self._read.read(window)[self._read.store.classes : -1].copy()


class MaskSource:
    """The mask of a scene at a threshold (a `contracts.PixelSource`)."""

    def __init__(self, read: _LastRead, threshold: float) -> None:
        self._read = read
        self._threshold = threshold
        self.shape = (1, *read.store.grid.size)

    def read(self, window: Window) -> npt.NDArray[np.uint8]:
        """[1, height, width] uint8: 0 background, 1.. classes, 255 nodata."""
        scores, valid = self._read.store.parts(self._read.read(window))
        return labels(scores, valid, self._threshold)[None]
