"""Connected regions, streamed slice by slice, against labelling the whole volume and comparing all voxels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from hdm_dicom.report.diameters import far_out, largest_distance, outer
from hdm_dicom.report.regions import Region, RegionFinder

WHOLE = np.ones((3, 3, 3))


def regions_of(
    mask: npt.NDArray[np.bool_], values: npt.NDArray[np.float32], axes: npt.NDArray[np.float64]
) -> list[Region]:
    finder = RegionFinder(axes)
    found: list[Region] = []
    for inside, image in zip(mask, values, strict=True):
        found += finder.feed(inside, image)
    return sorted([*found, *finder.finish()], key=lambda region: region.first)


def farthest(points: npt.NDArray[np.float64]) -> float:
    return float(np.linalg.norm(points[:, None] - points[None], axis=2).max())


@pytest.mark.parametrize("share", [0.05, 0.15, 0.3, 0.9])
@pytest.mark.parametrize("seed", range(6))
def test_regions_are_those_of_the_whole_volume(share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random(tuple(rng.integers(1, 12, 3))) < share
    values = rng.normal(1000, 20, mask.shape).astype(np.float32)
    axes = rng.normal(size=(3, 3))  # sheared, and nowhere near a rotation
    labels, count = ndimage.label(mask, WHOLE)
    found = regions_of(mask, values, axes)
    assert len(found) == count
    for number, region in enumerate(found, 1):
        z, y, x = np.nonzero(labels == number)
        assert (region.first, region.voxels, region.last_slice) == ((z[0], y[0], x[0]), z.size, z.max())
        assert (region.low, region.high) == ((x.min(), y.min()), (x.max(), y.max()))
        assert region.diameter == pytest.approx(farthest(np.c_[x, y, z] @ axes.T), abs=1e-9)
        inside = values[labels == number].astype(float)
        assert region.values.mean == pytest.approx(inside.mean())
        assert region.values.deviation == pytest.approx(inside.std(), abs=1e-6)
        parts = [ndimage.label(one == number, WHOLE[0]) for one in labels]
        in_plane = [
            farthest(np.argwhere(part == n)[:, ::-1] @ axes[:, :2].T)
            for part, most in parts
            for n in range(1, most + 1)
        ]
        assert region.in_plane == pytest.approx(max(in_plane), abs=1e-9)


def test_parts_that_meet_later_are_one_region_and_keep_what_was_known_of_both() -> None:
    """A U on its side, a bridge by a corner alone, and a part that meets two others at once."""
    mask = np.zeros((4, 6, 9), dtype=bool)
    mask[:3, 1, 1], mask[:3, 1, 4], mask[:3, 4, 7] = True, True, True
    mask[3, 2, 2:7] = True  # touches (1, 1) and (1, 4) by corners
    mask[3, 3, 7] = True
    values = np.arange(mask.size, dtype=np.float32).reshape(mask.shape)
    (region,) = regions_of(mask, values, np.eye(3))
    assert region.voxels == mask.sum()
    assert region.first == (0, 1, 1)
    assert region.values.mean == pytest.approx(values[mask].mean())


def test_values_that_are_no_numbers_count_for_the_volume_only() -> None:
    mask = np.ones((1, 2, 2), dtype=bool)
    values = np.array([[[1, 3], [np.nan, 5]]], dtype=np.float32)
    (region,) = regions_of(mask, values, np.eye(3))
    assert (region.voxels, region.values.count, region.values.mean) == (4, 3, 3.0)


def test_values_far_from_zero_keep_their_deviation() -> None:
    values = (1e6 + np.random.default_rng(0).integers(0, 4, (40, 32, 32))).astype(np.float32)
    (region,) = regions_of(np.ones(values.shape, dtype=bool), values, np.eye(3))
    assert region.values.deviation == pytest.approx(values.astype(float).std(), rel=1e-9)


def test_the_diameter_of_a_large_ball_is_that_of_all_its_voxels() -> None:
    """Large enough for points to be reduced on the way."""
    z, y, x = np.mgrid[-30:31, -30:31, -30:31]
    ball = x**2 + y**2 + z**2 <= 900
    (region,) = regions_of(ball, np.zeros(ball.shape, dtype=np.float32), np.diag([0.7, 0.8, 2.5]))
    assert region.diameter == pytest.approx(60 * 2.5)
    assert region.in_plane == pytest.approx(60 * 0.8)


@pytest.mark.parametrize("flat", [0, 1, 2])
def test_points_without_a_hull_are_compared_all_the_same(flat: int) -> None:
    points = np.random.default_rng(3).integers(0, 50, (400, 3)).astype(np.int32)
    points[:, flat] = 7
    assert len(outer(points)) == len(points)
    assert largest_distance(points, np.eye(3)) == pytest.approx(farthest(points.astype(float)))


@pytest.mark.parametrize("stretch", [(1, 1, 1), (1, 1, 30), (5, 1, 0.2)])
def test_points_near_the_middle_are_left_out_and_the_distance_is_exact(stretch: tuple[float, ...]) -> None:
    for seed in range(5):
        points = np.random.default_rng(seed).integers(-60, 60, (700, 3)).astype(np.int32)
        axes = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0] * stretch
        assert largest_distance(points, axes) == pytest.approx(farthest(points @ axes.T), rel=1e-12)
        few = far_out(points, axes)
        assert len(few) < len(points)
    assert len(far_out(np.zeros((300, 3), np.int32), np.eye(3))) == 300


def test_what_is_held_of_a_long_region_does_not_grow_with_its_length() -> None:
    y, x = np.mgrid[:64, :64]
    held = []
    finder = RegionFinder(np.eye(3))
    for z in range(1000):
        finder.feed((y - 32) ** 2 + (x - 32 - 8 * np.sin(z / 9)) ** 2 < 400, None)
        held.append(sum(len(points) for points in finder._owners[0]._points))
    assert max(held[400:]) <= 8192 < sum(24 for _ in held)
