"""Long sequences of a product as bytes, before pydicom writes it: of each element it makes several objects.

A segmentation of 500 slices has 15,000 elements in its sequences, and describing them costs more than its pixels. What
is encoded here is what is met in such sequences, in Explicit VR Little Endian, byte for byte as pydicom encodes it; an
item that holds anything else is left to pydicom.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, MutableSequence

from pydicom.charset import convert_encodings
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.tag import Tag

FRAMES = ("PerFrameFunctionalGroupsSequence", "ReferencedSeriesSequence", "SourceImageSequence")
"""The sequences of a multi-frame image that grow with its frames."""

_ITEM = b"\xfe\xff\x00\xe0"
_TEXTS = frozenset({"CS", "DS", "IS", "LO", "SH", "UI"})
_NUMBERS = {"FD": "d", "FL": "f", "SL": "i", "SS": "h", "UL": "I", "US": "H"}
_MOST = 0xFFFF
"""Bytes of a value whose length stands in 16 bits."""


class _UnusualError(Exception):
    """An element that pydicom has to encode."""


def encode_sequences(dataset: Dataset, *keywords: str) -> None:
    """Replace sequences of a data set, which nobody changes any more, by their bytes.

    Args:
        dataset: about to be written in Explicit VR Little Endian.
        keywords: of its long sequences; those that it lacks are passed over.
    """
    if any(" or " in str(element.VR) for element in dataset.values()):
        return  # pydicom settles these only where it encodes everything anew
    charset = convert_encodings(dataset.get("SpecificCharacterSet"))
    for keyword in keywords:
        if keyword in dataset:
            tag = Tag(keyword)
            value = encoded(dataset[keyword].value, charset)
            dataset[tag] = RawDataElement(tag, "SQ", len(value), value, 0, False, True)
    # As if they had been read like this: pydicom then writes what is encoded as it is, and does not parse it first.
    dataset.set_original_encoding(False, True, charset)


def encoded(items: Iterable[Dataset], charset: list[str]) -> bytes:
    """Items of a sequence in Explicit VR Little Endian, each with its length.

    Args:
        items: of the sequence.
        charset: Python's names of the encodings of texts.
    """
    pieces = []
    for item in items:
        try:
            value = b"".join(
                [_element(element, charset) for _, element in sorted(item.items(), key=lambda pair: int(pair[0]))]
            )
        except (_UnusualError, UnicodeEncodeError):
            value = _by_pydicom(item, charset)
        pieces += [_ITEM, struct.pack("<L", len(value)), value]
    return b"".join(pieces)


def _element(element: DataElement | RawDataElement, charset: list[str]) -> bytes:
    if not isinstance(element, DataElement) or element.is_undefined_length:
        raise _UnusualError
    vr, tag = str(element.VR), int(element.tag)
    head = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr.encode("ascii")
    if vr == "SQ":
        value = encoded(element.value, charset)
        return head + struct.pack("<HL", 0, len(value)) + value
    if vr in _TEXTS:
        value = _text(element.value).encode("ascii")
        if len(value) % 2:
            value += b"\0" if vr == "UI" else b" "
    elif vr in _NUMBERS:
        values = _several(element.value)
        value = struct.pack(f"<{len(values)}{_NUMBERS[vr]}", *values)
    else:
        raise _UnusualError
    if len(value) > _MOST:
        raise _UnusualError
    return head + struct.pack("<H", len(value)) + value


def _several(value: object) -> list[object]:
    if value is None or value == "":
        return []
    return list(value) if isinstance(value, MutableSequence) else [value]


def _text(value: object) -> str:
    if isinstance(value, str):
        return value
    # A number that was given as text stays as it was given.
    return "\\".join([str(getattr(one, "original_string", one)) for one in _several(value)])


def _by_pydicom(item: Dataset, charset: list[str]) -> bytes:
    out = DicomBytesIO()
    out.is_implicit_VR, out.is_little_endian = False, True
    write_dataset(out, item, charset)
    return out.getvalue()
