"""Staged pixels and scores on disk."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from hdm_pipeline.errors import OutputError, StoreError
from hdm_pipeline.grid import TileGrid, Window
from hdm_pipeline.pixels.scaling import decode_pixels, encode_pixels
from hdm_pipeline.stitch import BlockAccumulator, labels
from hdm_pipeline.store.scene import ImageStore, ScoreStore

relaxed = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    tile = draw(st.integers(2, 24))
    overlap = draw(st.integers(0, tile // 2))
    side = st.integers(1, 60)
    return TileGrid((draw(st.integers(1, 3)), draw(side), draw(side)), tile, overlap)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def staged(grid: TileGrid, bands: int, path: Path, per_block: int) -> tuple[ImageStore, npt.NDArray[np.uint16]]:
    pixels = np.random.default_rng(3).integers(0, 65536, (bands, *grid.size), dtype=np.uint16)
    blocks = grid.blocks(per_block)
    ImageStore.create(path, bands, grid, blocks)
    store = ImageStore.open(path)
    for block in blocks:
        cell = grid.cell(block)
        rows, columns = slice(cell.y, cell.bottom), slice(cell.x, cell.right)
        store.write_cell(block, [pixels[:, z, rows, columns] for z in range(block.z0, block.z1)])
    return store, pixels


@given(grids(), st.integers(1, 3), st.integers(1, 20))
@relaxed
def test_what_a_tile_sees_comes_back(grid: TileGrid, bands: int, per_block: int) -> None:
    with folder() as path:
        store, pixels = staged(grid, bands, path / "stage", per_block)
        for tile in np.ndindex(grid.size[0], grid.rows, grid.columns):
            w = grid.seen(*tile)
            np.testing.assert_array_equal(store.read(w), pixels[:, w.z, w.y : w.bottom, w.x : w.right])


def test_valid_is_what_is_not_zero(tmp_path: Path) -> None:
    grid = TileGrid((3, 30, 20), 16, 4)
    store, pixels = staged(grid, 2, tmp_path / "stage", 2)
    for block in grid.blocks(2):
        cell = grid.cell(block)
        expected = pixels[0, block.z0 : block.z1, cell.y : cell.bottom, cell.x : cell.right] != 0
        np.testing.assert_array_equal(store.read_valid(block), expected)


@given(st.integers(1, 3), st.integers(1, 300), st.integers(1, 300), st.integers(0, 2**32 - 1))
@relaxed
def test_pixels_survive_encoding(bands: int, height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    pixels = rng.random((bands, height, width), dtype=np.float32)
    valid = rng.random((height, width)) < 0.8
    pixels[:, ~valid] = np.nan
    kept = pixels.copy()
    encoded = encode_pixels(pixels, valid)
    np.testing.assert_array_equal(pixels, kept)
    decoded, good = decode_pixels(encoded)
    np.testing.assert_array_equal(good, valid)
    assert (decoded[:, ~valid] == 0).all()
    assert np.abs(decoded - pixels)[:, valid].max(initial=0) <= 0.5 / 65534 + 1e-7


def test_encoding_scales_each_band_by_its_range() -> None:
    rng = np.random.default_rng(3)
    pixels = rng.uniform(-40, 10, (2, 50, 70)).astype(np.float32)
    valid = rng.random((50, 70)) < 0.8
    ranges = ((-25.0, 0.0), (-32.0, -5.0))
    scaled = np.clip([(band - low) / (high - low) for band, (low, high) in zip(pixels, ranges, strict=True)], 0, 1)
    expected = encode_pixels(scaled.astype(np.float32), valid).astype(int)
    assert np.abs(encode_pixels(pixels, valid, ranges).astype(int) - expected).max() <= 1
    assert (encode_pixels(pixels, valid, ranges)[:, ~valid] == 0).all()


def test_encoding_keeps_the_ends_and_clips() -> None:
    pixels = np.array([[[0.0, 1.0, -3.0, 7.0, 0.5]]], dtype=np.float32)
    assert encode_pixels(pixels, np.ones((1, 5), np.bool_)).tolist() == [[[1, 65535, 1, 65535, 32768]]]
    values, valid = decode_pixels(np.array([[[0, 1, 65535]]], dtype=np.uint16))
    assert values.tolist() == [[[0.0, 0.0, 1.0]]]
    assert valid.tolist() == [[False, True, True]]


def fill_scores(grid: TileGrid, classes: int, path: Path, per_block: int) -> ScoreStore:
    """Scores as inference leaves them, blocks in any order; every seventh row is not valid."""
    rng = np.random.default_rng(7)
    tiles = {
        tile: rng.integers(0, 256, (classes, grid.tile, grid.tile), dtype=np.uint8)
        for tile in np.ndindex(grid.size[0], grid.rows, grid.columns)
    }
    blocks = grid.blocks(per_block)
    ScoreStore.create(path, classes, grid, blocks)
    for block in blocks[::-1]:
        accumulator = BlockAccumulator(grid, block, classes)
        for tile in grid.tiles(block):
            accumulator.add(tile, tiles[tile])
        cell = grid.cell(block)
        valid = np.ones((block.shape[0], cell.height, cell.width), np.bool_)
        valid[:, np.arange(cell.y, cell.bottom) % 7 == 0] = False
        ScoreStore.open(path).write_block(accumulator.finish(), valid)
    return ScoreStore.open(path)


@given(grids(), st.integers(1, 2), st.integers(2, 20))
@relaxed
def test_any_partition_leaves_the_same_scores(grid: TileGrid, classes: int, per_block: int) -> None:
    whole_scene = Window.whole(grid.size[0] - 1, grid.size[1:])
    with folder() as path:
        results = []
        for name, count in (("one", grid.rows * grid.columns * 4), ("many", per_block)):
            store = fill_scores(grid, classes, path / name, count)
            for block in grid.blocks(count):
                store.finish(block)
            results.append(store.read(whole_scene))
        np.testing.assert_array_equal(*results)


def test_a_scores_life(tmp_path: Path) -> None:
    grid = TileGrid((2, 70, 50), 16, 4)
    blocks = grid.blocks(4)
    store = fill_scores(grid, 2, tmp_path / "score", 4)
    window = Window(z=1, y=0, x=0, height=70, width=50)
    with pytest.raises(StoreError, match="never written"):
        store.read(window)
    for block in blocks:
        store.finish(block)
    first = store.read(window)
    for block in blocks:  # a crash between the work and its receipt repeats it
        store.finish(block)
    np.testing.assert_array_equal(store.read(window), first)
    store.drop_partials()
    store.drop_partials()
    assert [p.name for p in (tmp_path / "score").iterdir()] == ["scores"]

    store = ScoreStore.open(tmp_path / "score")
    part = Window(z=1, y=5, x=3, height=40, width=30)
    scores, mask = store.score_source(), store.mask_source(0.5)
    assert (scores.shape, mask.shape) == ((2, 2, 70, 50), (1, 2, 70, 50))
    np.testing.assert_array_equal(scores.read(part), first[:, 5:45, 3:33])
    read, valid = store.read_with_valid(part)
    assert valid.any(axis=1).tolist() == [y % 7 != 0 for y in range(5, 45)]
    np.testing.assert_array_equal(mask.read(part)[0], labels(read, valid, 0.5))
    assert store.cell_shape == (grid.cell(blocks[0]).height, grid.cell(blocks[0]).width)
    for temperature in (1.0, 2.0):  # a writer may change what it gets
        store.calibrate([temperature] * 2)
        read = scores.read(part).copy()
        scores.read(part)[:] = 7
        np.testing.assert_array_equal(scores.read(part), read)


def test_creating_again_keeps_what_is_there(tmp_path: Path) -> None:
    grid = TileGrid((1, 30, 20), 16, 4)
    store, _ = staged(grid, 2, tmp_path / "stage", 2)
    before = store.read(Window(z=0, y=0, x=0, height=30, width=20))
    again = ImageStore.create(tmp_path / "stage", 2, grid, grid.blocks(2))
    np.testing.assert_array_equal(again.read(Window(z=0, y=0, x=0, height=30, width=20)), before)
    other = ImageStore.create(tmp_path / "stage", 1, grid, grid.blocks(2))
    with pytest.raises(StoreError, match="never written"):
        other.read(Window(z=0, y=0, x=0, height=30, width=20))


def test_what_was_never_written_does_not_read_as_zeros(tmp_path: Path) -> None:
    grid = TileGrid((1, 64, 64), 16, 4)
    blocks = grid.blocks(4)
    images = ImageStore.create(tmp_path / "stage", 1, grid, blocks)
    scores = ScoreStore.create(tmp_path / "score", 1, grid, blocks)
    cell = grid.cell(blocks[0])
    images.write_cell(blocks[0], [np.zeros((1, cell.height, cell.width), np.uint16)])
    assert (images.read(cell) == 0).all()
    with pytest.raises(StoreError, match="never written"):
        images.read(Window(z=0, y=0, x=0, height=64, width=64))
    with pytest.raises(StoreError, match="never written"):
        scores.read(cell)
    with pytest.raises(StoreError, match="never written"):
        scores.finish(blocks[0])


def test_no_store_and_a_damaged_store_are_store_errors(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        ImageStore.open(tmp_path / "nothing")
    grid = TileGrid((1, 64, 64), 16, 4)
    staged(grid, 1, tmp_path / "stage", 4)
    (tmp_path / "stage" / "zarr.json").write_text("{}")
    with pytest.raises(StoreError):
        ImageStore.open(tmp_path / "stage")
    ImageStore.create(tmp_path / "stage", 1, grid, grid.blocks(4))  # and can be made anew
    ImageStore.open(tmp_path / "stage")


@pytest.mark.parametrize("keep", [0, 5, 40, -1])
def test_a_damaged_shard_is_noticed_and_can_be_written_again(tmp_path: Path, keep: int) -> None:
    grid = TileGrid((1, 64, 64), 16, 4)
    blocks = grid.blocks(4)
    store = fill_scores(grid, 1, tmp_path / "score", 4)
    for block in blocks:
        store.finish(block)
    cell = grid.cell(blocks[0])
    good = store.read(cell)
    file = min((tmp_path / "score" / "scores").glob("c.*"))
    if keep >= 0:
        os.truncate(file, keep)
    else:
        file.write_bytes(bytes(file.stat().st_size))
    with pytest.raises(StoreError, match="damaged"):
        store.read(cell)
    store.finish(blocks[0])
    np.testing.assert_array_equal(store.read(cell), good)


@given(grids(), st.integers(1, 20))
@relaxed
def test_no_two_blocks_share_a_shard(grid: TileGrid, per_block: int) -> None:
    blocks = grid.blocks(per_block)
    assume(len(blocks) <= 50)
    with folder() as path:
        store = ImageStore.create(path / "stage", 1, grid, blocks)
        files: set[Path] = set()
        for block in blocks:
            cell = grid.cell(block)
            store.write_cell(block, [np.zeros((1, cell.height, cell.width), np.uint16)] * block.shape[0])
            now = set((path / "stage").glob("c.*"))
            assert now > files
            assert all(os.stat(p).st_mtime_ns == 0 for p in files)  # nobody's shard was written again
            for p in now:
                os.utime(p, ns=(0, 0))
            files = now


def test_the_files_are_plain_zarr(tmp_path: Path) -> None:
    store, pixels = staged(TileGrid((1, 1100, 900), 512, 64), 2, tmp_path / "stage", 2)
    array = zarr.open_array(tmp_path / "stage", mode="r")
    np.testing.assert_array_equal(array[:], pixels)
    assert array.shards is not None
    assert store.grid.tile == 512


def test_shapes_are_checked_before_anything_is_written(tmp_path: Path) -> None:
    grid = TileGrid((1, 30, 20), 16, 4)
    store = ImageStore.create(tmp_path / "stage", 1, grid, grid.blocks(16))
    with pytest.raises(ValueError, match="selection of shape"):
        store.write_cell(grid.blocks(16)[0], [np.zeros((1, 29, 20), np.uint16)])


def test_a_folder_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    grid = TileGrid((1, 30, 20), 16, 4)
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError) as caught:
        ImageStore.create(tmp_path / "file" / "stage", 1, grid, grid.blocks(16))
    assert caught.value.remedy


def test_a_full_disk_is_an_output_error(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource")
    grid = TileGrid((1, 600, 600), 512, 64)
    (block,) = grid.blocks(16)
    store = ImageStore.create(tmp_path / "stage", 1, grid, [block])
    pixels = [np.random.default_rng(0).integers(0, 65536, (1, 600, 600), dtype=np.uint16)]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # Python ignores SIGXFSZ: the write fails with EFBIG
    try:
        with pytest.raises(OutputError) as caught:
            store.write_cell(block, pixels)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert [p.name for p in (tmp_path / "stage").iterdir()] == ["zarr.json"]
    store.write_cell(block, pixels)
