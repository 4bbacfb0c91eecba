"""Scenes and masks as pictures, and the pool of open scenes."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.errors import ConfigError, ReadError
from hdm_pipeline.grid import Window
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import SceneRecord
from hdm_pipeline.pixels.scaling import decode_pixels, encode_pixels
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.session.opened import OpenScenes
from hdm_pipeline.session.pictures import Pictures, _telling_slice, middles, thinned
from hdm_pipeline.session.scenes import Scenes
from tests.raster_product import ArraySource
from tests.unit.session.test_scenes import write

WHOLE = Window.whole(0, (40, 60))


@dataclass
class Shown:
    scenes: Scenes
    opened: OpenScenes
    pictures: Pictures


@pytest.fixture
def shown(tmp_path: Path) -> Iterator[Shown]:
    rng = np.random.default_rng(1)
    pixels = rng.normal(-12, 4, (2, 40, 60)).astype(np.float32)
    pixels[:, :, :5] = math.nan
    for name in ("a", "b", "c"):
        write(tmp_path / "scenes" / f"{name}.tif", pixels)
    yield from _shown(tmp_path, bands=[1, "b1 - b2"], scale={"percentiles": [2, 98]})


def _shown(root: Path, **given: Any) -> Iterator[Shown]:
    config = PipelineConfig.model_validate(
        {
            "name": "test",
            "input": {"uri": str(root / "scenes"), **given},
            "support": {"classes": [{"name": "water", "examples": [{"image": "no.tif", "mask": "no.tif"}]}]},
            "output": {"directory": str(root / "out")},
        }
    )
    scenes = Scenes(config, Workspace(root / "out"), archive_reader(config))
    opened = OpenScenes(scenes, most=2, idle_seconds=600)
    yield Shown(scenes, opened, Pictures(scenes, opened))
    opened.close()
    scenes.close()


def test_a_picture_shows_what_the_network_sees(shown: Shown) -> None:
    look = shown.opened.look("a")
    with shown.scenes.reader.open(shown.scenes.ref("a")) as source:
        pixels, valid = look.bands.apply(*source.read(WHOLE, look.bands.indices))
    staged, _ = decode_pixels(encode_pixels(pixels, valid, look.ranges))
    found = shown.pictures.picture("a", WHOLE, (40, 60))
    assert found.shape == (40, 60, 4)
    np.testing.assert_array_equal(found[..., 3], np.where(valid, 255, 0))
    assert not found[:, :5].any()
    for channel, band in enumerate((staged[0], staged[1], staged.mean(axis=0))):
        np.testing.assert_allclose(found[..., channel][valid], 255 * band[valid], atol=0.51)


def test_a_picture_may_be_smaller_and_have_other_ranges(shown: Shown) -> None:
    window = Window(z=0, y=8, x=20, height=32, width=40)
    assert shown.pictures.picture("a", window, (16, 10)).shape == (16, 10, 4)
    dark = shown.pictures.picture("a", window, (32, 40), [(1000.0, 2000.0)])
    assert not dark[..., :3].any()
    assert dark[..., 3].all()
    picture, mask = shown.pictures.thumbnail("a", side=30)
    assert picture.shape == (20, 30, 4)
    assert mask is None


@pytest.mark.parametrize(
    ("window", "size", "ranges"),
    [
        (Window(z=0, y=0, x=1, height=40, width=60), (1, 1), None),
        (Window(z=1, y=0, x=0, height=1, width=1), (1, 1), None),
        (Window(z=0, y=-1, x=0, height=2, width=2), (1, 1), None),
        (WHOLE, (41, 60), None),
        (WHOLE, (0, 60), None),
        (WHOLE, (4, 6), [(1.0, 1.0)]),
        (WHOLE, (4, 6), [(0.0, math.nan)]),
        (WHOLE, (4, 6), [(0.0, 1.0)] * 3),
    ],
)
def test_what_cannot_be_shown_is_refused(
    shown: Shown, window: Window, size: tuple[int, int], ranges: list[tuple[float, float]] | None
) -> None:
    with pytest.raises(ConfigError):
        shown.pictures.picture("a", window, size, ranges)


def test_a_file_that_is_gone_is_said_to_be(shown: Shown, tmp_path: Path) -> None:
    assert len(shown.scenes.refs()) == 3
    (tmp_path / "scenes" / "b.tif").unlink()
    with pytest.raises(ReadError):
        shown.pictures.picture("b", WHOLE, (4, 6))


def test_a_scene_stays_open_for_a_while_and_only_a_few_do(shown: Shown) -> None:
    with shown.opened.source("a") as first, shown.opened.source("a") as other:
        assert other is not first, "a source is for one thread at a time"
    with shown.opened.source("a") as again:
        assert again in (first, other)
    for name in ("b", "c"):
        with shown.opened.source(name):
            pass
    assert [ref.id for ref, _ in shown.opened._free] == ["b", "c"]


def test_a_scene_that_nobody_uses_is_closed(shown: Shown) -> None:
    opened = OpenScenes(shown.scenes, idle_seconds=0.05)
    with opened.source("a") as source:
        source.read(WHOLE, (0,))
    deadline = time.monotonic() + 10
    while opened._free and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not opened._free


def test_a_source_that_failed_is_not_used_again(shown: Shown) -> None:
    with pytest.raises(ReadError), shown.opened.source("a"):
        raise ReadError("damaged")
    assert not shown.opened._free


def test_threads_do_not_share_a_source(shown: Shown) -> None:
    using: set[int] = set()
    shared = []

    def look() -> None:
        for _ in range(20):
            with shown.opened.source("a") as source:
                if id(source) in using:
                    shared.append(source)
                using.add(id(source))
                source.read(WHOLE, (0,))
                using.discard(id(source))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not shared


def test_labels_are_thinned_and_never_mixed() -> None:
    labels = (np.arange(70 * 50) % 251).reshape(1, 70, 50).astype(np.uint8)
    window = Window(z=0, y=10, x=5, height=60, width=40)
    found = thinned(ArraySource(labels), window, (6, 4))
    np.testing.assert_array_equal(found, labels[0, 15:70:10, 10:45:10])
    assert list(middles(5, 5)) == [0, 1, 2, 3, 4]


def test_the_slice_with_most_of_the_class_is_shown() -> None:
    def of(**areas: list[float]) -> int:
        return _telling_slice(SceneRecord("a", "p", info={"slice_area_mm2": areas}), 5)

    assert of(liver=[0.0, 1, 5, 9, 2], tumor=[0.0, 0, 5, 0, 0]) == 2
    assert of(liver=[0.0] * 5) == of(liver=[1.0]) == _telling_slice(None, 5) == 2
    assert of(liver=[3.0, 0, 0, 0, 0]) == 0
