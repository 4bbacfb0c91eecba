"""RT Structure Sets: what is in them, and that our own reader and another program's rules find the mask in them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from hdm_dicom.reader import DicomReader
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_dicom.structure_set.writer import StructureSetWriter
from hdm_pipeline.contracts import SceneCheckingWriter, SceneHeader, SupportRequest
from hdm_pipeline.errors import ConfigError, WriteError
from tests.dicom_product import LIVER, SPLEEN, make_product
from tests.dicom_series import write_series

OBLIQUE = (np.cos(0.3), np.sin(0.3), 0, 0, 0, -1)
KEY = b"sixteen bytes or more"


def organs(header: SceneHeader) -> np.ndarray:
    """Class 1 a ball with a hole, class 2 a bar and a single pixel, and some nodata."""
    _, depth, height, width = header.shape
    z, y, x = np.mgrid[:depth, :height, :width]
    distance = np.hypot(np.hypot(y - height / 2, x - width / 2), 2 * (z - depth / 2))
    mask = np.zeros((1, depth, height, width), np.uint8)
    mask[0][(distance < height * 0.4) & (distance > height * 0.15)] = 1
    mask[0, :, 1:4, 1] = 2
    mask[0, 0, -2, -3] = 2
    mask[0, 1, 0, 0] = 255
    return mask


@pytest.fixture
def series(tmp_path: Path) -> Path:
    write_series(tmp_path / "series", np.arange(9) * 2.0, shape=(33, 41), orientation=OBLIQUE)
    return tmp_path / "series"


def write(folder: Path, path: Path, reader: dict[str, Any] | None = None, **options: Any) -> np.ndarray:
    """Write a structure set; returns the mask [z, y, x]."""
    product = make_product(folder, organs, options=reader)
    writer = StructureSetWriter(options)
    writer.check_scene(product.scene)
    writer.write(product, path)
    return organs(product.scene)[0]


def read_back(folder: Path, path: Path, mask: np.ndarray, reader: dict[str, Any] | None = None) -> np.ndarray:
    """[z, y, x] what our reader of support labels finds, by class."""
    found = np.zeros(mask.shape, np.uint8)
    for info in (LIVER, SPLEEN):
        for image in DicomReader(reader).read_support(SupportRequest(str(folder), str(path), segment=info.name)):
            found[int(image.name.rsplit(" ", 1)[1])][image.label == 1] = info.value
    return found


@pytest.mark.parametrize("plane", ["acquired", "axial", "sagittal"])
def test_our_own_reader_finds_the_mask(series: Path, tmp_path: Path, plane: str) -> None:
    mask = write(series, tmp_path / "out.dcm", {"plane": plane})
    assert np.array_equal(
        read_back(series, tmp_path / "out.dcm", mask, {"plane": plane}), np.where(mask == 255, 0, mask)
    )


def tilted(dataset: Dataset, index: int) -> None:
    x, y, z = (float(v) for v in dataset.ImagePositionPatient)
    dataset.ImagePositionPatient = [x, y + 0.4 * index, z]


def uneven(dataset: Dataset, index: int) -> None:
    x, y, z = (float(v) for v in dataset.ImagePositionPatient)
    dataset.ImagePositionPatient = [x, y, z + (0.7 if index > 4 else 0.0)]


@pytest.mark.parametrize(("change", "policy"), [(tilted, "split"), (tilted, "resample"), (uneven, "resample")])
def test_contours_lie_on_the_stored_slices(tmp_path: Path, change: Any, policy: str) -> None:
    """Also where the stack that was segmented is another: coordinates are those of the pixels of each slice."""
    write_series(tmp_path / "series", np.arange(9) * 2.0, shape=(33, 41), change=change)
    product = make_product(tmp_path / "series", organs, options={"policy": policy})
    StructureSetWriter().write(product, tmp_path / "out.dcm")
    SegmentationWriter().write(product, tmp_path / "seg.dcm")
    structures = pydicom.dcmread(tmp_path / "out.dcm")
    slices = {str(d.SOPInstanceUID): d for d in map(pydicom.dcmread, (tmp_path / "series").iterdir())}
    for roi in structures.ROIContourSequence:
        for contour in roi.ContourSequence:
            (image,) = contour.ContourImageSequence
            source = slices[str(image.ReferencedSOPInstanceUID)]
            points = np.array(contour.ContourData, float).reshape(-1, 3) - np.array(source.ImagePositionPatient, float)
            assert np.abs(points[:, 2]).max() < 1e-4
            x, y = points[:, 0] / 0.75, points[:, 1] / 0.5
            # An edge of a pixel, or the keyhole a quarter of a pixel beside its centre.
            for of_centre in (x, y):
                part = np.abs(of_centre - np.rint(of_centre))
                assert (np.isclose(part, 0.49, atol=1e-3) | np.isclose(part, 0.25, atol=1e-3)).all()
    for info in (LIVER, SPLEEN):
        from_both = [
            {
                image.name: image.label
                for image in DicomReader({"policy": policy}).read_support(
                    SupportRequest(str(tmp_path / "series"), str(tmp_path / name), segment=info.name)
                )
            }
            for name in ("out.dcm", "seg.dcm")
        ]
        assert from_both[0].keys() == from_both[1].keys()
        assert all(np.array_equal(label, from_both[1][name]) for name, label in from_both[0].items())


def test_frames_of_one_file_are_told_apart(tmp_path: Path) -> None:
    def functional_groups(dataset: Dataset, index: int) -> None:
        count = 5
        dataset.NumberOfFrames = count
        dataset.PixelData = dataset.PixelData * count
        items = []
        for number in range(count):
            place, item = Dataset(), Dataset()
            place.ImagePositionPatient = [-10, 20, -30 + 2 * number]
            item.PlanePositionSequence = [place]
            items.append(item)
        orientation, measures, shared = Dataset(), Dataset(), Dataset()
        orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        measures.PixelSpacing, measures.SliceThickness = [0.5, 0.75], 2
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
        dataset.SharedFunctionalGroupsSequence = [shared]
        dataset.PerFrameFunctionalGroupsSequence = items
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            delattr(dataset, name)

    write_series(tmp_path / "series", (0.0,), shape=(33, 41), change=functional_groups)
    mask = write(tmp_path / "series", tmp_path / "out.dcm")
    structures = pydicom.dcmread(tmp_path / "out.dcm")
    contours = [c for roi in structures.ROIContourSequence for c in roi.ContourSequence]
    assert {int(c.ContourImageSequence[0].ReferencedFrameNumber) for c in contours} == {1, 2, 3, 4, 5}
    frame_of_reference = structures.ReferencedFrameOfReferenceSequence[0]
    (image,) = frame_of_reference.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0].ContourImageSequence
    assert list(image.ReferencedFrameNumber) == [1, 2, 3, 4, 5]
    assert np.array_equal(read_back(tmp_path / "series", tmp_path / "out.dcm", mask), np.where(mask == 255, 0, mask))


def test_structures_say_what_they_are_and_of_whom(series: Path, tmp_path: Path) -> None:
    write(series, tmp_path / "out.dcm")
    structures = pydicom.dcmread(tmp_path / "out.dcm")
    sources = [pydicom.dcmread(path) for path in series.iterdir()]
    assert structures.file_meta.TransferSyntaxUID == pydicom.uid.ImplicitVRLittleEndian
    assert (structures.PatientID, structures.StudyInstanceUID) == ("P1", sources[0].StudyInstanceUID)
    assert (structures.StructureSetDate, structures.StructureSetTime) == ("20200102", "030405")
    assert structures.ApprovalStatus == "UNAPPROVED"
    (frame,) = structures.ReferencedFrameOfReferenceSequence
    assert frame.FrameOfReferenceUID == structures.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    (study,) = frame.RTReferencedStudySequence
    assert study.ReferencedSOPInstanceUID == sources[0].StudyInstanceUID
    (referenced,) = study.RTReferencedSeriesSequence
    assert referenced.SeriesInstanceUID == sources[0].SeriesInstanceUID
    assert {i.ReferencedSOPInstanceUID for i in referenced.ContourImageSequence} == {s.SOPInstanceUID for s in sources}
    liver, spleen = structures.StructureSetROISequence
    assert [(int(roi.ROINumber), roi.ROIName) for roi in (liver, spleen)] == [(1, "liver"), (2, "spleen")]
    assert liver.ROIGenerationAlgorithm == "AUTOMATIC"
    assert "c" * 64 in liver.ROIDerivationAlgorithmIdentificationSequence[0].AlgorithmParameters
    drawn = structures.ROIContourSequence
    assert [list(roi.ROIDisplayColor) for roi in drawn] == [list(LIVER.color), list(SPLEEN.color)]
    assert {c.ContourGeometricType for roi in drawn for c in roi.ContourSequence} == {"CLOSED_PLANAR"}
    assert [int(c.ContourNumber) for c in drawn[0].ContourSequence] == list(range(1, len(drawn[0].ContourSequence) + 1))
    _, observed = structures.RTROIObservationsSequence
    assert observed.RTROIIdentificationCodeSequence[0].CodeMeaning == "Spleen"
    assert observed.SegmentedPropertyCategoryCodeSequence[0].CodeMeaning == "Anatomical Structure"
    assert observed.AnatomicRegionSequence[0].CodeMeaning == "Abdomen"
    assert observed.RTROIInterpretedType == "ORGAN"


def test_names_and_patients_of_any_script(tmp_path: Path) -> None:
    def named(dataset: Dataset, index: int) -> None:
        dataset.PatientName = "Yamada^Tarou=山田^太郎"

    write_series(tmp_path / "s", shape=(33, 41), change=named)
    classes = (dataclasses.replace(LIVER, name="Läsion 肝臓"), SPLEEN)
    StructureSetWriter().write(make_product(tmp_path / "s", organs, classes=classes), tmp_path / "out.dcm")
    structures = pydicom.dcmread(tmp_path / "out.dcm")
    assert structures.StructureSetROISequence[0].ROIName == "Läsion 肝臓"
    assert structures.PatientName == "Yamada^Tarou=山田^太郎"


@pytest.mark.parametrize(("spacing", "origin"), [(1e-6, -99999.0), (0.7, -123456.789), (5.0, 1e8)])
def test_decimal_strings_fit(tmp_path: Path, spacing: float, origin: float) -> None:
    def scaled(dataset: Dataset, index: int) -> None:
        dataset.PixelSpacing = [spacing, spacing]

    write_series(tmp_path / "s", shape=(33, 41), origin=(origin, -origin, origin), change=scaled)
    write(tmp_path / "s", tmp_path / "out.dcm")
    for roi in pydicom.dcmread(tmp_path / "out.dcm").ROIContourSequence:
        for contour in roi.ContourSequence:
            texts = contour.get_item("ContourData").value.decode().strip().split("\\")
            assert max(map(len, texts)) <= 16
            assert len(texts) == 3 * int(contour.NumberOfContourPoints)
            x = np.array(texts, float)[::3]
            assert np.ptp(x) > 0.9 * spacing


def test_more_points_than_an_explicit_length_can_count(tmp_path: Path) -> None:
    write_series(tmp_path / "s", (0.0, 2.0), shape=(120, 160))

    def comb(header: SceneHeader) -> np.ndarray:
        mask = np.zeros((1, *header.shape[1:]), np.uint8)
        mask[0, :, ::2], mask[0, :, :, 0] = 1, 1
        mask[0, :, 1::2, 2::2] = 1
        return mask

    product = make_product(tmp_path / "s", comb)
    StructureSetWriter().write(product, tmp_path / "out.dcm")
    structures = pydicom.dcmread(tmp_path / "out.dcm")
    assert len(structures.ROIContourSequence[0].ContourSequence[0].get_item("ContourData").value) > 1 << 16
    (first, second) = DicomReader().read_support(
        SupportRequest(str(tmp_path / "s"), str(tmp_path / "out.dcm"), segment="liver")
    )
    assert np.array_equal(first.label, comb(product.scene)[0, 0])
    assert np.array_equal(second.label, comb(product.scene)[0, 1])


def test_same_input_same_bytes(series: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(series, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    def other(header: SceneHeader) -> np.ndarray:
        mask = organs(header)
        mask[0, 2, 3, 3] = 2
        return mask

    StructureSetWriter().write(make_product(series, other), tmp_path / "c")
    assert pydicom.dcmread(tmp_path / "a").SOPInstanceUID != pydicom.dcmread(tmp_path / "c").SOPInstanceUID


def test_a_class_that_was_not_found_is_a_structure_without_contours(series: Path, tmp_path: Path) -> None:
    def liver_only(header: SceneHeader) -> np.ndarray:
        return np.where(organs(header) == 1, 1, 0).astype(np.uint8)

    StructureSetWriter({"empty": "error"}).write(make_product(series, liver_only), tmp_path / "out.dcm")
    liver, spleen = pydicom.dcmread(tmp_path / "out.dcm").ROIContourSequence
    assert "ContourSequence" in liver
    assert "ContourSequence" not in spleen
    nothing = make_product(series, lambda header: np.zeros((1, *header.shape[1:]), np.uint8))
    StructureSetWriter().write(nothing, tmp_path / "nothing.dcm")
    assert len(pydicom.dcmread(tmp_path / "nothing.dcm").StructureSetROISequence) == 2
    with pytest.raises(WriteError, match="nothing was found"):
        StructureSetWriter({"empty": "error"}).write(nothing, tmp_path / "never.dcm")
    assert not (tmp_path / "never.dcm").exists()


def test_deidentified_it_names_structures_but_no_patient(series: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    key_file = {"key_file": str(tmp_path / "key")}
    write(series, tmp_path / "out.dcm", deidentify=key_file)
    SegmentationWriter({"deidentify": key_file}).write(make_product(series, organs), tmp_path / "seg.dcm")
    written = (tmp_path / "out.dcm").read_bytes()
    for path in series.iterdir():
        source = pydicom.dcmread(path)
        for secret in (source.PatientName, source.SOPInstanceUID, source.StudyInstanceUID, "20200102", "Doctor"):
            assert str(secret).encode() not in written
    structures, seg = (pydicom.dcmread(tmp_path / name) for name in ("out.dcm", "seg.dcm"))
    assert structures.PatientIdentityRemoved == "YES"
    assert [roi.ROIName for roi in structures.StructureSetROISequence] == ["liver", "spleen"]
    # Images that are de-identified under the same key are those that both refer to.
    assert structures.PatientID == seg.PatientID
    drawn_on = {
        contour.ContourImageSequence[0].ReferencedSOPInstanceUID
        for roi in structures.ROIContourSequence
        for contour in roi.ContourSequence
    }
    of_seg = {i.ReferencedSOPInstanceUID for i in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence}
    assert drawn_on <= of_seg


def test_series_without_a_place_are_refused_before_any_work(tmp_path: Path) -> None:
    write_series(tmp_path / "s", (0.0,), change=lambda dataset, index: delattr(dataset, "ImagePositionPatient"))
    writer = StructureSetWriter()
    assert isinstance(writer, SceneCheckingWriter)
    with pytest.raises(WriteError, match="drawn in the patient") as caught:
        writer.check_scene(make_product(tmp_path / "s").scene)
    assert "segmentation" in caught.value.remedy


@pytest.mark.parametrize(
    "options", [{"typ": "x"}, {"empty": "skip"}, {"series_number": True}, {"deidentify": {"key": "x"}}]
)
def test_options_are_checked(options: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        StructureSetWriter(options)
