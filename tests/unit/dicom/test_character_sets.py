"""A patient's name in a product is that of the source, whatever character set it is written in, or claims to be."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from hdm_dicom.derived.sources import source_header
from tests.dicom_series import write_series
from tests.unit.dicom.test_series import one


def write_raw(folder: Path, stated: str | None, name: bytes) -> None:
    """A series with just these bytes as the patient's name."""
    stand_in = b"N" * len(name)

    def change(dataset: Dataset, index: int) -> None:
        dataset.PatientName = stand_in.decode()
        if stated is None:
            del dataset.SpecificCharacterSet
        else:
            dataset.SpecificCharacterSet = stated

    for path in write_series(folder, change=change):
        content = path.read_bytes()
        assert content.count(stand_in) == 1
        path.write_bytes(content.replace(stand_in, name))


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize(
    ("stated", "written"),
    [(None, "utf-8"), (None, "latin-1"), ("ISO_IR 192", "utf-8"), ("ISO_IR 100", "latin-1"), ("ISO_IR 999", "latin-1")],
)
def test_names_are_read_as_they_are_written(tmp_path: Path, stated: str | None, written: str, implicit: bool) -> None:
    write_raw(tmp_path, stated, "Müller^Jörg".encode(written))
    if implicit:
        for path in tmp_path.iterdir():
            dataset = pydicom.dcmread(path)
            dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
            dataset.save_as(path, implicit_vr=True, little_endian=True)
    header = source_header(one(tmp_path))
    assert str(header.PatientName) == "Müller^Jörg"
    assert header.SpecificCharacterSet == "ISO_IR 192"
