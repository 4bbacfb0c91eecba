"""Attributes of data sets that may be broken: absent, empty and unparsable read alike."""

from __future__ import annotations

import struct
import zlib
from functools import cache

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag

PARSE_ERRORS: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
    BytesLengthException,
    InvalidDicomError,
    struct.error,
    zlib.error,
)
"""What pydicom and its decoders raise on broken data, found by feeding them broken files."""

READ_ERRORS: tuple[type[Exception], ...] = (OSError, *PARSE_ERRORS)
"""The same, and what reading the file itself raises."""


_TEXTS = frozenset({"CS", "DA", "DS", "DT", "LO", "PN", "SH", "TM", "UI"})
"""Types whose values are texts; not IS, of which pydicom refuses more than Python does."""

_ESCAPE = b"\x1b"
"""Begins a change of the character set (ISO 2022)."""


def values(dataset: Dataset, name: str) -> list[object]:
    """The values of an attribute as a list; empty if it is absent, empty or cannot be parsed."""
    try:
        value = dataset.get(name)
    except PARSE_ERRORS:
        return []
    if value is None or value == "":
        return []
    if isinstance(value, (str, bytes)) or not hasattr(value, "__iter__"):
        return [value]
    return list(value)


def text(dataset: Dataset, name: str) -> str:
    """The values of an attribute as text, joined by a backslash."""
    quick = _stored_text(dataset, name)
    return "\\".join(str(value).strip() for value in values(dataset, name)) if quick is None else quick


def numbers(dataset: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """The first `count` values of an attribute as finite floats, or None if they are not there."""
    quick = _stored_text(dataset, name)
    found: list[object] = values(dataset, name) if quick is None else list(quick.split("\\") if quick else ())
    if len(found) < count:
        return None
    try:
        parsed = tuple(float(str(value)) for value in found[:count])
    except ValueError:
        return None
    return parsed if all(abs(value) < float("inf") for value in parsed) else None


def _stored_text(dataset: Dataset, name: str) -> str | None:
    """`text` at a tenth of the cost, where the bytes of the file are the text; None where they must be parsed.

    A scan reads thirty attributes of every file, and each is looked at once.
    """
    tag, known = _tag(name)
    element = dataset.get_item(tag)
    if not isinstance(element, RawDataElement) or not isinstance(element.value, bytes):
        return None
    stored = element.value
    if (element.VR or known) not in _TEXTS or not stored.isascii() or _ESCAPE in stored:
        return None
    return "\\".join(part.strip("\0").strip() for part in stored.decode("ascii").split("\\"))


@cache
def _tag(name: str) -> tuple[BaseTag, str]:
    tag = tag_for_keyword(name)
    return (BaseTag(0), "") if tag is None else (BaseTag(tag), dictionary_VR(tag))


def datasets(dataset: Dataset, name: str) -> list[Dataset]:
    """Items of a sequence."""
    return [item for item in values(dataset, name) if isinstance(item, Dataset)]
