"""Stored values to units: rescaling, inversion, padding, colour; and refusing what must not be decoded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import dcmwrite, write_dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
)

from hdm_dicom.files.codestreams import codestream_size
from hdm_dicom.files.headers import scan
from hdm_dicom.files.instances import Rejected
from hdm_dicom.volumes.pixels import FrameReader
from hdm_pipeline.errors import ReadError, UnsupportedSceneError
from tests.dicom_series import make_slice


def write(folder: Path, pixels: np.ndarray, change: Callable[[Dataset], None] = lambda dataset: None) -> Path:
    dataset = make_slice(0, pixels)
    change(dataset)
    path = folder / "slice"
    dataset.save_as(path, enforce_file_format=True)
    return path


def read(path: Path, index: int = 0, max_pixels: int = 1 << 20) -> np.ndarray:
    frames = scan(str(path))
    assert not isinstance(frames, Rejected)
    return FrameReader("scene", max_pixels).read(frames[index], index)


@pytest.mark.parametrize(
    ("dtype", "bits"), [(np.uint8, 8), (np.int8, 8), (np.uint16, 12), (np.int16, 13), (np.int16, 16), (np.uint32, 32)]
)
def test_signed_and_odd_bit_depths(tmp_path: Path, dtype: type[np.generic], bits: int) -> None:
    info = np.iinfo(dtype)  # type: ignore[arg-type]
    low = -(1 << (bits - 1)) if info.min < 0 else 0
    high = (1 << (bits - 1)) - 1 if info.min < 0 else (1 << bits) - 1
    stored = np.linspace(low, high, 24 * 32).round().astype(dtype).reshape(24, 32)

    def odd(dataset: Dataset) -> None:
        dataset.BitsStored, dataset.HighBit = bits, bits - 1
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, -100

    image = read(write(tmp_path, stored, odd))
    assert image.dtype == np.float32
    assert image[0] == pytest.approx(stored.astype(np.float64) * 2 - 100, rel=1e-6)


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian])
@pytest.mark.parametrize(
    ("dtype", "bits", "high"), [(np.uint8, 8, 7), (np.int8, 7, 6), (np.uint16, 12, 11), (np.int16, 12, 15)]
)
def test_samples_that_stand_in_the_file_as_they_are_need_no_second_parsing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, dtype: type[np.generic], bits: int, high: int
) -> None:
    noise = np.random.default_rng(0).bytes(3 * 24 * 32 * np.dtype(dtype).itemsize)
    unused = np.dtype(dtype).itemsize * 8 - bits
    samples = np.right_shift(np.frombuffer(noise, dtype), unused)  # type: ignore[call-overload]

    def change(dataset: Dataset) -> None:
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.NumberOfFrames, dataset.BitsStored, dataset.HighBit = 3, bits, high
        dataset.PixelPaddingValue, dataset.RescaleSlope, dataset.RescaleIntercept = 5, 1.5, -7
        dataset.PixelData = samples.tobytes()

    path = write(tmp_path, np.zeros((24, 32), dtype), change)
    frames = scan(str(path))
    assert not isinstance(frames, Rejected)
    parsed = [replace(frame, instance=replace(frame.instance, stated=False)) for frame in frames]
    expected = [FrameReader("scene", 1 << 20).read(frame, 0) for frame in parsed]
    monkeypatch.setattr("hdm_dicom.volumes.pixels.read_header", None)
    found = [FrameReader("scene", 1 << 20).read(frame, 0) for frame in frames]
    assert np.array_equal(found, expected, equal_nan=True)
    assert len({image.tobytes() for image in found}) == 3


@pytest.mark.parametrize("keyword", ["SamplesPerPixel", "BitsAllocated", "BitsStored", "PixelRepresentation"])
def test_what_samples_are_is_not_made_up(tmp_path: Path, keyword: str) -> None:
    def change(dataset: Dataset) -> None:
        delattr(dataset, keyword)

    with pytest.raises((ReadError, UnsupportedSceneError)):
        read(write(tmp_path, np.zeros((24, 32), np.uint16), change))


def test_monochrome1_is_mirrored_in_its_stored_range(tmp_path: Path) -> None:
    stored = np.array([[0, 1], [100, 4095]], np.uint16)

    def inverse(dataset: Dataset) -> None:
        dataset.Modality, dataset.PhotometricInterpretation = "DX", "MONOCHROME1"
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0

    assert read(write(tmp_path, stored, inverse))[0].tolist() == [[4095, 4094], [3995, 0]]


def test_padding_is_invalid_even_where_it_is_a_range(tmp_path: Path) -> None:
    stored = np.array([[-2000, -1999], [-1990, 0]], np.int16)

    def padded(dataset: Dataset) -> None:
        dataset.add_new(0x00280120, "SS", -2000)
        dataset.add_new(0x00280121, "SS", -1999)

    assert np.isnan(read(write(tmp_path, stored, padded))[0]).tolist() == [[True, True], [False, False]]


def test_color_has_three_bands(tmp_path: Path) -> None:
    stored = np.random.default_rng(1).integers(0, 255, (6, 5, 3), dtype=np.uint8)
    assert np.array_equal(read(write(tmp_path, stored)), np.moveaxis(stored, -1, 0))


def test_palette_becomes_color(tmp_path: Path) -> None:
    def palette(dataset: Dataset) -> None:
        dataset.PhotometricInterpretation = "PALETTE COLOR"
        for number, name in enumerate(("Red", "Green", "Blue")):
            setattr(dataset, f"{name}PaletteColorLookupTableDescriptor", [4, 0, 16])
            table = np.array([0, 100, 200, 255], np.uint16) * 257 // (number + 1)
            setattr(dataset, f"{name}PaletteColorLookupTableData", table.astype("<u2").tobytes())

    image = read(write(tmp_path, np.array([[0, 1], [2, 3]], np.uint8), palette))
    assert image.shape == (3, 2, 2)
    assert image[0].tolist() == [[0, 100], [200, 255]]


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_frames_of_a_compressed_file_are_cut_out_one_by_one(tmp_path: Path, syntax: str) -> None:
    stored = np.random.default_rng(2).integers(0, 4000, (3, 64, 96), dtype=np.uint16)

    def frames(dataset: Dataset) -> None:
        dataset.NumberOfFrames = 3
        dataset.PixelData = stored.tobytes()
        dataset.compress(syntax)

    path = write(tmp_path, stored[0], frames)
    for index in (2, 0, 1):
        assert np.array_equal(read(path, index)[0], stored[index].astype(np.float32) - 1024)


@pytest.mark.parametrize("bits", [8, 16, 32])
@pytest.mark.parametrize("encoding", ["big endian", "deflated", "implicit", "no preamble", "no meta header"])
def test_however_the_file_is_encoded_the_values_are_the_same(tmp_path: Path, encoding: str, bits: int) -> None:
    stored = np.random.default_rng(6).integers(0, 200 if bits == 8 else 4000, (7, 10)).astype(f"u{bits // 8}")
    expected = read(write(tmp_path, stored))
    dataset = make_slice(0, stored)
    path = tmp_path / "other"
    if encoding == "big endian":
        dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
        dataset.PixelData = stored.astype(stored.dtype.newbyteorder(">")).tobytes()
        if bits == 8:  # of 8-bit samples in OW, each pair is swapped (PS3.5 section 8.1.1)
            dataset["PixelData"].VR = "OW"
            dataset.PixelData = stored.reshape(-1, 2)[:, ::-1].tobytes()
        dcmwrite(path, dataset, implicit_vr=False, little_endian=False, enforce_file_format=True)
    else:
        syntaxes = {"deflated": DeflatedExplicitVRLittleEndian, "implicit": ImplicitVRLittleEndian}
        dataset.file_meta.TransferSyntaxUID = syntaxes.get(encoding, ExplicitVRLittleEndian)
        dataset.save_as(path, enforce_file_format=True)
        if encoding == "no preamble":
            path.write_bytes(path.read_bytes()[132:])
        if encoding == "no meta header":
            write_dataset_alone(dataset, path)
    assert np.array_equal(read(path), expected)


def write_dataset_alone(dataset: Dataset, path: Path) -> None:
    """The elements of a data set in explicit little endian, with nothing in front of them."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    bare = Dataset()
    bare.update({element.tag: element for element in dataset if element.tag.group > 2})
    write_dataset(buffer, bare)
    path.write_bytes(buffer.getvalue())


