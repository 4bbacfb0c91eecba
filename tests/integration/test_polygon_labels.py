"""Labels drawn as polygons, the whole way: from the pipeline file to the masks."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.features
import yaml
from shapely.geometry import box, shape

from hdm_pipeline.config.file import PipelineFileError
from hdm_pipeline.errors import ConfigError, SupportError
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.plugin.registry import make_reader
from hdm_pipeline.support.examples import load_examples, support_files, support_fingerprint
from tests.command import hdm
from tests.integration.conftest import Workbench, published
from tests.vector_files import write_vector


def traced(bench: Workbench) -> list[tuple[Any, str]]:
    """The polygons of the chip's mask: water, and land."""
    with rasterio.open(bench.root / "support" / "chip_mask.tif") as mask:
        found = rasterio.features.shapes(mask.read(1), transform=mask.transform)
    return [(shape(geometry), "water" if value == 1 else "land") for geometry, value in found]


def drawn(bench: Workbench, folder: str = "drawn", **example: Any) -> Path:
    """A pipeline file whose only example has drawn labels."""
    content = {"image": "support/chip.tif", "labels": "labels.gpkg", **example}
    content = {name: value for name, value in content.items() if value is not None}
    return bench.pipeline(folder, support={"classes": [{"name": "water", "examples": [content]}]})


@pytest.mark.parametrize(
    "example",
    [
        {"where": "class = 'water'", "complete": True},
        {"where": "class = 'water'", "background": "class = 'land'"},
        {"labels": None, "mask": "labels.gpkg", "where": "class = 'water'"},
        {"layer": "labels", "where": "class = 'water'", "extent": {"layer": "area"}},
    ],
    ids=["complete", "background", "as a mask", "extent"],
)
def test_polygons_of_a_mask_give_the_masks_that_the_mask_gives(bench: Workbench, example: dict[str, Any]) -> None:
    file = write_vector(bench.root / "labels.gpkg", traced(bench), crs="EPSG:4326", layer="labels")
    if "extent" in example:
        whole = box(500_000, 5_000_000 - 1280, 500_000 + 1280, 5_000_000)
        write_vector(file, [(whole, "area")], crs="EPSG:4326", layer="area", append=True)
    Pipeline.from_yaml(bench.pipeline()).run()
    done = hdm("run", drawn(bench, **example))
    assert done.returncode == 0, done.stderr
    assert _pixels(bench.root / "drawn") == _pixels(bench.root / "out")


def _pixels(folder: Path) -> dict[str, bytes]:
    return {n: rasterio.open(folder / n).read().tobytes() for n in published(folder) if n.endswith(".tif")}


def test_an_edit_redoes_the_scenes_and_a_look_does_not(bench: Workbench) -> None:
    features = traced(bench)
    write_vector(bench.root / "labels.gpkg", features, layer="labels")
    path = drawn(bench, where="class = 'water'", complete=True)
    assert len(Pipeline.from_yaml(path).run().done) == 3
    # Other bytes, and a feature far from the image: nothing that is read has changed.
    (bench.root / "labels.gpkg").unlink()
    far = (box(600_000, 5_000_000, 600_100, 5_000_100), "water")
    write_vector(bench.root / "labels.gpkg", [*features, far], layer="labels", crs="EPSG:4326")
    assert Pipeline.from_yaml(path).plan().plan.scenes == ()
    (bench.root / "labels.gpkg").unlink()
    smaller = [(polygon.buffer(-15) if name == "water" else polygon, name) for polygon, name in features]
    write_vector(bench.root / "labels.gpkg", smaller, layer="labels")
    assert len(Pipeline.from_yaml(path).run().done) == 3


