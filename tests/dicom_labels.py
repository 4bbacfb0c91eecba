"""Labels of synthetic DICOM series: structure sets, and contours where slices lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import SceneRef
from tests.dicom_series import uid


def affine_of(folder: Path) -> np.ndarray:
    """[4, 4] of the only volume of a folder, LPS."""
    reader = DicomReader()
    (ref,) = [found for found in reader.discover(str(folder)) if isinstance(found, SceneRef)]
    return np.array(reader.header(ref).geometry.affine).reshape(4, 4)  # type: ignore[union-attr]


def structure_set(folder: Path, contours: list[tuple[np.ndarray, str]]) -> Path:
    """A structure set with structure 3, `Liver`: contours [n, 3] in mm, each with the UID of its image or ``""``."""
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.481.3", uid("structures")
    dataset.Modality = "RTSTRUCT"
    roi, drawn = Dataset(), Dataset()
    roi.ROINumber, roi.ROIName = 3, "Liver"
    dataset.StructureSetROISequence = [roi]
    drawn.ReferencedROINumber = 3
    drawn.ContourSequence = []
    for points, source in contours:
        contour = Dataset()
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.NumberOfContourPoints = len(points)
        contour.ContourData = [f"{value:.4f}" for value in points.ravel()]
        if source:
            image = Dataset()
            image.ReferencedSOPInstanceUID = source
            contour.ContourImageSequence = [image]
        drawn.ContourSequence.append(contour)
    dataset.ROIContourSequence = [drawn]
    path = folder / "structures.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def contour(series: Path, z: float) -> np.ndarray:
    """A square of nine pixels in the plane of a slice, mm."""
    corners = np.array([[3.5, 3.5], [6.5, 3.5], [6.5, 6.5], [3.5, 6.5]])
    return (affine_of(series) @ np.c_[corners, np.full(4, z), np.ones(4)].T).T[:, :3]
