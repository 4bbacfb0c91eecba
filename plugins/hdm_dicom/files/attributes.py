"""Attributes of data sets that may be broken: absent, empty and unparsable read alike."""

from __future__ import annotations

import struct
import zlib

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError

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
    return "\\".join(str(value).strip() for value in values(dataset, name))


def numbers(dataset: Dataset, name: str, count: int) -> tuple[float, ...] | None:
    """The first `count` values of an attribute as finite floats, or None if they are not there."""
    found = values(dataset, name)
    if len(found) < count:
        return None
    try:
        parsed = tuple(float(str(value)) for value in found[:count])
    except ValueError:
        return None
    return parsed if all(abs(value) < float("inf") for value in parsed) else None


def datasets(dataset: Dataset, name: str) -> list[Dataset]:
    """Items of a sequence."""
    return [item for item in values(dataset, name) if isinstance(item, Dataset)]
