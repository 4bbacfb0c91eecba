"""The b-value of an image, whichever attribute its vendor writes it to: the one place where it is read.

Scanners older than the standard attribute (0018,9087), and many newer ones in their classic images, state it in
a private attribute only.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import numbers, private_number, private_tags

B_VALUE = "DiffusionBValue"

_PRIVATE = (
    (0x0043, "GEMS_PARM_01", 0x39),
    (0x0019, "SIEMENS MR HEADER", 0x0C),
    (0x2001, "Philips Imaging DD 001", 0x03),
    (0x0065, "Image Private Header", 0x09),  # United Imaging
)
"""Group, creator and element."""

_OFFSET = 1_000_000
"""GE adds 10^9 (or another multiple of this) where several b-values were measured in one series."""

DIFFUSION_TAGS: tuple[str | int, ...] = (
    B_VALUE,
    *(tag for group, _, element in _PRIVATE for tag in private_tags(group, element)),
)
"""What a scan reads for `b_value`."""


def b_value(dataset: Dataset) -> str:
    """The b-value in s/mm² as a text, equal for equal values; empty if none is stated."""
    stated = numbers(dataset, B_VALUE, 1)
    if stated is not None:
        return str(stated[0])
    for group, creator, element in _PRIVATE:
        value = private_number(dataset, group, creator, element)
        if value is not None and value >= 0:
            return str(value % _OFFSET)
    return ""
