"""Cells fetched from an object store: once a process, never dropped while they are read, forgotten when damaged."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hdm_pipeline.errors import StoreError
from hdm_pipeline.grid import TileGrid
from hdm_pipeline.objects import folder as objects
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.store import zarr_array
from hdm_pipeline.store.fetched import FetchedCells
from hdm_pipeline.store.scene import ImageStore


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectFolder:
    """A folder of a store, for a process that has fetched nothing."""
    monkeypatch.setenv("HDM_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setattr(zarr_array, "FETCHED", FetchedCells())
    return ObjectFolder(f"file://{tmp_path}/store/stage")


def another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zarr_array, "FETCHED", FetchedCells())
    objects.requests.clear()


def test_a_cell_is_written_once_and_read_once(place: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = TileGrid((1, 512, 512), 256, 0)
    blocks = grid.blocks(1)
    store = ImageStore.create(place, 1, grid, blocks)
    objects.requests.clear()
    pixels = np.random.default_rng(0).integers(1, 60000, (4, 1, 256, 256), dtype=np.uint16)
    for block, values in zip(blocks, pixels, strict=True):
        store.write_cell(block, [values])
    assert objects.requests == Counter(put=4)
    another_process(monkeypatch)
    for _ in range(3):
        again = ImageStore.open(place)  # as each step does
        for block, values in zip(blocks, pixels, strict=True):
            np.testing.assert_array_equal(again.read(grid.tile_window(*next(iter(grid.tiles(block))))), values)
    assert objects.requests["get"] == 4


def test_what_is_damaged_is_fetched_again_after_it_was_written_again(
    place: ObjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = TileGrid((1, 256, 256), 256, 0)
    (block,) = grid.blocks(1)
    store = ImageStore.create(place, 1, grid, [block])
    pixels = np.random.default_rng(0).integers(1, 60000, (1, 256, 256), dtype=np.uint16)
    store.write_cell(block, [pixels])
    (name,) = [key for key, _ in place.keys("") if key != "zarr.json"]
    sound = place.get(name)
    assert sound is not None
    another_process(monkeypatch)
    place.put(name, sound[:-200])
    with pytest.raises(StoreError, match="damaged"):
        ImageStore.open(place).read_valid(block)
    place.put(name, sound)
    assert ImageStore.open(place).read_valid(block).all()
    another_process(monkeypatch)
    place.delete(name)
    with pytest.raises(StoreError, match="gone"):
        ImageStore.open(place).read_valid(block)


def test_those_used_last_stay_and_those_in_use_as_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDM_SCRATCH", str(tmp_path))
    cells = FetchedCells(most_bytes=250)
    folder = cells.folder("s3://bucket/array")
    files = [folder / name for name in "abcd"]
    asked: list[str] = []

    def fetch(name: str) -> bytes:
        asked.append(name)
        return b"x" * 100

    with cells.using(files[:3], fetch) as missing:  # more than there is room for
        assert not missing
        assert all(file.exists() for file in files[:3])
    with cells.using([files[2], files[3]], fetch):
        assert [file.name for file in files if file.exists()] == ["c", "d"]
    assert asked == list("abcd")
    with cells.using([files[0]], lambda _: None) as missing:
        assert missing == [files[0]]
