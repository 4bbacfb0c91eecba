"""Our arrays are zarr, and no damage passes for data."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdm_pipeline.errors import StoreError
from hdm_pipeline.store.zarr_files import ArrayLayout, ZarrArray

relaxed = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])


@st.composite
def layouts(draw: st.DrawFn) -> ArrayLayout:
    axes = draw(st.integers(1, 4))
    chunk = tuple(draw(st.integers(1, 6)) for _ in range(axes))
    file = tuple(draw(st.integers(1, 3)) * c for c in chunk)
    shape = tuple(draw(st.integers(1, 2 * f + 3)) for f in file)
    dtype = draw(st.sampled_from(["uint8", "uint16", "uint32"]))
    return ArrayLayout(shape, dtype, file, chunk, draw(st.sampled_from(["none", "lz4", "lz4-shuffle"])), {"a": [1]})


def everything(layout: ArrayLayout) -> tuple[slice, ...]:
    return tuple(slice(0, n) for n in layout.shape)


def random_values(layout: ArrayLayout) -> npt.NDArray[Any]:
    return np.random.default_rng(1).integers(0, 200, layout.shape).astype(layout.dtype)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name) / "array"


@given(layouts(), st.data())
@relaxed
def test_what_is_written_is_read_whole_and_in_parts(layout: ArrayLayout, data: st.DataObject) -> None:
    values = random_values(layout)
    with folder() as path:
        ZarrArray.create(path, layout).write(everything(layout), values)
        array = ZarrArray.open(path)
        assert array.layout.to_json() == layout.to_json()
        np.testing.assert_array_equal(array.read(everything(layout)), values)
        starts = [data.draw(st.integers(0, n - 1)) for n in layout.shape]
        box = tuple(slice(a, data.draw(st.integers(a + 1, n))) for a, n in zip(starts, layout.shape, strict=True))
        np.testing.assert_array_equal(array.read(box), values[box])


@given(layouts())
@relaxed
def test_zarr_reads_what_we_write(layout: ArrayLayout) -> None:
    values = random_values(layout)
    with folder() as path:
        ZarrArray.create(path, layout).write(everything(layout), values)
        array = zarr.open_array(path, mode="r", zarr_format=3)
        assert array.shape == layout.shape
        assert array.chunks == layout.chunk
        assert array.shards == (layout.file if layout.file != layout.chunk else None)
        np.testing.assert_array_equal(array[...], values)


@given(layouts())
@relaxed
def test_we_read_what_zarr_writes(layout: ArrayLayout) -> None:
    values = random_values(layout)
    with folder() as path:
        ours = ZarrArray.create(path, layout)
        with zarr.config.set({"array.write_empty_chunks": True}):
            zarr.open_array(path, mode="r+", zarr_format=3)[...] = values
        np.testing.assert_array_equal(ours.read(everything(layout)), values)


@given(layouts(), st.integers(0, 2**31), st.sampled_from(["flip", "cut", "grow", "hollow", "remove"]))
@relaxed
def test_no_damage_passes_for_data(layout: ArrayLayout, where: int, damage: str) -> None:
    values = random_values(layout)
    with folder() as path:
        array = ZarrArray.create(path, layout)
        array.write(everything(layout), values)
        files = sorted(path.glob("c.*"))
        file = files[where % len(files)]
        content = bytearray(file.read_bytes())
        place = where % len(content)
        if damage == "flip":
            content[place] ^= 1 << where % 8
        elif damage == "cut":
            del content[place:]
        elif damage == "grow":
            content += bytes(1 + where % 40)
        else:
            content[:] = bytes(len(content))
        file.write_bytes(content)
        if damage == "remove":
            file.unlink()
        with pytest.raises(StoreError) as caught:
            array.read(everything(layout))
        assert caught.value.remedy
        array.write(everything(layout), values)
        np.testing.assert_array_equal(array.read(everything(layout)), values)


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    layout = ArrayLayout((20, 20), "uint8", (8, 8), (4, 4))
    array = ZarrArray.create(tmp_path / "array", layout)
    for box in ((slice(0, 4), slice(0, 8)), (slice(4, 8), slice(0, 8)), (slice(16, 19), slice(0, 8))):
        with pytest.raises(ValueError, match="whole files"):
            array.write(box, np.zeros((box[0].stop - box[0].start, 8), np.uint8))
    with pytest.raises(ValueError, match="selection of shape"):
        array.write((slice(0, 8), slice(0, 8)), np.zeros((8, 7), np.uint8))
    assert [p.name for p in (tmp_path / "array").iterdir()] == ["zarr.json"]
    array.write((slice(16, 20), slice(8, 20)), np.zeros((4, 12), np.uint8))
    assert sorted(p.name for p in (tmp_path / "array").iterdir()) == ["c.2.1", "c.2.2", "zarr.json"]


def test_arrays_of_others_are_refused(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "theirs", shape=(4, 4), dtype="uint8")
    with pytest.raises(StoreError):
        ZarrArray.open(tmp_path / "theirs")
    layout = ArrayLayout((4, 4), "uint8", (4, 4), (4, 4))
    ZarrArray.create(tmp_path / "ours", layout)
    metadata = tmp_path / "ours" / "zarr.json"
    facts = json.loads(metadata.read_bytes())
    facts["codecs"] = facts["codecs"][:1]
    metadata.write_text(json.dumps(facts))
    with pytest.raises(StoreError):
        ZarrArray.open(tmp_path / "ours")
    for text in (b"", b"{}", b"[]", b"null", b"\xff", metadata.read_bytes()[:50]):
        metadata.write_bytes(text)
        with pytest.raises(StoreError):
            ZarrArray.open(tmp_path / "ours")


def test_creating_again_keeps_the_same_and_replaces_another(tmp_path: Path) -> None:
    layout = ArrayLayout((4, 4), "uint8", (4, 4), (4, 4))
    array = ZarrArray.create(tmp_path / "array", layout)
    array.write(everything(layout), np.ones((4, 4), np.uint8))
    assert ZarrArray.create(tmp_path / "array", layout).read(everything(layout)).all()
    other = ZarrArray.create(tmp_path / "array", ArrayLayout((4, 4), "uint8", (4, 4), (4, 4), "none"))
    with pytest.raises(StoreError, match="never written"):
        other.read(everything(layout))
