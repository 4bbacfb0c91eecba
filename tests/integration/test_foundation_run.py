"""A pipeline over a backbone of another family, the whole way: inline and on Ray."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.errors import WeightsError
from hdm_pipeline.pipeline import Pipeline
from tests.backbones import save_backbone
from tests.integration.conftest import Workbench, published

pytest.importorskip("transformers")


def model(folder: str = "backbone", **settings: Any) -> dict[str, Any]:
    return {"backbone": {"family": "transformers", "path": folder, **settings}, "reduction": 1}


def test_a_run_over_a_backbone_from_a_folder(bench: Workbench) -> None:
    save_backbone("convnext", bench.root / "backbone")
    file = bench.pipeline("out", model=model())
    assert sorted(Pipeline.from_yaml(file).run().done) == ["large", "middle", "small"]
    with rasterio.open(bench.root / "out" / "middle" / "mask.tif") as mask:
        pixels = mask.read(1)
    y, x = np.mgrid[0:200, 0:130]
    assert (pixels == (np.sin(x / 37.0 + 2) + np.cos(y / 29.0) > 0.6)).mean() > 0.85  # random weights, stride 8
    report = json.loads((bench.root / "out" / "run.json").read_text())
    assert report["support"]["water"]["adaptation"] == {"steps": 0, "reason": "off"}

    assert Pipeline.from_yaml(file).run().done == ()  # nothing changed, nothing is done again
    save_backbone("convnext", bench.root / "backbone", seed=1)
    assert len(Pipeline.from_yaml(file).run().done) == 3  # other weights in the same folder


def test_what_is_wrong_with_the_folder_is_told_before_the_run(bench: Workbench) -> None:
    file = bench.pipeline("out", model=model("nowhere"))
    with pytest.raises(PipelineFileError, match="folder of the backbone does not exist"):
        Pipeline.from_yaml(file).validate()
    with pytest.raises(WeightsError, match="folder of the backbone does not exist"):
        Pipeline.from_yaml(file).run()
    assert not (bench.root / "out").exists()
    save_backbone("swin", bench.root / "backbone")
    pinned = bench.pipeline("pinned", model={**model(), "sha256": "0" * 64})
    with pytest.raises(PipelineFileError, match="asks for 0000"):
        Pipeline.from_yaml(pinned).validate()


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_ray_gives_the_bytes_of_inline(bench: Workbench, cluster: None) -> None:
    save_backbone("dinov2", bench.root / "backbone")
    both = model(add_weights=True) | {"weights": "builtin:pyramid-small"}
    tiling = {"size": 96, "overlap": 16, "block": 8}
    (bench.scenes / "large.tif").unlink()
    Pipeline.from_yaml(bench.pipeline("inline", model=both, tiling=tiling)).run()
    execution = {"executor": "ray", "actors": 1, "threads": 1}
    Pipeline.from_yaml(bench.pipeline("ray", model=both, tiling=tiling, execution=execution)).run()
    expected = published(bench.root / "inline")
    assert sum(name.endswith(".tif") for name in expected) == 4
    assert published(bench.root / "ray") == expected


def test_a_few_points_segment_an_archive(bench: Workbench) -> None:
    save_backbone("convnext", bench.root / "backbone")
    mask = bench.root / "support" / "chip_mask.tif"
    keep_points(mask, 12)
    file = bench.pipeline("points", model=model())
    Pipeline.from_yaml(file).run()
    with rasterio.open(bench.root / "points" / "middle" / "mask.tif") as found:
        pixels = found.read(1)
    y, x = np.mgrid[0:200, 0:130]
    assert (pixels == (np.sin(x / 37.0 + 2) + np.cos(y / 29.0) > 0.6)).mean() > 0.8
    report = json.loads((bench.root / "points" / "run.json").read_text())
    (example,) = report["support"]["water"]["examples"]
    assert example["labelled_share"] == pytest.approx(24 / 128**2)
    assert "24 labelled pixels, too few to judge it by" in example["note"]


def test_evaluate_takes_the_folder_as_weights(tmp_path: Path) -> None:
    from PIL import Image
    from typer.testing import CliRunner

    from hdm_pipeline.cli.evaluate import app

    pair = {"image": "a.png", "mask": "a_mask.png"}
    truth = np.zeros((80, 80), np.uint8)
    truth[20:60, 20:60] = 1
    Image.fromarray((40 + 160 * truth).astype(np.uint8)).save(tmp_path / "a.png")
    Image.fromarray(truth).save(tmp_path / "a_mask.png")
    (tmp_path / "list.jsonl").write_text(json.dumps({"task": "t", "support": [pair], "query": pair}) + "\n")
    weights = f"transformers:{save_backbone('swin', tmp_path / 'backbone')}"
    arguments = ["evaluate", str(tmp_path / "list.jsonl"), "--weights", weights, "--points", "5"]
    result = CliRunner().invoke(app, [*arguments, "--json", str(tmp_path / "out.json")])
    assert result.exit_code == 0, result.output
    facts = json.loads((tmp_path / "out.json").read_text())
    assert facts["mean_iou"] > 0.8
    assert facts["curve"][0]["mean_iou"] > 0.5
    assert facts["adaptations"] == []  # there is nothing to adapt


def keep_points(mask: Path, count: int) -> None:
    """Leave `count` random labels of each class, the rest unknown."""
    with rasterio.open(mask, "r+") as file:
        whole = file.read(1)
        points = np.full_like(whole, 255)
        for value in (0, 1):
            chosen = np.random.default_rng(0).permutation(np.flatnonzero(whole == value))[:count]
            points.flat[chosen] = value
        file.write(points, 1)
