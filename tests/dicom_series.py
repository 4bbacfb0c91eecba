"""Synthetic DICOM series for tests and benchmarks: small, complete, and easy to break on purpose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

Change = Callable[[Dataset, int], None]

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)


def uid(*parts: object) -> str:
    """A UID that follows from the parts."""
    return generate_uid(entropy_srcs=[str(part) for part in parts])


def make_slice(
    index: int,
    pixels: npt.NDArray[Any],
    *,
    series: str = "series",
    position: Sequence[float] = (0.0, 0.0, 0.0),
    orientation: Sequence[float] = AXIAL,
    spacing: Sequence[float] = (0.5, 0.75),
    thickness: float = 2.0,
) -> FileDataset:
    """One CT slice, uncompressed, intercept -1024."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = CTImageStorage
    meta.MediaStorageSOPInstanceUID = uid(series, index)
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    dataset.StudyDate = dataset.SeriesDate = dataset.ContentDate = "20200102"
    dataset.StudyTime = dataset.SeriesTime = dataset.ContentTime = "030405"
    dataset.AccessionNumber = "A1"
    dataset.Modality = "CT"
    dataset.Manufacturer = "Acme"
    dataset.ReferringPhysicianName = "Who^Doctor"
    dataset.PatientName, dataset.PatientID = "Test^Case", "P1"
    dataset.PatientBirthDate, dataset.PatientSex = "19700101", "O"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = uid("study"), uid(series)
    dataset.StudyID, dataset.SeriesNumber, dataset.AcquisitionNumber = "S1", 1, 1
    dataset.InstanceNumber = index + 1
    dataset.FrameOfReferenceUID, dataset.PositionReferenceIndicator = uid("frame"), ""
    dataset.ImagePositionPatient = [round(float(v), 6) for v in position]
    dataset.ImageOrientationPatient = [round(float(v), 9) for v in orientation]
    dataset.PixelSpacing, dataset.SliceThickness = list(spacing), thickness
    set_pixels(dataset, pixels)
    dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
    dataset.KVP = 120
    return dataset


def set_pixels(dataset: Dataset, pixels: npt.NDArray[Any]) -> None:
    """Pixels of a slice [rows, columns] or [rows, columns, 3], with the attributes that describe them."""
    dataset.Rows, dataset.Columns = pixels.shape[:2]
    color = pixels.ndim == 3
    dataset.SamplesPerPixel = 3 if color else 1
    dataset.PhotometricInterpretation = "RGB" if color else "MONOCHROME2"
    if color:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = pixels.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.PixelData = np.ascontiguousarray(pixels).tobytes()


def write_series(
    folder: Path,
    depths: Sequence[float] = (0.0, 2.0, 4.0, 6.0, 8.0),
    *,
    shape: tuple[int, int] = (24, 32),
    series: str = "series",
    orientation: Sequence[float] = AXIAL,
    origin: Sequence[float] = (-10.0, 20.0, -30.0),
    pixels: Callable[[int], npt.NDArray[Any]] | None = None,
    change: Change | None = None,
) -> list[Path]:
    """A series along its normal, one file a slice, named so that the order of files is not that of slices."""
    folder.mkdir(parents=True, exist_ok=True)
    cosines = np.array(orientation, dtype=float).reshape(2, 3)
    normal = np.cross(cosines[0], cosines[1])
    paths = []
    for index, depth in enumerate(depths):
        image = pixels(index) if pixels else np.full(shape, 1000 + index, dtype=np.uint16)
        dataset = make_slice(
            index, image, series=series, position=np.array(origin) + depth * normal, orientation=orientation
        )
        if change is not None:
            change(dataset, index)
        path = folder / f"{(index * 7) % 11:02d}-{index}"
        dataset.save_as(path, enforce_file_format=True)
        paths.append(path)
    return paths
