"""Attributes of data sets that may be broken: absent, empty and unparsable read alike."""

from __future__ import annotations

import struct
import zlib

from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue

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


def private_tags(group: int, *elements: int) -> list[int]:
    """Tags to read so that `private_text` finds attributes, in whichever block they were put."""
    blocks = range(0x10, 0x30)
    return [group << 16 | tag for block in blocks for tag in (block, *(block << 8 | element for element in elements))]


def private_number(dataset: Dataset, group: int, creator: str, element: int) -> float | None:
    """A private attribute's first value as a finite float, whatever its type is in the file; None without one."""
    found = private_text(dataset, group, creator, element)
    try:
        value = float(found.partition("\\")[0])
    except ValueError:
        return None
    return value if abs(value) < float("inf") else None


def private_text(dataset: Dataset, group: int, creator: str, element: int) -> str:
    """A private attribute as text; empty if it, or the block that its creator has reserved, is not there."""
    for block in range(0x10, 0x30):
        if (group, block) not in dataset:
            continue
        try:
            if str(dataset[group, block].value).strip() != creator or (group, block << 8 | element) not in dataset:
                continue
            value = dataset[group, block << 8 | element].value
            if isinstance(value, bytes):  # of a type that the file does not tell: UN
                plain = value.rstrip(b"\0 ").decode("ascii", "replace")
                binary = len(value) in (4, 8) and not plain.replace(".", "").replace("-", "").isalnum()
                return str(struct.unpack("<f" if len(value) == 4 else "<d", value)[0]) if binary else plain
        except PARSE_ERRORS:
            continue
        return "\\".join(map(str, value)) if isinstance(value, MultiValue) else str(value).strip()
    return ""


def datasets(dataset: Dataset, name: str) -> list[Dataset]:
    """Items of a sequence."""
    return [item for item in values(dataset, name) if isinstance(item, Dataset)]


def functional_groups(dataset: Dataset, index: int) -> list[Dataset]:
    """Functional groups of a frame (zero-based): its own, then those shared by all frames (PS3.3 C.7.6.16)."""
    own = datasets(dataset, "PerFrameFunctionalGroupsSequence")
    return own[index : index + 1] + datasets(dataset, "SharedFunctionalGroupsSequence")[:1]
