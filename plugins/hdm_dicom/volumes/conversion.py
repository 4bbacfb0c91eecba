"""How stored values become quantities: which bits count, Modality LUT, rescale, or another line in its place.

The order is that of PS3.3 C.11.1 and PS3.4 N.2: bits, then Modality LUT or rescale. Neither knows the photometric
interpretation, so values with a unit are never turned over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import datasets, numbers, values
from hdm_dicom.files.headers import read_header
from hdm_dicom.files.instances import Frame, Instance
from hdm_dicom.files.overlays import OVERLAY_BITS, overlays_in_pixels
from hdm_dicom.files.stored_values import mirrored
from hdm_dicom.volumes.stack import Image
from hdm_pipeline.errors import ReadError

_EXACT_BITS = 24
"""Stored integers of more bits than these are rescaled in float64."""

_MOST_ENTRIES = 1 << 16


@dataclass(frozen=True)
class Bits:
    """Where the bits of a stored value lie in what is allocated for it.

    Attributes:
        shift: bits below it.
        whole: take all that is allocated: the header contradicts itself, or the pixels.
    """

    shift: int = 0
    whole: bool = False


@dataclass(frozen=True)
class Line:
    """A line, or a table, from stored values to a quantity.

    Attributes:
        slope: of the line.
        intercept: of the line.
        first: lowest stored value that is mapped; None without a limit.
        last: highest stored value that is mapped; None without a limit.
        table: quantities of the stored values from `first` on, instead of the line.
    """

    slope: float
    intercept: float
    first: float | None = None
    last: float | None = None
    table: tuple[float, ...] = ()


@dataclass(frozen=True)
class Conversion:
    """From stored values to quantities, for one volume.

    Attributes:
        unit: of the result; empty if unknown.
        bits: by layout (see `layout`), where it is not the usual one.
        lines: by path and frame index; empty to take each frame's own Modality LUT or rescale.
        voi: apply the VOI LUT, too (see `hdm_dicom.volumes.voi`).
    """

    unit: str = ""
    bits: Mapping[tuple[int, ...], Bits] = field(default_factory=dict)
    lines: Mapping[tuple[str, int], Line] = field(default_factory=dict)
    voi: bool = False

    def stored(self, raw: npt.NDArray[Any], instance: Instance, where: str) -> npt.NDArray[Any]:
        """Stored values of raw samples: bits that do not count cut off, the sign extended.

        Args:
            raw: samples as they stand in the file.
            instance: whose they are.
            where: for messages.

        Raises:
            ReadError: a sample needs bits that would be cut off, and they are no overlay.
        """
        bits = self.bits.get(layout(instance), Bits())
        unused = raw.dtype.itemsize * 8 - instance.bits_stored
        if bits.whole or raw.dtype.kind not in "iu" or (unused <= 0 and not bits.shift):
            return raw
        if not bits.shift and not in_stored_bits(raw, instance) and not _has_overlay(instance.path):
            raise ReadError(
                f"pixels need more than the {instance.bits_stored} bits of BitsStored (0028,0101), and those of the"
                " first, middle and last image do not: cut off, they would be other values",
                where=where,
                remedy="look at the image; if its values are right, correct BitsStored and HighBit in the files",
            )
        shifted = np.left_shift(raw >> bits.shift if bits.shift else raw, unused)
        return np.asarray(np.right_shift(shifted, unused, out=shifted))

    def quantities(self, stored: npt.NDArray[Any], frame: Frame, header: Dataset, where: str) -> Image:
        """[bands, rows, columns] float32 of stored values, NaN where padded or outside of what is mapped.

        Args:
            stored: [rows, columns], or [rows, columns, 3].
            frame: where they are from.
            header: its data set.
            where: for messages.

        Raises:
            ReadError: a lookup table is malformed.
        """
        if stored.ndim == 3:
            return np.ascontiguousarray(np.moveaxis(stored, -1, 0), dtype=np.float32)
        line = self.lines.get((frame.instance.path, frame.index))
        if line is not None:
            pixels = _along(stored, line)
        elif frame.lut:
            item, little = datasets(header, "ModalityLUTSequence")[0], little_endian(header)
            first, table = lookup_table(item, frame.instance.signed, where, little=little)
            pixels = looked_up(stored, first, table)
        else:
            pixels = _rescaled(stored, frame, mirror=not self.voi and mirrored(frame))
        if frame.instance.padding is not None:
            low, high = frame.instance.padding
            pixels[(stored >= low) & (stored <= high)] = np.nan
        if stored.dtype.kind == "f":
            pixels[~np.isfinite(pixels)] = np.nan
        return pixels[np.newaxis].astype(np.float32, copy=False)


def layout(instance: Instance) -> tuple[int, ...]:
    """What decides where the bits of an image lie."""
    return instance.bits_allocated, instance.bits_stored, instance.high_bit, int(instance.signed)


def in_stored_bits(raw: npt.NDArray[Any], instance: Instance) -> bool:
    """All samples could be of BitsStored bits in the lowest place, the sign extended or not."""
    lowest = -(1 << (instance.bits_stored - 1)) if instance.signed else 0
    return bool(int(raw.min()) >= lowest and int(raw.max()) < 1 << instance.bits_stored)


def _has_overlay(path: str) -> bool:
    """The file keeps an overlay in bits of its pixels; asked only where a sample does not fit."""
    return overlays_in_pixels(read_header(path, OVERLAY_BITS))


def _floats(stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    wide = stored.dtype.itemsize > 4 or (stored.dtype.kind in "iu" and stored.dtype.itemsize * 8 > _EXACT_BITS)
    return stored.astype(np.float64 if wide else np.float32)


def _rescaled(stored: npt.NDArray[Any], frame: Frame, *, mirror: bool) -> npt.NDArray[Any]:
    instance, pixels = frame.instance, _floats(stored)
    if mirror and stored.dtype.kind in "iu":
        pixels = float(-1 if instance.signed else (1 << instance.bits_stored) - 1) - pixels
    if frame.slope != 1:
        pixels = pixels * frame.slope
    if frame.intercept:
        pixels = pixels + frame.intercept
    return pixels


def _along(stored: npt.NDArray[Any], line: Line) -> npt.NDArray[Any]:
    if line.table:
        pixels = looked_up(stored, int(line.first or 0), np.array(line.table))
    else:
        pixels = _floats(stored) * line.slope + line.intercept
    for outside in (
        stored < line.first if line.first is not None else None,
        stored > line.last if line.last is not None else None,
    ):
        if outside is not None:
            pixels[outside] = np.nan
    return pixels


def lookup_table(
    item: Dataset, signed: bool, where: str, *, little: bool = True
) -> tuple[int, npt.NDArray[np.float64]]:
    """First value mapped and entries of an item of a Modality or VOI LUT sequence (PS3.3 C.11.1.1).

    Args:
        item: of the sequence.
        signed: the values that it maps may be negative.
        where: for messages.
        little: words of the table are little endian.

    Raises:
        ReadError: descriptor and data do not fit each other.
    """
    descriptor = numbers(item, "LUTDescriptor", 3)
    # Written as SS, as signed pixels make it, a large count is negative; 0 stands for 65536.
    count = int(descriptor[0]) % _MOST_ENTRIES or _MOST_ENTRIES if descriptor else 0
    entries = _entries(values(item, "LUTData"), count, int(descriptor[2]), little=little) if descriptor else None
    if descriptor is None or entries is None:
        raise ReadError(
            "a lookup table whose LUTDescriptor (0028,3002) and LUTData (0028,3006) do not fit each other",
            where=where,
            remedy="export the series again; without its lookup table the values mean nothing",
        )
    first = int(descriptor[1])
    # Written as US, a negative first value is its two's complement.
    return (first - _MOST_ENTRIES if signed and first >= _MOST_ENTRIES // 2 else first), entries


def little_endian(header: Dataset) -> bool:
    """Whether words in the data set are little endian, as nearly always."""
    return bool(header.original_encoding[1] is not False)


def _entries(data: list[object], count: int, bits: int, *, little: bool) -> npt.NDArray[np.float64] | None:
    if len(data) == 1 and isinstance(data[0], bytes):
        raw = data[0]
        # Entries of 8 bits are packed two in a word, or stand each in one (PS3.3 C.11.1.1.1).
        packed = bits <= 8 and len(raw) < 2 * count
        found = np.frombuffer(
            raw[: count if packed else 2 * count], dtype=np.uint8 if packed else "<u2" if little else ">u2"
        )
    else:
        found = np.array([int(str(value)) for value in data[:count]])
    return found.astype(np.float64) if count and found.size == count else None


def looked_up(stored: npt.NDArray[Any], first: int, table: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """Entries of a table; values below and above take the first and the last (PS3.3 C.11.1.1)."""
    index = np.clip(np.rint(np.nan_to_num(stored)).astype(np.int64) - first, 0, table.size - 1)
    return np.asarray(table[index], dtype=np.float32)
