"""The same bytes on Ray as inline: any number of actors, and workers that die on the way."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from hdm_pipeline.errors import HdmError, WeightsError
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.events import Event, SupportChecked
from tests.integration.conftest import Undisturbed, Workbench, published, steps_of, write_scene

pytestmark = pytest.mark.ray


@pytest.mark.parametrize("actors", [pytest.param(1, marks=pytest.mark.long), 2])
def test_ray_gives_the_bytes_of_inline_and_does_no_block_twice(
    bench: Workbench, undisturbed: Undisturbed, cluster: None, actors: int
) -> None:
    file = bench.pipeline("ray", execution={"executor": "ray", "actors": actors, "threads": 1})
    plan = Pipeline.from_yaml(file).plan()
    assert len(Pipeline.from_yaml(file).run().done) == 3
    assert published(bench.root / "ray") == undisturbed.files
    assert steps_of(bench.root / "ray") == dict.fromkeys(("stage", "infer", "stitch"), plan.blocks)


def test_a_tile_that_kills_is_named_and_its_scene_quarantined(
    bench: Workbench, undisturbed: Undisturbed, cluster: None
) -> None:
    """The network kills its process over one pixel value, which one tile of one scene holds."""
    import rasterio
    from hdm_testkit.network import MeanColor

    from hdm_pipeline.model.checkpoints import save_weights

    poisoned = write_scene(bench.scenes / "poisoned.tif", 150, 150, 6)
    with rasterio.open(poisoned, "r+") as file:
        pixels = file.read()
        pixels[0, 120, 10] = 0.0  # scaled to 1.0, which no other pixel reaches
        file.write(pixels)
    weights = bench.root / "poison.safetensors"
    save_weights(MeanColor(poison=1.0), weights)
    execution = {"executor": "ray", "actors": 2, "threads": 1}
    file_ = bench.pipeline("poison", model={"weights": str(weights)}, execution=execution)
    summary = Pipeline.from_yaml(file_).run()
    assert set(summary.quarantined) == {"poisoned"}
    error = summary.quarantined["poisoned"]
    assert error["type"] == "TileError"
    assert "rows 96..160" in error["where"]
    assert "columns 0..64" in error["where"]
    masks = {k: v for k, v in undisturbed.files.items() if k.endswith("score.tif")}
    again = {k: v for k, v in published(bench.root / "poison").items() if k.endswith("score.tif")}
    # Other weights, other tags in the file; the pixels are the same.
    assert set(masks) == set(again)
    assert _pixels(undisturbed.out) == _pixels(bench.root / "poison")


def _pixels(folder: Path) -> dict[str, bytes]:
    import rasterio

    found = {}
    for name in ("large", "middle", "small"):
        with rasterio.open(folder / name / "mask.tif") as file:
            found[name] = file.read(1).tobytes()
    return found


@pytest.mark.slow
def test_a_reader_that_crashes_raises_or_hangs_costs_only_its_own_scene(bench: Workbench, cluster: None) -> None:
    for name in ("segfault", "raise", "hang"):
        write_scene(bench.scenes / f"{name}.tif", 60, 60, 7)
    execution = {"executor": "ray", "actors": 1, "threads": 1, "step_timeout": 12.0}
    summary = Pipeline.from_yaml(bench.pipeline(input={"reader": "faulty"}, execution=execution)).run()
    assert set(summary.quarantined) == {"segfault", "raise", "hang"}
    assert len(summary.done) == 3
    assert "killed 2 workers" in json.dumps(summary.quarantined["segfault"])
    assert "KeyError" in json.dumps(summary.quarantined["raise"])
    assert "hung" in summary.quarantined["hang"]["what"]


@pytest.mark.long  # it waits for three starts
def test_an_actor_that_comes_up_slowly_is_given_more_time(bench: Workbench, cluster: None) -> None:
    """A fresh process would come up no faster: on a busy machine a run would end where patience would have helped."""
    from hdm_testkit.network import MeanColor

    from hdm_pipeline.model.checkpoints import save_weights

    weights = bench.root / "slow.safetensors"
    save_weights(MeanColor(slow=8.0), weights)
    execution = {"executor": "ray", "actors": 1, "threads": 1, "step_timeout": 5.0}
    summary = Pipeline.from_yaml(bench.pipeline(model={"weights": str(weights)}, execution=execution)).run()
    assert len(summary.done) == 3
    assert not summary.quarantined


def test_a_model_that_cannot_be_loaded_ends_the_run_with_its_own_error(bench: Workbench, cluster: None) -> None:
    """A fresh worker would fail in the same way, and `actors died` would hide why."""

    def on_event(event: Event) -> None:
        if isinstance(event, SupportChecked):
            bench.weights.unlink()

    file = bench.pipeline(execution={"executor": "ray", "batch_size": 2})
    with pytest.raises(WeightsError, match="not exist") as caught:
        Pipeline.from_yaml(file).run(on_event)
    assert caught.value.where == str(bench.weights)
    report = json.loads((bench.root / "out/run.json").read_text())
    assert (report["status"], report["error"]["type"]) == ("failed", "WeightsError")
    assert report["totals"]["quarantined"] == 0


def test_too_many_gpus_are_refused(bench: Workbench, cluster: None) -> None:
    file = bench.pipeline(execution={"executor": "ray", "gpus_per_actor": 8})
    with pytest.raises(HdmError, match="GPUs") as caught:
        Pipeline.from_yaml(file).run()
    assert caught.value.remedy
