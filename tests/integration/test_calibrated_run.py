"""Scores of a run are calibrated by held-out examples; masks stay; areas have an interval."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import rasterio

from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.stitch import temper
from tests.integration.conftest import Workbench, write_mask, write_scene


def read(bench: Workbench, folder: str, product: str) -> np.ndarray:
    with rasterio.open(bench.root / folder / "middle" / f"{product}.tif") as file:
        return np.asarray(file.read(1))


def report(bench: Workbench, folder: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((bench.root / folder / "run.json").read_text())
    return found


@pytest.fixture
def support(bench: Workbench) -> dict[str, Any]:
    """Three examples."""
    for seed in (4, 5, 6):
        write_scene(bench.root / "support" / f"chip{seed}.tif", 128, 128, seed)
        write_mask(bench.root / "support" / f"mask{seed}.tif", 128, 128, seed)
    examples = [{"image": f"support/chip{n}.tif", "mask": f"support/mask{n}.tif"} for n in (4, 5, 6)]
    return {"classes": [{"name": "water", "examples": examples}]}


def test_calibrated_scores_keep_the_mask_and_say_what_was_done(bench: Workbench, support: dict[str, Any]) -> None:
    Pipeline.from_yaml(bench.pipeline("on", support=support)).run()
    Pipeline.from_yaml(bench.pipeline("off", support={**support, "calibrate": "off"})).run()
    told = report(bench, "on")["support"]["water"]["calibration"]
    before, after = told["calibration_error"]
    assert told["temperature"] != 1.0
    assert after < before
    assert report(bench, "off")["support"]["water"]["calibration"]["reason"] == "off"
    np.testing.assert_array_equal(read(bench, "on", "mask"), read(bench, "off", "mask"))
    valid = read(bench, "on", "mask") != 255
    raw, calibrated = (read(bench, folder, "score")[valid] for folder in ("off", "on"))
    np.testing.assert_array_equal(calibrated, temper(told["temperature"])[raw])
    assert (calibrated != raw).any()


def test_areas_have_an_interval_and_one_example_says_why_it_is_not_calibrated(bench: Workbench) -> None:
    Pipeline.from_yaml(bench.pipeline()).run()
    found = report(bench, "out")
    assert "one example" in found["support"]["water"]["calibration"]["reason"]
    assert found["support"]["water"]["area_interval_scores"] == [0.3, 0.7]
    scores, mask = read(bench, "out", "score"), read(bench, "out", "mask")
    scene = found["scenes"]["middle"]
    small, large = scene["pixels_interval"]["water"]
    assert [small, large] == [int(((scores >= end * 255) & (mask != 255)).sum()) for end in (0.7, 0.3)]
    assert small <= scene["pixels"]["water"] <= large
    assert scene["area_m2_interval"]["water"] == [100.0 * small, 100.0 * large]


def test_calibration_switched_on_repeats_no_inference(bench: Workbench, support: dict[str, Any]) -> None:
    Pipeline.from_yaml(bench.pipeline(support={**support, "calibrate": "off"})).run()
    seen = []
    Pipeline.from_yaml(bench.pipeline(support=support)).run(on_event=lambda event: seen.append(event.kind))
    assert "scene_done" in seen
    assert "step_done" not in seen
