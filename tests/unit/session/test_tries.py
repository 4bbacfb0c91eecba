"""Which tiles a try needs, and which windows of a scene are examples."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from hdm_pipeline.contracts import Pixels, Validity
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.grid import TileGrid, Window
from hdm_pipeline.session import tries as module
from hdm_pipeline.session.drawing import Drawing
from hdm_pipeline.session.examples import MOST, MOST_SLICES, SIDE, windows_of
from hdm_pipeline.session.network import free_cores
from hdm_pipeline.session.strokes import Size
from hdm_pipeline.session.tries import MOST_TILES, chosen_tiles

GRID = TileGrid((2, 1500, 2000), 512, 64)


@pytest.mark.parametrize(
    "window",
    [
        Window(z=1, y=0, x=0, height=1, width=1),
        Window(z=0, y=447, x=448, height=66, width=64),
        Window(z=0, y=300, x=511, height=640, width=1024),
        Window(z=1, y=1499, x=1999, height=1, width=1),
    ],
)
def test_the_tiles_of_a_window_are_all_that_touch_it(window: Window) -> None:
    found, tiles = chosen_tiles(GRID, window)
    assert found == window
    touching = [
        (window.z, i, j)
        for i in range(GRID.rows)
        for j in range(GRID.columns)
        if (tile := GRID.tile_window(window.z, i, j)).y < window.bottom
        if tile.bottom > window.y and tile.x < window.right and tile.right > window.x
    ]
    assert tiles == touching


def test_of_a_window_that_needs_too_many_tiles_the_middle_is_left() -> None:
    grid = TileGrid((1, 18_000, 36_000), 512, 64)
    found, tiles = chosen_tiles(grid, Window.whole(0, (18_000, 36_000)))
    assert MOST_TILES / 2 < len(tiles) <= MOST_TILES
    assert abs(2 * found.y + found.height - 18_000) < 4
    assert abs(2 * found.x + found.width - 36_000) < 4
    with pytest.raises(ConfigError, match="within the scene"):
        chosen_tiles(grid, Window(z=0, y=17_999, x=0, height=2, width=5))


def drawing(size: Size, *squares: tuple[int, int, int, int]) -> Drawing:
    """Squares of 40 pixels: (slice, row, column, label)."""
    found = Drawing(size)
    for z, y, x, value in squares:
        found.paste(Window(z=z, y=y, x=x, height=40, width=40), np.full((40, 40), value, np.uint8))
    return found


def test_small_scenes_are_examples_as_a_whole_and_large_ones_where_something_is_drawn() -> None:
    whole = Window.whole(0, (2000, 2000))
    assert windows_of(drawing((1, 2000, 2000), (0, 5, 5, 1), (0, 900, 900, 0)), 1) == [(whole, whole)]
    large = drawing((1, 18_000, 36_000), (0, 500, 500, 0), (0, 9000, 30_000, 1), (0, 9100, 30_100, 0))
    (other, _), (best, inner) = windows_of(large, 1)
    assert (inner.y, inner.x, inner.height, inner.width) == (8960, 29_952, 256, 256)
    assert (best.y, best.x) == (8960 - 128, 29_952 - 128)
    assert (other.y, other.x, max(other.height, other.width) <= SIDE + 256) == (128, 128, True)
    assert sum(int((large.read(part) != 255).sum()) for _, part in windows_of(large, 1)) == 3 * 1600


def test_slices_of_a_volume_are_examples_those_drawn_on_last_and_those_that_show_the_class() -> None:
    volume = drawing((1500, 512, 512), *((z, 10, 10, 1 + z % 2) for z in range(0, 60)), (70, 10, 10, 0))
    slices = {window.z for window, _ in windows_of(volume, 2)}
    assert len(slices) == MOST_SLICES < 30
    assert slices > {70, 59, 58, 57, 56, 55}  # drawn on last
    assert all(z % 2 for z in slices - {70, 58, 56})
    assert min(slices) == 1


def test_of_many_parts_those_drawn_on_last_are_examples() -> None:
    squares = [(0, 1500 * number, 100, 1) for number in range(11)]
    found = windows_of(drawing((1, 18_000, 36_000), *squares, (0, 10, 100, 0)), 1)
    assert len(found) == MOST
    assert found[0][0].y == 0


def test_some_core_is_always_free() -> None:
    assert free_cores() >= 1


def test_an_answer_that_is_known_is_not_pushed_out_by_one_that_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answering:
        reduction = 1.0

        def answer(self, kind: str, tiles: Pixels, banks: Sequence[object], valid: Validity) -> npt.NDArray[np.uint8]:
            return np.zeros((1, len(banks), *tiles.shape[-2:]), np.uint8)

    def fit(name: str, bank: str) -> Any:
        return SimpleNamespace(name=name, bank=SimpleNamespace(hash=bank), segmenter=network)

    network, tile = Answering(), np.ones((1, 64, 64), np.uint16)
    monkeypatch.setattr(module, "_ANSWER_BYTES", 2 * 64 * 64)
    monkeypatch.setattr(module, "_tile_key", lambda look, grid, tile: tile)
    tries: Any = module.Tries(None)  # type: ignore[arg-type]  # no scene is read
    asked = [fit("water", "a"), fit("forest", "b")]
    assert len(list(tries._answer(None, GRID, (0, 0, 0), tile, asked, doubt=False))) == 2
    again = [asked[0], fit("forest", "another")]
    assert {one.name for one, _ in tries._answer(None, GRID, (0, 0, 0), tile, again, doubt=False)} == {
        "water",
        "forest",
    }
