"""Work in an object store: the files of a disk as objects, plain zarr to anyone, each written once and read once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from obstore.store import from_url
from zarr.storage import FsspecStore, ObjectStore

from hdm_pipeline.errors import StoreError
from hdm_pipeline.grid import Block, TileGrid, Window
from hdm_pipeline.objects import folder as objects
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.stitch import BlockAccumulator
from hdm_pipeline.store import zarr_array
from hdm_pipeline.store.fetched import FetchedCells
from hdm_pipeline.store.scene import ImageStore, ScoreStore
from hdm_pipeline.store.zarr_array import Place, remove

GRID = TileGrid((1, 252, 252), 64, 16)  # the last cells end within their files: each is one object
BLOCKS = GRID.blocks(4)
CELL_SHAPE = (GRID.cell(BLOCKS[0]).height, GRID.cell(BLOCKS[0]).width)
WHOLE = Window.whole(0, GRID.size[1:])
INNER = next(block for block in BLOCKS if len(GRID.neighbors(block, BLOCKS)) == 3)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectFolder:
    monkeypatch.setenv("HDM_SCRATCH", str(tmp_path / "scratch"))
    another_process(monkeypatch)
    return ObjectFolder(f"file://{tmp_path}/store")


def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has fetched nothing and knows no metadata."""
    monkeypatch.setattr(zarr_array, "FETCHED", FetchedCells())
    monkeypatch.setattr(zarr_array, "_known", {})
    objects.requests.clear()


def stage(place: Place) -> ImageStore:
    pixels = np.random.default_rng(0).integers(1, 60000, (1, *GRID.size[1:]), dtype=np.uint16)
    store = ImageStore.create(place / "stage", 1, GRID, BLOCKS)
    for block in BLOCKS:
        cell = GRID.cell(block)
        store.write_cell(block, [pixels[:, cell.y : cell.bottom, cell.x : cell.right]])
    return store


def infer(place: Place, block: Block) -> None:
    tiles = np.random.default_rng(1).integers(0, 256, (GRID.rows, GRID.columns, 1, 64, 64), dtype=np.uint8)
    accumulator = BlockAccumulator(GRID, block, 1)
    for tile in GRID.tiles(block):
        image = ImageStore.open(place / "stage")
        image.read(GRID.tile_window(*tile))
        accumulator.add(tile, tiles[tile[1], tile[2]])
    ScoreStore.open(place / "score").write_block(accumulator.finish(), image.read_valid(block))


def reached(block: Block) -> int:
    """How many cells the tiles of a block reach into, its own among them."""
    tiles = [GRID.tile_window(*tile) for tile in GRID.tiles(block)]
    bottom, right = max(one.bottom for one in tiles), max(one.right for one in tiles)
    top, left = min(one.y for one in tiles), min(one.x for one in tiles)
    cells = map(GRID.cell, BLOCKS)
    return sum(c.y < bottom and top < c.bottom and c.x < right and left < c.right for c in cells)


def fill(place: Place) -> ScoreStore:
    stage(place)
    ScoreStore.create(place / "score", 1, GRID, BLOCKS)
    for block in BLOCKS:
        infer(place, block)
    store = ScoreStore.open(place / "score")
    for block in BLOCKS:
        store.finish(block)
    return store


def test_objects_are_the_files_of_a_disk(place: ObjectFolder, tmp_path: Path) -> None:
    fill(place)
    fill(tmp_path / "disk")
    files = {p.relative_to(tmp_path / "disk").as_posix(): p for p in (tmp_path / "disk").rglob("*") if p.is_file()}
    assert set(dict(place.keys(""))) == set(files)
    assert [name for name, file in files.items() if place.get(name) != file.read_bytes()] == []


@pytest.mark.parametrize("through", ["obstore", "fsspec"])
def test_plain_zarr_reads_them(place: ObjectFolder, through: str) -> None:
    scores = fill(place).channels(WHOLE)

    def opened(name: str) -> Any:
        address = f"{place}/{name}"
        store = ObjectStore(from_url(address)) if through == "obstore" else FsspecStore.from_url(address)
        return zarr.open_array(store, mode="r")

    np.testing.assert_array_equal(opened("score/scores")[:][:, 0], scores)
    pixels = ImageStore.open(place / "stage").read(WHOLE)
    np.testing.assert_array_equal(opened("stage")[:][:, 0], pixels)


def test_each_step_asks_for_what_it_needs_once(place: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step in a process of its own, which is the most that a cluster asks for."""
    around = 1 + len(GRID.neighbors(INNER, BLOCKS))
    stage(place)
    assert objects.requests == Counter(get=1, put=1 + len(BLOCKS)), "metadata is looked for, and each cell put"
    ScoreStore.create(place / "score", 1, GRID, BLOCKS)
    for block in BLOCKS:
        another_process(monkeypatch)
        infer(place, block)
        assert objects.requests == Counter(get=reached(block) + 4, put=2), "each cell and each array's metadata once"
    another_process(monkeypatch)
    ScoreStore.open(place / "score").finish(INNER)
    assert objects.requests == Counter(get=3 + 1 + around, put=1), "metadata, its interior, strips around it"
    for block in BLOCKS:
        ScoreStore.open(place / "score").finish(block)
    another_process(monkeypatch)
    store = ScoreStore.open(place / "score")
    for _ in range(3):
        store.read(WHOLE)
    assert objects.requests == Counter(get=1 + len(BLOCKS))


def test_what_was_removed_is_not_read_on(place: ObjectFolder) -> None:
    """Not even by the process that wrote it, where an array is made anew under the address."""
    fill(place)
    beside = ImageStore.create(ObjectFolder(f"{place}-beside"), 1, GRID, BLOCKS)
    beside.write_cell(BLOCKS[0], [np.ones((1, *CELL_SHAPE), dtype=np.uint16)])
    remove(place)
    assert list(place.keys("")) == []
    store = ImageStore.create(place / "stage", 1, GRID, BLOCKS)
    with pytest.raises(StoreError, match="never written"):
        store.read(WHOLE)
    with pytest.raises(StoreError):
        ScoreStore.open(place / "score")
    objects.requests.clear()
    assert beside.read_valid(BLOCKS[0]).all()
    assert not objects.requests, "what lies beside it is still here"
