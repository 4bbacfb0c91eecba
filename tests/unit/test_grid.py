"""Geometry: any size, tile and overlap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdm_pipeline.errors import ConfigError
from hdm_pipeline.grid import Block, TileGrid, Window


@st.composite
def grids(draw: st.DrawFn, max_side: int = 70, max_depth: int = 3) -> TileGrid:
    tile = draw(st.integers(1, 24))
    overlap = draw(st.integers(0, tile // 2))
    side = st.integers(1, max_side)
    return TileGrid((draw(st.integers(1, max_depth)), draw(side), draw(side)), tile, overlap)


tiles_per_block = st.integers(1, 40)


@settings(deadline=None)
@given(grids())
def test_weights_add_up_exactly(grid: TileGrid) -> None:
    total = np.zeros(grid.size[1:], dtype=np.int64)
    for i in range(grid.rows):
        for j in range(grid.columns):
            window = grid.tile_window(0, i, j)
            wy, wx = grid.weights(i, j)
            assert wy.dtype == wx.dtype == np.uint16
            clipped = total[window.y : window.bottom, window.x : window.right]
            clipped += np.outer(wy.astype(np.int64), wx)[: clipped.shape[0], : clipped.shape[1]]
    assert (total == 65536).all()


@given(st.integers(1, 600))
@settings(deadline=None)
def test_ramps_rise_steadily_and_alike_from_both_sides(overlap: int) -> None:
    ramp = TileGrid((1, 5, 5), 2 * overlap, overlap).ramp.astype(int)
    assert len(ramp) == overlap
    assert (np.diff(ramp) >= 0).all()
    assert np.ptp(np.diff(ramp)) <= 1 if overlap > 1 else ramp[0] == 128
    assert np.abs(ramp + ramp[::-1] - 256).max() <= 1


@settings(deadline=None)
@given(grids(), tiles_per_block)
def test_cells_partition_the_scene(grid: TileGrid, count: int) -> None:
    owners = np.zeros(grid.size, dtype=np.int64)
    for block in grid.blocks(count):
        cell = grid.cell(block)
        assert cell.height > 0
        assert cell.width > 0
        owners[block.z0 : block.z1, cell.y : cell.bottom, cell.x : cell.right] += 1
    assert (owners == 1).all()


@settings(deadline=None)
@given(grids(), tiles_per_block)
def test_each_tile_is_in_exactly_one_block(grid: TileGrid, count: int) -> None:
    blocks = grid.blocks(count)
    tiles = [tile for block in blocks for tile in grid.tiles(block)]
    assert len(tiles) == len(set(tiles)) == grid.tile_count == sum(block.tile_count for block in blocks)
    assert [block.index for block in blocks] == list(range(len(blocks)))
    assert max(block.tile_count for block in blocks) <= count


def meet(one: Window, other: Window) -> bool:
    """Whether two windows of a slice share a pixel."""
    return one.y < other.bottom and other.y < one.bottom and one.x < other.right and other.x < one.right


@given(grids(max_side=40, max_depth=2), st.integers(4, 40))
@settings(max_examples=40, deadline=None)
def test_footprint_and_neighbors_agree_with_the_tiles(grid: TileGrid, count: int) -> None:
    blocks = grid.blocks(count)
    for block in blocks[:60]:
        inside = [grid.tile_window(*tile) for tile in grid.tiles(block) if tile[0] == block.z0]
        footprint = grid.footprint(block)
        assert (footprint.y, footprint.x) == (min(w.y for w in inside), min(w.x for w in inside))
        assert footprint.bottom == min(grid.size[1], max(w.bottom for w in inside))
        assert footprint.right == min(grid.size[2], max(w.right for w in inside))
        cell = grid.cell(block)
        spilling = {
            other.index
            for other in blocks
            if other != block and other.z0 == block.z0 and meet(grid.footprint(other), cell)
        }
        assert {other.index for other in grid.neighbors(block, blocks)} == spilling


@given(grids(max_depth=2), tiles_per_block)
@settings(max_examples=60, deadline=None)
def test_reads_names_exactly_the_cells_that_are_seen(grid: TileGrid, count: int) -> None:
    blocks = grid.blocks(count)
    owner = np.empty(grid.size[1:], dtype=np.int64)
    for block in blocks:
        if block.z0 == 0:
            cell = grid.cell(block)
            owner[cell.y : cell.bottom, cell.x : cell.right] = block.index
    for block in blocks:
        if block.z0:
            continue
        seen = [grid.seen(*tile) for tile in grid.tiles(block) if tile[0] == 0]
        needed = {index for w in seen for index in np.unique(owner[w.y : w.bottom, w.x : w.right]).tolist()}
        assert {other.index for other in grid.reads(block, blocks)} == needed | {block.index}


@given(grids(max_depth=2))
@settings(deadline=None)
def test_what_is_seen_lies_within_the_scene_and_holds_all_of_the_tile_that_does(grid: TileGrid) -> None:
    height, width = grid.size[1:]
    y, x = np.indices(grid.size[1:], dtype=np.uint8)
    for index in np.ndindex(grid.size[0], grid.rows, grid.columns):
        tile, seen = grid.tile_window(*index), grid.seen(*index)
        assert min(seen.y, seen.x) >= 0
        assert (seen.bottom <= height, seen.right <= width) == (True, True)
        assert (seen.height, seen.width) == (min(grid.tile, height), min(grid.tile, width))
        rows, columns = slice(seen.y, seen.bottom), slice(seen.x, seen.right)
        placed = grid.as_tile(index, np.stack([y[rows, columns], x[rows, columns]]))
        for one, whole in zip(placed, (y, x), strict=True):
            expected = np.zeros((grid.tile, grid.tile), np.uint8)
            part = whole[tile.y : tile.bottom, tile.x : tile.right]
            expected[: part.shape[0], : part.shape[1]] = part
            np.testing.assert_array_equal(one, expected)


@settings(deadline=None)
@given(grids())
def test_the_last_tile_is_never_useless(grid: TileGrid) -> None:
    last = grid.tile_window(0, grid.rows - 1, grid.columns - 1)
    assert last.bottom >= grid.size[1]
    assert last.right >= grid.size[2]
    if grid.rows > 1:
        assert grid.size[1] - last.y > grid.overlap


def test_blocks_are_square_in_a_large_slice_and_deep_in_a_volume() -> None:
    large = TileGrid((1, 16000, 16000), 512, 64)
    assert large.blocks(16)[0].shape == (1, 4, 4)
    volume = TileGrid((320, 512, 512), 512, 64)
    assert volume.blocks(16)[0].shape == (16, 1, 1)
    narrow = TileGrid((1, 500, 100_000), 512, 64)
    assert 12 <= narrow.blocks(16)[0].tile_count <= 24
    assert narrow.blocks(16)[0].shape[1] == 1


def test_a_window_is_cut_out_of_a_larger_one() -> None:
    origin = Window(z=0, y=5, x=8, height=10, width=10)
    assert Window(z=0, y=6, x=8, height=5, width=2).rows_columns(origin) == (slice(1, 6), slice(0, 2))


@pytest.mark.parametrize(
    ("size", "tile", "overlap"), [((1, 5, 5), 8, 5), ((1, 5, 5), 8, -1), ((1, 5, 5), 0, 0), ((1, 0, 5), 8, 2)]
)
def test_bad_geometry_is_a_configuration_error(size: tuple[int, int, int], tile: int, overlap: int) -> None:
    with pytest.raises(ConfigError) as caught:
        TileGrid(size, tile, overlap)
    assert caught.value.remedy


def test_no_tiles_per_block_is_a_configuration_error() -> None:
    with pytest.raises(ConfigError):
        TileGrid((1, 5, 5), 8, 2).blocks(0)


def test_blocks_sort_and_hash() -> None:
    assert (
        len({Block(index=0, z0=0, z1=1, i0=0, i1=1, j0=0, j1=1), Block(index=0, z0=0, z1=1, i0=0, i1=1, j0=0, j1=1)})
        == 1
    )


def test_what_two_windows_share_lies_in_both() -> None:
    one, other = Window(z=3, y=0, x=10, height=5, width=5), Window(z=3, y=2, x=0, height=9, width=12)
    assert one.shared_with(other) == other.shared_with(one) == Window(z=3, y=2, x=10, height=3, width=2)
    assert one.shared_with(one) == one
