"""Contours as they stand in the file: coordinates in the patient, written as text slice by slice.

A contour of a large organ has thousands of coordinates, and pydicom makes an object of each. So items of the contour
sequence, and those that refer to images, are encoded here, in Implicit VR Little Endian, and only their bytes are kept.
Explicit VR would not do: it counts the bytes of decimal strings in 16 bits, which 2,000 points exceed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pydicom.datadict import tag_for_keyword

from hdm_dicom.derived.sources import instance_uid
from hdm_dicom.files.instances import Frame
from hdm_dicom.files.screens import SECONDARY_CAPTURE
from hdm_dicom.series.places import Array
from hdm_dicom.series.volume import Volume
from hdm_dicom.structure_set.outlines import outlines

_ITEM = 0xFFFEE000
_LONGEST_DECIMAL = 16
_MOST_DECIMALS, _LEAST_DECIMALS = 10, 3
_FINER_THAN_PIXELS = 1e-4
"""Part of a pixel to which coordinates are written."""


@dataclass(frozen=True, slots=True)
class Contour:
    """A contour, whatever the file calls its image.

    Attributes:
        slice: the stored slice that it is drawn on.
        drawn: the encoded elements of its item but for the reference to the image.
    """

    slice: int
    drawn: bytes


class ContourEncoder:
    """Contours of a volume's slices, as encoded items of the Contour Sequence.

    Args:
        volume: the stored slices; they must be located and have a pixel spacing.
        uids: [slices] SOP instance UIDs by which the file calls the images.
    """

    def __init__(self, volume: Volume, uids: Iterable[str]) -> None:
        self._volume = volume
        row_mm, column_mm = volume.spacing
        self._step = np.stack([volume.axes[0] * column_mm, volume.axes[1] * row_mm])
        self._uids = tuple(uids)
        self._decimals = _decimals(volume)

    def contours(self, index: int, marked: npt.NDArray[np.bool_], first: int) -> Iterator[Contour]:
        """Contours of the regions of one class on a stored slice.

        Args:
            index: of the slice.
            marked: [rows, columns] where the class is.
            first: number of the first contour within its ROI.
        """
        for number, outline in enumerate(outlines(marked), first):
            places = self._volume.positions[index] + outline @ self._step
            elements = (
                _element("ContourGeometricType", "CLOSED_PLANAR"),
                _element("NumberOfContourPoints", str(len(outline))),
                _element("ContourNumber", str(number)),
                _element("ContourData", self._text(places)),
            )
            yield Contour(index, b"".join(elements))

    def item(self, contour: Contour) -> bytes:
        """The whole item of a contour."""
        reference = _reference(self._uids[contour.slice], [self._volume.frames[contour.slice]])
        return _item(_element("ContourImageSequence", reference), contour.drawn)

    def images(self) -> bytes:
        """Items for every image of the volume, once; of a multi-frame image with the frames that belong to it."""
        by_image: dict[str, list[Frame]] = {}
        for uid, frame in zip(self._uids, self._volume.frames, strict=True):
            by_image.setdefault(uid, []).append(frame)
        return b"".join(_reference(uid, frames) for uid, frames in by_image.items())

    def _text(self, places: Array) -> str:
        # Adding 0 makes 0 of the negative zero that rounding may leave.
        rounded = (np.round(places, self._decimals) + 0.0).ravel().tolist()
        return "\\".join([f"%.{self._decimals}f"] * len(rounded)) % tuple(rounded)


def source_uids(volume: Volume) -> list[str]:
    """[slices] SOP instance UIDs of the images that contours are drawn on."""
    return [instance_uid(frame.instance.sop_instance) for frame in volume.frames]


def _decimals(volume: Volume) -> int:
    """Places behind the point: finer than pixels, and few enough for a decimal string (PS3.5 section 6.2: 16 bytes)."""
    row_mm, column_mm = volume.spacing
    instance = volume.first.instance
    wanted = int(np.ceil(-np.log10(min(row_mm, column_mm) * _FINER_THAN_PIXELS)))
    reach = np.abs(volume.positions).max() + instance.rows * row_mm + instance.columns * column_mm
    before = len(str(int(reach))) + len("-.")
    return int(min(np.clip(wanted, _LEAST_DECIMALS, _MOST_DECIMALS), max(_LONGEST_DECIMAL - before, 0)))


def _reference(uid: str, frames: Sequence[Frame]) -> bytes:
    """An item that refers to an image, or to frames of it."""
    instance = frames[0].instance
    elements = [
        _element("ReferencedSOPClassUID", instance.sop_class or SECONDARY_CAPTURE, b"\0"),
        _element("ReferencedSOPInstanceUID", uid, b"\0"),
    ]
    if instance.frames > 1:
        elements.append(_element("ReferencedFrameNumber", "\\".join(str(frame.index + 1) for frame in frames)))
    return _item(*elements)


def _item(*elements: bytes) -> bytes:
    value = b"".join(elements)
    return struct.pack("<HHL", _ITEM >> 16, _ITEM & 0xFFFF, len(value)) + value


def _element(keyword: str, value: str | bytes, padding: bytes = b" ") -> bytes:
    tag = tag_for_keyword(keyword) or 0
    data = value.encode("ascii") if isinstance(value, str) else value
    data += padding * (len(data) % 2)
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(data)) + data
