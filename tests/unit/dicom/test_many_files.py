"""Segmentations of volumes whose slices are frames: of several files, of a part of one, of a tomogram."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import EnhancedMRImageStorage

from hdm_dicom.maps.writer import ParametricMapWriter
from hdm_dicom.nifti import NiftiWriter
from hdm_dicom.preview.writer import PreviewWriter
from hdm_dicom.reader import DicomReader
from hdm_dicom.report.writer import ReportWriter
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_dicom.structure_set.writer import StructureSetWriter
from hdm_pipeline.contracts import Product, SceneRef, SceneWarning, SupportRequest
from hdm_pipeline.errors import WriteError
from hdm_pipeline.grid import Window
from tests.dicom_multiframe import write_enhanced, write_tomogram
from tests.dicom_product import LIVER, SPLEEN, make_product, two_blobs
from tests.dicom_series import write_series

KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")


def written(product: Product, path: Path, kind: str = "BINARY") -> hd.seg.Segmentation:
    SegmentationWriter({"type": kind}).write(product, path)
    return hd.seg.segread(path)


def referred(seg: hd.seg.Segmentation) -> list[tuple[float, str, int]]:
    """Where each frame lies, and the file and the frame that it was drawn on."""
    found = []
    for item in seg.PerFrameFunctionalGroupsSequence:
        source = item.DerivationImageSequence[0].SourceImageSequence[0]
        place = float(item.PlanePositionSequence[0].ImagePositionPatient[2])
        found.append((place, source.ReferencedSOPInstanceUID, int(source.get("ReferencedFrameNumber", 0))))
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_several_files_are_referred_to_each(tmp_path: Path, kind: str) -> None:
    names = {"a": [0.0, 2.0, 4.0], "b": [6.0, 8.0, 10.0], "c": [12.0]}
    paths = {name: write_enhanced(tmp_path / "in" / name, depths) for name, depths in names.items()}
    where = {
        depth: (pydicom.dcmread(paths[name]).SOPInstanceUID, number if len(depths) > 1 else 0)
        for name, depths in names.items()
        for number, depth in enumerate(depths, start=1)
    }
    product = make_product(tmp_path / "in")
    seg = written(product, tmp_path / "out.dcm", kind)
    found = referred(seg)
    assert found
    for depth, uid, number in found:
        assert (uid, number) == where[depth]
    classes = {i.ReferencedSOPClassUID for i in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert classes == {EnhancedMRImageStorage}
    named = [i.ReferencedSOPInstanceUID for i in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence]
    assert sorted(named) == sorted({uid for uid, _ in where.values()})
    volume = seg.get_volume(
        combine_segments=kind != "FRACTIONAL", skip_overlap_checks=True, allow_missing_positions=True
    )
    mask = two_blobs(product.scene)[0] % 255
    assert np.count_nonzero(volume.array) == np.count_nonzero(mask)


def test_our_own_reader_takes_the_segmentation_as_labels(tmp_path: Path) -> None:
    for name, depths in {"a": [0.0, 2.0, 4.0], "b": [6.0, 8.0]}.items():
        write_enhanced(tmp_path / "in" / name, depths)
    product = make_product(tmp_path / "in")
    written(product, tmp_path / "out.dcm")
    images = DicomReader().read_support(SupportRequest(str(tmp_path / "in"), str(tmp_path / "out.dcm"), (1,)))
    mask = two_blobs(product.scene)[0]
    expected = [plane == 1 for plane in mask if (plane == 1).any()]
    assert [np.array_equal(image.label == 1, plane) for image, plane in zip(images, expected, strict=True)] == [
        True
    ] * len(expected)


def test_a_stack_of_a_file_is_referred_to_by_its_frames(tmp_path: Path) -> None:
    def stack(item: Dataset, index: int) -> None:
        item.FrameContentSequence[0].StackID = str(1 + index // 4)

    write_enhanced(tmp_path / "in" / "a", [2.0 * i for i in range(8)], change=stack)
    reader = DicomReader()
    refs = [found for found in reader.discover(str(tmp_path / "in")) if isinstance(found, SceneRef)]
    assert len(refs) == 2
    for ref in refs:
        with reader.open(ref) as source:
            assert source.header.shape[1] == 4
            lowest = source.read(Window(z=0, y=0, x=0, height=1, width=1), [0])[0].item()
            first = round((lowest + 1024 - 1000) / 20)
            assert first in (0, 4)
        product = make_product(tmp_path / "in", pick=ref.id)
        assert {int(depth / 2) + 1 for depth, _, _ in referred(written(product, tmp_path / f"{first}.dcm"))} == {
            number for _, _, number in referred(written(product, tmp_path / f"{first}.dcm"))
        }


def test_a_tomogram_gets_a_segmentation_at_its_place(tmp_path: Path) -> None:
    write_tomogram(tmp_path / "in" / "a", spacing=-4.0)
    seg = written(make_product(tmp_path / "in"), tmp_path / "out.dcm")
    assert {(depth, 1 + round((100 - depth) / 4)) for depth, _, _ in referred(seg)} == {
        (depth, number) for depth, _, number in referred(seg)
    }
    (measures,) = seg.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SpacingBetweenSlices == 4


def test_images_under_one_uid_are_read_and_not_referred_to(tmp_path: Path) -> None:
    def same(dataset: Dataset, index: int) -> None:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"

    write_series(tmp_path / "in", change=same)
    product = make_product(tmp_path / "in", classes=(LIVER, SPLEEN))
    (warning,) = [w for w in product.scene.warnings if isinstance(w, SceneWarning)]
    assert warning.kind == "shared_uid"
    assert "5 images share" in warning.what
    assert product.scene.shape[1] == 5
    for writer in (SegmentationWriter, ReportWriter, ParametricMapWriter, StructureSetWriter, PreviewWriter):
        with pytest.raises(WriteError, match="cannot say which is meant"):
            writer().check_scene(product.scene)
    NiftiWriter().check_scene(product.scene)
    NiftiWriter().write(product, tmp_path / "out.nii.gz")
    with pytest.raises(WriteError, match="cannot say which is meant"):
        SegmentationWriter().write(product, tmp_path / "out.dcm")
