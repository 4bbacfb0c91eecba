"""A run that publishes STAC: opened by pystac, checked by the schemas that pystac ships, kept true by later runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from jsonschema import Draft7Validator
from pystac.validation.local_validator import get_local_schema_cache
from rasterio.warp import transform_bounds
from referencing import Registry, Resource

from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.status import output_status, status_text
from tests.command import hdm
from tests.integration.conftest import Workbench, write_scene

OUTPUT = {"directory": "out", "products": ["stac", "mask", "score"]}


def problems(content: dict[str, Any]) -> list[str]:
    """What STAC's own schemas say against an item or a collection; they are those of the core, not of extensions."""
    schemas = get_local_schema_cache()
    registry: Registry[Any] = Registry().with_resources([(k, Resource.from_contents(v)) for k, v in schemas.items()])
    name = "item" if content["type"] == "Feature" else "collection"
    schema = next(value for key, value in schemas.items() if key.endswith(f"/{name}.json"))
    return [error.message for error in Draft7Validator(schema, registry=registry).iter_errors(content)]


def _run(file: Path) -> None:
    hdm("run", file).check_returncode()


def _collection(bench: Workbench) -> pystac.Collection:
    return pystac.Collection.from_file(str(bench.root / "out" / "collection.json"))


def _items(bench: Workbench) -> list[str]:
    return sorted(item.id for item in _collection(bench).get_items(recursive=True))


@pytest.fixture
def ran(bench: Workbench) -> Workbench:
    Pipeline.from_yaml(bench.pipeline(output=OUTPUT)).run()
    return bench


def test_pystac_opens_what_a_run_made_and_every_file_is_there(bench: Workbench) -> None:
    ran = bench
    with rasterio.open(bench.scenes / "small.tif", "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2024:06:02 10:20:30")
    _run(bench.pipeline(output=OUTPUT))
    collection = _collection(ran)
    items = {item.id: item for item in collection.get_items()}
    assert sorted(items) == ["large", "middle", "small"]
    assert problems(json.loads((ran.root / "out/collection.json").read_text())) == []
    for name, item in items.items():
        assert problems(json.loads((ran.root / f"out/{name}/item.json").read_text())) == []
        assert item.get_collection() is collection
        for key, asset in item.get_assets().items():
            href = asset.get_absolute_href()
            assert href is not None
            assert Path(href) == ran.root / "out" / name / (f"{key}.tif" if key in ("mask", "score") else key)
            assert Path(href).is_file()
        assert {"mask", "score", "mask.qml"} <= item.assets.keys()
        with rasterio.open(ran.root / "out" / name / "mask.tif") as mask:
            assert item.ext.proj.code == f"EPSG:{mask.crs.to_epsg()}"
            assert item.ext.proj.transform == list(mask.transform)[:6]
            assert item.ext.proj.shape == list(mask.shape)
            classes = {one.name: one for one in item.assets["mask"].ext.classification.classes}
            assert classes["water"].count == int((mask.read(1) == 1).sum())
            assert transform_bounds(mask.crs, "OGC:CRS84", *mask.bounds) == pytest.approx(item.bbox, abs=1e-6)
        via = item.get_single_link("via")
        assert via is not None
        assert (ran.root / "out" / name / str(via.target)).resolve() == ran.scenes / f"{name}.tif"
    with rasterio.open(str(collection.assets["mosaic.vrt"].get_absolute_href())) as mosaic:
        assert mosaic.shape[0] >= 333
    assert (ran.root / "out" / collection.assets["mosaic.qml"].href).is_file()
    assert items["small"].properties["datetime"] == "2024-06-02T10:20:30Z"
    assert items["large"].datetime is None
    with rasterio.open(ran.root / "out/small/mask.tif") as mask:
        assert mask.tags()["HDM_DATETIME"] == "2024-06-02T10:20:30Z"
    assert collection.extent.temporal.to_dict() == {"interval": [["2024-06-02T10:20:30Z"] * 2]}


def test_the_schemas_find_what_is_wrong(ran: Workbench) -> None:
    item = json.loads((ran.root / "out/small/item.json").read_text())
    del item["properties"]["datetime"]
    item["assets"]["mask"]["data_type"] = "byte"
    assert len(problems(item)) >= 1


def test_the_report_and_the_status_lead_there(ran: Workbench) -> None:
    report = json.loads((ran.root / "out/run.json").read_text())
    assert report["catalogs"] == {"stac": ["collection.json"]}
    assert "small/item.json" in report["scenes"]["small"]["outputs"]
    assert f"catalog   {ran.root / 'out' / 'collection.json'}" in status_text(output_status(ran.root / "out"))


def test_a_second_run_changes_no_byte(ran: Workbench) -> None:
    files = [*(ran.root / "out").glob("*/item.json"), ran.root / "out/collection.json"]
    before = {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}
    Pipeline.from_yaml(ran.pipeline(output=OUTPUT)).run()
    assert {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files} == before


def test_items_come_and_go_with_their_scenes(ran: Workbench) -> None:
    out = ran.root / "out"
    write_scene(ran.scenes / "middle.tif", 210, 130, 9)  # another scene of this name
    (ran.scenes / "large.tif").write_bytes((ran.scenes / "large.tif").read_bytes()[:3000])  # damaged
    (ran.scenes / "small.tif").unlink()
    write_scene(ran.scenes / "added.tif", 64, 64, 5)
    Pipeline.from_yaml(ran.pipeline(output=OUTPUT)).run()
    assert _items(ran) == ["added", "middle"]
    item = pystac.Item.from_file(str(out / "middle/item.json"))
    assert item.ext.proj.shape == [210, 130]
    assert not (out / "large/item.json").exists()  # set aside with the mask that it describes
    assert (out / ".hdm/stale/large/item.json").is_file()
    write_scene(ran.scenes / "small.tif", 40, 50, 3)
    write_scene(ran.scenes / "large.tif", 333, 412, 1)
    Pipeline.from_yaml(ran.pipeline(output=OUTPUT)).run()
    assert _items(ran) == ["added", "large", "middle", "small"]


def test_what_a_killed_run_left_out_is_caught_up(ran: Workbench) -> None:
    """As after a kill between the last scene and the collection: files of the catalog are missing or old."""
    out = ran.root / "out"
    (out / "collection.json").unlink()
    memory = out / ".hdm/catalogs/stac/items.json"
    known = json.loads(memory.read_text())
    del known["items"]["large"]
    memory.write_text(json.dumps(known))
    Pipeline.from_yaml(ran.pipeline(output=OUTPUT)).run()
    assert _items(ran) == ["large", "middle", "small"]


def test_a_moved_output_still_opens(ran: Workbench) -> None:
    moved = ran.root / "elsewhere"
    (ran.root / "out").rename(moved)
    items = list(pystac.Collection.from_file(str(moved / "collection.json")).get_items())
    masks = [str(item.assets["mask"].get_absolute_href()) for item in items]
    assert len(masks) == 3
    for mask in masks:
        with rasterio.open(mask) as file:
            assert set(np.unique(file.read(1))) <= {0, 1, 255}


def test_a_scene_called_as_the_collection_gets_another_id(bench: Workbench) -> None:
    write_scene(bench.scenes / "collection.json.tif", 64, 64, 5)
    summary = Pipeline.from_yaml(bench.pipeline(output=OUTPUT)).run()
    assert len(summary.done) == 4
    assert len(_items(bench)) == 4
