"""Sequences that are encoded here stand in the file byte for byte as pydicom writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.valuerep import DS

from hdm_dicom.derived import encoding
from hdm_dicom.derived.encoding import encode_sequences
from tests.dicom_series import make_slice

LONG = "ContentSequence"


def item(number: int) -> Dataset:
    """All kinds of values that are encoded here."""
    inner = Dataset()
    inner.CodeMeaning = "odd" if number % 2 else "even"
    inner.ReferencedSegmentNumber = number
    made = Dataset()
    made.DimensionIndexValues = [1, number]
    made.ImagePositionPatient = [-0.5, DS(1 / 3, auto_format=True), DS("01.50")]
    made.SliceThickness = None
    made.ReferencedFrameNumber = [number, number + 1]
    made.ReferencedSOPInstanceUID = "1.2.3" if number % 2 else "1.2.34"
    made.ImageType = ["DERIVED", "PRIMARY"]
    made.RealWorldValueSlope = 0.1
    made.RecommendedDisplayFrameRateInFloat = 0.25
    made.SmallestImagePixelValue = 7
    made["SmallestImagePixelValue"].VR = "US"
    made.ConceptNameCodeSequence = [inner, Dataset()]
    made.SourceImageSequence = []
    return made


def usual(number: int) -> Dataset:
    return item(number)


def script(number: int) -> Dataset:
    made = item(number)
    made.ConceptNameCodeSequence[0].CodeMeaning = "Größe"
    return made


def unusual(number: int) -> Dataset:
    made = item(number)
    made.PersonName = "Doe^Jane"
    made.TextValue = "a text"
    made.ContentDate = "20200102"
    return made


def unsettled(number: int) -> Dataset:
    made = item(number)
    made.PixelRepresentation = 1
    made.LargestImagePixelValue = -3
    return made


@pytest.mark.parametrize("make", [usual, script, unusual, unsettled])
def test_bytes_are_those_of_pydicom(tmp_path: Path, make: object) -> None:
    assert callable(make)
    for name in ("theirs", "ours"):
        dataset = make_slice(0, np.zeros((4, 4), np.uint16))
        dataset.SpecificCharacterSet = "ISO_IR 192"
        dataset.PatientName = "Müller^Zoë"
        setattr(dataset, LONG, [make(number) for number in range(4)])
        dataset["PixelData"].VR = "OW"
        if name == "ours":
            encode_sequences(dataset, LONG, "SourceImageSequence")
            assert dataset.get_item(LONG).is_raw
        dataset.save_as(tmp_path / name, enforce_file_format=True)
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()
    assert len(pydicom.dcmread(tmp_path / "ours")[LONG].value) == 4


def test_of_usual_items_pydicom_encodes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "write_dataset", None)
    assert encoding.encoded([usual(1)], ["utf8"])
    with pytest.raises(TypeError):
        encoding.encoded([unusual(1)], ["utf8"])


def test_where_pydicom_must_settle_a_value_everything_is_left_to_it(tmp_path: Path) -> None:
    dataset = make_slice(0, np.zeros((4, 4), np.uint16))
    dataset.SmallestImagePixelValue = 7  # US or SS, by the sign of the pixels
    setattr(dataset, LONG, [usual(1)])
    encode_sequences(dataset, LONG)
    dataset.save_as(tmp_path / "out", enforce_file_format=True)
    read = pydicom.dcmread(tmp_path / "out")
    assert read.SmallestImagePixelValue == 7
    assert read[LONG].value[0].RealWorldValueSlope == 0.1
