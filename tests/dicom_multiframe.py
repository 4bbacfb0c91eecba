"""Synthetic multi-frame DICOM files: enhanced MR and CT with functional groups, and tomograms of nuclear medicine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import EnhancedMRImageStorage, NuclearMedicineImageStorage

from tests.dicom_series import AXIAL, make_slice, uid

FrameChange = Callable[[Dataset, int], None]


def _item(**attributes: object) -> Dataset:
    dataset = Dataset()
    for name, value in attributes.items():
        setattr(dataset, name, value)
    return dataset


def write_enhanced(
    path: Path,
    depths: Sequence[float],
    *,
    series: str = "series",
    sop_class: str = EnhancedMRImageStorage,
    change: FrameChange | None = None,
    change_file: Callable[[FileDataset], None] | None = None,
) -> Path:
    """One enhanced file of axial frames at `depths`; the pixels of a frame are 1000 and 10 times its depth."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.stack([np.full((24, 32), 1000 + round(10 * depth), np.uint16) for depth in depths])
    dataset = _multiframe(path.stem, pixels, series, sop_class, "CT" if "1.2.1" in sop_class[-6:] else "MR")
    items = []
    for index, depth in enumerate(depths):
        item = _item(
            PlanePositionSequence=[_item(ImagePositionPatient=[-10.0, 20.0, float(depth)])],
            FrameContentSequence=[_item()],
        )
        if change is not None:
            change(item, index)
        items.append(item)
    dataset.SharedFunctionalGroupsSequence = [
        _item(
            PlaneOrientationSequence=[_item(ImageOrientationPatient=list(AXIAL))],
            PixelMeasuresSequence=[_item(PixelSpacing=[0.5, 0.75], SliceThickness=2.0)],
        )
    ]
    dataset.PerFrameFunctionalGroupsSequence = items
    if change_file is not None:
        change_file(dataset)
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_tomogram(
    path: Path,
    slices: int = 6,
    *,
    spacing: float | None = 4.0,
    gates: int = 1,
    image_type: Sequence[str] = ("ORIGINAL", "PRIMARY", "RECON TOMO", "EMISSION"),
) -> Path:
    """A reconstructed SPECT: one file, whose detector says where its first slice lies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = slices * gates
    pixels = np.stack([np.full((24, 32), 100 + index, np.uint16) for index in range(count)])
    dataset = _multiframe(path.stem, pixels, "nm", NuclearMedicineImageStorage, "NM")
    dataset.ImageType = list(image_type)
    dataset.PixelSpacing = [4.0, 4.0]
    detector = _item(ImagePositionPatient=[-50.0, -60.0, 100.0], ImageOrientationPatient=list(AXIAL))
    dataset.DetectorInformationSequence = [detector]
    dataset.SliceVector = [index % slices + 1 for index in range(count)]
    if gates > 1:
        dataset.TimeSlotVector = [index // slices + 1 for index in range(count)]
    if spacing is not None:
        dataset.SpacingBetweenSlices = spacing
    dataset.save_as(path, enforce_file_format=True)
    return path


def _multiframe(name: str, pixels: np.ndarray, series: str, sop_class: str, modality: str) -> FileDataset:
    dataset = make_slice(0, pixels[0], series=series)
    for unused in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SliceThickness"):
        delattr(dataset, unused)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid(series, name)
    dataset.Modality = modality
    dataset.NumberOfFrames = len(pixels)
    dataset.PixelData = pixels.tobytes()
    return dataset
