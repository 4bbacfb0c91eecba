"""Several b-values in one series are several volumes, whichever attribute states them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from hdm_dicom.files.diffusion import b_value
from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import SceneRef
from tests.dicom_series import uid, write_series

VENDORS: dict[str, tuple[int, str, int, str, tuple[Any, Any]]] = {
    "GE": (0x0043, "GEMS_PARM_01", 0x39, "IS", ([0, 8, 0, 0], [800, 8, 0, 0])),
    "GE with its offset": (0x0043, "GEMS_PARM_01", 0x39, "IS", ([1000000000, 8, 0, 0], [1000000800, 8, 0, 0])),
    "Siemens": (0x0019, "SIEMENS MR HEADER", 0x0C, "IS", (0, 800)),
    "Philips": (0x2001, "Philips Imaging DD 001", 0x03, "FL", (0.0, 800.0)),
    "United Imaging": (0x0065, "Image Private Header", 0x09, "FD", (0.0, 800.0)),
}


def state(dataset: Dataset, vendor: str, which: int, block: int = 0x10) -> None:
    group, creator, element, vr, stated = VENDORS[vendor]
    dataset.add_new((group, block), "LO", creator)
    dataset.add_new((group, block << 8 | element), vr, stated[which])


def as_magnetic(dataset: Dataset) -> None:
    """Nothing but the b-value tells the images of a place apart."""
    dataset.Modality = "MR"
    for name in ("AcquisitionTime", "ContentTime", "AcquisitionNumber", "RescaleSlope", "RescaleIntercept"):
        if name in dataset:
            delattr(dataset, name)


@pytest.mark.parametrize("block", [0x10, 0x12])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian], ids=["explicit", "implicit"])
@pytest.mark.parametrize("vendor", VENDORS)
def test_a_series_of_two_b_values_is_two_volumes(tmp_path: Path, vendor: str, syntax: str, block: int) -> None:
    for phase in (0, 1):

        def change(dataset: Dataset, index: int, phase: int = phase) -> None:
            as_magnetic(dataset)
            dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid("b", phase, index)
            dataset.InstanceNumber = 2 * index + phase + 1
            state(dataset, vendor, phase, block)

        for path in write_series(tmp_path / str(phase), change=change):
            dataset = pydicom.dcmread(path)
            dataset.file_meta.TransferSyntaxUID = syntax
            dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)
    reader = DicomReader()
    headers = [reader.header(ref) for ref in reader.discover(str(tmp_path)) if isinstance(ref, SceneRef)]
    assert [header.shape[1] for header in headers] == [5, 5]
    for header in headers:
        assert "its series holds 2 volumes, told apart by DiffusionBValue" in header.warnings


def test_the_standard_attribute_counts_first() -> None:
    dataset = Dataset()
    assert b_value(dataset) == ""
    state(dataset, "GE", 1)
    assert b_value(dataset) == "800.0"
    dataset.DiffusionBValue = 1000.0
    assert b_value(dataset) == "1000.0"


@pytest.mark.parametrize("value", [b"\xff\xff", b"none", b"-1"])
def test_what_is_no_b_value_says_nothing(value: bytes) -> None:
    dataset = Dataset()
    dataset.add_new((0x0019, 0x10), "LO", "SIEMENS MR HEADER")
    dataset.add_new((0x0019, 0x100C), "UN", value)
    assert b_value(dataset) == ""


def test_another_creator_of_the_block_says_nothing() -> None:
    dataset = Dataset()
    dataset.add_new((0x0019, 0x10), "LO", "SOMEBODY ELSE")
    dataset.add_new((0x0019, 0x100C), "IS", 800)
    assert b_value(dataset) == ""
