"""A whole stack on disk, for reading planes across the slices without holding the volume in memory.

A plane across the slices needs a line of every slice, and every slice must be decoded for it. So a series is decoded
once, slice by slice, into a temporary file that has no name (it vanishes with its last user, even after a crash), and
planes are read from there: memory is one slice, disk is the volume in float32.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from hdm_dicom.stack import Image
from hdm_pipeline.errors import ReadError


def spill(read: Callable[[int], Image], slices: int, where: str) -> npt.NDArray[np.float32]:
    """All slices as a read-only array [bands, z, y, x] backed by an unnamed file.

    Args:
        read: slice by index, [bands, y, x].
        slices: how many there are.
        where: scene, for messages.

    Raises:
        ReadError: the temporary folder is full.
    """
    file = tempfile.TemporaryFile(prefix="hdm-dicom-")  # noqa: SIM115 - the array that is returned keeps it open
    shape: tuple[int, ...] = ()
    try:
        for index in range(slices):
            image = np.ascontiguousarray(read(index))
            shape = image.shape
            # Written, not mapped: a full disk must be an error here and not a signal in the middle of a run.
            file.write(image.tobytes())
        file.flush()
    except OSError as error:
        raise ReadError(
            f"the volume cannot be laid out on disk ({type(error).__name__})",
            where=where,
            remedy="free space in the temporary folder (TMPDIR), or read the acquired plane",
        ) from None
    stored = np.memmap(file, dtype=np.float32, mode="r", shape=(slices, *shape))
    return np.moveaxis(stored, 0, 1)
