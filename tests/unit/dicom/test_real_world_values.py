"""Values of private scales, real world mappings and enhanced images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from hdm_pipeline.errors import UnsupportedSceneError
from tests.dicom_series import Change, write_series
from tests.unit.dicom.values import RAMP, kinds, opened, series


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
