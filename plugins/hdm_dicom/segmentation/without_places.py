"""Segmentations of images that have no place: they say nothing of places.

PS3.3 section A.51.5.1 allows that: each pixel is then one of the image that the frame refers to.
"""

from __future__ import annotations

from pydicom.dataset import Dataset

from hdm_dicom.files.attributes import datasets

_PLACE = 0x00200032
_FRAME_CONTENT = 0x00209111
_TEMPORAL_POSITION = 0x00209128


def without_places(dataset: Dataset, slices: list[int]) -> None:
    """Take every place out of a segmentation that has none: its frames are told apart by their number.

    Args:
        dataset: the segmentation.
        slices: stored slice of each of its frames.
    """
    for name in ("FrameOfReferenceUID", "PositionReferenceIndicator", "DimensionOrganizationType"):
        dataset.pop(name, None)
    for group in datasets(dataset, "SharedFunctionalGroupsSequence"):
        for name in ("PlaneOrientationSequence", "PixelMeasuresSequence"):
            group.pop(name, None)
    number = {index: rank for rank, index in enumerate(sorted(set(slices)), 1)}
    for group, index in zip(datasets(dataset, "PerFrameFunctionalGroupsSequence"), slices, strict=True):
        group.pop("PlanePositionSequence", None)
        group.FrameContentSequence[0].TemporalPositionIndex = number[index]
    for dimension in datasets(dataset, "DimensionIndexSequence"):
        if dimension.DimensionIndexPointer == _PLACE:
            dimension.DimensionIndexPointer = _TEMPORAL_POSITION
            dimension.FunctionalGroupPointer = _FRAME_CONTENT
            dimension.DimensionDescriptionLabel = "Number of the image, of those that are shown"
