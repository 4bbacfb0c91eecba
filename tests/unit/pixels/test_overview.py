"""Reduced windows of readers that can read at one size only, and of those that can do more."""

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hdm_pipeline.contracts import Band, RasterGeometry, SceneHeader, SceneRef
from hdm_pipeline.grid import Window
from hdm_pipeline.pixels import overview
from hdm_pipeline.pixels.overview import reduced


class Plain:
    """Reads a scene of two bands; where the first is negative nothing is valid, and it holds NaN."""

    def __init__(self, pixels: npt.NDArray[np.float32]) -> None:
        self.pixels = pixels
        self.largest = 0
        shape = (len(pixels), 1, *pixels.shape[1:])
        ref = SceneRef("scene", "/archive/scene", "plain", "1")
        self.header = SceneHeader(ref, shape, "float32", (Band(),) * len(pixels), RasterGeometry((1.0, 0, 0, 0, -1, 0)))

    def read(self, window: Window, bands: Any) -> Any:
        self.largest = max(self.largest, window.pixels * len(bands))
        rows, columns = slice(window.y, window.bottom), slice(window.x, window.right)
        part = self.pixels[list(bands)][:, rows, columns]
        valid = self.pixels[0, rows, columns] >= 0
        return np.where(valid, part, np.float32(np.nan)), valid

    def sample(self, bands: Any, max_pixels: int) -> Any:
        return self.pixels[list(bands)].reshape(len(bands), -1)[:, :max_pixels]

    def row_areas(self) -> None:
        return None


class Able(Plain):
    def read_reduced(self, window: Window, bands: Any, size: Any) -> Any:
        return np.full((len(bands), *size), 7, np.float32), np.ones(size, np.bool_)


def scene(height: int = 60, width: int = 45) -> npt.NDArray[np.float32]:
    return np.random.default_rng(1).uniform(-0.2, 1, (2, height, width)).astype(np.float32)


@pytest.mark.parametrize("size", [(7, 5), (1, 1), (20, 45), (39, 2), (13, 15)])
def test_means_are_of_valid_pixels_and_of_all(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "_READ_PIXELS", 400)
    source, window = Plain(scene()), Window(z=0, y=11, x=0, height=39, width=45)
    pixels, valid = reduced(source, window, (1, 0), size)
    whole, known = source.read(window, (1, 0))
    for i in range(size[0]):
        for j in range(size[1]):
            rows = slice(i * 39 // size[0], (i + 1) * 39 // size[0])
            columns = slice(j * 45 // size[1], (j + 1) * 45 // size[1])
            inside = known[rows, columns]
            assert valid[i, j] == inside.any()
            if inside.any():
                expected = whole[:, rows, columns][:, inside].mean(axis=1)
                assert np.allclose(pixels[:, i, j], expected, atol=1e-6)


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "_READ_PIXELS", 400)
    source = Plain(scene())
    reduced(source, Window.whole(0, (60, 45)), (0, 1), (3, 3))
    assert source.largest <= 400


def test_a_size_that_is_not_smaller_is_what_read_gives() -> None:
    source, window = Able(scene()), Window(z=0, y=3, x=4, height=9, width=8)
    for size in ((9, 8), (500, 500)):
        pixels, valid = reduced(source, window, (0,), size)
        assert np.array_equal(pixels, source.read(window, (0,))[0], equal_nan=True)
        assert np.array_equal(valid, source.read(window, (0,))[1])


def test_a_reader_that_can_do_it_does_it() -> None:
    pixels, _ = reduced(Able(scene()), Window.whole(0, (60, 45)), (0,), (500, 5))
    assert pixels.shape == (1, 60, 5)
    assert (pixels == 7).all()
