"""Attributes of data sets that may be broken: absent, empty and unparsable read alike."""

from __future__ import annotations

import re
import struct
import zlib
from functools import cache

from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue
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
    short = _stored_short(dataset, name) if count == 1 else None
    if short is not None:
        return (float(short),)
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


def _stored_short(dataset: Dataset, name: str) -> int | None:
    """An unsigned short from the bytes of the file; None where it is of another type, or not read yet as bytes."""
    tag, known = _tag(name)
    element = dataset.get_item(tag)
    if not isinstance(element, RawDataElement) or (element.VR or known) != "US" or known != "US":
        return None
    stored = element.value
    if not isinstance(stored, bytes) or len(stored) != 2:
        return None
    return int.from_bytes(stored, "little" if element.is_little_endian else "big")


@cache
def _tag(name: str) -> tuple[BaseTag, str]:
    tag = tag_for_keyword(name)
    return (BaseTag(0), "") if tag is None else (BaseTag(tag), dictionary_VR(tag))


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
                binary = len(value) in (4, 8) and not re.sub(r"[.\\-]", "", plain).isalnum()
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
