"""Work arrays are zarr, appear whole, and no damage passes for data."""

import json
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import zarr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdm_pipeline.errors import StoreError
from hdm_pipeline.store.zarr_array import ArrayLayout, ZarrArray

relaxed = settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.too_slow])

FACTS = {"a": [1]}


@st.composite
def layouts(draw: st.DrawFn) -> ArrayLayout:
    axes = draw(st.integers(1, 4))
    chunk = tuple(draw(st.integers(1, 6)) for _ in range(axes))
    file = tuple(draw(st.integers(1, 3)) * c for c in chunk)
    shape = tuple(draw(st.integers(1, 2 * f + 3)) for f in file)
    return ArrayLayout(shape, draw(st.sampled_from(["uint8", "uint16", "uint32"])), file, chunk)


def everything(layout: ArrayLayout) -> tuple[slice, ...]:
    return tuple(slice(0, n) for n in layout.shape)


def random_values(layout: ArrayLayout) -> npt.NDArray[Any]:
    return np.random.default_rng(1).integers(0, 200, layout.shape).astype(layout.dtype)


def draw_box(data: st.DataObject, shape: tuple[int, ...]) -> tuple[slice, ...]:
    starts = [data.draw(st.integers(0, n - 1)) for n in shape]
    return tuple(slice(a, data.draw(st.integers(a + 1, n))) for a, n in zip(starts, shape, strict=True))


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name) / "array"


@given(layouts(), st.data())
@relaxed
def test_what_is_written_is_read_whole_and_in_parts(layout: ArrayLayout, data: st.DataObject) -> None:
    values = random_values(layout)
    with folder() as path:
        ZarrArray.create(path, layout, FACTS).write(everything(layout), values)
        array = ZarrArray.open(path)
        assert (array.layout, array.attributes) == (layout, FACTS)
        np.testing.assert_array_equal(array.read(everything(layout)), values)
        box = draw_box(data, layout.shape)
        np.testing.assert_array_equal(array.read(box), values[box])


@given(layouts())
@relaxed
def test_zarr_with_its_own_codecs_reads_what_we_write(layout: ArrayLayout) -> None:
    values = random_values(layout)
    with folder() as path:
        ZarrArray.create(path, layout, FACTS).write(everything(layout), values)
        array = zarr.open_array(path, mode="r", zarr_format=3)
        assert type(array.async_array.codec_pipeline).__name__ == "BatchedCodecPipeline"
        assert array.shape == layout.shape
        assert array.chunks == layout.chunk
        assert array.shards == (layout.file if layout.file != layout.chunk else None)
        np.testing.assert_array_equal(array[...], values)


@given(layouts())
@relaxed
def test_we_read_what_zarr_with_its_own_codecs_writes(layout: ArrayLayout) -> None:
    values = random_values(layout)
    with folder() as path:
        ours = ZarrArray.create(path, layout, FACTS)
        zarr.open_array(path, mode="r+", zarr_format=3)[...] = values
        np.testing.assert_array_equal(ours.read(everything(layout)), values)


@pytest.mark.parametrize("value", [0, 65535])
@pytest.mark.parametrize("chunk", [(4, 4), (8, 8)])
def test_a_file_of_one_value_is_stored(tmp_path: Path, chunk: tuple[int, int], value: int) -> None:
    layout = ArrayLayout((20, 13), "uint16", (8, 8), chunk)
    array = ZarrArray.create(tmp_path / "array", layout, FACTS)
    array.write(everything(layout), np.full(layout.shape, value, np.uint16))
    assert len(list((tmp_path / "array").glob("c.*"))) == 6
    assert (array.read(everything(layout)) == value).all()
    assert (zarr.open_array(tmp_path / "array", mode="r")[...] == value).all()


@given(layouts(), st.integers(0, 2**31), st.sampled_from(["flip", "cut", "grow", "hollow", "remove"]), st.data())
@relaxed
def test_no_damage_passes_for_data(layout: ArrayLayout, where: int, damage: str, data: st.DataObject) -> None:
    """Reading a part, too: the values are right, or it is an error."""
    values = random_values(layout)
    with folder() as path:
        array = ZarrArray.create(path, layout, FACTS)
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
        for box in (everything(layout), draw_box(data, layout.shape)):
            # A few bits of a zstd frame's header mean nothing. Whatever else happens to a file matters to who reads it.
            must_fail = damage != "flip" and box == everything(layout)
            with pytest.raises(StoreError) if must_fail else suppress(StoreError):
                np.testing.assert_array_equal(array.read(box), values[box])
        array.write(everything(layout), values)
        np.testing.assert_array_equal(array.read(everything(layout)), values)


