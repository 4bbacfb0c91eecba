"""Planes and regular grids: what is read where, and what is written back where."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from hdm_dicom.options import ReaderOptions
from hdm_dicom.reader import DicomReader
from hdm_dicom.series.volume import Volume
from hdm_dicom.volumes.stack import View, view_of
from hdm_dicom.volumes.volume_io import open_volume
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.grid import Window
from tests.dicom_series import write_series

AXES = st.permutations((0, 1, 2)).map(tuple)
FLIPS = st.tuples(st.booleans(), st.booleans(), st.booleans())


@settings(deadline=None)
@given(axes=AXES, flips=FLIPS)
def test_view_is_undone_and_agrees_with_its_matrix(axes: tuple[int, int, int], flips: tuple[bool, bool, bool]) -> None:
    view = View(axes, flips)
    stack = np.arange(2 * 4 * 3 * 5).reshape(2, 4, 3, 5)  # bands, z, y, x
    turned = view.apply(stack)
    assert np.array_equal(view.undo(turned), stack)
    size = (5, 3, 4)
    assert turned.shape[1:] == view.size(size)[::-1]
    matrix = view.matrix(size)
    for x, y, z in ((0, 0, 0), tuple(n - 1 for n in view.size(size)), (1, 2, 1)):
        at = (matrix @ [x, y, z, 1]).astype(int)
        assert turned[0, z, y, x] == stack[0, at[2], at[1], at[0]]


@pytest.mark.parametrize(
    ("plane", "directions"),
    [
        ("axial", ((1, 0, 0), (0, 1, 0), (0, 0, 1))),
        ("coronal", ((1, 0, 0), (0, 0, -1), (0, 1, 0))),
        ("sagittal", ((0, 1, 0), (0, 0, -1), (1, 0, 0))),
    ],
)
@settings(deadline=None)
@given(axes=AXES, flips=FLIPS)
def test_planes_show_the_patient_the_usual_way_up(
    plane: str, directions: tuple[tuple[int, int, int], ...], axes: tuple[int, ...], flips: tuple[bool, ...]
) -> None:
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for column, (axis, flip) in enumerate(zip(axes, flips, strict=True)):
        affine[axis, column] = -1.5 if flip else 1.5
    view = view_of(plane, affine)  # type: ignore[arg-type]
    seen = affine @ view.matrix((10, 11, 12))
    for column, direction in enumerate(directions):
        assert seen[:3, column] == pytest.approx(1.5 * np.array(direction))


def field(points: np.ndarray) -> np.ndarray:
    """A linear function of the place in the patient: interpolation must return it exactly."""
    return 500 + 3 * points[0] + 5 * points[1] + 7 * points[2]


def field_series(folder: Path, depths: list[float], tilt: float) -> None:
    angle = np.radians(tilt)
    orientation = (1, 0, 0, 0, np.cos(angle), -np.sin(angle))
    shape = (24, 32)

    def place(dataset: Dataset, index: int) -> None:
        position = np.array([-5.0, 2.0, depths[index]])
        dataset.ImagePositionPatient = [float(v) for v in position]
        y, x = np.mgrid[: shape[0], : shape[1]]
        columns = np.array(orientation[3:])[:, None, None] * 0.5
        points = position[:, None, None] + np.array([1.0, 0, 0])[:, None, None] * 0.75 * x + columns * y
        dataset.RescaleSlope, dataset.RescaleIntercept = 0.001, 0
        dataset.BitsAllocated = dataset.BitsStored = 32
        dataset.HighBit = 31
        dataset.PixelData = np.round(field(points) * 1000).astype(np.uint32).tobytes()

    write_series(folder, [float(i) for i in range(len(depths))], orientation=orientation, shape=shape, change=place)


@pytest.mark.parametrize(("depths", "tilt"), [([0, 2, 4, 8, 10], 0), ([0, 2, 4, 6], 15), ([0, 2, 3.3, 6], 12)])
@pytest.mark.parametrize("plane", ["acquired", "sagittal"])
def test_resampled_values_are_those_of_the_place(tmp_path: Path, depths: list[float], tilt: float, plane: str) -> None:
    field_series(tmp_path, depths, tilt)
    reader = DicomReader({"policy": "resample", "plane": plane})
    (ref,) = [found for found in reader.discover(str(tmp_path)) if isinstance(found, SceneRef)]
    header = reader.header(ref)
    affine = np.array(header.geometry.affine).reshape(4, 4)  # type: ignore[union-attr]
    seen = 0
    with reader.open(ref) as source:
        for z in range(header.shape[1]):
            pixels, valid = source.read(Window.whole(z, header.shape[2:]), [0])
            y, x = np.nonzero(valid)
            points = affine @ np.stack([x, y, np.full_like(x, z), np.ones_like(x)])
            # Where a slice is moved by a part of a pixel its rim is extrapolated; inside, values are exact.
            wrong = np.abs(pixels[0][valid] - field(points)) > 0.02
            assert wrong.mean() < (0.12 if tilt else 1e-9)
            assert np.abs(pixels[0][valid] - field(points)).max() < (4 if tilt else 0.02)
            seen += valid.sum()
    assert seen > 0.8 * len(depths) * 24 * 32 * (0.8 if tilt else 1)


@pytest.mark.parametrize("policy", ["split", "resample"])
@pytest.mark.parametrize("plane", ["acquired", "axial", "coronal", "sagittal"])
def test_a_mask_returns_to_the_slices_it_was_read_from(tmp_path: Path, policy: str, plane: str) -> None:
    from hdm_dicom.derived.stored_slices import stored_slices

    field_series(tmp_path, [0, 2, 4, 6], 0 if policy == "split" else 15)
    options = ReaderOptions.parse({"policy": policy, "plane": plane})
    reader = DicomReader(options.as_dict())
    (ref,) = [found for found in reader.discover(str(tmp_path)) if isinstance(found, SceneRef)]
    opened = open_volume(ref, options)
    threshold = 600

    class Bright:
        shape = (1, *opened.size[::-1])

        def read(self, window: Window) -> np.ndarray:
            with reader.open(ref) as source:
                pixels, valid = source.read(window, [0])
            return ((pixels > threshold) & valid).astype(np.uint8)

    volume: Volume = opened.volume
    for index, mask in enumerate(stored_slices(opened, Bright(), tmp_path)):  # type: ignore[arg-type]
        y, x = np.mgrid[:24, :32]
        place = volume.positions[index][:, None, None] + volume.axes[0][:, None, None] * 0.75 * x
        values = field(place + volume.axes[1][:, None, None] * 0.5 * y)
        # Nearest-pixel shifts may disagree within half a pixel of the edge; nowhere else.
        sure = np.abs(values - threshold) > 3
        assert np.array_equal(mask[0][sure], (values > threshold)[sure])
