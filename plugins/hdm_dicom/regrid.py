"""From the plane that was segmented back to the stored slices, through an unnamed file: memory is one slice."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from hdm_dicom.volume_io import OpenVolume
from hdm_pipeline.contracts import PixelSource
from hdm_pipeline.errors import WriteError
from hdm_pipeline.grid import Window

Bytes = npt.NDArray[np.uint8]


def stored_slices(opened: OpenVolume, source: PixelSource, where: str) -> Iterator[Bytes]:
    """[bands, rows, columns] of each stored slice in turn, from pixels in the view.

    A mask made across the slices is first laid out on disk: every stored slice needs a line of each of its planes.

    Raises:
        WriteError: the source has another shape than the view, or the disk is full.
    """
    x, y, z = opened.size
    if source.shape[1:] != (z, y, x):
        raise WriteError(
            f"the mask has shape {source.shape[1:]}, the series {(z, y, x)}",
            where=where,
            remedy="the series has changed since it was segmented; run again",
        )
    if opened.view.along_slices:
        yield from _along(opened, source)
    else:
        yield from _across(opened, source, where)


def _along(opened: OpenVolume, source: PixelSource) -> Iterator[Bytes]:
    x, y, z = opened.size

    def stack_slice(index: int) -> Bytes:
        at = z - 1 - index if opened.view.flips[2] else index
        image = source.read(Window(at, 0, 0, y, x))
        return np.asarray(opened.view.undo(image[:, np.newaxis])[:, 0], dtype=np.uint8)

    for index in range(len(opened.volume.frames)):
        yield np.ascontiguousarray(opened.stack.to_stored(index, stack_slice))


def _across(opened: OpenVolume, source: PixelSource, where: str) -> Iterator[Bytes]:
    x, y, z = opened.size
    with tempfile.TemporaryFile(prefix="hdm-dicom-") as file:
        try:
            for at in range(z):
                file.write(np.ascontiguousarray(source.read(Window(at, 0, 0, y, x))).tobytes())
            file.flush()
        except OSError as error:
            raise WriteError(
                f"the mask cannot be laid out on disk ({type(error).__name__})",
                where=where,
                remedy="free space in the temporary folder (TMPDIR)",
            ) from None
        planes = np.memmap(file, dtype=np.uint8, mode="r", shape=(z, source.shape[0], y, x))
        stack = opened.view.undo(np.moveaxis(planes, 0, 1))

        def stack_slice(index: int) -> Bytes:
            return np.ascontiguousarray(stack[:, index], dtype=np.uint8)

        for index in range(len(opened.volume.frames)):
            yield np.ascontiguousarray(opened.stack.to_stored(index, stack_slice))
