"""Scenes of twelve bands from pipeline file to mask: two classes, inline and on Ray, `check`, `evaluate`, refusals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine
from typer.testing import CliRunner

from hdm_pipeline.cli.main import app
from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.iou import iou
from hdm_pipeline.pipeline import Pipeline
from tests.integration.conftest import published
from tests.many_bands import picture

BANDS = 12
SHOWN = {"water": (7, 9), "fire": (2, 4)}


def write(path: Path, pixels: np.ndarray, *, units: bool = False) -> str:
    """A GeoTIFF; with units the values are reflectances times 10,000, as Sentinel-2's are."""
    array = (pixels * 10_000).astype(np.uint16) if units else pixels
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "GTiff", "count": len(array), "height": array.shape[1], "width": array.shape[2]}
    profile |= {"dtype": array.dtype.name, "crs": "EPSG:32633", "transform": Affine(10, 0, 5e5, 0, -10, 5e6)}
    with rasterio.open(path, "w", **profile) as file:
        file.write(array)
    return str(path)


def scene(seed: int, side: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Both classes in one picture, each in two bands of its own."""
    pixels, water = picture(seed, side=side)
    other, fire = picture(seed + 50, side=side, shown=SHOWN["fire"])
    plain, _ = picture(seed + 50, side=side, shown=(0, 1))  # all but what the class adds is the same
    fire_bands = list(SHOWN["fire"])
    pixels[fire_bands] = np.clip(pixels[fire_bands] + other[fire_bands] - plain[fire_bands], 0, 1)
    return pixels, {"water": water, "fire": fire}


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    write(tmp_path / "scenes" / "one.tif", scene(5, 224)[0], units=True)
    classes = []
    for number, name in enumerate(SHOWN):
        examples = []
        for seed in (20 + number, 30 + number):
            pixels, masks = scene(seed, 96)
            chip = write(tmp_path / "support" / f"{name}_{seed}.tif", pixels, units=True)
            mask = write(tmp_path / "support" / f"{name}_{seed}_mask.tif", masks[name][None])
            examples.append({"image": chip, "mask": mask})
        classes.append({"name": name, "examples": examples})
    content = {
        "name": "bands",
        "input": {"uri": "scenes", "bands": [*range(1, BANDS + 1)], "scale": {"fixed": [0, 10_000]}},
        "support": {"adapt": "off", "classes": classes},
        "tiling": {"size": 128, "overlap": 32, "block": 4},
        "execution": {"executor": "inline", "batch_size": 2},
        "output": {"directory": "out", "products": ["mask", "score"]},
    }
    (tmp_path / "bands.yaml").write_text(yaml.safe_dump(content))
    return tmp_path


@pytest.mark.long
def test_twelve_bands_are_segmented_inline_and_on_ray_alike(archive: Path, cluster: None) -> None:
    path = archive / "bands.yaml"
    summary = Pipeline.from_yaml(path).run()
    assert summary.done == ("one",)
    with rasterio.open(archive / "out" / "one" / "score.tif") as file:
        scores = file.read()
    for score, truth in zip(scores, scene(5, 224)[1].values(), strict=True):
        assert iou(score >= 128, truth) > 0.6
    with rasterio.open(archive / "out" / "one" / "mask.tif") as file:
        mask = file.read(1)
    assert np.array_equal(mask, np.where(scores.max(0) >= 128, 1 + scores.argmax(0), 0))  # the higher score has it
    report = json.loads(summary.report.read_text())["support"]
    for name in SHOWN:
        assert report[name]["bands"]["count"] == BANDS
        assert report[name]["bands"]["weight"] in (0, 0.125, 0.25, 0.5, 1)
        assert [example["leave_one_out_iou"] > 0.5 for example in report[name]["examples"]] == [True, True]
    on_ray = Pipeline.from_yaml(
        path, overrides=["execution.executor=ray", "execution.actors=1", "output.directory=ray"]
    ).run()
    assert on_ray.done == ("one",)
    assert published(archive / "ray") == published(archive / "out")


def test_thirty_two_bands_are_segmented(archive: Path) -> None:
    """Twenty bands of noise beside the twelve; what shows water is band 31 and 32 now."""

    def widened(pixels: np.ndarray, seed: int) -> np.ndarray:
        noise = np.random.default_rng(seed).uniform(0, 1, (20, *pixels.shape[1:])).astype(np.float32)
        others = [band for band in range(BANDS) if band not in SHOWN["water"]]
        return np.concatenate([noise, pixels[others], pixels[list(SHOWN["water"])]])

    truth = scene(5, 224)[1]["water"]
    write(archive / "scenes" / "one.tif", widened(scene(5, 224)[0], 1), units=True)
    content = yaml.safe_load((archive / "bands.yaml").read_text())
    content["input"]["bands"] = [*range(1, 33)]
    content["support"]["classes"] = content["support"]["classes"][:1]
    for number, example in enumerate(content["support"]["classes"][0]["examples"]):
        write(Path(example["image"]), widened(scene((20, 30)[number], 96)[0], 2 + number), units=True)
    (archive / "wide.yaml").write_text(yaml.safe_dump(content))
    summary = Pipeline.from_yaml(archive / "wide.yaml").run()
    assert summary.done == ("one",)
    assert json.loads(summary.report.read_text())["support"]["water"]["bands"]["count"] == 32
    with rasterio.open(archive / "out" / "one" / "mask.tif") as file:
        assert iou(file.read(1) == 1, truth) > 0.5


def test_more_than_32_bands_and_bands_that_are_not_there_are_refused(archive: Path) -> None:
    file = archive / "bands.yaml"
    many = json.dumps([1] * 33)
    with pytest.raises(PipelineFileError, match="at most 32"):
        Pipeline.from_yaml(file, overrides=[f"input.bands={many}"])
    write(archive / "scenes" / "two.tif", picture(1)[0][:5], units=True)
    summary = Pipeline.from_yaml(file).run()
    assert (summary.done, list(summary.quarantined)) == (("one",), ["two"])
    error = json.loads(summary.report.read_text())["scenes"]["two"]["error"]
    assert error["type"] == "BandError"
    assert "choose among its bands" in error["remedy"]


def test_evaluate_takes_all_bands_that_the_list_names(archive: Path) -> None:
    pairs = []
    for seed in (20, 5):
        pixels, mask = picture(seed)
        np.save(archive / f"{seed}.npy", pixels)
        np.save(archive / f"{seed}_mask.npy", mask)
        pairs.append({"image": f"{seed}.npy", "mask": f"{seed}_mask.npy"})
    figures = {}
    for task, bands in (("three", [1, 2, 3]), ("all", [*range(1, BANDS + 1)])):
        episode = {"task": task, "support": pairs[:1], "query": pairs[1], "scale": [0, 1], "bands": bands}
        (archive / f"{task}.jsonl").write_text(json.dumps(episode))
        arguments = ["evaluate", str(archive / f"{task}.jsonl"), "--adapt", "off", "--json", str(archive / "f.json")]
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.output
        figures[task] = json.loads((archive / "f.json").read_text())["mean_iou"]
    assert figures["all"] > figures["three"] + 0.3
