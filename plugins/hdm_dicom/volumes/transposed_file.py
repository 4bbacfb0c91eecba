"""A volume turned on disk: put in slice by slice, taken out plane by plane across them.

A plane across the slices needs a line of every slice, and every slice must be decoded for it. So each slice is taken
apart once, its lines are written to where their planes will be read, and a plane is then one contiguous read. The file
has no name (it vanishes with its last user, even after a crash); memory is a few slices, disk is the volume.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_BUFFERED = 16
"""Slices whose lines are written together: fewer, larger writes."""


class TransposedFile:
    """Lines by (slice put in, plane taken out).

    Args:
        slices: how many are put in, in order.
        planes: how many can be taken out: lines in a slice.
        line: shape of one line, [bands, pixels].
        dtype: of the pixels.
        folder: where the file lies; None for the temporary folder.

    Raises:
        OSError: the disk is full (from `put`, too).
    """

    def __init__(
        self, slices: int, planes: int, line: tuple[int, int], dtype: npt.DTypeLike, folder: Path | None = None
    ) -> None:
        # Written, not mapped: a full disk must be an error here and not a signal in the middle of a run.
        self._file = tempfile.TemporaryFile(prefix=".hdm-dicom-", dir=folder)  # noqa: SIM115 - closed with this object
        self._slices, self._dtype = slices, np.dtype(dtype)
        self._buffer = np.empty((planes, min(_BUFFERED, slices), *line), dtype=self._dtype)
        self._line_bytes = line[0] * line[1] * self._dtype.itemsize
        self._line = line
        self._put = 0

    def put(self, lines: npt.NDArray[Any]) -> None:
        """The lines [planes, bands, pixels] of the next slice."""
        room = self._buffer.shape[1]
        self._buffer[:, self._put % room] = lines
        self._put += 1
        if self._put % room == 0 or self._put == self._slices:
            self._write((self._put - 1) % room + 1)

    def _write(self, count: int) -> None:
        first = self._put - count
        for plane, lines in enumerate(self._buffer):
            data = lines[:count].tobytes()
            offset = (plane * self._slices + first) * self._line_bytes
            while data:
                written = os.pwrite(self._file.fileno(), data, offset)
                data, offset = data[written:], offset + written

    def take(self, plane: int) -> npt.NDArray[Any]:
        """The lines [slices, bands, pixels] of a plane, once all slices are put in."""
        size = self._slices * self._line_bytes
        data = os.pread(self._file.fileno(), size, plane * size)
        return np.frombuffer(data, dtype=self._dtype).reshape(self._slices, *self._line)
