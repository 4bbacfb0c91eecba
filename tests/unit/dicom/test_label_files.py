"""Files of labels as other programs write them, and as they are when they are damaged: read as meant, or refused."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from hdm_dicom.reader import DicomReader
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_pipeline.contracts import SupportRequest
from hdm_pipeline.errors import SupportError
from tests.dicom_labels import affine_of, contour, structure_set
from tests.dicom_product import make_product
from tests.dicom_series import write_series


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_series(tmp_path / "series")
    return tmp_path / "series"


def drawn() -> np.ndarray:
    """[x, y, z] of the series: 42 voxels of each of three slices."""
    volume = np.zeros((32, 24, 5), np.uint8)
    volume[4:10, 5:12, 1:4] = 1
    return volume


def nifti(series: Path, volume: np.ndarray) -> Path:
    path = series.parent / "labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(volume, np.diag([-1.0, -1, 1, 1]) @ affine_of(series)), path)
    return path


def pixels(series: Path, path: Path, **request: object) -> list[int]:
    """Pixels of the class in each example."""
    images = DicomReader().read_support(SupportRequest(str(series), str(path), **request))  # type: ignore[arg-type]
    return [int((image.label == 1).sum()) for image in images]


def test_the_checksum_of_compressed_labels_counts(series: Path) -> None:
    path = nifti(series, drawn())
    assert pixels(series, path) == [42, 42, 42]
    content = path.read_bytes()
    path.write_bytes(content[:-8] + bytes([content[-8] ^ 1]) + content[-7:])
    with pytest.raises(SupportError, match="cannot be read"):
        pixels(series, path)
    path.write_bytes(gzip.compress(gzip.decompress(content)[:-1]))
    with pytest.raises(SupportError, match="cannot be read"):
        pixels(series, path)


@pytest.mark.parametrize("off", [1e-7, -1e-4])
def test_values_that_a_scale_made_uneven_are_whole(series: Path, off: float) -> None:
    assert pixels(series, nifti(series, drawn() * np.float64(5 + off)), values=(5,)) == [42, 42, 42]


def test_axes_of_one_say_nothing(series: Path) -> None:
    assert pixels(series, nifti(series, drawn()[..., np.newaxis, np.newaxis])) == [42, 42, 42]


@pytest.mark.parametrize(("factor", "held"), [(0.7, "0, 0.7"), (255, "0, 255")])
def test_values_that_are_not_asked_for_are_named(series: Path, factor: float, held: str) -> None:
    path = nifti(series, (drawn() * factor).astype(np.float32))
    with pytest.raises(SupportError, match=f"(?s)have no value 1.*{held}"):
        pixels(series, path)


def test_values_of_a_mask_that_are_not_asked_for_are_named(series: Path) -> None:
    path = series.parent / "mask.png"
    Image.fromarray(drawn()[:, :, 2].T * np.uint8(255)).save(path)
    with pytest.raises(SupportError, match="slice 2 holds no pixel of the class: its mask holds 0, 255"):
        pixels(series, path, slices=(2,))
    assert pixels(series, path, slices=(2,), values=(255,)) == [42]


@pytest.mark.parametrize("whole_structure", [False, True])
def test_a_contour_that_is_written_twice_counts_once(series: Path, whole_structure: bool) -> None:
    once = pixels(series, structure_set(series.parent, [(contour(series, 2), "")]), segment="Liver")
    contours = [(contour(series, 2), "")] * (1 if whole_structure else 2)
    path = structure_set(series.parent, contours)
    if whole_structure:
        dataset = pydicom.dcmread(path)
        dataset.ROIContourSequence.append(pydicom.dcmread(path).ROIContourSequence[0])
        dataset.save_as(path)
    assert pixels(series, path, segment="Liver") == once == [9]


def changed(series: Path, kind: str, change: Callable[[Dataset], None]) -> Path:
    """A segmentation of two segments in which something is changed."""
    path = series.parent / "segmentation.dcm"
    SegmentationWriter({"type": kind}).write(make_product(series), path)
    dataset = pydicom.dcmread(path)
    change(dataset)
    dataset.save_as(path)
    return path


def without_numbers(dataset: Dataset) -> None:
    for item in dataset.PerFrameFunctionalGroupsSequence:
        del item.SegmentIdentificationSequence


def without_type(dataset: Dataset) -> None:
    del dataset.SegmentationType


def test_frames_of_unknown_segments_are_not_taken_for_the_first(series: Path) -> None:
    with pytest.raises(SupportError, match="do not say which segment"):
        pixels(series, changed(series, "BINARY", without_numbers), segment="liver")


def test_a_label_map_is_known_by_its_class(series: Path) -> None:
    plain = pixels(series, changed(series, "LABELMAP", lambda _: None), segment="spleen")
    assert pixels(series, changed(series, "LABELMAP", without_type), segment="spleen") == plain


def test_fractions_of_nothing_are_refused(series: Path) -> None:
    path = changed(series, "FRACTIONAL", lambda dataset: setattr(dataset, "MaximumFractionalValue", 0))
    with pytest.raises(SupportError, match="MaximumFractionalValue"):
        pixels(series, path, segment="liver")


def with_another(series: Path, *contours: np.ndarray) -> Path:
    """A structure set with `Liver` (3), a square of nine pixels on slice 2, and another structure (4) of contours."""
    path = structure_set(series.parent, [(contour(series, 2), "")])
    (other := series.parent / "other").mkdir()
    added = pydicom.dcmread(structure_set(other, [(points, "") for points in contours]))
    added.StructureSetROISequence[0].ROINumber, added.StructureSetROISequence[0].ROIName = 4, "Lesion"
    added.ROIContourSequence[0].ReferencedROINumber = 4
    dataset = pydicom.dcmread(path)
    dataset.StructureSetROISequence.append(added.StructureSetROISequence[0])
    dataset.ROIContourSequence.append(added.ROIContourSequence[0])
    dataset.save_as(path)
    return path


def test_a_structure_within_another_is_no_hole_in_it(series: Path) -> None:
    outer = contour(series, 2)
    centre = outer.mean(axis=0)
    path = with_another(series, centre + (outer - centre) / 3)
    assert [pixels(series, path, values=(number,)) for number in (3, 4)] == [[9], [1]]
    assert pixels(series, path, values=(3, 4)) == [9]


def test_structures_whose_planes_differ_do_not_displace_each_other(series: Path) -> None:
    shifted = contour(series, 2) + 0.2 * (contour(series, 3) - contour(series, 2))
    beside = 4 * (contour(series, 2)[1] - contour(series, 2)[0])
    path = with_another(series, shifted + beside)
    assert pixels(series, path, values=(3, 4)) == [18]
    (image,) = DicomReader().read_support(SupportRequest(str(series), str(path), (4,), background=(3,)))
    assert [(image.label == value).sum() for value in (0, 1)] == [9, 9]
