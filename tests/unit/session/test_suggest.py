"""What is suggested to label next: unlike the examples, unlike each other, and no oddity first."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.contracts import RasterGeometry, SceneHeader, VolumeGeometry
from hdm_pipeline.errors import ArchiveError
from hdm_pipeline.grid import Window
from hdm_pipeline.model.cells import cell_features
from hdm_pipeline.model.pyramid.network import HDMNetPyramid
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.pixels.sanity import Look
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.session.looks import CellLook, Looks, label_shares, spread_windows
from hdm_pipeline.session.opened import OpenScenes
from hdm_pipeline.session.scenes import Scenes
from hdm_pipeline.session.suggest import suggest
from hdm_pipeline.support.examples import SupportExample
from tests.small_pyramid import small_pyramid
from tests.unit.session.test_scenes import write

SIDE = 128


def picture(kind: str, seed: int = 0) -> npt.NDArray[np.uint8]:
    """[1, 128, 128]: flat, stripes, or noise, which a mean and contrasts tell apart."""
    rng = np.random.default_rng(seed)
    x = np.arange(SIDE)[None, None, :]
    values = {
        "flat": np.full((1, 1, SIDE), 200),
        "stripes": 60 + 60 * (x // 32 % 2),
        "noise": rng.integers(0, 255, (1, SIDE, SIDE)),
    }[kind]
    return (np.broadcast_to(values, (1, SIDE, SIDE)) * 0.98 + rng.integers(0, 5, (1, SIDE, SIDE))).astype(np.uint8)


def example(kind: str) -> SupportExample:
    label = np.zeros((SIDE, SIDE), np.uint8)
    label[:, : SIDE // 2] = 1
    return SupportExample(kind, (picture(kind, 99) / 255).astype(np.float32), label, Look(kind, {}, (), (), None))


@pytest.fixture(scope="module")
def segmenter() -> FewShotSegmenter:
    return FewShotSegmenter.from_network(small_pyramid(1), device="cpu")


@pytest.fixture
def scenes(tmp_path: Path) -> Iterator[Scenes]:
    for number in range(6):
        write(tmp_path / "scenes" / f"flat_{number}.tif", picture("flat", number))
    for number in range(4):
        write(tmp_path / "scenes" / f"stripes_{number}.tif", picture("stripes", number))
    write(tmp_path / "scenes" / "noise.tif", picture("noise"))
    config = PipelineConfig.model_validate(
        {
            "name": "test",
            "input": {"uri": str(tmp_path / "scenes"), "bands": [1], "scale": {"fixed": [0, 255]}},
            "support": {"classes": [{"name": "water", "examples": [{"image": "no.tif", "mask": "no.tif"}]}]},
            "tiling": {"size": SIDE, "overlap": 0},
            "output": {"directory": str(tmp_path / "out")},
        }
    )
    found = Scenes(config, Workspace(tmp_path / "out"), archive_reader(config))
    yield found
    found.close()


@pytest.fixture
def opened(scenes: Scenes) -> Iterator[OpenScenes]:
    found = OpenScenes(scenes)
    yield found
    found.close()


def test_what_is_unlike_the_example_and_like_much_of_the_archive_comes_first(
    scenes: Scenes, opened: OpenScenes, segmenter: FewShotSegmenter
) -> None:
    heard: list[float] = []
    found = suggest(scenes, Looks(opened), segmenter, [[example("flat")]], on_progress=heard.append)
    assert found[0].scene.startswith("stripes"), "four scenes; the noise is one"
    assert found[1].scene == "noise", "unlike both"
    assert found[0].worth == 1.0
    assert [one.worth for one in found] == sorted((one.worth for one in found), reverse=True)
    assert found[0].window == Window.whole(0, (SIDE, SIDE))
    assert 0.36 <= found[0].measures["share"] < 0.5, "the stripes, and no flat one"
    assert found[0].measures["unlikeness"] > 0.5
    assert found[0].reason.startswith("Unlike your examples")
    assert re.search(r"stands for \d of 11 windows", found[0].reason)
    assert all(len(one.reason) < 80 for one in found)
    assert (found[0].measures["scenes_seen"], found[0].measures["scenes"]) == (11, 11)
    assert heard[-1] == 1.0


def test_labelled_scenes_come_later(scenes: Scenes, opened: OpenScenes, segmenter: FewShotSegmenter) -> None:
    looks = Looks(opened)
    first = suggest(scenes, looks, segmenter, [[example("flat")]])[0].scene
    labeled = {ref.id for ref in scenes.refs() if ref.id.startswith("stripes")} - {"stripes_3"}
    assert first in {*labeled, "stripes_3"}
    assert suggest(scenes, looks, segmenter, [[example("flat")]], labeled=labeled)[0].scene == "stripes_3"


def test_without_examples_the_commonest_look_comes_first(
    scenes: Scenes, opened: OpenScenes, segmenter: FewShotSegmenter
) -> None:
    found = suggest(scenes, Looks(opened), segmenter, [], count=3)
    assert found[0].scene.startswith("flat")
    assert len({one.scene.partition("_")[0] for one in found}) == 3
    assert "uncertainty" not in found[0].measures
    assert not any("your examples" in one.reason for one in found)


def test_where_nothing_is_unlike_the_reasons_do_not_say_so(
    scenes: Scenes, opened: OpenScenes, segmenter: FewShotSegmenter
) -> None:
    known = [example("flat"), example("stripes"), example("noise")]
    found = suggest(scenes, Looks(opened), segmenter, [known], count=2)
    assert found
    assert all(one.measures["unlikeness"] < 0.5 for one in found)
    assert all(one.reason.startswith("The most different of what was looked at") for one in found)


def test_a_large_archive_is_sampled_evenly_and_says_so(
    scenes: Scenes, opened: OpenScenes, segmenter: FewShotSegmenter
) -> None:
    found = suggest(scenes, Looks(opened), segmenter, [], budget=4)
    assert (found[0].measures["scenes_seen"], found[0].measures["scenes"]) == (4, 11)
    assert "in 4 of 11 scenes" in found[0].reason


def test_looking_again_costs_nothing_and_memory_is_bounded(
    scenes: Scenes, opened: OpenScenes, segmenter: FewShotSegmenter, tmp_path: Path
) -> None:
    looks = Looks(opened)
    before = suggest(scenes, looks, segmenter, [[example("flat")]])
    for file in (tmp_path / "scenes").iterdir():
        file.unlink()
    assert suggest(scenes, looks, segmenter, [[example("flat")]]) == before, "nothing is read again"
    small = Looks(opened, most_bytes=1)
    opened.close()
    with pytest.raises(ArchiveError, match="no scene can be looked at"):
        suggest(scenes, small, segmenter, [])


def test_a_search_can_be_stopped(scenes: Scenes, opened: OpenScenes, segmenter: FewShotSegmenter) -> None:
    answers = iter([False, False, True])
    found = suggest(scenes, Looks(opened), segmenter, [], stopped=lambda: next(answers))
    assert found[0].measures["scenes_seen"] == 2


def test_windows_are_spread_and_lie_within_the_scene(scenes: Scenes) -> None:
    flat = scenes.header("flat_0")
    large = replace(flat, shape=(1, 1, 1000, 1300), geometry=RasterGeometry((1, 0, 0, 0, -1, 0)))
    volume: SceneHeader = replace(flat, shape=(1, 30, 100, 90), geometry=VolumeGeometry(tuple(np.eye(4).ravel())))
    every = spread_windows(scenes.config, large, 1000)
    assert len(every) == 8 * 11
    assert all(w.bottom <= 1000 and w.right <= 1300 and w.height == w.width == SIDE for w in every)
    some = spread_windows(scenes.config, large, 9)
    assert len({(w.y, w.x) for w in some}) == 9
    assert {w.y > 500 for w in some} == {w.x > 650 for w in some} == {True, False}
    slices = [w.z for w in spread_windows(scenes.config, volume, 5)]
    assert len(set(slices)) == 5
    assert max(slices) - min(slices) > 15


def test_shares_of_labels_fall_to_the_cells() -> None:
    label = np.full((64, 96), 255, np.uint8)
    label[:32, :32], label[:32, 32:48] = 1, 0
    places = np.array([[0, 0], [0, 1], [1, 2]])
    found = label_shares(CellLook(np.zeros((3, 4), np.float16), places, (2, 3)), label)
    np.testing.assert_allclose(found, np.array([[1, 0, 0], [0, 0.5, 0]]))


def test_cells_without_data_are_left_out(segmenter: FewShotSegmenter) -> None:
    image = np.ones((5, 100, 64), np.float32)
    valid = np.ones((100, 64), bool)
    image[2, :32] = np.nan
    features, shares = cell_features(segmenter, image, valid, 1.0)
    assert features.shape[:2] == shares.shape == (4, 2)
    np.testing.assert_allclose(shares[:, 0], [0, 1, 1, 4 / 32])


def test_networks_say_what_cells_look_like(segmenter: FewShotSegmenter) -> None:
    def cell(network: FewShotSegmenter, kind: str, seed: int) -> npt.NDArray[np.float32]:
        image = (picture(kind, seed) / 255).astype(np.float32)
        return cell_features(network, image, np.ones((SIDE, SIDE), bool), 1.0)[0].reshape(16, -1)

    with_backbone = FewShotSegmenter.from_network(
        HDMNetPyramid(widths=[8] * 5, depths=[0] * 5, heads=2, pretrained="lite0"), device="cpu"
    )
    for one in (segmenter, with_backbone):
        flat, again, noise = (cell(one, kind, seed) for kind, seed in (("flat", 1), ("flat", 2), ("noise", 3)))
        assert np.abs(flat - again).mean() < 0.2 * np.abs(flat - noise).mean()
