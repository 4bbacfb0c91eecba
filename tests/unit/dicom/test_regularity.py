"""What counts as an even stack: a share of the spacing, in all three coordinates, at any scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from hdm_dicom.reader import DicomReader
from hdm_dicom.series.grouping import volumes
from hdm_dicom.series.regularity import note
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.grid import Window
from tests.dicom_series import write_series
from tests.unit.dicom.test_series import frames_of, one


def placed(folder: Path, places: np.ndarray, pixel: float = 0.5) -> Path:
    """An axial series whose slices lie at given places [n, 3]."""

    def change(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient = [round(float(v), 8) for v in places[index]]
        dataset.PixelSpacing = [pixel, pixel]

    write_series(folder, [float(z) for z in places[:, 2]], change=change)
    return folder


def column(depths: np.ndarray) -> np.ndarray:
    return np.c_[np.full(depths.size, -60.0), np.full(depths.size, -70.0), depths]


@pytest.mark.parametrize("pixel", [0.009, 0.0005])
def test_a_microscope_has_slices_too(tmp_path: Path, pixel: float) -> None:
    even = pixel * np.arange(8.0)
    (volume,) = volumes(frames_of(placed(tmp_path / "even", column(even), pixel)), "strict")
    assert volume.problems == ()
    assert volume.step == pytest.approx(pixel)
    assert [frame.position[2] for frame in volume.frames if frame.position] == pytest.approx(even)
    gap = np.delete(even, 4)
    assert "1 slice is missing" in one(placed(tmp_path / "gap", column(gap), pixel)).problems[0]
    uneven = np.array([*even[:4], *(even[4:] + 0.3 * pixel)])
    assert "uneven" in one(placed(tmp_path / "uneven", column(uneven), pixel)).problems[0]


def test_beds_that_overlap_are_even_within_the_tolerance_and_it_is_said(tmp_path: Path) -> None:
    depths = 3.27 * np.arange(12) - 0.08 * (np.arange(12) > 5)
    frames = frames_of(placed(tmp_path, column(depths)))
    (volume,) = volumes(frames, "strict")
    assert volume.problems == ()
    assert "0.0364 mm off an even grid of 3.270 mm" in note(volume.frames)
    (strict,) = volumes(frames, "strict", 0.01)
    assert "uneven" in strict.problems[0]


def test_an_even_stack_needs_no_note(tmp_path: Path) -> None:
    assert note(one(placed(tmp_path, column(3.27 * np.arange(12)))).frames) == ""


def test_gaps_that_grow_slowly_leave_the_grid(tmp_path: Path) -> None:
    """Each gap is within the tolerance, but the slices in the middle lie more than half a slice off."""
    depths = np.concatenate([[0], np.cumsum(np.linspace(2.88, 3.12, 60))])
    (problem,) = one(placed(tmp_path, column(depths))).problems
    assert "off an even grid" in problem


@pytest.mark.parametrize("jump", [(4.0, 0.0), (0.0, -0.4), (2.0, 2.0)])
@pytest.mark.parametrize("back", [True, False])
def test_slices_that_jump_sideways_are_no_grid(tmp_path: Path, jump: tuple[float, float], back: bool) -> None:
    places = column(3.0 * np.arange(12))
    places[6 : 8 if back else 12, :2] += jump
    (problem,) = one(placed(tmp_path, places)).problems
    assert "beside the straight line" in problem
    parts = volumes(frames_of(tmp_path), "split")
    assert sorted(len(part.frames) for part in parts) == ([2, 4, 6] if back else [6, 6])
    assert all(part.problems == () for part in parts)


def test_a_tilted_stack_does_not_jump(tmp_path: Path) -> None:
    places = column(3.0 * np.arange(12))
    places[:, 1] += 0.3 * places[:, 2]
    (problem,) = one(placed(tmp_path, places)).problems
    assert "gantry tilt of 16.7 degrees" in problem
    gap = np.delete(places, 5, axis=0)
    assert ["missing" in text or "tilt" in text for text in one(placed(tmp_path / "gap", gap)).problems] == [True, True]


def test_a_small_sideways_error_is_told_but_no_problem(tmp_path: Path) -> None:
    places = column(3.0 * np.arange(12))
    places[6, 0] += 0.1
    volume = one(placed(tmp_path, places))
    assert volume.problems == ()
    assert "0.1" in note(volume.frames)


@pytest.mark.parametrize("plane", ["acquired", "coronal"])
def test_resampled_slices_that_jumped_show_each_value_at_its_place(tmp_path: Path, plane: str) -> None:
    """Values are the x of their place, so that a slice that is not moved back shows others."""
    places = column(3.0 * np.arange(8))
    places[4:, 0] += 4.0
    wide = np.arange(32) * 0.5

    def along_x(dataset: Dataset, index: int) -> None:
        dataset.ImagePositionPatient = [float(v) for v in places[index]]
        dataset.PixelSpacing = [0.5, 0.5]
        values = np.broadcast_to(np.round(10 * (places[index, 0] + wide + 100)), (24, 32))
        dataset.PixelData = values.astype(np.uint16).tobytes()

    write_series(tmp_path, [float(z) for z in places[:, 2]], change=along_x)
    reader = DicomReader({"policy": "resample", "plane": plane})
    (ref,) = (found for found in reader.discover(str(tmp_path)) if isinstance(found, SceneRef))
    with reader.open(ref) as source:
        _, depth, height, width = source.header.shape
        affine = np.array(source.header.geometry.affine).reshape(4, 4)  # type: ignore[union-attr]
        seen = 0
        for z in range(depth):
            pixels, valid = source.read(Window(z=z, y=0, x=0, height=height, width=width), (0,))
            y, x = np.nonzero(valid)
            place = affine @ np.stack([x, y, np.full(x.size, z), np.ones(x.size)])
            assert (pixels[0][valid] + 1024) / 10 - 100 == pytest.approx(place[0], abs=0.06)
            seen += x.size
    assert seen >= 8 * 24 * 24
