"""How large a pixel is: what a file states, what the user vouches for, and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from hdm_dicom.files.spacing import Spacing, pixel_spacing, thickness
from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import SceneHeader, SceneRef, SceneWarning, VolumeGeometry
from hdm_pipeline.errors import ConfigError, UnsupportedSceneError
from tests.dicom_series import write_series

DIGITAL_XRAY = "1.2.840.10008.5.1.4.1.1.1.1"


def open_series(folder: Path, options: dict[str, Any] | None = None) -> tuple[SceneHeader, np.ndarray | None]:
    """Header of the only volume in a folder, and the areas of its rows."""
    reader = DicomReader(options)
    (ref,) = (found for found in reader.discover(str(folder)) if isinstance(found, SceneRef))
    with reader.open(ref) as source:
        return source.header, source.row_areas()


def warned(header: SceneHeader) -> dict[str, str]:
    """What is told, by kind."""
    return {one.kind: one.what for one in header.warnings if isinstance(one, SceneWarning)}


def as_xray(dataset: Dataset) -> None:
    """One projection: no place in the patient."""
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = DIGITAL_XRAY
    dataset.Modality = "DX"
    for name in ("ImagePositionPatient", "ImageOrientationPatient", "FrameOfReferenceUID", "PixelSpacing"):
        delattr(dataset, name)


def missing(dataset: Dataset) -> None:
    del dataset.PixelSpacing


def only_detector(dataset: Dataset) -> None:
    del dataset.PixelSpacing
    dataset.ImagerPixelSpacing = [0.2, 0.2]


def states(*values: str) -> Callable[[Dataset], None]:
    return lambda dataset: setattr(dataset, "PixelSpacing", list(values))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (missing, "no PixelSpacing: it is not known"),
        (states("0", "0"), "PixelSpacing is no pair"),
        (states("-0.5", "0.5"), "PixelSpacing is no pair"),
        (states("nan", "nan"), "PixelSpacing is no pair"),
        (states("0.5"), "PixelSpacing is no pair"),
        (states("1e300", "1e300"), "PixelSpacing is no pair"),
        (only_detector, "only ImagerPixelSpacing"),
    ],
)
def test_slices_of_unknown_spacing_are_refused_unless_the_user_states_it(
    tmp_path: Path, change: Callable[[Dataset], None], what: str
) -> None:
    write_series(tmp_path, change=lambda dataset, index: change(dataset))
    with pytest.raises(UnsupportedSceneError, match=what) as caught:
        open_series(tmp_path)
    assert "assume" in caught.value.remedy
    header, areas = open_series(tmp_path, {"assume": {"pixel_spacing": [2, 3]}})
    assert isinstance(header.geometry, VolumeGeometry)
    affine = np.array(header.geometry.affine).reshape(4, 4)
    assert np.linalg.norm(affine[:3, :3], axis=0) == pytest.approx([3, 2, 2])  # x is along a row: between columns
    assert areas is not None
    assert areas[0] == pytest.approx(6e-6)
    assert "2 x 3 mm are assumed" in warned(header)["assumed_spacing"]


def test_what_a_file_states_is_never_replaced_by_what_is_assumed(tmp_path: Path) -> None:
    write_series(tmp_path)
    header, _ = open_series(tmp_path, {"assume": {"pixel_spacing": [2, 3]}})
    assert header.attributes["pixel_spacing"] == pytest.approx((0.5, 0.75))
    assert warned(header) == {}


@pytest.mark.parametrize(
    ("change", "spacing", "kind"),
    [
        (lambda d: setattr(d, "ImagerPixelSpacing", [0.2, 0.3]), (0.2, 0.3), "detector_spacing"),
        (lambda d: setattr(d, "NominalScannedPixelSpacing", [0.2, 0.3]), (0.2, 0.3), "film_spacing"),
        (lambda d: setattr(d, "PixelSpacing", [0.2, 0.3]), (0.2, 0.3), ""),
        (lambda d: None, None, ""),
        (lambda d: setattr(d, "PixelSpacing", [0, 0]), None, ""),
    ],
)
def test_of_a_projection_it_is_said_where_its_spacing_was_measured(
    tmp_path: Path, change: Callable[[Dataset], None], spacing: tuple[float, float] | None, kind: str
) -> None:
    write_series(tmp_path, (0.0,), change=lambda dataset, index: (as_xray(dataset), change(dataset)))  # type: ignore[func-returns-value]
    header, areas = open_series(tmp_path)
    assert header.attributes["pixel_spacing"] == (None if spacing is None else pytest.approx(spacing))
    assert (areas is None) == (spacing is None)
    assert set(warned(header)) == ({kind} if kind else set())
    assert isinstance(header.geometry, VolumeGeometry)
    assert not header.geometry.located
    assert not header.geometry.measured
    told = [one for one in header.warnings if isinstance(one, str)]
    assert any("no area is measured" in one for one in told) == (spacing is None)


def test_a_copy_of_the_detectors_spacing_is_no_spacing_in_the_patient() -> None:
    dataset = Dataset()
    dataset.PixelSpacing = dataset.ImagerPixelSpacing = [0.2, 0.2]
    assert pixel_spacing(dataset) == Spacing((0.2, 0.2), "ImagerPixelSpacing")
    dataset.PixelSpacingCalibrationType = "GEOMETRY"
    assert pixel_spacing(dataset) == Spacing((0.2, 0.2), "PixelSpacing")
    del dataset.PixelSpacingCalibrationType
    dataset.PixelSpacing = [0.15, 0.15]
    assert pixel_spacing(dataset) == Spacing((0.15, 0.15), "PixelSpacing")


def region(delta: float, units: int = 3, kind: int = 1) -> Dataset:
    item = Dataset()
    item.RegionSpatialFormat = kind
    item.PhysicalUnitsXDirection = item.PhysicalUnitsYDirection = units
    item.PhysicalDeltaX, item.PhysicalDeltaY = delta, -2 * delta
    return item


def test_ultrasound_has_the_scale_of_its_regions() -> None:
    dataset = Dataset()
    dataset.SequenceOfUltrasoundRegions = [region(0.05), region(0.01, units=4, kind=2), region(0.05)]
    assert pixel_spacing(dataset).value == pytest.approx((1.0, 0.5))
    for others in ([region(0.05), region(0.06)], [region(0.05, units=4)], [region(0.0)]):
        dataset.SequenceOfUltrasoundRegions = others
        assert pixel_spacing(dataset).value is None


@pytest.mark.parametrize(("stated", "known"), [("2.5", 2.5), ("0", 0.0), ("-2", 0.0), ("", 0.0)])
def test_a_thickness_is_above_nothing(stated: str, known: float) -> None:
    dataset = Dataset()
    dataset.SliceThickness = stated
    assert thickness(dataset) == known


def test_one_slice_of_unknown_thickness_has_no_volume(tmp_path: Path) -> None:
    write_series(tmp_path, (0.0,), change=lambda dataset, index: dataset.__delattr__("SliceThickness"))
    header, areas = open_series(tmp_path)
    assert isinstance(header.geometry, VolumeGeometry)
    assert header.geometry.located
    assert not header.geometry.measured
    assert areas is not None
    assert any("unknown thickness" in str(one) for one in header.warnings)


@pytest.mark.parametrize(
    "options",
    [
        {"assume": 2},
        {"assume": {"spacing": [1, 1]}},
        {"assume": {"pixel_spacing": 1}},
        {"assume": {"pixel_spacing": [1]}},
        {"assume": {"pixel_spacing": [1, 0]}},
        {"assume": {"pixel_spacing": [1, "2"]}},
        {"assume": {"pixel_spacing": [1, float("nan")]}},
        {"tolerance": -0.1},
        {"tolerance": 2},
        {"tolerance": "5 %"},
    ],
)
def test_options_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        DicomReader(options)
