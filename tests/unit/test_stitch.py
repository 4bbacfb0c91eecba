"""Blending and labelling: exact, whatever the order and the partition."""

import random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdm_pipeline.errors import ModelInputError
from hdm_pipeline.grid import TileGrid
from hdm_pipeline.stitch import BlockAccumulator, BlockScores, labels, least_score, merge_cell, strip_shapes

Scores = npt.NDArray[np.uint8]


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    tile = draw(st.integers(1, 16))
    overlap = draw(st.integers(0, tile // 2))
    side = st.integers(1, 50)
    return TileGrid((draw(st.integers(1, 3)), draw(side), draw(side)), tile, overlap)


def random_tiles(grid: TileGrid, classes: int, seed: int) -> dict[tuple[int, int, int], Scores]:
    rng = np.random.default_rng(seed)
    return {
        tile: rng.integers(0, 256, (classes, grid.tile, grid.tile), dtype=np.uint8)
        for tile in np.ndindex(grid.size[0], grid.rows, grid.columns)
    }


def reference(grid: TileGrid, classes: int, tiles: dict[tuple[int, int, int], Scores]) -> Scores:
    """The definition, written down: one sum over the whole scene."""
    total = np.zeros((classes, *grid.size), dtype=np.int64)
    for (z, i, j), scores in tiles.items():
        w = grid.tile_window(z, i, j)
        wy, wx = grid.weights(i, j)
        part = total[:, z, w.y : w.bottom, w.x : w.right]
        part += (scores * np.outer(wy.astype(np.int64), wx))[:, : part.shape[1], : part.shape[2]]
    return ((total + 32768) >> 16).astype(np.uint8)


def stitch(
    grid: TileGrid, classes: int, tiles: dict[tuple[int, int, int], Scores], per_block: int, seed: int = 0
) -> Scores:
    shuffle = random.Random(seed).shuffle
    blocks = grid.blocks(per_block)
    parts: dict[int, BlockScores] = {}
    for block in blocks:
        accumulator = BlockAccumulator(grid, block, classes)
        order = [tile for tile in grid.tiles(block) if tile in tiles]
        shuffle(order)
        for tile in order:
            accumulator.add(tile, tiles[tile])
        parts[block.index] = accumulator.finish()
    scene = np.full((classes, *grid.size), 77, dtype=np.uint8)
    for block in blocks:
        cell = grid.cell(block)
        spills = [parts[other.index] for other in grid.neighbors(block, blocks)]
        shuffle(spills)
        merged = merge_cell(parts[block.index], spills, grid)
        scene[:, block.z0 : block.z1, cell.y : cell.bottom, cell.x : cell.right] = merged
    return scene


@given(grids(), st.integers(1, 3), st.integers(1, 20), st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_any_partition_and_order_gives_the_defined_bytes(
    grid: TileGrid, classes: int, per_block: int, seed: int
) -> None:
    tiles = random_tiles(grid, classes, seed)
    np.testing.assert_array_equal(stitch(grid, classes, tiles, per_block, seed), reference(grid, classes, tiles))


@given(grids(), st.integers(0, 255), st.integers(1, 20))
@settings(deadline=None)
def test_constant_in_constant_out(grid: TileGrid, value: int, per_block: int) -> None:
    tile = np.full((1, grid.tile, grid.tile), value, dtype=np.uint8)
    tiles = dict.fromkeys(np.ndindex(grid.size[0], grid.rows, grid.columns), tile)
    assert (stitch(grid, 1, tiles, per_block) == value).all()


def test_extreme_scores_do_not_overflow_at_full_overlap() -> None:
    grid = TileGrid((1, 100, 100), 32, 16)
    tiles = dict.fromkeys(np.ndindex(1, grid.rows, grid.columns), np.full((2, 32, 32), 255, dtype=np.uint8))
    assert (stitch(grid, 2, tiles, 4) == 255).all()


def test_skipped_tiles_count_as_zeros() -> None:
    grid = TileGrid((1, 60, 60), 16, 4)
    tiles = random_tiles(grid, 1, 1)
    del tiles[0, 1, 1]
    np.testing.assert_array_equal(stitch(grid, 1, tiles, 4), reference(grid, 1, tiles))


def test_a_tile_added_twice_counts_once() -> None:
    grid = TileGrid((1, 30, 30), 16, 4)
    (block,) = grid.blocks(16)
    tiles = random_tiles(grid, 1, 5)
    accumulator = BlockAccumulator(grid, block, 1)
    for tile in [*tiles, *tiles]:
        accumulator.add(tile, tiles[tile])
    scores = accumulator.finish()
    assert scores.complete
    np.testing.assert_array_equal(merge_cell(scores, [], grid), reference(grid, 1, tiles))


@given(grids(), st.integers(1, 20))
@settings(deadline=None)
def test_strip_shapes(grid: TileGrid, per_block: int) -> None:
    for block in grid.blocks(per_block):
        scores = BlockAccumulator(grid, block, 2).finish()
        assert tuple(strip.shape for strip in scores.strips) == strip_shapes(grid, block, 2)


def test_add_refuses_what_does_not_belong() -> None:
    grid = TileGrid((1, 100, 100), 16, 4)
    accumulator = BlockAccumulator(grid, grid.blocks(4)[0], 1)
    with pytest.raises(ModelInputError, match="not in the block"):
        accumulator.add((0, 7, 7), np.zeros((1, 16, 16), np.uint8))
    with pytest.raises(ModelInputError, match="float32"):
        accumulator.add((0, 0, 0), np.zeros((1, 16, 16), np.float32))  # type: ignore[arg-type]
    with pytest.raises(ModelInputError, match="not uint8"):
        accumulator.add((0, 0, 0), np.zeros((2, 16, 16), np.uint8))


@given(st.integers(1, 4), st.floats(0, 1), st.integers(0, 2**32 - 1))
def test_labels_are_the_highest_class_that_reaches_the_threshold(classes: int, threshold: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 256, (classes, 9, 7), dtype=np.uint8)
    scores[:, 4] = 200  # ties
    valid = rng.random((9, 7)) < 0.7
    expected = np.where(scores.max(axis=0) >= least_score(threshold), scores.argmax(axis=0) + 1, 0)
    expected[~valid] = 255
    np.testing.assert_array_equal(labels(scores, valid, threshold), expected)
    out = np.empty((9, 7), np.uint8)
    assert labels(scores, valid, threshold, out) is out
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(("threshold", "least"), [(0.0, 0), (0.5, 128), (0.2, 51), (0.6, 153), (0.7, 179), (1.0, 255)])
def test_least_score(threshold: float, least: int) -> None:
    assert least_score(threshold) == least
