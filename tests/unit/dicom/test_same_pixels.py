"""Whether two files hold the same pixels: a frame at a time, however large the file."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, RLELossless

from hdm_dicom.files.headers import scan
from hdm_dicom.files.instances import Instance
from hdm_dicom.files.same_pixels import decoded_digest
from tests.dicom_series import make_slice

FRAMES, SIDE = 24, 256


def instance_of(path: Path) -> Instance:
    found = scan(str(path))
    assert isinstance(found, list)
    return found[0].instance


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Instance]:
    """The same frames of noise, 3 MiB, stored in three ways."""
    pixels = np.random.default_rng(0).integers(0, 4096, (FRAMES, SIDE, SIDE)).astype(np.uint16)
    made = {}
    for name in ("native", "rle", "deflated"):
        dataset = make_slice(0, pixels[0])
        dataset.NumberOfFrames, dataset.PixelData = FRAMES, pixels.tobytes()
        if name == "rle":
            dataset.compress(RLELossless, pixels, encoding_plugin="pydicom", generate_instance_uid=False)
        elif name == "deflated":
            dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        dataset.save_as(tmp_path / name, enforce_file_format=True)
        made[name] = instance_of(tmp_path / name)
    return made


def test_equal_pixels_decode_to_one_digest(files: dict[str, Instance]) -> None:
    digests = {name: decoded_digest(instance) for name, instance in files.items()}
    assert len(set(digests.values())) == 1
    assert digests["native"]


def test_a_compressed_file_is_never_in_memory_as_a_whole(files: dict[str, Instance]) -> None:
    size = Path(files["rle"].path).stat().st_size
    decoded_digest(files["rle"])  # what is imported and cached does not count
    tracemalloc.start()
    try:
        assert decoded_digest(files["rle"])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < size / 2


def test_a_damaged_file_has_no_digest(files: dict[str, Instance]) -> None:
    path = Path(files["rle"].path)
    path.write_bytes(path.read_bytes()[: -(1 << 20)])
    assert decoded_digest(files["rle"]) == ""
