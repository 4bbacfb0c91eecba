"""Stored values that are not what they seem: bits, Modality LUT, MONOCHROME1, several rescales, VOI, other mappings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRBigEndian

from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import SceneHeader, SceneRef, SceneWarning
from hdm_pipeline.errors import ConfigError, ReadError, UnsupportedSceneError
from hdm_pipeline.grid import Window
from tests.dicom_series import Change, make_slice, write_series

Floats = npt.NDArray[np.float32]
RAMP = np.arange(24 * 32, dtype=np.uint16).reshape(24, 32)


def opened(folder: Path, **options: Any) -> tuple[SceneHeader, Floats, npt.NDArray[np.bool_]]:
    """Header, pixels [z, y, x] and validity of the only volume of a folder."""
    reader = DicomReader(options)
    (ref,) = (found for found in reader.discover(str(folder)) if isinstance(found, SceneRef))
    with reader.open(ref) as source:
        _, depth, height, width = source.header.shape
        slices = [source.read(Window(z=z, y=0, x=0, height=height, width=width), [0]) for z in range(depth)]
    return source.header, np.stack([s[0][0] for s in slices]), np.stack([s[1] for s in slices])


def series(folder: Path, change: Change, pixels: Callable[[int], npt.NDArray[Any]] | None = None) -> Path:
    write_series(folder, change=change, pixels=pixels or (lambda index: RAMP + index))
    return folder


def kinds(header: SceneHeader) -> dict[str, SceneWarning]:
    return {warning.kind: warning for warning in header.warnings if isinstance(warning, SceneWarning)}


def facts(header: SceneHeader) -> str:
    return "; ".join(warning for warning in header.warnings if isinstance(warning, str))


# ---------------------------------------------------------------------------------------------------------------- bits


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


# ------------------------------------------------------------------------------------------------------- Modality LUT


def lut(first: int, entries: npt.NDArray[Any], depth: int = 16, *, words: bool = True) -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "US", [entries.size % 65536, first, depth])
    if words and entries.size < 32768:
        item.add_new(0x00283006, "US", [int(value) for value in entries])
    else:
        item.add_new(0x00283006, "OW", entries.astype("<u2").tobytes())
    item.ModalityLUTType = "HU"
    return item


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


def header_of(folder: Path, **options: Any) -> SceneHeader:
    """The header of the only volume, as a plan reads it: no pixel is decoded."""
    reader = DicomReader(options)
    (ref,) = (found for found in reader.discover(str(folder)) if isinstance(found, SceneRef))
    return reader.header(ref)


def test_a_broken_modality_lut_is_found_before_the_run(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.ModalityLUTSequence = [lut(0, np.arange(100))]
        if index == 3:
            dataset.ModalityLUTSequence[0].LUTDescriptor = [4096, 0, 16]

    with pytest.raises(ReadError, match="LUTDescriptor") as caught:
        header_of(series(tmp_path, change))
    assert "slice 3" in str(caught.value)


@pytest.mark.parametrize("broken", ["window", "table"])
def test_a_display_that_is_not_stated_is_found_before_the_run(tmp_path: Path, broken: str) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.WindowCenter, dataset.WindowWidth = 40, 400
        if index == 3 and broken == "window":
            del dataset.WindowWidth
        if index == 3 and broken == "table":
            dataset.VOILUTSequence = [lut(0, np.arange(100))]
            dataset.VOILUTSequence[0].LUTDescriptor = [4096, 0, 16]

    with pytest.raises((ReadError, UnsupportedSceneError), match=r"WindowWidth|LUTDescriptor") as caught:
        header_of(series(tmp_path, change), voi="apply")
    assert "slice 3" in str(caught.value)
    assert header_of(tmp_path).shape


def test_a_broken_modality_lut_is_named(tmp_path: Path) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.ModalityLUTSequence = [lut(0, np.arange(100))]
        dataset.ModalityLUTSequence[0].LUTDescriptor = [4096, 0, 16]

    with pytest.raises(ReadError, match="LUTDescriptor"):
        opened(series(tmp_path, change))


# -------------------------------------------------------------------------------------------------------- MONOCHROME1


@pytest.mark.parametrize(("intercept", "kind"), [(-1024, "HU"), (0, "HU"), (0, "US"), (-1024, "")])
def test_a_quantity_is_not_mirrored(tmp_path: Path, intercept: int, kind: str) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.PhotometricInterpretation = "MONOCHROME1"
        dataset.RescaleIntercept, dataset.RescaleType = intercept, kind

    header, pixels, _ = opened(series(tmp_path, change))
    assert np.array_equal(pixels[1], RAMP + 1.0 + intercept)
    assert "MONOCHROME1: values are a quantity" in facts(header)


@pytest.mark.parametrize("modality", ["DX", "CR", "MG", "XA"])
def test_images_of_a_detector_are_turned_alike(tmp_path: Path, modality: str) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.Modality, dataset.PhotometricInterpretation = modality, f"MONOCHROME{1 + index % 2}"
        dataset.BitsStored, dataset.HighBit, dataset.RescaleType = 12, 11, "US"
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, 0

    header, pixels, _ = opened(series(tmp_path, change, lambda index: 4095 - RAMP if index % 2 == 0 else RAMP))
    assert all(np.array_equal(image, RAMP) for image in pixels)
    assert header.bands[0].unit == ""
    assert "turned over" in facts(header)


# ---------------------------------------------------------------------------------------------------- several rescales


def test_each_slice_has_its_own_rescale(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.Modality, dataset.Units = "PT", "BQML"
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.5 + index, 0

    header, pixels, _ = opened(series(tmp_path, change))
    for index, image in enumerate(pixels):
        assert np.allclose(image, (RAMP + index) * (0.5 + index))
    assert header.bands[0].unit == "BQML"
    assert not kinds(header)


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


# ----------------------------------------------------------------------------------------------------------------- VOI


def voi_series(folder: Path, photometric: str = "MONOCHROME2") -> Path:
    def change(dataset: Dataset, _: int) -> None:
        dataset.Modality, dataset.PhotometricInterpretation = "MG", photometric
        dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType = 1, 0, "US"
        dataset.VOILUTSequence = [lut(100, (np.arange(500) * 8) % 4096, 12)]

    return series(folder, change)


def test_a_voi_lut_that_is_ignored_is_named(tmp_path: Path) -> None:
    header, pixels, _ = opened(voi_series(tmp_path))
    assert np.array_equal(pixels[0], RAMP)
    assert "VOI LUT (0028,3010)" in kinds(header)["voi_lut"].what


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_a_voi_lut_is_applied_as_pydicom_applies_it(tmp_path: Path, photometric: str) -> None:
    header, pixels, _ = opened(voi_series(tmp_path, photometric), voi="apply")
    dataset = next(d for d in map(pydicom.dcmread, tmp_path.iterdir()) if d.InstanceNumber == 2)
    expected = apply_voi_lut(dataset.pixel_array, dataset) / 4095
    assert pixels[1] == pytest.approx(expected if photometric == "MONOCHROME2" else 1 - expected, abs=1e-6)
    assert header.bands[0].unit == "display"


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_a_window_is_applied_as_pydicom_applies_it(tmp_path: Path, function: str) -> None:
    def change(dataset: Dataset, _: int) -> None:
        dataset.WindowCenter, dataset.WindowWidth, dataset.VOILUTFunction = -700, 300, function

    _, pixels, _ = opened(series(tmp_path, change), voi="apply")
    dataset = next(d for d in map(pydicom.dcmread, tmp_path.iterdir()) if d.InstanceNumber == 1)
    shown = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    low, high = -1024.0, 65535 - 1024.0  # pydicom maps to the range of the stored bits
    assert pixels[0] == pytest.approx((shown - low) / (high - low), abs=1e-5)


def test_a_window_does_not_fit_other_units() -> None:
    with pytest.raises(ConfigError, match="rescaled"):
        DicomReader({"voi": "apply", "units": "suv"})


def test_a_window_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedSceneError, match="WindowCenter"):
        opened(series(tmp_path, lambda dataset, index: None), voi="apply")


# ------------------------------------------------------------------------------------------- Philips and real world


def philips(block: int = 0x10, slope: float = 0.25) -> Change:
    def change(dataset: Dataset, index: int) -> None:
        dataset.Modality = "MR"
        dataset.RescaleSlope, dataset.RescaleIntercept = 2 + index, 10
        dataset.add_new((0x2005, block), "LO", "Philips MR Imaging DD 001")
        dataset.add_new((0x2005, block << 8 | 0x0E), "FL", slope * (index + 1))
        dataset.add_new((0x2005, block << 8 | 0x0D), "FL", 0.0)

    return change


@pytest.mark.parametrize("block", [0x10, 0x12])
def test_floating_point_values_of_philips(tmp_path: Path, block: int) -> None:
    header, _, _ = opened(series(tmp_path, philips(block)))
    assert "(2005,xx0E)" in kinds(header)["private_scale"].what
    header, pixels, _ = opened(tmp_path, units="philips")
    for index, image in enumerate(pixels):
        expected = ((RAMP + index) * (2.0 + index) + 10) / ((2 + index) * 0.25 * (index + 1))
        assert image == pytest.approx(expected, rel=1e-6)
    assert "private_scale" not in kinds(header)


def test_floating_point_values_need_the_private_scale(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedSceneError, match=r"\(2005,xx0E\)"):
        opened(series(tmp_path, lambda dataset, index: None), units="philips")


def real_world(slope: float, intercept: float, unit: str = "mm2/s") -> Dataset:
    code, item = Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = unit, "UCUM", "a unit"
    item.MeasurementUnitsCodeSequence = [code]
    item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
    item.add_new(0x00409216, "US", 10)
    item.add_new(0x00409211, "US", 700)
    return item


def test_a_real_world_mapping(tmp_path: Path) -> None:
    def change(dataset: Dataset, index: int) -> None:
        dataset.RealWorldValueMappingSequence = [real_world(0.5 + index, -3)]

    header, _, _ = opened(series(tmp_path, change))
    assert "(0040,9096)" in kinds(header)["real_world"].what
    header, pixels, valid = opened(tmp_path, units="real_world")
    assert header.bands[0].unit == "mm2/s"
    stored = RAMP + 2
    assert np.array_equal(valid[2], (stored >= 10) & (stored <= 700))
    assert np.allclose(pixels[2][valid[2]], (stored * 2.5 - 3.0)[valid[2]])


def test_a_real_world_mapping_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedSceneError, match=r"\(0040,9096\)"):
        opened(series(tmp_path, lambda dataset, index: None), units="real_world")


def enhanced(folder: Path, per_frame: Callable[[Dataset, int], None]) -> Path:
    """Four frames in one file, each with its own functional groups."""

    def change(dataset: Dataset, _: int) -> None:
        items = []
        for index in range(4):
            item, place = Dataset(), Dataset()
            place.ImagePositionPatient = [0, 0, 2.0 * index]
            item.PlanePositionSequence = [place]
            per_frame(item, index)
            items.append(item)
        shared, orientation, measures = Dataset(), Dataset(), Dataset()
        orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        measures.PixelSpacing, measures.SliceThickness = [1, 1], 2
        shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
        dataset.SharedFunctionalGroupsSequence, dataset.PerFrameFunctionalGroupsSequence = [shared], items
        del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.ImagePositionPatient
        dataset.Modality, dataset.NumberOfFrames = "MR", 4
        dataset.PixelData = np.stack([RAMP + index for index in range(4)]).tobytes()

    write_series(folder, (0.0,), pixels=lambda index: RAMP, change=change)
    return folder


def test_frames_of_an_enhanced_image_have_their_own_rescale_and_real_world_values(tmp_path: Path) -> None:
    def groups(item: Dataset, index: int) -> None:
        transformation = Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = 1.5 + index, index
        transformation.RescaleType = "US"
        item.PixelValueTransformationSequence = [transformation]
        item.RealWorldValueMappingSequence = [real_world(0.1 * (index + 1), 0)]

    header, pixels, _ = opened(enhanced(tmp_path, groups))
    for index, image in enumerate(pixels):
        assert np.allclose(image, (RAMP + index) * (1.5 + index) + index)
    assert "real_world" in kinds(header)
    header, pixels, valid = opened(tmp_path, units="real_world")
    for index, image in enumerate(pixels):
        assert np.allclose(image[valid[index]], ((RAMP + index) * 0.1 * (index + 1))[valid[index]])


def test_private_scale_in_the_frames_of_an_enhanced_image(tmp_path: Path) -> None:
    def groups(item: Dataset, index: int) -> None:
        transformation, private = Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = 2, 4
        item.PixelValueTransformationSequence = [transformation]
        private.add_new((0x2005, 0x10), "LO", "Philips MR Imaging DD 001")
        private.add_new((0x2005, 0x100E), "FL", 0.5 * (index + 1))
        item.add_new((0x2005, 0x14), "LO", "Philips MR Imaging DD 005")
        item.add_new((0x2005, 0x140F), "SQ", [private])

    header, _, _ = opened(enhanced(tmp_path, groups))
    assert "private_scale" in kinds(header)
    _, pixels, _ = opened(tmp_path, units="philips")
    for index, image in enumerate(pixels):
        assert np.allclose(image, ((RAMP + index) * 2.0 + 4) / (2 * 0.5 * (index + 1)))