def test_each_flipped_byte_of_a_shard_is_noticed_by_who_reads_its_chunk(tmp_path: Path) -> None:
    layout = ArrayLayout((8, 8), "uint16", (8, 8), (4, 4))
    array = ZarrArray.create(tmp_path / "array", layout, FACTS)
    values = np.random.default_rng(0).integers(0, 60000, layout.shape, dtype=np.uint16)
    array.write(everything(layout), values)
    (file,) = (tmp_path / "array").glob("c.*")
    good = file.read_bytes()
    parts = [(slice(y, y + 2), slice(x, x + 2)) for y in (1, 5) for x in (1, 5)]  # a part of each chunk
    noticed = set()  # all but the byte of each zstd frame's header whose bit 4 means nothing
    for place in range(len(good)):
        file.write_bytes(good[:place] + bytes([good[place] ^ 16]) + good[place + 1 :])
        for part in parts:
            try:
                np.testing.assert_array_equal(array.read(part), values[part])
            except StoreError:
                noticed.add(place)
    assert len(noticed) >= len(good) - len(parts)


def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    layout = ArrayLayout((20, 20), "uint8", (8, 8), (4, 4))
    array = ZarrArray.create(tmp_path / "array", layout, FACTS)
    for box in ((slice(0, 4), slice(0, 8)), (slice(4, 8), slice(0, 8)), (slice(16, 19), slice(0, 8))):
        with pytest.raises(ValueError, match="whole files"):
            array.write(box, np.zeros((box[0].stop - box[0].start, 8), np.uint8))
    with pytest.raises(ValueError, match="selection of shape"):
        array.write((slice(0, 8), slice(0, 8)), np.zeros((8, 7), np.uint8))
    assert [p.name for p in (tmp_path / "array").iterdir()] == ["zarr.json"]
    array.write((slice(16, 20), slice(8, 20)), np.zeros((4, 12), np.uint8))
    assert sorted(p.name for p in (tmp_path / "array").iterdir()) == ["c.2.1", "c.2.2", "zarr.json"]


_WRITE_FOR_EVER = """
import sys
from pathlib import Path
import numpy as np
from hdm_pipeline.store.zarr_array import ZarrArray
array = ZarrArray.open(Path(sys.argv[1]))
everything = tuple(slice(0, n) for n in array.layout.shape)
rng = np.random.default_rng(0)
while True:
    array.write(everything, rng.integers(0, 60000, array.layout.shape, dtype=np.uint16))
    print("written", flush=True)
"""


def test_a_killed_writer_leaves_no_half_file(tmp_path: Path) -> None:
    layout = ArrayLayout((1024, 1024), "uint16", (1024, 1024), (256, 256))
    array = ZarrArray.create(tmp_path / "array", layout, FACTS)
    for delay in (0.001, 0.004, 0.007):
        command = [sys.executable, "-c", _WRITE_FOR_EVER, str(array.path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"written\n"
            time.sleep(delay)
            writer.send_signal(signal.SIGKILL)
        assert array.read(everything(layout)).max() < 60000


def test_arrays_of_others_are_refused(tmp_path: Path) -> None:
    zarr.create_array(tmp_path / "theirs", shape=(4, 4), dtype="uint8")
    with pytest.raises(StoreError):
        ZarrArray.open(tmp_path / "theirs")
    ZarrArray.create(tmp_path / "ours", ArrayLayout((4, 4), "uint8", (4, 4), (4, 4)), FACTS)
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
    array = ZarrArray.create(tmp_path / "array", layout, FACTS)
    array.write(everything(layout), np.ones((4, 4), np.uint8))
    assert ZarrArray.create(tmp_path / "array", layout, FACTS).read(everything(layout)).all()
    other = ZarrArray.create(tmp_path / "array", layout, {"a": [2]})
    with pytest.raises(StoreError, match="never written"):
        other.read(everything(layout))


def test_an_array_travels_between_processes(tmp_path: Path) -> None:
    layout = ArrayLayout((4, 4), "uint8", (4, 4), (2, 2))
    array = ZarrArray.create(tmp_path / "array", layout, FACTS)
    array.write(everything(layout), np.eye(4, dtype=np.uint8))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(array)).read(everything(layout)), np.eye(4))


def test_the_settings_of_zarr_stay_those_of_the_user(tmp_path: Path) -> None:
    layout = ArrayLayout((4, 4), "uint8", (4, 4), (2, 2))
    with zarr.config.set({"threading.max_workers": 3}):
        before = json.dumps(zarr.config.config, sort_keys=True, default=str)
        array = ZarrArray.create(tmp_path / "array", layout, FACTS)
        array.write(everything(layout), np.eye(4, dtype=np.uint8))
        array.read(everything(layout))
        assert json.dumps(zarr.config.config, sort_keys=True, default=str) == before


def test_a_folder_that_vanished_is_no_data(tmp_path: Path) -> None:
    layout = ArrayLayout((4, 4), "uint8", (4, 4), (2, 2))
    array = ZarrArray.create(tmp_path / "array", layout, FACTS)
    array.write(everything(layout), np.eye(4, dtype=np.uint8))
    os.rename(tmp_path / "array", tmp_path / "moved")
    with pytest.raises(StoreError, match="never written or is gone"):
        array.read(everything(layout))
