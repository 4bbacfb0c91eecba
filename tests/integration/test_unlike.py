"""Scenes that are unlike the labelled examples: told in `run.json`, the summary and by `run`, whatever happens."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from typer.testing import CliRunner

from hdm_pipeline.cli.main import app
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.events import BlockInferred, Event
from tests.integration.conftest import Workbench, write_mask, write_scene


@pytest.fixture
def bench(tmp_path: Path, kit: Path) -> Workbench:
    """One scene of the example's kind, and one of stripes, under the weights that ship."""
    write_scene(tmp_path / "scenes" / "alike.tif", 200, 130, 2)
    other = write_scene(tmp_path / "scenes" / "stripes.tif", 200, 130, 2)
    with rasterio.open(other, "r+") as file:
        stripes = np.where(np.arange(130) // 3 % 2, -1.0, -24.0)
        file.write(np.broadcast_to(stripes, (2, 200, 130)).astype(np.float32))
    write_scene(tmp_path / "support" / "chip.tif", 128, 128, 4)
    write_mask(tmp_path / "support" / "chip_mask.tif", 128, 128, 4)
    return Workbench(tmp_path, Path("builtin:pyramid-small"))


def measures(folder: Path) -> dict[str, float]:
    scenes = json.loads((folder / "run.json").read_text())["scenes"]
    return {name: scene["unlike_examples"]["water"] for name, scene in scenes.items()}


class CutError(Exception):
    """A run that was cut off."""


def cut_off(event: Event) -> None:
    if isinstance(event, BlockInferred) and event.scene == "stripes":
        raise CutError


def test_a_scene_unlike_its_examples_is_told_and_a_run_cut_off_measures_the_same(bench: Workbench) -> None:
    path = bench.pipeline(tiling={"size": 64, "overlap": 16, "block": 2}, model={"reduction": 1})
    told = CliRunner().invoke(app, ["run", str(path)])
    assert told.exit_code == 0, told.output
    found = measures(bench.root / "out")
    assert found["alike"] < 0.3
    assert found["stripes"] > 0.8
    assert "(unlike_examples) of 1 scene:\n  stripes: " in told.output
    scenes = json.loads((bench.root / "out" / "run.json").read_text())["scenes"]
    (warning,) = [one for one in scenes["stripes"]["warnings"] if one["kind"] == "unlike_examples"]
    assert "add an example" in warning["remedy"]
    assert "unlike_examples" not in {one["kind"] for one in scenes["alike"]["warnings"]}

    again = bench.pipeline("again", tiling={"size": 64, "overlap": 16, "block": 2}, model={"reduction": 1})
    with pytest.raises(CutError):
        Pipeline.from_yaml(again).run(on_event=cut_off)
    summary = Pipeline.from_yaml(again).run()
    assert "unlike_examples" in {one.kind for one in summary.warnings["stripes"]}
    assert measures(bench.root / "again") == found

    # A new threshold repeats no inference; the measure comes from the receipts.
    summary = Pipeline.from_yaml(again, ["output.threshold=0.7"]).run(on_event=cut_off)
    assert summary.done == ("alike", "stripes")
    assert measures(bench.root / "again") == found


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_ray_measures_the_same(bench: Workbench, cluster: None) -> None:
    for folder, executor in (("one", "inline"), ("two", "ray")):
        Pipeline.from_yaml(bench.pipeline(folder, execution={"executor": executor, "batch_size": 2})).run()
    assert measures(bench.root / "one") == measures(bench.root / "two")


def test_a_network_that_cannot_tell_says_so(bench: Workbench) -> None:
    from hdm_testkit.network import MeanColor

    from hdm_pipeline.model.checkpoints import save_weights

    save_weights(MeanColor(), bench.root / "mean.safetensors")
    summary = Pipeline.from_yaml(bench.pipeline(model={"weights": str(bench.root / "mean.safetensors")})).run()
    assert summary.done == ("alike", "stripes")
    assert set(measures(bench.root / "out").values()) == {None}
