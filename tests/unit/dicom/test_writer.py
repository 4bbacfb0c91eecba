"""DICOM SEG and NIfTI: what is in them, and that the same input gives the same bytes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import nibabel
import numpy as np
import pydicom
import pytest
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from hdm_dicom.maps.writer import ParametricMapWriter
from hdm_dicom.nifti import NiftiWriter
from hdm_dicom.reader import DicomReader
from hdm_dicom.report.writer import ReportWriter
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_dicom.structure_set.writer import StructureSetWriter
from hdm_pipeline.contracts import SupportRequest, Writer
from hdm_pipeline.errors import ConfigError, WriteError
from tests.dicom_product import LIVER, SPLEEN, make_product, two_blobs, with_segmentation
from tests.dicom_series import write_series

KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")


@pytest.fixture
def series(tmp_path: Path) -> Path:
    # 23 x 31 pixels: no multiple of eight, so that frames share bytes in BINARY.
    orientation = (np.cos(0.3), np.sin(0.3), 0, 0, 0, -1)
    write_series(tmp_path / "series", shape=(23, 31), orientation=orientation)
    return tmp_path / "series"


def test_are_writers() -> None:
    assert isinstance(SegmentationWriter(), Writer)
    assert isinstance(NiftiWriter(), Writer)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("omit", [True, False])
def test_highdicom_reads_the_voxels_back(series: Path, tmp_path: Path, kind: str, omit: bool) -> None:
    product = make_product(series)
    path = tmp_path / "out.dcm"
    SegmentationWriter({"type": kind, "omit_empty_frames": omit}).write(product, path)
    seg = hd.seg.segread(path)
    volume = seg.get_volume(
        combine_segments=kind != "FRACTIONAL", skip_overlap_checks=True, allow_missing_positions=True
    )
    mask = two_blobs(product.scene)[0]
    mask[mask == 255] = 0
    affine = np.array(product.scene.geometry.affine).reshape(4, 4)  # type: ignore[union-attr]
    # highdicom counts (slice, row, column), and slices from either end.
    at = np.argwhere(volume.array.reshape(*volume.array.shape[:3], -1)[..., 0] > 0)
    places = volume.affine @ np.c_[at, np.ones(len(at))].T
    x, y, z = np.rint(np.linalg.inv(affine) @ places)[:3].astype(int)
    wanted = mask > 0 if kind != "FRACTIONAL" else mask == 1
    found = np.zeros_like(wanted)
    found[z, y, x] = True
    assert np.array_equal(found, wanted)
    assert seg.NumberOfFrames == {"LABELMAP": 4 if omit else 5}.get(kind, 6 if omit else 10)


@pytest.mark.parametrize("kind", KINDS)
def test_same_input_same_bytes(series: Path, tmp_path: Path, kind: str) -> None:
    files = []
    for name in ("a", "b"):
        SegmentationWriter({"type": kind}).write(make_product(series), tmp_path / name)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]

    def other(header: object) -> np.ndarray:
        mask = two_blobs(header)  # type: ignore[arg-type]
        mask[0, 2, 3, 3] = 1
        return mask

    SegmentationWriter({"type": kind}).write(make_product(series, other), tmp_path / "c")
    first, third = pydicom.dcmread(tmp_path / "a"), pydicom.dcmread(tmp_path / "c")
    assert first.SOPInstanceUID != third.SOPInstanceUID


def test_refers_to_every_source_and_copies_its_geometry(series: Path, tmp_path: Path) -> None:
    product = make_product(series)
    SegmentationWriter().write(product, tmp_path / "out.dcm")
    seg = pydicom.dcmread(tmp_path / "out.dcm")
    sources = [pydicom.dcmread(path) for path in product.scene.ref.members]
    referenced = seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {item.ReferencedSOPInstanceUID for item in referenced} == {source.SOPInstanceUID for source in sources}
    assert seg.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    assert seg.StudyInstanceUID == sources[0].StudyInstanceUID
    assert seg.PatientID == "P1"
    by_uid = {source.SOPInstanceUID: source for source in sources}
    for item in seg.PerFrameFunctionalGroupsSequence:
        source = by_uid[item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID]
        assert item.PlanePositionSequence[0].ImagePositionPatient == source.ImagePositionPatient
    shared = seg.SharedFunctionalGroupsSequence[0]
    assert shared.PixelMeasuresSequence[0].PixelSpacing == [0.5, 0.75]
    assert shared.PlaneOrientationSequence[0].ImageOrientationPatient == sources[0].ImageOrientationPatient


def test_segments_say_what_and_who(series: Path, tmp_path: Path) -> None:
    SegmentationWriter().write(make_product(series), tmp_path / "out.dcm")
    seg = pydicom.dcmread(tmp_path / "out.dcm")
    liver, spleen = seg.SegmentSequence
    assert liver.SegmentLabel == "liver"
    assert liver.SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert spleen.AnatomicRegionSequence[0].CodeMeaning == "Abdomen"
    algorithm = liver.SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmVersion == "0.1.0"
    assert all(digest * 64 in algorithm.AlgorithmParameters for digest in "abc")
    assert liver.RecommendedDisplayCIELabValue != spleen.RecommendedDisplayCIELabValue
    assert (seg.ContentDate, seg.ContentTime) == ("20200102", "030405")
    assert seg.ContentDescription == "2 classes, few-shot"


def test_one_class_is_called_one(series: Path, tmp_path: Path) -> None:
    SegmentationWriter().write(make_product(series, classes=(LIVER,)), tmp_path / "out.dcm")
    assert pydicom.dcmread(tmp_path / "out.dcm").ContentDescription == "1 class, few-shot"


def test_our_own_reader_takes_the_segmentation_as_support(series: Path, tmp_path: Path) -> None:
    product = make_product(series)
    for kind in KINDS:
        path = tmp_path / f"{kind}.dcm"
        SegmentationWriter({"type": kind}).write(product, path)
        images = DicomReader().read_support(SupportRequest(str(series), str(path), segment="liver"))
        mask = two_blobs(product.scene)[0]
        expected = [z for z in range(5) if (mask[z] == 1).any()]
        assert [int(image.name.rsplit(" ", 1)[1]) for image in images] == expected
        assert all(np.array_equal(i.label == 1, mask[z] == 1) for z, i in zip(expected, images, strict=True))
        partly = SupportRequest(str(series), str(path), segment="liver", background=(2,))
        labels = np.full(mask.shape, 255, np.uint8)
        labels[mask == 2], labels[mask == 1] = 0, 1
        for z, image in zip(expected, DicomReader().read_support(partly), strict=True):
            assert np.array_equal(image.label, labels[z])


@pytest.mark.parametrize("kind", KINDS)
def test_an_empty_result_is_a_policy(series: Path, tmp_path: Path, kind: str) -> None:
    empty = make_product(series, lambda header: np.zeros((1, *header.shape[1:]), np.uint8))
    SegmentationWriter({"type": kind}).write(empty, tmp_path / "out.dcm")
    assert not pydicom.dcmread(tmp_path / "out.dcm").pixel_array.any()
    with pytest.raises(WriteError, match="nothing was found"):
        SegmentationWriter({"type": kind, "empty": "error"}).write(empty, tmp_path / "never.dcm")
    assert not (tmp_path / "never.dcm").exists()


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_masks_of_other_planes_land_on_the_stored_slices(series: Path, tmp_path: Path, plane: str) -> None:
    straight = make_product(series, classes=(LIVER, SPLEEN))
    SegmentationWriter().write(straight, tmp_path / "straight.dcm")
    turned_reader = {"plane": plane}

    def turned(header: object) -> np.ndarray:
        from hdm_dicom.options import ReaderOptions
        from hdm_dicom.volumes.volume_io import open_volume

        opened = open_volume(header.ref, ReaderOptions.parse(turned_reader))  # type: ignore[attr-defined]
        return np.ascontiguousarray(opened.view.apply(two_blobs(straight.scene)), dtype=np.uint8)

    SegmentationWriter().write(make_product(series, turned, options=turned_reader), tmp_path / "turned.dcm")
    one, other = (pydicom.dcmread(tmp_path / f"{name}.dcm") for name in ("straight", "turned"))
    assert one.PixelData == other.PixelData


def test_broken_source_attributes_are_left_out(tmp_path: Path) -> None:
    def broken(dataset: Dataset, index: int) -> None:
        dataset.add_new(0x00101010, "AS", "0Y")
        dataset.add_new(0x00080020, "DA", "yesterday")
        dataset.PatientSex = "X"
        dataset.StudyInstanceUID = ""
        dataset.FrameOfReferenceUID = ""
        dataset.SpecificCharacterSet = ""

    write_series(tmp_path / "series", change=broken)
    SegmentationWriter().write(make_product(tmp_path / "series"), tmp_path / "out.dcm")
    seg = pydicom.dcmread(tmp_path / "out.dcm")
    assert "PatientAge" not in seg
    assert (seg.StudyDate, seg.PatientSex) == ("", "")
    assert seg.StudyInstanceUID.startswith("2.25.")


MALFORMED = [
    ("PatientBirthDate", "DA", ["19700101", "19700102"], "19700101"),
    ("StudyDate", "DA", ["20200102", "20200103"], "20200102"),
    ("PatientName", "PN", ["Test^Case", "Other^Case"], "Test^Case"),
    ("PatientID", "LO", ["P1", "P2"], "P1"),
    ("AccessionNumber", "SH", ["", "A2"], "A2"),
    ("PatientAge", "LO", "045Y", "045Y"),
    ("StudyID", "IS", "12", "12"),
    ("PatientID", "DS", "12.5", "12.5"),
    ("PatientWeight", "LO", "80,5", None),
    ("PatientWeight", "IS", "80", 80),
    ("ReferencedStudySequence", "UI", "1.2.3", None),
]


@pytest.mark.parametrize(("name", "kind", "stated", "kept"), MALFORMED)
@pytest.mark.parametrize("writer", [SegmentationWriter, StructureSetWriter])
def test_attributes_have_the_type_and_number_of_values_that_they_are_defined_with(
    tmp_path: Path,
    writer: type[SegmentationWriter] | type[StructureSetWriter],
    name: str,
    kind: str,
    stated: object,
    kept: str | None,
) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.add(DataElement(name, kind, stated, validation_mode=pydicom.config.IGNORE))

    write_series(tmp_path / "series", change=change)
    writer().write(make_product(tmp_path / "series"), tmp_path / "out.dcm")
    found = pydicom.dcmread(tmp_path / "out.dcm")
    assert found.get(name) == kept


@pytest.mark.parametrize(
    "options",
    [{"typ": "BINARY"}, {"type": "COLOR"}, {"omit_empty_frames": "no"}, {"empty": "skip"}, {"series_number": 0}],
)
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        SegmentationWriter(options)


def test_nifti_holds_mask_and_affine(series: Path, tmp_path: Path) -> None:
    product = make_product(series)
    path = tmp_path / "out.nii.gz"
    NiftiWriter().write(product, path)
    first = path.read_bytes()
    NiftiWriter().write(product, path)
    assert path.read_bytes() == first
    image = nibabel.load(path)
    mask = two_blobs(product.scene)[0]
    mask[mask == 255] = 0
    assert np.array_equal(np.asarray(image.dataobj), mask.transpose(2, 1, 0))  # type: ignore[attr-defined]
    affine = np.array(product.scene.geometry.affine).reshape(4, 4)  # type: ignore[union-attr]
    assert image.affine == pytest.approx(np.diag([-1, -1, 1, 1]) @ affine, abs=1e-5)  # type: ignore[attr-defined]
    assert image.get_qform() == pytest.approx(image.affine, abs=1e-4)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "held"), [("a\\b", "a b"), ("\\", "class"), ("l\nr", "l r"), ("L" * 63 + "\\x", "L" * 63)]
)
@pytest.mark.parametrize("writer", [SegmentationWriter, StructureSetWriter, ParametricMapWriter, ReportWriter])
def test_names_of_classes_are_single_values(series: Path, tmp_path: Path, writer: type, name: str, held: str) -> None:
    """A backslash would begin a second value, where the attribute has one."""
    named = replace(LIVER, name=name)
    product = with_segmentation(make_product(series, classes=(named, SPLEEN)), tmp_path)
    writer().write(product, tmp_path / "out.dcm")
    texts = {"LO", "SH", "UT", "ST", "LT", "UC"}
    found = [e for e in pydicom.dcmread(tmp_path / "out.dcm").iterall() if e.VR in texts and e.VM == 1]
    assert any(held[:10] in str(e.value) for e in found)
    several = [e.keyword for e in pydicom.dcmread(tmp_path / "out.dcm").iterall() if e.VR in texts and e.VM > 1]
    assert not several
