"""The small mask of a scene, put together from its blocks."""

from __future__ import annotations

import numpy as np
import pytest

from hdm_pipeline.contracts import NODATA, ClassInfo
from hdm_pipeline.execution.reduced import ReducedMask
from hdm_pipeline.grid import Window

CLASSES = (ClassInfo(1, "flood"), ClassInfo(2, "ice"))


def collected(mask: np.ndarray, scores: np.ndarray, block: tuple[int, int], side: int = 32) -> ReducedMask:
    """The small mask of a mask [z, y, x] and scores [classes, z, y, x] that are read in blocks."""
    small = ReducedMask(mask.shape, CLASSES, side)
    depth, height, width = mask.shape
    for z in range(depth):
        for y in range(0, height, block[0]):
            for x in range(0, width, block[1]):
                rows, columns = slice(y, min(y + block[0], height)), slice(x, min(x + block[1], width))
                part = mask[z, rows, columns]
                some = ((part > 0) & (part < NODATA)).any()
                window = Window(z=z, y=y, x=x, height=part.shape[0], width=part.shape[1])
                small.add(window, part, scores[:, z, rows, columns] if some else None)
    return small


def scene(depth: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(height)
    mask = rng.choice([0, 0, 0, 0, 1, 2, 255], (depth, height, width)).astype(np.uint8)
    return mask, rng.integers(128, 256, (2, depth, height, width)).astype(np.uint8)


@pytest.mark.parametrize("size", [(1, 333, 412), (1, 20, 9), (3, 64, 65), (1, 1, 700)])
def test_it_does_not_depend_on_how_the_scene_is_cut(size: tuple[int, int, int]) -> None:
    mask, scores = scene(*size)
    whole, cut = (collected(mask, scores, block) for block in ((5000, 5000), (37, 51)))
    assert whole.result()[0] == cut.result()[0]
    np.testing.assert_array_equal(whole.result()[1], cut.result()[1])
    assert whole.mean_scores() == cut.mean_scores()
    assert whole.result()[1].shape == whole.shape


def test_a_small_scene_is_shown_as_it_is() -> None:
    mask, scores = scene(1, 20, 31)
    np.testing.assert_array_equal(collected(mask, scores, (8, 8)).result()[1], mask[0])


def test_a_thin_river_stays_one_line_and_nodata_is_nodata() -> None:
    mask = np.zeros((1, 640, 640), np.uint8)
    mask[0, :, 300:305] = 1  # a quarter of a small pixel
    mask[0, :40] = NODATA
    _, small = collected(mask, np.full((2, 1, 640, 640), 200, np.uint8), (128, 128)).result()
    assert (small[:2] == NODATA).all()
    assert (small[2:] == 1).any(axis=1).all()
    assert set(np.unique(small[2:])) == {0, 1}


def test_of_a_volume_the_slice_with_most_of_the_classes_is_shown_else_the_middle() -> None:
    mask = np.zeros((5, 40, 40), np.uint8)
    scores = np.full((2, 5, 40, 40), 255, np.uint8)
    assert collected(mask, scores, (16, 16)).result()[0] == 2
    mask[1, 3:9, 3:9] = 2
    mask[4, :20] = 1
    assert collected(mask, scores, (16, 16)).result()[0] == 4


def test_mean_scores_are_those_of_the_pixels_of_a_class() -> None:
    mask = np.array([[[0, 1, 1, 255]]], np.uint8)
    scores = np.array([[[[10, 255, 153, 200]]], [[[0, 0, 0, 0]]]], np.uint8)
    assert collected(mask, scores, (1, 4)).mean_scores() == {"flood": 0.8}
