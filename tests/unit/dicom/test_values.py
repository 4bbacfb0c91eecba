"""Stored values that are not what they seem: bits, Modality LUT, MONOCHROME1, several rescales, VOI, other mappings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut
from pydicom.uid import ExplicitVRBigEndian

from hdm_pipeline.errors import ReadError
from tests.dicom_series import Change, make_slice
from tests.unit.dicom.values import RAMP, facts, header_of, kinds, lut, opened, series


def bits(stored: int, high: int) -> Change:
    def change(dataset: Dataset, _: int) -> None:
        dataset.BitsStored, dataset.HighBit = stored, high

    return change


def test_values_that_lie_high_are_shifted_down(tmp_path: Path) -> None:
    header, pixels, _ = opened(series(tmp_path, bits(12, 15), lambda index: (RAMP + index) << 4))
    assert np.array_equal(pixels[2], RAMP + 2 - 1024.0)
    assert "HighBit (0028,0102)" in kinds(header)["stored_bits"].what
    assert not kinds(header)["stored_bits"].suspect


def test_signed_values_that_lie_high_keep_their_sign(tmp_path: Path) -> None:
    stored = (RAMP.astype(np.int16) - 300) * 16
    _, pixels, _ = opened(series(tmp_path, bits(12, 15), lambda index: stored))
    assert np.array_equal(pixels[0], stored / 16 - 1024.0)


def test_an_overlay_below_high_values_is_no_part_of_them(tmp_path: Path) -> None:
    stored = ((RAMP + 3000) << 4) | 1
    _, pixels, _ = opened(series(tmp_path, bits(12, 15), lambda index: stored))
    assert np.array_equal(pixels[0], RAMP + 3000 - 1024.0)


@pytest.mark.parametrize(("stored", "high"), [(12, 15), (12, 14), (16, 11), (12, 9), (12, 40)])
def test_a_high_bit_that_the_pixels_contradict_is_disregarded(tmp_path: Path, stored: int, high: int) -> None:
    header, pixels, _ = opened(series(tmp_path, bits(stored, high)))
    assert np.array_equal(pixels[3], RAMP + 3 - 1024.0)
    assert kinds(header)["stored_bits"].suspect


def test_pixels_of_more_bits_than_stated_are_not_wrapped(tmp_path: Path) -> None:
    header, pixels, _ = opened(series(tmp_path, bits(8, 7)))
    assert np.array_equal(pixels[0], RAMP - 1024.0)
    assert "BitsStored (0028,0101)" in kinds(header)["stored_bits"].what


def test_an_image_that_needs_more_bits_than_the_ones_that_decided_is_refused(tmp_path: Path) -> None:
    """Slice 1 of 5 is none of those that are looked at; 5000 in 12 bits would be 904."""

    def stored(index: int) -> npt.NDArray[Any]:
        return np.where(RAMP < 100, 5000, RAMP).astype(np.uint16) if index == 1 else RAMP

    with pytest.raises(ReadError, match=r"more than the 12 bits of BitsStored.*") as caught:
        opened(series(tmp_path, bits(12, 11), stored))
    assert "slice 1" in str(caught.value)
    assert "BitsStored" in (caught.value.remedy or "")


def test_an_overlay_of_one_image_that_did_not_decide_is_cut_off(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.BitsStored, dataset.HighBit = 12, 11
        if index == 1:
            dataset.add_new(0x60000100, "US", 16)
            dataset.add_new(0x60000102, "US", 12)

    _, pixels, _ = opened(series(tmp_path, change, lambda index: RAMP | ((1 << 12) * (index == 1))))
    assert np.array_equal(pixels[1], RAMP - 1024.0)


def test_an_overlay_in_unused_bits_is_cut_off(tmp_path: Path) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.add_new(0x60000100, "US", 16)
        dataset.add_new(0x60000102, "US", 12)

    header, pixels, _ = opened(series(tmp_path, change, lambda index: RAMP | (1 << 12)))
    assert np.array_equal(pixels[0], RAMP - 1024.0)
    assert "stored_bits" not in kinds(header)


def test_a_sign_that_is_not_extended_counts(tmp_path: Path) -> None:
    stored = (RAMP.astype(np.int16) - 300) & 0x0FFF
    header, pixels, _ = opened(series(tmp_path, bits(12, 11), lambda index: stored))
    assert np.array_equal(pixels[0], RAMP - 300.0 - 1024.0)
    assert "stored_bits" not in kinds(header)


def test_more_bits_stored_than_allocated_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="BitsStored is 16, more than BitsAllocated, 8"):
        opened(series(tmp_path, bits(16, 15), lambda index: RAMP.astype(np.uint8)))


@pytest.mark.parametrize("vr", ["US", "SS"])
def test_padding_is_found_whatever_its_type(tmp_path: Path, vr: str) -> None:
    stored = RAMP.astype(np.int16)
    stored[0, 0] = -2000

    def change(dataset: Dataset, _: int) -> None:
        dataset.add_new(0x00280120, vr, -2000 if vr == "SS" else 65536 - 2000)

    _, _, valid = opened(series(tmp_path, change, lambda index: stored))
    assert not valid[0, 0, 0]
    assert valid.sum() == valid.size - len(valid)


@pytest.mark.parametrize("words", [True, False])
@pytest.mark.parametrize("first", [0, 100])
def test_a_modality_lut_is_applied_as_pydicom_applies_it(tmp_path: Path, words: bool, first: int) -> None:
    entries = (np.arange(500) ** 2) % 60_000

    def change(dataset: Dataset, index: int) -> None:
        del dataset.RescaleSlope, dataset.RescaleIntercept
        dataset.ModalityLUTSequence = [lut(first, entries + index, words=words)]

    header, pixels, _ = opened(series(tmp_path, change))
    assert header.bands[0].unit == "HU"
    assert not facts(header)
    for path in tmp_path.iterdir():
        dataset = pydicom.dcmread(path)
        expected = apply_modality_lut(dataset.pixel_array, dataset)
        assert np.array_equal(pixels[dataset.InstanceNumber - 1], expected)


def test_a_modality_lut_in_big_endian(tmp_path: Path) -> None:
    dataset = make_slice(0, RAMP)
    dataset.PixelData = RAMP.astype(">u2").tobytes()
    dataset.ModalityLUTSequence = [lut(0, np.arange(800) * 3)]
    dataset.ModalityLUTSequence[0].add_new(0x00283006, "OW", (np.arange(800) * 3).astype(">u2").tobytes())
    dataset.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    pydicom.dcmwrite(tmp_path / "a", dataset, implicit_vr=False, little_endian=False, enforce_file_format=True)
    assert np.array_equal(opened(tmp_path)[1][0], RAMP * 3)


def test_a_modality_lut_of_signed_values_and_of_65536_entries(tmp_path: Path) -> None:
    entries = np.arange(65536) // 2

    def change(dataset: Dataset, _: int) -> None:
        dataset.ModalityLUTSequence = [lut(65536 - 32768, entries)]

    stored = RAMP.astype(np.int16) - 300
    header, pixels, _ = opened(series(tmp_path, change, lambda index: stored))
    assert np.array_equal(pixels[0], (stored.astype(int) + 32768) // 2)
    assert "Modality LUT counts" in kinds(header)["modality_lut"].what, "the rescale beside it is not silently dropped"


def test_a_broken_modality_lut_is_found_before_the_run(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.ModalityLUTSequence = [lut(0, np.arange(100))]
        if index == 3:
            dataset.ModalityLUTSequence[0].LUTDescriptor = [4096, 0, 16]

    with pytest.raises(ReadError, match="LUTDescriptor") as caught:
        header_of(series(tmp_path, change))
    assert "slice 3" in str(caught.value)


def test_a_broken_modality_lut_is_named(tmp_path: Path) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.ModalityLUTSequence = [lut(0, np.arange(100))]
        dataset.ModalityLUTSequence[0].LUTDescriptor = [4096, 0, 16]

    with pytest.raises(ReadError, match="LUTDescriptor"):
        opened(series(tmp_path, change))


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.Modality, dataset.Units = "PT", "BQML"
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + index, 0

    header, pixels, _ = opened(series(tmp_path, change))
    for index, image in enumerate(pixels):
        assert np.allclose(image, (RAMP + index) * (0.5 + index))
    assert header.bands[0].unit == "BQML"
    assert not kinds(header)


def test_a_modality_in_small_letters_is_that_modality(tmp_path: Path) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.Modality = "ct"

    header = header_of(series(tmp_path, change))
    assert (header.bands[0].name, header.bands[0].unit) == ("CT", "HU")
    assert header.ref.id.startswith("CT-")


def test_slices_of_several_units_are_told(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.RescaleType = "ED" if index == 2 else "HU"

    header, _, _ = opened(series(tmp_path, change))
    assert "RescaleType (0028,1054)" in kinds(header)["mixed_units"].what


@pytest.mark.parametrize(("absent", "told"), [("RescaleSlope", "(0028,1053)"), ("RescaleIntercept", "(0028,1052)")])
def test_half_of_a_rescale_is_told_as_what_is_done_with_it(tmp_path: Path, absent: str, told: str) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.RescaleSlope, dataset.RescaleIntercept = 2, -1024
        setattr(dataset, absent, None)

    header, pixels, _ = opened(series(tmp_path, change))
    wanted = RAMP - 1024.0 if absent == "RescaleSlope" else RAMP * 2.0
    assert np.array_equal(pixels[0], wanted)
    warning = kinds(header)["half_rescale"]
    assert absent in warning.what
    assert told in warning.what
    assert warning.suspect
    assert "as they are" not in facts(header)


def test_slices_without_a_rescale_among_others_are_told(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        if index == 2:
            del dataset.RescaleIntercept

    header, _, _ = opened(series(tmp_path, change))
    assert "1 of 5 slices state no RescaleSlope and RescaleIntercept" in kinds(header)["mixed_rescale"].what


@pytest.mark.parametrize(("slope", "words"), [("0", "RescaleSlope is 0"), ("x", "RescaleSlope is not a number")])
def test_a_slope_that_cannot_be_is_refused(tmp_path: Path, slope: str, words: str) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.RescaleSlope = None
        dataset["RescaleSlope"]._value = slope

    with pytest.raises(ReadError, match=words):
        opened(series(tmp_path, change))