def test_one_file_for_a_folder_of_scenes(bench: Workbench) -> None:
    """Scenes without a feature are no examples; all scenes of the bench lie at one place, so one is moved away."""
    write_vector(bench.root / "labels.gpkg", traced(bench), layer="labels")
    with rasterio.open(bench.scenes / "large.tif", "r+") as scene:
        scene.transform = rasterio.Affine(10, 0, 900_000, 0, -10, 5_000_000)
    path = drawn(bench, image="scenes/*.tif", where="class = 'water'", background="class = 'land'")
    Pipeline.from_yaml(path).run()
    support = json.loads((bench.root / "drawn" / "run.json").read_text())["support"]["water"]
    assert sorted(example["name"] for example in support["examples"]) == ["middle.tif", "small.tif"]


def test_a_window_is_scaled_as_its_scene_is(bench: Workbench) -> None:
    """With percentiles, a window full of water would otherwise spread water over the whole scale."""
    with rasterio.open(bench.root / "support" / "chip_mask.tif") as mask:
        y, x = (int(side[len(side) // 2]) - 20 for side in np.nonzero(mask.read(1)))
    x, y = min(max(x, 0), 88), min(max(y, 0), 88)
    write_vector(bench.root / "labels.gpkg", traced(bench), layer="labels")
    path = drawn(bench, where="class = 'water'", complete=True, window={"pixels": [x, y, 40, 40]})
    pipeline = Pipeline.from_yaml(path, ["input.scale={percentiles: [2, 98]}", "input.bands=[1]"])
    reader = make_reader("geotiff", {})
    ((part,),) = load_examples(pipeline.config, support_files(pipeline.config), reader)
    whole_path = drawn(bench, "whole", where="class = 'water'", complete=True)
    whole_config = Pipeline.from_yaml(whole_path, ["input.scale={percentiles: [2, 98]}", "input.bands=[1]"]).config
    ((whole,),) = load_examples(whole_config, support_files(whole_config), reader)
    assert np.allclose(part.pixels, whole.pixels[:, y : y + 40, x : x + 40], atol=1e-6)


def test_classes_of_one_file(bench: Workbench) -> None:
    write_vector(bench.root / "labels.geojson", traced(bench), crs="EPSG:4326")
    examples = [
        {
            "name": name,
            "examples": [
                {
                    "image": "support/chip.tif",
                    "labels": "labels.geojson",
                    "where": f"class = '{name}'",
                    "background": f"class <> '{name}'",
                }
            ],
        }
        for name in ("water", "land")
    ]
    summary = Pipeline.from_yaml(bench.pipeline("two", support={"classes": examples})).run()
    assert len(summary.done) == 3
    with rasterio.open(bench.root / "two" / "middle" / "mask.tif") as mask:
        held = set(mask.read(1).ravel().tolist())
    assert held == {1, 2}


def test_warnings_stand_in_the_report_and_on_the_screen(bench: Workbench) -> None:
    bow = shape(
        {
            "type": "Polygon",
            "coordinates": [
                [(500100, 4999900), (500300, 4999700), (500300, 4999900), (500100, 4999700), (500100, 4999900)]
            ],
        }
    )
    write_vector(bench.root / "labels.gpkg", [*traced(bench), (bow, "water")], layer="labels")
    path = drawn(bench, where="class = 'water'", complete=True)
    done = hdm("run", path)
    assert done.returncode == 0
    assert "labels_repaired" in done.stderr
    (warning,) = json.loads((bench.root / "drawn" / "run.json").read_text())["support"]["water"]["warnings"]
    assert warning["kind"] == "labels_repaired"
    assert warning["example"] == "chip.tif"
    assert "labels_repaired" not in hdm("run", path, "--set", "output.threshold=0.4", "--strict").stdout
    assert "was repaired" in hdm("validate", path, "--data").stdout
    with pytest.raises(SupportError, match="was repaired"):
        Pipeline.from_yaml(path, ["execution.strict=true", "output.threshold=0.3"]).run()


# --- mistakes are seen before the run, with their line


def problems(path: Path, *, data: bool = False) -> dict[str, str]:
    """What `validate` finds, by key."""
    with pytest.raises(PipelineFileError) as caught:
        Pipeline.from_yaml(path).validate(data=data)
    assert all(problem.line for problem in caught.value.problems)
    return {problem.key: f"{problem.what} {problem.remedy}" for problem in caught.value.problems}


@pytest.mark.parametrize(
    ("example", "what"),
    [
        ({}, "nothing says what is not the class"),
        ({"mask": "support/chip_mask.tif", "complete": True}, "either `mask`"),
        ({"labels": None, "mask": "support/chip_mask.tif", "where": "class = 'water'"}, "`where` is for drawn labels"),
        (
            {"labels": None, "mask": "support/chip_mask.tif", "background": "class = 'land'"},
            "`background` is for drawn",
        ),
        ({"complete": True, "value": 2}, "`value` is for masks"),
        ({"complete": True, "background": 2, "where": "a = 1"}, "`background` is for masks"),
        ({"background": "class = 'land'"}, "say with `where`"),
        ({"where": "class = 'water'", "background": "class = 'water'"}, "the same features"),
        ({"complete": True, "width": "3"}, "a width has a unit"),
        ({"complete": True, "width": "0 m"}, "a width has a unit"),
        ({"complete": True, "window": {}}, "either `pixels` or `bounds`"),
        ({"complete": True, "window": {"pixels": [0, 0, 0, 5]}}, "column, row, width, height"),
        ({"complete": True, "window": {"bounds": [5, 0, 0, 5]}}, "left below right"),
        ({"complete": True, "where": "a = 1", "extent": "b = 1"}, "give one of the two"),
    ],
)
def test_a_pipeline_file_that_contradicts_itself(bench: Workbench, example: dict[str, Any], what: str) -> None:
    write_vector(bench.root / "labels.gpkg", traced(bench))
    with pytest.raises(PipelineFileError) as caught:
        Pipeline.from_yaml(drawn(bench, **example))
    (problem,) = caught.value.problems
    assert problem.key.startswith("support.classes.0")
    assert problem.line
    assert what in problem.what


@pytest.mark.parametrize(
    ("example", "key", "what"),
    [
        ({"where": "class = 'lake'"}, ".where", "no feature is selected as the class by \"class = 'lake'\""),
        ({"where": "klass = 'water'"}, ".where", "no attribute 'klass'"),
        ({"layer": "lakes"}, ".layer", "there is no layer 'lakes'"),
        ({"crs": "EPSG:0"}, ".crs", "`crs` is not known"),
        (
            {"where": "class = 'water'", "complete": None, "extent": "class = 'area'"},
            ".extent",
            "selected as `extent`",
        ),
        ({"labels": "gone.gpkg"}, ".labels", "support file does not exist"),
        ({"labels": "support/chip.tif"}, "", "not from .tif"),
    ],
)
def test_validate_finds_mistakes_in_the_file(bench: Workbench, example: dict[str, Any], key: str, what: str) -> None:
    write_vector(bench.root / "labels.gpkg", traced(bench), layer="labels")
    path = drawn(bench, **{"complete": True, **example})
    ((place, told),) = problems(path).items()
    assert what in told
    assert place.startswith("support.classes.0.examples.0")
    assert place.endswith(key)
    with pytest.raises(ConfigError):
        Pipeline.from_yaml(path).plan()


def test_validate_data_and_plan_find_labels_that_miss_the_image(bench: Workbench) -> None:
    away = [(box(600_000, 5_000_000, 600_100, 5_000_100), "water")]
    write_vector(bench.root / "labels.gpkg", away, layer="labels")
    path = drawn(bench, complete=True)
    assert Pipeline.from_yaml(path).validate() == []
    assert "lies in the image" in problems(path, data=True)["support.classes.0.examples.0"]
    done = hdm("plan", path)
    assert done.returncode == 2
    assert "lies in the image" in done.stderr
    everywhere = drawn(bench, complete=True, image="scenes/*.tif")
    told = problems(everywhere, data=True)["support.classes.0.examples"]
    assert "nothing of the class is drawn" in told
    assert "they lie around 600050, 5000050" in told
    assert "the middle of the image is at" in told
    assert "check both CRS" in told


def test_background_that_misses_the_image_is_found_before_the_run(bench: Workbench) -> None:
    features = [(polygon, name) for polygon, name in traced(bench) if name == "water"]
    away = (box(600_000, 5_000_000, 600_100, 5_000_100), "land")
    write_vector(bench.root / "labels.gpkg", [*features, away], layer="labels")
    path = drawn(bench, where="class = 'water'", background="class = 'land'")
    assert "no example of the class labels any background" in problems(path, data=True)["support.classes.0.examples"]
    with pytest.raises(SupportError, match="labels any background"):
        Pipeline.from_yaml(path).plan()


def test_a_reader_that_takes_no_drawn_labels_says_so(bench: Workbench) -> None:
    write_vector(bench.root / "labels.gpkg", traced(bench), layer="labels")
    path = drawn(bench, complete=True)
    content = yaml.safe_load(path.read_text())
    content["input"]["reader"] = "dicom"
    content["output"]["products"] = ["nifti"]
    path.write_text(yaml.safe_dump(content))
    assert "'dicom' takes no labels from vector files" in problems(path)["support.classes.0.examples.0"]
    done = hdm("run", path)
    assert done.returncode == 2
    assert "takes no labels from vector files" in done.stderr
    assert "Traceback" not in done.stderr


def _fingerprint(path: Path) -> str:
    config = Pipeline.from_yaml(path).config
    return support_fingerprint(support_files(config), make_reader("geotiff", {}))


def test_an_image_in_which_nothing_is_drawn_changes_no_example(bench: Workbench) -> None:
    write_vector(bench.root / "labels.gpkg", traced(bench), layer="labels")
    path = drawn(bench, image="support/chip*.tif", where="class = 'water'", complete=True)
    (bench.root / "support" / "chip_mask.tif").unlink()
    before = _fingerprint(path)
    with rasterio.open(bench.root / "support" / "chip.tif") as chip:
        profile = {**chip.profile, "transform": chip.transform @ chip.transform.translation(9000, 0)}
        pixels = chip.read()
    with rasterio.open(bench.root / "support" / "chip_far.tif", "w", **profile) as far:
        far.write(pixels)
    assert _fingerprint(path) == before
    shutil.copy(bench.root / "support" / "chip.tif", bench.root / "support" / "chip_near.tif")
    assert _fingerprint(path) != before


def test_two_rasters_of_one_zip_file_are_two_examples(bench: Workbench) -> None:
    write_vector(bench.root / "labels.gpkg", traced(bench), layer="labels")
    names = ["a.tif", "b.tif"]
    with zipfile.ZipFile(bench.root / "chips.zip", "w") as archive:
        for name in names:
            archive.write(bench.root / "support" / "chip.tif", name)
    more = {"labels": "labels.gpkg", "where": "class = 'water'", "complete": True}
    examples = [{"image": f"/vsizip/{bench.root}/chips.zip/{name}", **more} for name in names]
    path = bench.pipeline("zipped", support={"classes": [{"name": "water", "examples": examples}]})
    assert _fingerprint(path)


def test_what_a_gis_puts_beside_a_shapefile_changes_no_example(bench: Workbench) -> None:
    write_vector(bench.root / "support" / "chip.shp", traced(bench))
    path = drawn(bench, labels="support/chip.shp", where="class = 'water'", complete=True)
    before = _fingerprint(path)
    for suffix in (".qix", ".sbn", ".sbx", ".qmd", ".qml", ".shp.xml"):
        (bench.root / "support" / f"chip{suffix}").write_bytes(b"of no importance")
    assert _fingerprint(path) == before
    (bench.root / "support" / "chip.tfw").write_text("10\n0\n0\n-10\n500005\n4999995\n")
    assert _fingerprint(path) != before
