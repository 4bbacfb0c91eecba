"""Labels that cannot be laid onto a slice are told, or refused where none is left: nobody would miss them in a mask."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.sr.codedict import codes

from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import SceneWarning, SupportRequest
from hdm_pipeline.errors import SupportError
from tests.dicom_labels import affine_of, contour, structure_set
from tests.dicom_series import write_series

SHAPE = (5, 24, 32)


@pytest.fixture
def series(tmp_path: Path) -> Path:
    angle = 0.4
    write_series(tmp_path / "series", orientation=(np.cos(angle), np.sin(angle), 0, 0, 0, -1))
    return tmp_path / "series"


def told(request: SupportRequest) -> list[SceneWarning]:
    """The warnings of all examples that a request gives; there is one example at least."""
    images = DicomReader().read_support(request)
    assert images
    return [warning for image in images for warning in image.warnings]


def remove(series: Path, *indices: int) -> None:
    """Take slices out of the folder of a series."""
    for index in indices:
        (path,) = series.glob(f"*-{index}")
        path.unlink()


def of_kind(path: Path, *kinds: str) -> Path:
    """The structure set with other geometric types of its first contours."""
    dataset = pydicom.dcmread(path)
    for drawn, kind in zip(dataset.ROIContourSequence[0].ContourSequence, kinds, strict=False):
        drawn.ContourGeometricType = kind
        if kind == "POINT":
            drawn.ContourData, drawn.NumberOfContourPoints = drawn.ContourData[:3], 1
    dataset.save_as(path)
    return path


def test_contours_off_the_slices_are_counted(series: Path) -> None:
    drawn = [(contour(series, z), "") for z in (0, 1, 2, 7)]
    beside = contour(series, 2) + 500 * (contour(series, 2)[1] - contour(series, 2)[0])
    path = structure_set(series.parent, [*drawn, (beside, "")])
    (warning,) = told(SupportRequest(str(series), str(path), segment=" liver "))
    assert warning.kind == "labels_off_slices"
    assert warning.what.startswith("2 of 5 contours of ' liver ' lie on no slice of the series")
    assert warning.remedy


def test_nothing_is_told_where_nothing_is_lost(series: Path) -> None:
    path = structure_set(series.parent, [(contour(series, z), "") for z in (0, 1)])
    assert told(SupportRequest(str(series), str(path), segment="liver")) == []


def test_contours_that_enclose_nothing_are_counted(series: Path) -> None:
    path = structure_set(series.parent, [(contour(series, z), "") for z in (0, 1, 2, 3)])
    of_kind(path, "POINT", "OPEN_PLANAR", "OPEN_NONPLANAR")
    (warning,) = told(SupportRequest(str(series), str(path), segment="liver"))
    assert warning.kind == "labels_no_area"
    assert "3 contours (1 OPEN_NONPLANAR, 1 OPEN_PLANAR, 1 POINT) of 'liver'" in warning.what


def test_a_closed_contour_of_two_points_encloses_nothing(series: Path) -> None:
    path = structure_set(series.parent, [(contour(series, 1)[:2], ""), (contour(series, 2), "")])
    (warning,) = told(SupportRequest(str(series), str(path), segment="liver"))
    assert "1 contour (1 CLOSED_PLANAR) of 'liver'" in warning.what


@pytest.mark.parametrize("kind", ["POINT", "OPEN_PLANAR", "OPEN_NONPLANAR", ""])
def test_a_structure_without_areas_is_refused(series: Path, kind: str) -> None:
    path = of_kind(structure_set(series.parent, [(contour(series, 2), "")]), kind)
    with pytest.raises(SupportError, match=f"1 {kind or 'of no type'}.*none that encloses an area") as caught:
        DicomReader().read_support(SupportRequest(str(series), str(path), segment="liver"))
    assert "closed contours" in caught.value.remedy


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_frames_off_the_slices_are_counted(series: Path, kind: str) -> None:
    label = np.zeros(SHAPE, np.uint8)
    label[1:4, 5:12, 8:20] = 1
    path = series.parent / "seg.dcm"
    segmentation(series, label, kind).save_as(path)
    remove(series, 2, 3, 4)
    (warning,) = told(SupportRequest(str(series), str(path), segment="liver"))
    assert warning.kind == "labels_off_slices"
    assert "2 of 3 frames of 'liver'" in warning.what


def segmentation(series: Path, label: np.ndarray, kind: str) -> pydicom.Dataset:
    """A segmentation of the series with the segment `liver`, empty frames and all."""
    sources = sorted((pydicom.dcmread(path) for path in series.iterdir()), key=lambda one: one.InstanceNumber)
    description = hd.seg.SegmentDescription(
        1, "liver", codes.SCT.Organ, codes.SCT.Liver, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    return hd.seg.Segmentation(
        sources, label, kind, [description], hd.UID(), 9, hd.UID(), 1, "x", "x", "1", "1", omit_empty_frames=False
    )


@pytest.mark.parametrize("step", [1, 2])
def test_voxels_off_the_slices_are_counted(series: Path, step: int) -> None:
    """With voxels as large as the images', or larger: those that a pixel is read from are not lost."""
    label = np.zeros((7, 24 // step, 32 // step), np.uint8)
    label[2:7, 2:4, 3:5] = 7
    ras = np.diag([-1.0, -1, 1, 1]) @ affine_of(series) @ np.diag([step, step, 1, 1])
    path = series.parent / "label.nii.gz"
    nibabel.save(nibabel.Nifti1Image(label.transpose(2, 1, 0), ras), path)
    (warning,) = told(SupportRequest(str(series), str(path), (7,)))
    assert "8 of 20 voxels of value 7 lie on no slice" in warning.what
    label[5:] = 0
    nibabel.save(nibabel.Nifti1Image(label.transpose(2, 1, 0), ras), path)
    assert told(SupportRequest(str(series), str(path), (7,))) == []


def test_masks_that_count_from_one_are_told(series: Path) -> None:
    folder = series.parent / "masks"
    folder.mkdir()
    for number in range(1, 6):
        Image.fromarray(np.ones(SHAPE[1:], np.uint8)).save(folder / f"mask_{number:03d}.png")
    (warning,) = told(SupportRequest(str(series), str(folder)))
    assert "1 of 5 mask files are for no slice: their names end in 5, slices are 0 to 4" in warning.what
    Image.fromarray(np.ones(SHAPE[1:], np.uint8)).save(folder / "other_002.png")
    with pytest.raises(SupportError, match="two masks are for slice 2"):
        DicomReader().read_support(SupportRequest(str(series), str(folder)))