def test_no_pixel_data(tmp_path: Path) -> None:
    def without(dataset: Dataset) -> None:
        del dataset.PixelData

    with pytest.raises(ReadError, match="no pixel data"):
        read(write(tmp_path, np.zeros((4, 4), np.uint16), without))


def test_a_frame_count_that_lies(tmp_path: Path) -> None:
    def lie(dataset: Dataset) -> None:
        dataset.NumberOfFrames = 40

    with pytest.raises(ReadError, match="40 frames"):
        read(write(tmp_path, np.zeros((4, 4), np.uint16), lie))


def test_a_compressed_frame_count_that_lies(tmp_path: Path) -> None:
    def lie(dataset: Dataset) -> None:
        dataset.compress(RLELossless)
        dataset.NumberOfFrames = 40

    with pytest.raises(ReadError, match="cannot be decoded"):
        read(write(tmp_path, np.zeros((4, 4), np.uint16), lie), 39)


def test_a_header_of_a_thousand_million_pixels_is_refused_before_decoding(tmp_path: Path) -> None:
    def huge(dataset: Dataset) -> None:
        dataset.Rows, dataset.Columns = 50_000, 20_000

    with pytest.raises(UnsupportedSceneError, match="50000 x 20000"):
        read(write(tmp_path, np.zeros((4, 4), np.uint16), huge), max_pixels=1 << 26)


def test_a_codestream_larger_than_its_header_is_refused_before_decoding(tmp_path: Path) -> None:
    stored = np.zeros((512, 512), np.uint16)

    def bomb(dataset: Dataset) -> None:
        dataset.compress(JPEG2000Lossless)
        dataset.Rows = dataset.Columns = 4

    with pytest.raises(UnsupportedSceneError, match="512 x 512"):
        read(write(tmp_path, stored, bomb), max_pixels=1000)


def testcodestream_size_of_a_jpeg() -> None:
    header = b"\xff\xd8\xff\xe0\x00\x04ab\xff\xc3\x00\x0b\x0c\x01\x02\x03\x04\x01\x01\x11\x00"
    assert codestream_size(header) == (0x0102, 0x0304)
    assert codestream_size(b"not a picture") is None


def test_truncated(tmp_path: Path) -> None:
    path = write(tmp_path, np.zeros((64, 64), np.uint16))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ReadError, match=r"promises 8192 \(1 frame\)"):
        read(path)


def test_unknown_photometric_interpretation(tmp_path: Path) -> None:
    def argb(dataset: Dataset) -> None:
        dataset.PhotometricInterpretation = "ARGB"

    with pytest.raises(UnsupportedSceneError, match="ARGB"):
        read(write(tmp_path, np.zeros((4, 4), np.uint16), argb))
