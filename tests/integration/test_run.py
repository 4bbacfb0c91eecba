"""The main job from pipeline file to products, on a small archive of real files with a cheap network."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pyogrio.raw
import pytest
import rasterio
import shapely
from rasterio import features

from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.contracts import SceneHeader, SceneRef
from hdm_pipeline.errors import OptimizationError
from hdm_pipeline.model.segmenter import FewShotSegmenter
from hdm_pipeline.options import RunOptions
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.status import output_status, status_text
from tests.integration.conftest import Undisturbed, Workbench, published, steps_of, write_scene


def test_every_scene_gets_its_mask(undisturbed: Undisturbed) -> None:
    bench, summary = undisturbed.bench, undisturbed.summary
    assert sorted(summary.done) == ["large", "middle", "small"]
    assert summary.exit_code == 0
    with rasterio.open(bench.scenes / "large.tif") as scene, rasterio.open(undisturbed.out / "large/mask.tif") as mask:
        assert (mask.width, mask.height, mask.crs, mask.transform) == (412, 333, scene.crs, scene.transform)
        assert mask.nodata == 255
        pixels, holes = mask.read(1), ~np.isfinite(scene.read(1))
    assert (pixels[holes] == 255).all()
    assert (pixels[~holes] != 255).all()
    y, x = np.mgrid[0:333, 0:412]
    truth = np.sin(x / 37.0 + 1) + np.cos(y / 29.0) > 0.6
    right = pixels == truth
    assert right[~holes].mean() > 0.98
    assert right[-20:].mean() > 0.98  # tiles there do not fit into the scene
    assert right[100:, -20:].mean() > 0.98


def test_a_scene_smaller_than_a_tile_is_seen_as_it_is(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[tuple[int, int], int] = {}
    answer = FewShotSegmenter.answer

    def asked(self: FewShotSegmenter, kind: Any, tiles: Any, *given: Any, **named: Any) -> Any:
        if kind == "distance":  # what runs ask; the examples are asked for scores
            size = tiles.shape[2:]
            seen[size] = seen.get(size, 0) + len(tiles)
        return answer(self, kind, tiles, *given, **named)

    monkeypatch.setattr(FewShotSegmenter, "answer", asked)
    Pipeline.from_yaml(bench.pipeline()).run()
    assert seen[40, 50] == 1
    assert set(seen) == {(40, 50), (64, 64)}


def test_the_report_tells_areas_and_seconds(undisturbed: Undisturbed) -> None:
    report = json.loads((undisturbed.out / "run.json").read_text())
    assert report["status"] == "done"
    assert report["totals"]["done"] == 3
    scene = report["scenes"]["middle"]
    with rasterio.open(undisturbed.out / "middle/mask.tif") as mask:
        water = int((mask.read(1) == 1).sum())
    assert scene["pixels"]["water"] == water
    assert scene["area_m2"]["water"] == pytest.approx(water * 100.0)
    assert set(scene["seconds"]) == {"stage", "infer", "stitch", "publish"}
    assert scene["valid"] == 1.0


def test_a_faster_precision_says_what_it_was_measured_to_do(bench: Workbench, undisturbed: Undisturbed) -> None:
    assert json.loads(undisturbed.summary.report.read_text())["support"]["water"]["mode"]["precision"] == "fp32"
    fast = bench.pipeline("fast", model={"weights": str(bench.weights), "precision": "bf16"})
    report = json.loads(Pipeline.from_yaml(fast).run().report.read_text())
    assert report["support"]["water"]["mode"].keys() >= {"agreement", "iou", "speedup"}
    assert report["support"]["water"]["mode"]["precision"] == "bf16"
    for scene in ("large", "middle"):
        folders = (undisturbed.out, bench.root / "fast")
        masks = [rasterio.open(folder / scene / "mask.tif").read(1) for folder in folders]
        assert float((masks[0] == masks[1]).mean()) > 0.99


def test_a_failed_run_says_why(bench: Workbench) -> None:
    file = bench.pipeline(model={"weights": str(bench.weights), "precision": "int8"})
    with pytest.raises(OptimizationError):
        Pipeline.from_yaml(file).run()
    report = json.loads((bench.root / "out/run.json").read_text())
    assert report["status"] == "failed"
    assert report["error"]["type"] == "OptimizationError"
    assert "bf16" in report["error"]["remedy"]
    assert report["error"]["remedy"] in status_text(output_status(bench.root / "out"))


def test_running_again_does_nothing(bench: Workbench) -> None:
    file = bench.pipeline()
    Pipeline.from_yaml(file).run()
    before, steps = published(bench.root / "out"), steps_of(bench.root / "out")
    left = [bench.root / "out" / ".hdm" / "scenes" / "old" / name for name in ("fetched", ".trash-fetched-17")]
    for folder in left:  # of a series that is no longer asked for, by a run that was killed
        folder.mkdir(parents=True)
    again = Pipeline.from_yaml(file).run()
    assert (again.done, again.done_before) == ((), 3)
    assert not any(folder.exists() for folder in left)
    assert published(bench.root / "out") == before
    assert steps_of(bench.root / "out") == steps


def test_a_new_threshold_needs_no_inference(bench: Workbench) -> None:
    Pipeline.from_yaml(bench.pipeline()).run()
    first, steps = published(bench.root / "out"), steps_of(bench.root / "out")
    summary = Pipeline.from_yaml(bench.pipeline(), overrides=["output.threshold=0.9"]).run()
    assert len(summary.done) == 3
    after = steps_of(bench.root / "out")
    assert (after["infer"], after["stitch"], after["stage"]) == (steps["infer"], steps["stitch"], steps["stage"])
    changed = published(bench.root / "out")
    assert changed["large/mask.tif"] != first["large/mask.tif"]


def test_another_reduction_is_inferred_anew(bench: Workbench) -> None:
    Pipeline.from_yaml(bench.pipeline()).run()
    first, steps = published(bench.root / "out"), steps_of(bench.root / "out")
    summary = Pipeline.from_yaml(bench.pipeline(), overrides=["model.reduction=2"]).run()
    assert len(summary.done) == 3
    assert steps_of(bench.root / "out")["infer"] == 2 * steps["infer"]
    assert published(bench.root / "out")["large/score.tif"] != first["large/score.tif"]


def test_a_changed_scene_alone_is_redone(bench: Workbench) -> None:
    file = bench.pipeline()
    Pipeline.from_yaml(file).run()
    before = published(bench.root / "out")
    write_scene(bench.scenes / "middle.tif", 200, 130, 9)
    summary = Pipeline.from_yaml(file).run()
    assert summary.done == ("middle",)
    after = published(bench.root / "out")
    assert after["middle/mask.tif"] != before["middle/mask.tif"]
    assert after["large/mask.tif"] == before["large/mask.tif"]


def test_a_damaged_scene_is_quarantined_and_the_rest_goes_on(bench: Workbench) -> None:
    broken = bench.scenes / "broken.tif"
    broken.write_bytes((bench.scenes / "large.tif").read_bytes()[:4000])
    summary = Pipeline.from_yaml(bench.pipeline()).run()
    assert summary.exit_code == 3
    assert len(summary.done) == 3
    assert "broken.tif" in summary.quarantined["broken"]["where"]
    assert summary.quarantined["broken"]["remedy"]
    again = Pipeline.from_yaml(bench.pipeline()).run()
    assert (again.done, set(again.quarantined)) == ((), {"broken"})
    broken.write_bytes((bench.scenes / "large.tif").read_bytes())
    mended = Pipeline.from_yaml(bench.pipeline()).run()
    assert (mended.done, mended.exit_code) == (("broken",), 0)


def test_a_scene_without_data_gets_a_mask_of_nodata(bench: Workbench) -> None:
    write_scene(bench.scenes / "empty.tif", 90, 80, 5, nodata_rows=90)
    Pipeline.from_yaml(bench.pipeline()).run()
    with rasterio.open(bench.root / "out/empty/mask.tif") as mask:
        assert (mask.read(1) == 255).all()
    assert json.loads((bench.root / "out/run.json").read_text())["scenes"]["empty"]["tiles"] == 0


def test_a_stopped_run_goes_on_where_it_was(bench: Workbench, undisturbed: Undisturbed) -> None:
    file = bench.pipeline("stopped")
    first = Pipeline.from_yaml(file).run(options=RunOptions(limit=1))
    assert first.left == 2
    second = Pipeline.from_yaml(file).run(options=RunOptions(time_budget=0.0))
    assert second.done == ()
    Pipeline.from_yaml(file).run()
    assert published(bench.root / "stopped") == undisturbed.files
    assert steps_of(bench.root / "stopped") == undisturbed.steps


def test_plan_says_what_run_does(bench: Workbench) -> None:
    file = bench.pipeline()
    plan = Pipeline.from_yaml(file).plan()
    assert not (bench.root / "out").exists()
    Pipeline.from_yaml(file).run()
    report = json.loads((bench.root / "out/run.json").read_text())
    # The collar of nodata spares `large` its first row of tiles.
    assert report["totals"]["blocks"] == plan.blocks
    assert report["totals"]["tiles"] < plan.tiles == sum(s.tiles for s in plan.scenes)
    assert Pipeline.from_yaml(file).plan().tiles == 0


def test_run_executes_what_plan_prints(bench: Workbench) -> None:
    """With scenes that are done, changed, quarantined, new and gone."""
    (bench.scenes / "broken.tif").write_bytes(b"II*\0 no more")
    write_scene(bench.scenes / "gone.tif", 60, 60, 6)
    pipeline = Pipeline.from_yaml(bench.pipeline())
    assert {scene for scene, _ in pipeline.plan().refused} == {"broken"}
    pipeline.run()
    write_scene(bench.scenes / "middle.tif", 200, 130, 9)
    write_scene(bench.scenes / "new.tif", 60, 60, 5)
    (bench.scenes / "gone.tif").unlink()
    printed = pipeline.plan()
    assert [scene.id for scene in printed.scenes] == ["middle", "new"]
    assert {scene for scene, _ in printed.refused} == {"broken"}
    assert (printed.scenes_total, printed.scenes_done) == (5, 2)
    assert printed.plan.vanished == ("gone",)
    summary = pipeline.run()
    assert sorted(summary.done) == [ref.id for ref in printed.plan.scenes] == ["middle", "new"]
    assert summary.done_before == printed.scenes_done
    assert set(summary.quarantined) == set(printed.plan.quarantined)
    report = json.loads(summary.report.read_text())
    assert report["vanished"] == ["gone"]
    tiles = {scene: entry["tiles"] for scene, entry in report["scenes"].items() if scene in summary.done}
    assert tiles == {scene.id: scene.tiles for scene in printed.scenes}


def test_run_reads_each_header_once(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    from hdm_geotiff.reader import GeoTiffReader

    read: list[str] = []
    header = GeoTiffReader.header

    def counted(self: GeoTiffReader, ref: SceneRef) -> SceneHeader:
        read.append(ref.id)
        return header(self, ref)

    monkeypatch.setattr(GeoTiffReader, "header", counted)
    Pipeline.from_yaml(bench.pipeline()).run()
    assert sorted(read) == ["large", "middle", "small"]


def test_validation_names_every_mistake_with_its_line(bench: Workbench) -> None:
    file = bench.pipeline(
        input={"bands": [1, "VV -"], "options": {"colour": 1}}, output={"products": ["mask", "hologram"]}
    )
    with pytest.raises(PipelineFileError) as caught:
        Pipeline.from_yaml(file).validate()
    keys = {problem.key: problem for problem in caught.value.problems}
    assert set(keys) >= {"input.bands.1", "input.options.colour", "output.products.1"}
    lines = file.read_text().splitlines()
    assert "hologram" in lines[(keys["output.products.1"].line or 0) - 1]


def test_events_are_told_line_by_line_for_programs(bench: Workbench) -> None:
    command = [sys.executable, "-m", "hdm_pipeline", "run", str(bench.pipeline()), "--events"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    kinds = [event["event"] for event in events]
    steps = kinds[2 : kinds.index("support_checked")]
    assert kinds[:2] == ["run_started", "preparing"]
    assert {"preparing_step"} <= set(steps) <= {"preparing_step", "scene_started", "step_done"}  # staged meanwhile
    assert kinds[-2:] == ["run_ended", "summary"]
    assert kinds.count("scene_done") == 3
    assert {event["scene"] for event in events if event["event"] == "scene_done"} == {"large", "middle", "small"}
    report = str(bench.root / "out" / "run.json")
    counts = {"done": 3, "done_before": 0, "left": 0, "quarantined": 0, "not_sent": 0}
    assert events[-1] == {"event": "summary", **counts, "report": report}


def test_polygons_are_published_like_any_product(bench: Workbench) -> None:
    out = bench.root / "vectors"
    file = bench.pipeline(
        "vectors", output={"directory": "vectors", "products": ["mask", {"polygons": {"format": "fgb"}}]}
    )
    Pipeline.from_yaml(file).run()
    shutil.copy(out / "middle/polygons.fgb", bench.root / "first.fgb")
    products = ["mask", "polygons"]
    Pipeline.from_yaml(bench.pipeline("vectors", output={"directory": "vectors", "products": products})).run()
    report = json.loads((out / "run.json").read_text())["scenes"]
    for name in ("large", "middle", "small"):
        # The other format belonged to the product before this one.
        assert {path.name for path in (out / name).glob("polygons*")} == {"polygons.gpkg", "polygons.qml"}
        assert f"{name}/polygons.gpkg" in report[name]["outputs"]
        with rasterio.open(out / name / "mask.tif") as mask:
            pixels, transform = mask.read(1), mask.transform
        meta, _, shapes, columns = pyogrio.raw.read(out / name / "polygons.gpkg")
        again = features.rasterize(shapely.from_wkb(shapes), pixels.shape, transform=transform)
        assert np.array_equal(again == 1, pixels == 1)
        found = dict(zip(meta["fields"], columns, strict=True))
        assert found["pixels"].sum() == report[name]["pixels"]["water"]
        assert found["area_m2"].sum() == pytest.approx(report[name]["area_m2"]["water"], rel=1e-3)
        assert ((found["score"] >= 0.5) & (found["score"] <= 1)).all()
    old = pyogrio.raw.read(bench.root / "first.fgb")[2]
    new = pyogrio.raw.read(out / "middle/polygons.gpkg")[2]
    assert sorted(old) == sorted(new)


def test_polygons_of_a_scene_that_was_damaged_are_set_aside(bench: Workbench) -> None:
    file = bench.pipeline(output={"directory": "out", "products": ["polygons"]})
    Pipeline.from_yaml(file).run()
    (bench.scenes / "middle.tif").write_bytes(b"damaged")
    Pipeline.from_yaml(file).run()
    assert not list((bench.root / "out/middle").iterdir())
    assert (bench.root / "out/.hdm/stale/middle/polygons.gpkg").is_file()


def test_a_product_that_cannot_be_made_is_told_before_any_work(bench: Workbench) -> None:
    """Metres in a scene without coordinates: said by `validate --data`, `plan`, and a run before it infers."""
    with rasterio.open(bench.scenes / "middle.tif") as middle:
        pixels, profile = middle.read(), middle.profile
    for path in sorted(bench.scenes.glob("*.tif")):
        path.unlink()
    with rasterio.open(bench.scenes / "bare.tif", "w", **{**profile, "crs": None, "transform": None}) as target:
        target.write(pixels)
    products = ["mask", {"polygons": {"simplify": "15 m"}}]
    pipeline = Pipeline.from_yaml(bench.pipeline(output={"directory": "out", "products": products}))
    with pytest.raises(PipelineFileError, match="simplify in metres needs coordinates") as caught:
        pipeline.validate(data=True)
    assert [problem.key for problem in caught.value.problems] == ["output.products.1"]
    ((scene, reason),) = pipeline.plan().refused
    assert scene == "bare"
    assert "simplify in metres" in reason
    summary = pipeline.run()
    assert set(summary.quarantined) == {"bare"}
    assert steps_of(bench.root / "out") == {}
    assert not (bench.root / "out/.hdm/stale").exists()
