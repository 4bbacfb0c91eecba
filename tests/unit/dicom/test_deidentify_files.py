"""`deidentify IN OUT`: what is left of each kind of file, and which are left out for what they may show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from hdm_dicom.privacy.deidentify import deidentify
from hdm_dicom.privacy.folder import REPORT
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_dicom.structure_set.writer import StructureSetWriter
from tests.deidentified import MARKER, SECRETS, burned, contents, image, marked, outputs, report, run, save
from tests.dicom_product import make_product
from tests.dicom_series import uid, write_series
from tests.unit.dicom.test_deidentify import KEY, stuffed

# -------------------------------------------------------------------------------- what it is for


def test_images_and_their_segmentation_still_refer_to_each_other(tmp_path: Path) -> None:
    write_series(tmp_path / "in" / "Doe^John" / "series", change=marked)
    product = make_product(tmp_path / "in")
    (tmp_path / "key").write_bytes(KEY)
    SegmentationWriter({"deidentify": {"key_file": str(tmp_path / "key")}}).write(product, tmp_path / "seg.dcm")
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.files == 5
    segmentation = pydicom.dcmread(tmp_path / "seg.dcm")
    images = {d.SOPInstanceUID: d for d in map(pydicom.dcmread, outputs(tmp_path / "out"))}
    referenced = {
        item.ReferencedSOPInstanceUID
        for series in segmentation.ReferencedSeriesSequence
        for item in series.ReferencedInstanceSequence
    }
    assert referenced == set(images)
    for each in images.values():
        for name in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
            assert each[name].value == segmentation[name].value
    # As a whole: the masks can be read with the images as examples, by their UIDs.
    again = make_product(tmp_path / "out")
    assert again.scene.shape == product.scene.shape


@pytest.mark.parametrize("writer", [SegmentationWriter, StructureSetWriter])
def test_a_product_that_is_de_identified_later_is_the_same_object(tmp_path: Path, writer: type) -> None:
    write_series(tmp_path / "in", change=marked)
    product = make_product(tmp_path / "in")
    (tmp_path / "key").write_bytes(KEY)
    writer({"deidentify": {"key_file": str(tmp_path / "key")}}).write(product, tmp_path / "now.dcm")
    writer().write(product, tmp_path / "in" / "plain.dcm")
    run(tmp_path / "in" / "plain.dcm", tmp_path / "out")
    (later,) = outputs(tmp_path / "out")
    assert pydicom.dcmread(later) == pydicom.dcmread(tmp_path / "now.dcm")


def test_names_of_structures_stay_only_where_the_pipeline_gave_them(tmp_path: Path) -> None:
    write_series(tmp_path / "in", change=marked)
    StructureSetWriter().write(make_product(tmp_path / "in"), tmp_path / "ours.dcm")
    names = []
    for change in ({}, {"Manufacturer": "Somebody"}, {"AlgorithmSource": "somebody"}):
        structures = pydicom.dcmread(tmp_path / "ours.dcm")
        for keyword, value in change.items():
            item = structures.StructureSetROISequence[1].ROIDerivationAlgorithmIdentificationSequence[0]
            setattr(structures if keyword in structures else item, keyword, value)
        deidentify(structures, KEY)
        names.append([roi.ROIName for roi in structures.StructureSetROISequence])
    assert names == [["liver", "spleen"], ["", ""], ["", ""]]


def test_nothing_of_the_source_is_left_in_equipment_that_contributed(tmp_path: Path) -> None:
    def scanner(dataset: Dataset, _: int) -> None:
        dataset.ManufacturerModelName, dataset.SoftwareVersions = "SCANNERMODEL", "SCANNERSOFTWARE"

    write_series(tmp_path / "in", change=scanner)
    (tmp_path / "key").write_bytes(KEY)
    writer = SegmentationWriter({"deidentify": {"key_file": str(tmp_path / "key")}})
    product = make_product(tmp_path / "in")
    SegmentationWriter().write(product, tmp_path / "plain.dcm")
    assert b"SCANNERMODEL" in (tmp_path / "plain.dcm").read_bytes()
    writer.write(product, tmp_path / "seg.dcm")
    content = (tmp_path / "seg.dcm").read_bytes()
    assert b"SCANNERMODEL" not in content
    assert b"SCANNERSOFTWARE" not in content
    assert "ContributingEquipmentSequence" not in pydicom.dcmread(tmp_path / "seg.dcm")


def test_no_marker_is_left_in_any_kind_of_file_or_in_any_name(tmp_path: Path) -> None:
    jane = tmp_path / "in" / "MARKER^Jane"
    write_series(jane / "ct", change=marked)
    full = stuffed()
    for tag in [tag for tag in full.keys() if tag.group == 0]:  # noqa: SIM118 - of messages, not of files
        del full[tag]
    save(full, jane / "stuffed")
    save(sr(), jane / "report")
    save(structures(), jane / "structures")
    (jane / "MARKER.txt").write_text(MARKER)
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.files == 8
    for name, content in contents(tmp_path / "out").items():
        assert MARKER not in name
        assert not [secret for secret in SECRETS if secret in content], name


def meaning(value: str, text: str) -> CodedConcept:
    return CodedConcept(value, "DCM", text)


def sr() -> Dataset:
    """A report with texts, names, dates, a number and a reference to an image."""
    dataset = image()
    for name in ("PixelData", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"):
        del dataset[name]
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.34"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid("report")
    dataset.Modality = "SR"

    def item(kind: str, concept: str, **values: object) -> Dataset:
        made = Dataset()
        made.RelationshipType, made.ValueType = "CONTAINS", kind
        made.ConceptNameCodeSequence = [meaning(concept, "a concept")]
        for name, value in values.items():
            setattr(made, name, value)
        return made

    measured, reference, group = Dataset(), Dataset(), item("CONTAINER", "125007")
    measured.NumericValue, reference.ReferencedSOPClassUID = "12.5", dataset.SOPClassUID
    reference.ReferencedSOPInstanceUID = uid("series", 0)
    group.ContentSequence = [
        item("TEXT", "112039", TextValue="liver MARKER"),
        item("UIDREF", "112040", UID=uid("tracking")),
        item("NUM", "121207", MeasuredValueSequence=[measured]),
        item("IMAGE", "121112", ReferencedSOPSequence=[reference]),
    ]
    dataset.ContentSequence = [
        item("TEXT", "121071", TextValue="MARKER has a lesion"),
        item("PNAME", "121008", PersonName="MARKER^Doctor"),
        item("DATE", "121012", Date="20200102"),
        group,
    ]
    return dataset


def structures() -> Dataset:
    dataset = image()
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid("structures")
    del dataset.PixelData
    roi, contour, drawn, reference = Dataset(), Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, roi.ReferencedFrameOfReferenceUID = 1, MARKER, dataset.FrameOfReferenceUID
    reference.ReferencedSOPInstanceUID = uid("series", 0)
    drawn.ContourData, drawn.ContourImageSequence = [1, 2, 3], [reference]
    contour.ContourSequence = [drawn]
    dataset.StructureSetLabel, dataset.StructureSetROISequence, dataset.ROIContourSequence = MARKER, [roi], [contour]
    return dataset


def test_a_report_keeps_its_numbers_codes_and_references(tmp_path: Path) -> None:
    save(sr(), tmp_path / "in" / "report")
    save(structures(), tmp_path / "in" / "structures")
    save(image(), tmp_path / "in" / "image")
    run(tmp_path / "in", tmp_path / "out")
    found = {d.SOPClassUID.name: d for d in map(pydicom.dcmread, outputs(tmp_path / "out"))}
    content = found["Comprehensive 3D SR Storage"].ContentSequence
    new = found["CT Image Storage"].SOPInstanceUID
    group = content[3].ContentSequence
    assert group[2].MeasuredValueSequence[0].NumericValue == 12.5
    assert group[2].ConceptNameCodeSequence[0].CodeValue == "121207"
    assert group[3].ReferencedSOPSequence[0].ReferencedSOPInstanceUID == new
    assert content[0].TextValue.startswith("ANON-")
    drawn = found["RT Structure Set Storage"].ROIContourSequence[0].ContourSequence[0]
    assert drawn.ContourImageSequence[0].ReferencedSOPInstanceUID == new
    assert list(drawn.ContourData) == [1, 2, 3]


# -------------------------------------------------------------------------------- pixels


@pytest.mark.parametrize(
    "syntax",
    [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless,
     JPEG2000Lossless, "no meta header"],
)  # fmt: skip
def test_pixels_are_what_they_were(tmp_path: Path, syntax: str) -> None:
    dataset = image()
    expected = dataset.pixel_array.copy()
    path = tmp_path / "in" / "image"
    path.parent.mkdir()
    if syntax in (RLELossless, JPEG2000Lossless):
        dataset.compress(syntax)
    elif syntax == ExplicitVRBigEndian:
        dataset.PixelData = expected.astype(">u2").tobytes()
        dataset.file_meta.TransferSyntaxUID = syntax
    elif syntax != "no meta header":
        dataset.file_meta.TransferSyntaxUID = syntax
    if syntax == ExplicitVRBigEndian:
        pydicom.dcmwrite(path, dataset, implicit_vr=False, little_endian=False, enforce_file_format=True)
    else:
        save(dataset, path)
    if syntax == "no meta header":
        meta = path.read_bytes()
        path.write_bytes(meta[meta.index(b"\x08\x00\x05\x00") :])
    assert run(tmp_path / "in", tmp_path / "out").files == 1
    (made,) = outputs(tmp_path / "out")
    again = pydicom.dcmread(made)
    assert np.array_equal(again.pixel_array, expected)
    assert again.file_meta.TransferSyntaxUID == (ExplicitVRLittleEndian if syntax == "no meta header" else syntax)
    assert set(again.file_meta.keys()) <= {0x00020000 | e for e in (0, 1, 2, 3, 0x10, 0x12, 0x13)}
    assert again.file_meta.MediaStorageSOPInstanceUID == again.SOPInstanceUID


def test_pixels_are_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdm_dicom.privacy.copying._PIECE", 64)
    dataset = image()
    save(dataset, tmp_path / "in" / "image")
    run(tmp_path / "in", tmp_path / "out")
    assert pydicom.dcmread(outputs(tmp_path / "out")[0]).PixelData == dataset.PixelData


def test_overlays_go_from_the_header_and_from_unused_bits(tmp_path: Path) -> None:
    dataset = image()
    stored = dataset.pixel_array.copy()
    dataset.BitsStored, dataset.HighBit = 12, 11
    dataset.PixelData = (stored | (1 << 12)).tobytes()
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 12)
    dataset.add_new(0x60000022, "LO", MARKER)
    save(dataset, tmp_path / "in" / "image")
    run(tmp_path / "in", tmp_path / "out")
    made = pydicom.dcmread(outputs(tmp_path / "out")[0])
    assert np.array_equal(np.frombuffer(made.PixelData, "<u2").reshape(stored.shape), stored)
    assert not [tag for tag in made.keys() if tag.group == 0x6000]  # noqa: SIM118
    assert report(tmp_path / "out")["actions"]["removed"]["overlay"] == 3  # type: ignore[index]


@pytest.mark.parametrize("compressed", [False, True])
def test_truncated_pixels_are_left_out(tmp_path: Path, compressed: bool) -> None:
    dataset = image()
    if compressed:
        dataset.compress(RLELossless)
    path = save(dataset, tmp_path / "in" / "image")
    path.write_bytes(path.read_bytes()[:-100])
    done = run(tmp_path / "in", tmp_path / "out")
    assert (done.files, done.refused) == (0, 1)
    assert list(contents(tmp_path / "out")) == [".lock", REPORT], "no part of it stays"


# -------------------------------------------------------------------------------- what is left out


def capture(dataset: Dataset, _: int = 0) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"


def screenshot(dataset: Dataset, _: int = 0) -> None:
    dataset.ImageType = ["DERIVED", "SECONDARY", "SCREEN SAVE"]


def document(dataset: Dataset, _: int = 0) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.104.1"


def private(dataset: Dataset, _: int = 0) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.3.12.2.1107.5.9.1"


@pytest.mark.parametrize(
    ("change", "reason", "kept"),
    [
        (burned, "burned-in annotation", True),
        (capture, "secondary captures", True),
        (screenshot, "screenshots", True),
        (document, "encapsulated documents", False),
        (private, "private SOP class", False),
    ],
)
def test_what_may_show_a_name_is_left_out(
    tmp_path: Path, change: Callable[[Dataset, int], None], reason: str, kept: bool
) -> None:
    save(image(change=change), tmp_path / "in" / MARKER)
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.files == 0
    assert done.refused == 1
    assert reason in next(iter(done.left_out))
    assert MARKER not in (tmp_path / "out" / REPORT).read_text()
    assert run(tmp_path / "in", tmp_path / "out2", keep_burned_in=True).files == int(kept)


def test_a_capture_that_says_that_it_shows_no_name_is_taken(tmp_path: Path) -> None:
    dataset = image(change=capture)
    dataset.BurnedInAnnotation = "NO"
    save(dataset, tmp_path / "in" / "a")
    assert run(tmp_path / "in", tmp_path / "out").files == 1


def test_an_ultrasound_is_taken_with_a_warning(tmp_path: Path) -> None:
    dataset = image()
    dataset.Modality = "US"
    save(dataset, tmp_path / "in" / "a")
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.files == 1
    assert done.warnings == {"images that may show a name: look at them": 1}
