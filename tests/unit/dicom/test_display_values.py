"""Values as they are displayed: windows, VOI LUTs, inverted images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from hdm_dicom.reader import DicomReader
from hdm_pipeline.errors import ConfigError, ReadError, UnsupportedSceneError
from tests.unit.dicom.values import RAMP, facts, header_of, kinds, lut, opened, series


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
