"""The Basic Profile of PS3.15, on outputs and on anything else that is given to it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.datadict import dictionary_VR, keyword_for_tag
from pydicom.dataset import Dataset

from hdm_dicom.privacy.deidentify import actions, deidentify
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_pipeline.errors import ConfigError
from tests.dicom_product import make_product
from tests.dicom_series import make_slice, write_series

KEY = b"0123456789abcdef-key"


def stuffed() -> Dataset:
    """A slice with a marker in every attribute of the table that takes text, at the top and in a sequence."""
    dataset: Dataset = make_slice(0, np.zeros((4, 4), np.uint16))
    item = Dataset()
    for tag, action in actions().items():
        if not keyword_for_tag(tag) or tag >> 16 == 2:
            continue
        kind = dictionary_VR(tag)
        value = {"PN": "MARKER^X", "UI": "1.2.3.4", "DA": "20201231", "TM": "111111", "DT": "20201231111111"}.get(kind)
        if kind in ("LO", "SH", "ST", "LT", "UT", "UC", "CS", "AE"):
            value = "MARKER"
        if value and action:
            dataset.add_new(tag, kind, value)
            item.add_new(tag, kind, value)
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.ReferencedStudySequence = [item]
    dataset.SegmentSequence = [pydicom.Dataset()]
    dataset.SegmentSequence[0].AnatomicRegionSequence = [item]
    dataset.add_new(0x00091001, "LO", "MARKER")
    dataset.add_new(0x50000022, "LO", "MARKER")
    dataset.add_new(0x60000022, "LO", "MARKER")
    return dataset


def texts(dataset: Dataset) -> list[str]:
    return [str(element.value) for element in dataset.iterall() if element.VR != "SQ" and element.tag != 0x7FE00010]


def test_no_marker_survives_anywhere() -> None:
    dataset = stuffed()
    assert sum("MARKER" in text for text in texts(dataset)) > 300
    deidentify(dataset, KEY)
    left = texts(dataset)
    assert not [text for text in left if "MARKER" in text or text in ("1.2.3.4", "20201231", "111111", "P1")]
    assert not [element for element in dataset.iterall() if element.tag.is_private]


def test_method_is_stamped() -> None:
    dataset = stuffed()
    deidentify(dataset, KEY)
    assert dataset.PatientIdentityRemoved == "YES"
    assert dataset.DeidentificationMethodCodeSequence[0].CodeValue == "113100"


def test_references_survive_under_one_key_and_only_under_it() -> None:
    image, report = Dataset(), Dataset()
    image.SOPInstanceUID = "1.2.3"
    image.PatientID = "P1"
    reference = Dataset()
    reference.ReferencedSOPInstanceUID = "1.2.3"
    report.ReferencedInstanceSequence = [reference]
    report.PatientID = "P1"
    for dataset in (image, report):
        deidentify(dataset, KEY)
    assert report.ReferencedInstanceSequence[0].ReferencedSOPInstanceUID == image.SOPInstanceUID
    assert report.PatientID == image.PatientID
    other = Dataset()
    other.SOPInstanceUID = "1.2.3"
    deidentify(other, b"another key of sixteen bytes")
    assert other.SOPInstanceUID != image.SOPInstanceUID
    assert image.SOPInstanceUID != "1.2.3"


def test_a_segmentation_refers_to_its_images_under_the_same_key(tmp_path: Path) -> None:
    write_series(tmp_path / "series")
    (tmp_path / "key").write_bytes(KEY)
    writer = SegmentationWriter({"deidentify": {"key_file": str(tmp_path / "key")}})
    writer.write(make_product(tmp_path / "series"), tmp_path / "out.dcm")
    seg = pydicom.dcmread(tmp_path / "out.dcm")
    images = [pydicom.dcmread(path) for path in (tmp_path / "series").iterdir()]
    for image in images:
        deidentify(image, KEY)
    uids = {image.SOPInstanceUID for image in images}
    assert {i.ReferencedSOPInstanceUID for i in seg.ReferencedSeriesSequence[0].ReferencedInstanceSequence} == uids
    for frame in seg.PerFrameFunctionalGroupsSequence:
        assert frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID in uids
    assert (seg.StudyInstanceUID, seg.PatientID) == (images[0].StudyInstanceUID, images[0].PatientID)
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == images[0].SeriesInstanceUID


def test_a_segmentation_says_nothing_of_the_patient(tmp_path: Path) -> None:
    def marked(dataset: Dataset, index: int) -> None:
        dataset.PatientName, dataset.PatientID = "MARKER^X", "MARKERID"
        dataset.AccessionNumber, dataset.StudyID = "MARKERACC", "MARKERSID"
        dataset.ReferringPhysicianName, dataset.InstitutionName = "MARKER^D", "MARKERINST"
        dataset.StationName, dataset.DeviceSerialNumber = "MARKERSTAT", "MARKERSER"
        dataset.PatientComments = dataset.StudyDescription = "MARKER"

    write_series(tmp_path / "series", change=marked)
    (tmp_path / "key").write_bytes(KEY)
    product = make_product(tmp_path / "series")
    SegmentationWriter().write(product, tmp_path / "plain.dcm")
    assert b"MARKER" in (tmp_path / "plain.dcm").read_bytes()
    writer = SegmentationWriter({"deidentify": {"key_file": str(tmp_path / "key")}})
    writer.write(product, tmp_path / "out.dcm")
    content = (tmp_path / "out.dcm").read_bytes()
    source = pydicom.dcmread(product.scene.ref.members[0], stop_before_pixels=True)
    for secret in (b"MARKER", source.SOPInstanceUID.encode(), source.SeriesInstanceUID.encode(), b"20200102"):
        assert secret not in content
    writer.write(product, tmp_path / "again.dcm")
    assert (tmp_path / "again.dcm").read_bytes() == content
    assert (pydicom.dcmread(tmp_path / "out.dcm").PixelData) == pydicom.dcmread(tmp_path / "plain.dcm").PixelData


@pytest.mark.parametrize("option", [True, {}, {"key_file": "/nowhere"}, {"key_file": 3}, {"keyfile": "x"}])
def test_a_key_is_needed(option: object) -> None:
    with pytest.raises(ConfigError):
        SegmentationWriter({"deidentify": option})


def test_a_short_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("short")
    with pytest.raises(ConfigError, match="at least 16"):
        SegmentationWriter({"deidentify": {"key_file": str(tmp_path / "key")}})


def test_what_stands_twice_in_a_data_set_is_hashed_once() -> None:
    image, item, other = Dataset(), Dataset(), Dataset()
    image.SOPInstanceUID = item.ReferencedSOPInstanceUID = "1.2.3"
    image.ReferencedImageSequence = [item]
    image.SourceImageSequence = [item]
    other["ReferencedSOPInstanceUID"] = item["ReferencedSOPInstanceUID"]
    image.ReferencedInstanceSequence = [other]
    deidentify(image, KEY)
    for name in ("ReferencedImageSequence", "SourceImageSequence", "ReferencedInstanceSequence"):
        assert image[name].value[0].ReferencedSOPInstanceUID == image.SOPInstanceUID


def test_what_neither_the_table_nor_the_dictionary_knows_is_removed() -> None:
    dataset: Dataset = make_slice(0, np.zeros((4, 4), np.uint16))
    dataset.add_new(0x00087777, "LO", "MARKER")
    dataset.add_new(0x00080000, "UL", 100)
    dataset.add_new(0x04000500, "SQ", [Dataset()])
    deidentify(dataset, KEY)
    assert not {0x00087777, 0x00080000, 0x04000500} & set(dataset.keys())
    assert dataset.Manufacturer == "Acme"


def test_a_segmentation_has_dates_of_its_own_if_asked(tmp_path: Path) -> None:
    write_series(tmp_path / "series")
    product = make_product(tmp_path / "series")
    for dates in ("source", "now"):
        SegmentationWriter({"dates": dates}).write(product, tmp_path / f"{dates}.dcm")
    source, now = (pydicom.dcmread(tmp_path / f"{dates}.dcm") for dates in ("source", "now"))
    assert source.ContentDate == source.SeriesDate == source.InstanceCreationDate == "20200102"
    assert now.ContentDate == now.SeriesDate == now.InstanceCreationDate > "20210101"
    assert now.StudyDate == "20200102"
    assert now.SOPInstanceUID != source.SOPInstanceUID, "another time, another instance"
    with pytest.raises(ConfigError, match="dates"):
        SegmentationWriter({"dates": "today"})


def test_what_is_of_no_known_type_is_removed(tmp_path: Path) -> None:
    dataset: Dataset = make_slice(0, np.zeros((4, 4), np.uint16))
    dataset.KVP = None
    path = tmp_path / "a"
    dataset.save_as(path, enforce_file_format=True)
    content = path.read_bytes()
    assert content.count(b"\x18\x00\x60\x00DS\0\0") == 1
    path.write_bytes(content.replace(b"\x18\x00\x60\x00DS\0\0", b"\x18\x00\x60\x00QQ\x06\0MARKER"))
    read = pydicom.dcmread(path)
    deidentify(read, KEY)
    assert 0x00180060 not in read
    assert read.Rows == 4
