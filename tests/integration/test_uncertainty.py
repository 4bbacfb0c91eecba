"""The uncertainty of the scores as a product: in any order of work, asked for later or no longer, and not to be had."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.model.checkpoints import save_weights
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.planning.uncertainty import WITHOUT
from hdm_pipeline.reporting.events import BlockInferred
from tests.integration.conftest import Workbench, write_mask, write_scene
from tests.unit.model.conftest import make_network

BOTH = {"products": ["mask", "score", "uncertainty"]}
SCENE = "middle"


@pytest.fixture
def small(tmp_path: Path, kit: Path) -> Workbench:
    """One scene of many blocks with seams, three examples, under the small weights that ship."""
    write_scene(tmp_path / "scenes" / f"{SCENE}.tif", 200, 130, 2, nodata_rows=20)
    for seed in (4, 5):
        write_scene(tmp_path / "support" / f"chip{seed}.tif", 96, 96, seed)
        write_mask(tmp_path / "support" / f"mask{seed}.tif", 96, 96, seed)
    return Workbench(tmp_path, Path("builtin:pyramid-small"))


def pipeline(bench: Workbench, folder: str, **sections: Any) -> Path:
    pairs = [{"image": f"support/chip{n}.tif", "mask": f"support/mask{n}.tif"} for n in (4, 5)]
    given: dict[str, Any] = {
        "tiling": {"size": 64, "overlap": 16, "block": 2},
        "model": {"reduction": 1},
        "support": {"classes": [{"name": "water", "examples": pairs}]},
    }
    return bench.pipeline(folder, **(given | sections))


def read(bench: Workbench, folder: str, product: str) -> np.ndarray:
    with rasterio.open(bench.root / folder / SCENE / f"{product}.tif") as file:
        return np.asarray(file.read())


def kinds(path: Path, overrides: list[str] | None = None) -> list[str]:
    seen: list[str] = []
    Pipeline.from_yaml(path, overrides or []).run(on_event=lambda event: seen.append(type(event).__name__))
    return seen


def test_it_is_asked_for_later_and_no_longer_and_the_rest_stays_as_it_was(small: Workbench) -> None:
    path = pipeline(small, "out")
    assert "BlockInferred" in kinds(path)
    mask, score = read(small, "out", "mask"), read(small, "out", "score")
    more = ['output.products=["mask", "score", "uncertainty"]']
    assert "BlockInferred" in kinds(path, more)  # features are not kept
    doubt = read(small, "out", "uncertainty")
    np.testing.assert_array_equal(read(small, "out", "mask"), mask)
    np.testing.assert_array_equal(read(small, "out", "score"), score)
    assert kinds(path, more).count("SceneDone") == 0
    later = kinds(path, ["output.threshold=0.6", *more])
    assert "SceneDone" in later
    assert "BlockInferred" not in later
    fewer = kinds(path)
    assert "SceneDone" in fewer
    assert "BlockInferred" not in fewer
    assert kinds(path).count("SceneDone") == 0
    assert "BlockInferred" not in kinds(path, more)
    np.testing.assert_array_equal(read(small, "out", "uncertainty"), doubt)
    valid = mask[0] != 255
    assert not doubt[0][~valid].any()
    margin = 255 - np.abs(2 * score[0].astype(int) - 255)
    assert (doubt[0][valid] >= margin[valid] - 3).mean() > 0.99  # blended apart, rounded, and scores are calibrated
    assert doubt[0][valid].std() > 5
    assert np.median(doubt[0][valid & (score[0] > 250)]) < 100  # sure that it is there, not only that it is not
    with rasterio.open(small.root / "out" / SCENE / "uncertainty.tif") as file:
        assert (file.count, file.dtypes[0], file.descriptions, file.units) == (1, "uint8", ("water",), ("uncertainty",))
        np.testing.assert_array_equal(file.dataset_mask() > 0, valid)


def test_neither_blocks_nor_a_stop_change_a_byte(small: Workbench) -> None:
    Pipeline.from_yaml(pipeline(small, "one", output=BOTH)).run()
    other = pipeline(small, "two", output=BOTH, tiling={"size": 64, "overlap": 16, "block": 7})

    class CutError(Exception):
        pass

    def cut_off(event: Any) -> None:
        if isinstance(event, BlockInferred):
            raise CutError

    with pytest.raises(CutError):
        Pipeline.from_yaml(other).run(on_event=cut_off)
    # No longer asked for: what is left of the scene still goes into the store that was begun.
    Pipeline.from_yaml(other, ['output.products=["mask"]']).run()
    Pipeline.from_yaml(other).run()
    for product in BOTH["products"]:
        np.testing.assert_array_equal(read(small, "one", product), read(small, "two", product))


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_ray_gives_the_same_bytes(small: Workbench, cluster: None) -> None:
    for folder, executor in (("one", "inline"), ("two", "ray")):
        path = pipeline(small, folder, output=BOTH, execution={"executor": executor, "batch_size": 2})
        Pipeline.from_yaml(path).run()
    for product in BOTH["products"]:
        np.testing.assert_array_equal(read(small, "one", product), read(small, "two", product))


def test_a_network_without_it_is_refused_before_anything_is_made(small: Workbench) -> None:
    save_weights(make_network(), small.root / "hdmnet.safetensors")
    assert make_network().architecture in WITHOUT
    path = pipeline(small, "out", output=BOTH, model={"weights": str(small.root / "hdmnet.safetensors")})
    with pytest.raises(PipelineFileError, match="tell no uncertainty") as caught:
        Pipeline.from_yaml(path).validate()
    assert [problem.key for problem in caught.value.problems] == ["output.products.2"]
    for call in (Pipeline.from_yaml(path).plan, Pipeline.from_yaml(path).run):
        with pytest.raises(ConfigError, match="tell no uncertainty"):
            call()
    assert not (small.root / "out").exists()


def test_a_network_of_a_stranger_is_asked_before_the_first_scene(small: Workbench) -> None:
    from hdm_testkit.network import MeanColor

    save_weights(MeanColor(), small.root / "mean.safetensors")
    path = pipeline(small, "out", output=BOTH, model={"weights": str(small.root / "mean.safetensors")})
    with pytest.raises(ConfigError, match="tell no uncertainty"):
        Pipeline.from_yaml(path).run()
    assert json.loads((small.root / "out" / "run.json").read_text())["totals"]["tiles"] == 0


def test_a_volume_is_refused_before_anything_is_read(small: Workbench) -> None:
    series = {"uri": "scenes", "reader": "dicom", "scale": {"fixed": [0, 1]}}
    path = pipeline(small, "out", output=BOTH, input=series)
    with pytest.raises(PipelineFileError, match="cannot carry the uncertainty of a volume"):
        Pipeline.from_yaml(path).validate()
    with pytest.raises(ConfigError, match="cannot carry the uncertainty of a volume"):
        Pipeline.from_yaml(path).run()
    assert not (small.root / "out").exists()
