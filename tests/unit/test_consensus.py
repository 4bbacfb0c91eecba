"""The consensus of three planes: where each voxel lies in the stack, and what comes back of its scores."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdm_pipeline.consensus import ConsensusMask, ConsensusScores
from hdm_pipeline.grid import PlaneStack, TileGrid, Window
from hdm_pipeline.stitch import BlockScores, labels
from hdm_pipeline.store.scene import ImageStore, ScoreStore

relaxed = settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.too_slow])
VOLUMES = st.tuples(st.integers(1, 9), st.integers(1, 12), st.integers(1, 12))
Bytes = npt.NDArray[np.uint8]


def planes_of(volume: npt.NDArray[np.generic]) -> list[npt.NDArray[np.generic]]:
    """[..., z, y, x] as the slices of each plane, [..., slice, row, column]."""
    upright = volume[..., ::-1, :, :]
    return [volume, np.moveaxis(upright, -3, -2), np.moveaxis(upright, -1, -3)]


def score_store(folder: Path, stack: PlaneStack, planes: list[Bytes], valid: list[npt.NDArray[np.bool_]]) -> ScoreStore:
    """Final scores of a stack: those of its planes [classes, slice, row, column], and noise beside them."""
    grid = TileGrid(stack.size, 8, 0)
    blocks = grid.blocks(3)
    classes = planes[0].shape[0]
    scores = np.random.default_rng(5).integers(0, 256, (classes, *stack.size), dtype=np.uint8)
    good = np.zeros(stack.size, dtype=np.bool_)
    first = 0
    for plane, inside in zip(planes, valid, strict=True):
        count, height, width = inside.shape
        scores[:, first : first + count, :height, :width] = plane
        good[first : first + count, :height, :width] = inside
        first += count
    ScoreStore.create(folder, classes, grid, blocks)
    store = ScoreStore.open(folder)
    for block in blocks:
        cell = grid.cell(block)
        at = (slice(block.z0, block.z1), slice(cell.y, cell.bottom), slice(cell.x, cell.right))
        none = np.zeros((classes, block.shape[0], 0, 0), dtype=np.uint32)
        store.write_block(BlockScores(block, scores[:, *at], none, none, none, none), good[at])
    return store


def read_all(source: ConsensusScores | ConsensusMask) -> Bytes:
    _, depth, height, width = source.shape
    return np.stack([source.read(Window(z=z, y=0, x=0, height=height, width=width)) for z in range(depth)], axis=1)


@given(VOLUMES, st.integers(1, 2))
@relaxed
def test_a_function_of_the_place_comes_back(volume: tuple[int, int, int], classes: int) -> None:
    """Every voxel has a value of its own; three planes that agree give it back exactly."""
    stack = PlaneStack(volume)
    values = np.random.default_rng(1).integers(0, 256, (classes, *volume), dtype=np.uint8)
    valid = np.random.default_rng(2).random(volume) > 0.2
    values[:, ~valid] = 0
    with tempfile.TemporaryDirectory() as folder:
        store = score_store(Path(folder, "score"), stack, planes_of(values), planes_of(valid))  # type: ignore[arg-type]
        scores = ConsensusScores(store, stack, Path(folder))
        np.testing.assert_array_equal(read_all(scores), values)
        mask = read_all(ConsensusMask(scores, 0.5))[0]
        np.testing.assert_array_equal(mask, labels(values, valid, 0.5))
        _, height, width = volume
        part = Window(
            z=volume[0] - 1, y=height // 2, x=width // 3, height=height - height // 2, width=width - width // 3
        )
        np.testing.assert_array_equal(scores.read(part), values[:, part.z, part.y :, part.x :])


@given(VOLUMES)
@relaxed
def test_planes_that_differ_are_averaged_and_rounded(volume: tuple[int, int, int]) -> None:
    stack = PlaneStack(volume)
    rng = np.random.default_rng(3)
    own = [rng.integers(0, 256, (1, *volume), dtype=np.uint8) for _ in range(3)]
    valid = [rng.random(volume) > 0.1 for _ in range(3)]
    shown = [planes_of(scores)[plane] for plane, scores in enumerate(own)]
    seen = [planes_of(good)[plane] for plane, good in enumerate(valid)]
    everywhere = valid[0] & valid[1] & valid[2]
    mean = np.rint(sum(scores.astype(float) for scores in own) / 3)
    with tempfile.TemporaryDirectory() as folder:
        store = score_store(Path(folder, "score"), stack, shown, seen)  # type: ignore[arg-type]
        found = read_all(ConsensusScores(store, stack, Path(folder)))
    np.testing.assert_array_equal(found, np.where(everywhere, mean, 0))


@given(VOLUMES, st.integers(2, 12), st.data())
@relaxed
def test_the_stack_covers_each_plane_once(volume: tuple[int, int, int], tile: int, data: st.DataObject) -> None:
    stack = PlaneStack(volume)
    places = [stack.place(index) for index in range(stack.size[0])]
    assert places == [(plane, index) for plane, count in enumerate(volume) for index in range(count)]
    extents = [stack.extent(index) for index in range(stack.size[0])]
    assert sum(height * width for height, width in extents) == 3 * int(np.prod(volume))
    assert stack.size[1:] == (max(h for h, _ in extents), max(w for _, w in extents))
    grid = TileGrid(stack.size, tile, data.draw(st.integers(0, tile // 2)))
    shown = 0
    for z, i, j in np.ndindex(grid.size[0], grid.rows, grid.columns):
        window = grid.tile_window(z, i, j)
        shown += window.y < extents[z][0] and window.x < extents[z][1]
    assert stack.tile_count(grid) == shown


@given(st.integers(1, 20), st.integers(1, 20), st.integers(2, 16), st.data())
@relaxed
def test_tiles_are_reflected_where_their_slice_ends(height: int, width: int, tile: int, data: st.DataObject) -> None:
    """As numpy pads the part of a tile that lies within the slice; what is beside the slice is never seen."""
    grid = TileGrid((1, height + 7, width + 5), tile, data.draw(st.integers(0, tile // 2)))
    pixels = np.random.default_rng(4).integers(1, 65536, (1, *grid.size), dtype=np.uint16)
    blocks = grid.blocks(4)
    with tempfile.TemporaryDirectory() as folder:
        ImageStore.create(Path(folder, "stage"), 1, grid, blocks)
        store = ImageStore.open(Path(folder, "stage"))
        for block in blocks:
            cell = grid.cell(block)
            store.write_cell(block, [pixels[:, 0, cell.y : cell.bottom, cell.x : cell.right]])
        for tile_index in np.ndindex(1, grid.rows, grid.columns):
            window = grid.tile_window(*tile_index)
            if window.y >= height or window.x >= width:
                continue
            part = pixels[0, 0, window.y : min(height, window.bottom), window.x : min(width, window.right)]
            rest = ((0, tile - part.shape[0]), (0, tile - part.shape[1]))
            expected = np.pad(part, rest, mode="reflect")
            np.testing.assert_array_equal(store.read_within(window, height, width)[0], expected)
