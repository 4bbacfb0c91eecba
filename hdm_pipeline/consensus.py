"""From the scores of a volume's three planes to one volume: the consensus that products are made of.

A score is the mean of the three that its voxel got, rounded to the nearest integer: `(axial + coronal + sagittal + 1)
// 3`, where no tie is possible. A voxel is valid where it is valid in all three.

The coronal and sagittal scores lie across the slices that writers ask for. Each is read once, and its lines are put
aside in a file, sorted by the axial slice that they lie in; a slice of the volume is then one slice of the store and
two contiguous reads. Memory is a few slices, and the scratch files take two bytes a voxel for each class and validity.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hdm_pipeline.contracts import SceneHeader
from hdm_pipeline.grid import PlaneStack, Window
from hdm_pipeline.output.files import output_errors
from hdm_pipeline.stitch import labels
from hdm_pipeline.store.scene import ScoreStore

Bytes = npt.NDArray[np.uint8]

_GROUP_BYTES = 4 << 20
"""Bytes of scores whose lines are put aside together: fewer, larger writes."""


def volume_header(header: SceneHeader, stack: PlaneStack) -> SceneHeader:
    """The header of the volume that a stack of planes shows."""
    return replace(header, shape=(header.shape[0], *stack.volume), chunk=stack.volume[1:], stack=None)


class ConsensusScores:
    """The mean scores of a volume (a `contracts.PixelSource`).

    Args:
        store: final scores of the stack.
        stack: which volume it shows.
        folder: where the scratch files are made; they have no names and vanish with this object.

    Raises:
        OutputError: the disk is full.
        StoreError: scores were never written, or are damaged.
    """

    def __init__(self, store: ScoreStore, stack: PlaneStack, folder: Path) -> None:
        self.shape = (store.classes, *stack.volume)
        self._store = store
        self._last: tuple[int, Bytes, npt.NDArray[np.bool_]] | None = None
        z, y, x = stack.volume
        self._coronal = _Lines(store, range(z, z + y), (z, x), folder)
        self._sagittal = _Lines(store, range(z + y, z + y + x), (z, y), folder)

    def read(self, window: Window) -> Bytes:
        """[classes, height, width] uint8, 0..255 = probability 0..1."""
        return self.read_with_valid(window)[0]

    def read_with_valid(self, window: Window) -> tuple[Bytes, npt.NDArray[np.bool_]]:
        """Scores [classes, height, width] of a window of the volume, and validity [height, width]."""
        if self._last is None or self._last[0] != window.z:
            self._last = (window.z, *self._slice(window.z))
        _, scores, valid = self._last
        rows, columns = slice(window.y, window.bottom), slice(window.x, window.right)
        return scores[:, rows, columns], valid[rows, columns]

    def _slice(self, z: int) -> tuple[Bytes, npt.NDArray[np.bool_]]:
        _, _, height, width = self.shape
        axial, valid = self._store.read_with_valid(Window(z=z, y=0, x=0, height=height, width=width))
        total = axial.astype(np.uint16)
        # Lines are [slice, channel, pixel]; here rows are y and columns x.
        for turned in (self._coronal.take(z).transpose(1, 0, 2), self._sagittal.take(z).transpose(1, 2, 0)):
            total += turned[:-1]
            valid = valid & (turned[-1] != 0)
        scores = ((total + 1) // 3).astype(np.uint8)
        scores[:, ~valid] = 0
        return scores, valid


class ConsensusMask:
    """The mask of a volume at a threshold (a `contracts.PixelSource`)."""

    def __init__(self, scores: ConsensusScores, threshold: float) -> None:
        self._scores = scores
        self._threshold = threshold
        self.shape = (1, *scores.shape[1:])

    def read(self, window: Window) -> Bytes:
        """[1, height, width] uint8: 0 background, 1.. classes, 255 nodata."""
        scores, valid = self._scores.read_with_valid(window)
        return labels(scores, valid, self._threshold)[None]


class _Lines:
    """The scores and validity of a plane's slices, by the axial slice that their rows lie in.

    Args:
        store: final scores of the stack.
        slices: of the stack that are in the plane.
        extent: (rows, columns) of what they show; rows run against z.
        folder: of the file.
    """

    def __init__(self, store: ScoreStore, slices: range, extent: tuple[int, int], folder: Path) -> None:
        height, width = extent
        channels = store.classes + 1
        self._shape = (len(slices), channels, width)
        together = max(1, _GROUP_BYTES // (channels * height * width))
        self._folder = folder
        with output_errors(folder):
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed with this object
        for start in range(0, len(slices), together):
            windows = [Window(z=z, y=0, x=0, height=height, width=width) for z in slices[start : start + together]]
            self._put(start, np.stack([_channels(store, window) for window in windows]))

    def _put(self, start: int, group: Bytes) -> None:
        """Write [slices, channels, rows, columns] behind the `start` slices that are there."""
        count, channels, width = self._shape
        with output_errors(self._folder):
            for z in range(group.shape[2]):
                self._file.seek((z * count + start) * channels * width)
                self._file.write(group[:, :, -1 - z].tobytes())
            self._file.flush()

    def take(self, z: int) -> Bytes:
        """[slices, channels, pixels] of the lines that lie in axial slice z."""
        size = int(np.prod(self._shape))
        self._file.seek(z * size)
        return np.frombuffer(self._file.read(size), dtype=np.uint8).reshape(self._shape)


def _channels(store: ScoreStore, window: Window) -> Bytes:
    scores, valid = store.read_with_valid(window)
    return np.concatenate([scores, valid[None].view(np.uint8)])
