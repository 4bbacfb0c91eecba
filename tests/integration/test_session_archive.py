"""What a session shows of an archive with a run behind it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import rasterio

from hdm_pipeline.grid import Window
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.session.looks import Looks
from hdm_pipeline.session.opened import OpenScenes
from hdm_pipeline.session.pictures import Pictures
from hdm_pipeline.session.scenes import Scenes, chosen
from hdm_pipeline.session.suggest import suggest
from hdm_pipeline.support.examples import load_examples, support_files
from tests.integration.conftest import Undisturbed, Workbench

LARGE = (333, 412)


@pytest.fixture
def scenes(undisturbed: Undisturbed) -> Iterator[Scenes]:
    pipeline = Pipeline.from_yaml(undisturbed.bench.root / "out.yaml")
    found = Scenes(pipeline.config, pipeline.workspace, archive_reader(pipeline.config))
    yield found
    found.close()


@pytest.fixture
def opened(scenes: Scenes) -> Iterator[OpenScenes]:
    found = OpenScenes(scenes)
    yield found
    found.close()


def test_what_the_run_made_is_told_and_shown(scenes: Scenes, opened: OpenScenes, undisturbed: Undisturbed) -> None:
    assert scenes.problem is None
    states = scenes.states()
    assert {state.id: state.state for state in states} == {"large": "done", "middle": "done", "small": "done"}
    large = states[0]
    with rasterio.open(undisturbed.out / "large" / "mask.tif") as file:
        mask = file.read(1)
    assert large.measures["water"] == {
        "pixels": (mask == 1).sum(),
        "area_m2": pytest.approx((mask == 1).sum() * 100, rel=1e-2),
    }
    assert 0 < (large.uncertainty or 0) < 1
    assert "large/mask.tif" in large.outputs
    assert chosen(states, sort="area")[0] is large

    pictures = Pictures(scenes, opened)
    by_product, by_scores = (pictures, Pictures(scenes, opened))
    record = scenes.record("large")
    assert record is not None
    by_scores._unreadable[scenes.ref("large"), record.updated] = None
    for shown in (by_product, by_scores):
        np.testing.assert_array_equal(shown.result("large", Window.whole(0, LARGE), LARGE), mask)
        part = shown.result("large", Window(z=0, y=40, x=100, height=200, width=300), (50, 60))
        np.testing.assert_array_equal(part, mask[42:240:4, 102:400:5])
    picture, thumb = pictures.thumbnail("large", side=103)
    assert thumb is not None
    assert picture.shape == (83, 103, 4)
    assert thumb.shape == (83, 103)
    np.testing.assert_array_equal(picture[..., 3] == 0, thumb == 255)


def test_without_scores_and_products_there_is_no_mask(bench: Workbench) -> None:
    pipeline = Pipeline.from_yaml(bench.pipeline("none", output={"keep": "nothing", "products": ["score"]}))
    pipeline.run()
    scenes = Scenes(pipeline.config, pipeline.workspace, archive_reader(pipeline.config))
    opened = OpenScenes(scenes)
    assert scenes.state("small").state == "done"
    assert Pictures(scenes, opened).thumbnail("small")[1] is None
    opened.close()
    scenes.close()


def test_what_to_label_next_knows_where_the_run_was_unsure(scenes: Scenes, opened: OpenScenes) -> None:
    segmenter = FewShotSegmenter.load(scenes.config.model.source)
    examples = load_examples(scenes.config, support_files(scenes.config), scenes.reader)
    found = suggest(scenes, Looks(opened), segmenter, examples, count=5)
    assert len(found) == 5
    assert {one.measures["uncertainty_by"] for one in found} == {"run"}
    for one in found:
        height, width = scenes.header(one.scene).shape[2:]
        assert one.window.bottom <= height
        assert one.window.right <= width
        assert one.reason
