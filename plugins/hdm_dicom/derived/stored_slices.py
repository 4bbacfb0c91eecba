"""From the plane that was segmented back to the stored slices; memory is a few slices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from hdm_dicom.volumes.transposed_file import TransposedFile
from hdm_dicom.volumes.volume_io import OpenVolume
from hdm_pipeline.contracts import PixelSource
from hdm_pipeline.errors import WriteError
from hdm_pipeline.grid import Window

Bytes = npt.NDArray[np.uint8]


def stored_slices(opened: OpenVolume, source: PixelSource, folder: Path) -> Iterator[Bytes]:
    """[bands, rows, columns] of each stored slice in turn, from pixels in the view.

    A mask made across the slices is first turned on disk, in an unnamed file in `folder`: every stored slice needs a
    line of each of its planes.

    Raises:
        OSError: the disk is full.
        WriteError: the source has another shape than the view.
    """
    x, y, z = opened.size
    if source.shape[1:] != (z, y, x):
        raise WriteError(
            f"the mask has shape {source.shape[1:]}, the series {(z, y, x)}",
            where=opened.volume.id,
            remedy="the series has changed since it was segmented; run again",
        )
    if opened.view.along_slices:
        yield from _along(opened, source)
    else:
        yield from _across(opened, source, folder)


def _along(opened: OpenVolume, source: PixelSource) -> Iterator[Bytes]:
    def stack_slice(index: int) -> Bytes:
        return np.asarray(_plane(opened, source, index)[:, 0], dtype=np.uint8)

    for index in range(len(opened.volume.frames)):
        yield np.ascontiguousarray(opened.stack.to_stored(index, stack_slice))


def _plane(opened: OpenVolume, source: PixelSource, index: int) -> npt.NDArray[np.generic]:
    """[bands, z, y, x] of the stack, one voxel thick along the axis that the view goes through, at a place on it."""
    x, y, z = opened.size
    at = z - 1 - index if opened.view.flips[2] else index
    return opened.view.undo(source.read(Window(z=at, y=0, x=0, height=y, width=x))[:, np.newaxis])


def _across(opened: OpenVolume, source: PixelSource, folder: Path) -> Iterator[Bytes]:
    axis = opened.view.axes[2]
    x, y, z = opened.stack.size
    planes, length = (x, y) if axis == 0 else (y, x)
    turned = TransposedFile(planes, z, (source.shape[0], length), np.uint8, folder)
    for index in range(planes):
        plane = _plane(opened, source, index)
        lines = plane[..., 0] if axis == 0 else plane[:, :, 0]
        turned.put(lines.transpose(1, 0, 2))

    def stack_slice(index: int) -> Bytes:
        lines = turned.take(index)
        return lines.transpose(1, 2, 0) if axis == 0 else lines.transpose(1, 0, 2)

    for index in range(len(opened.volume.frames)):
        yield np.ascontiguousarray(opened.stack.to_stored(index, stack_slice))
