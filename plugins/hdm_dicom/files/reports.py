"""Structured reports that refer to a drawing: a segmentation, or a structure set (PS3.3 A.35, TID 1411)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import datasets, text

_REPORTS = "1.2.840.10008.5.1.4.1.1.88."
"""Storage classes of structured reports begin so (PS3.4 B.5)."""

_DRAWINGS = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.66.4",  # Segmentation
        "1.2.840.10008.5.1.4.1.1.66.7",  # Label Map Segmentation
        "1.2.840.10008.5.1.4.1.1.481.3",  # RT Structure Set
    }
)


def drawings_of(path: Path) -> list[str] | None:
    """SOP instance UIDs of the drawings that a report refers to, each once; None if the file is no report.

    Args:
        path: of a DICOM file.
    """
    dataset = dcmread(path, stop_before_pixels=True)
    if not text(dataset, "SOPClassUID").startswith(_REPORTS):
        return None
    return list(dict.fromkeys(_referred(dataset)))


def _referred(dataset: Dataset) -> Iterator[str]:
    for item in datasets(dataset, "ReferencedSOPSequence"):
        if text(item, "ReferencedSOPClassUID") in _DRAWINGS:
            yield text(item, "ReferencedSOPInstanceUID")
    for item in datasets(dataset, "ContentSequence"):
        yield from _referred(item)
