"""From a STAC catalog to masks and a STAC catalog of them, by the command line, over real files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio

from hdm_pipeline.pipeline import Pipeline
from tests.command import hdm
from tests.integration.conftest import Workbench, published
from tests.stac_catalog import asset, catalog, item, write_band


def _split(bench: Workbench) -> Path:
    """A catalog of the bench's scenes, each band a file of stored numbers that the item says how to read."""
    items = []
    for file in sorted(bench.scenes.glob("*.tif")):
        with rasterio.open(file) as scene:
            pixels, transform = scene.read(), scene.transform
        assets = {}
        for key, values in zip(("vv", "vh"), pixels, strict=True):
            stored = np.where(np.isfinite(values), np.round((values + 100) * 100), 0).astype(np.uint16)
            path = write_band(bench.root / "data" / file.stem / f"{key}.tif", stored, transform=transform)
            said = {"raster:bands": [{"scale": 0.01, "offset": -100, "nodata": 0, "unit": "dB"}]}
            assets[key] = asset(path, **said)
        items.append(item(f"S1_{file.stem}", assets))
    return catalog(bench.root / "catalog", *items)


def _pipeline(bench: Workbench, folder: str, **source: Any) -> Path:
    if isinstance(source["bands"], list) and "vv" in source["bands"]:
        with rasterio.open(bench.root / "support/chip.tif", "r+") as chip:
            chip.descriptions = ("vv", "vh")  # examples have the bands by the same names
    return bench.pipeline(folder, input=source, output={"directory": folder, "products": ["mask", "stac"]})


@pytest.mark.parametrize("bands", [["vv", "vh"], {"co": "vv", "cross": "vh"}], ids=["by key", "called otherwise"])
def test_masks_are_those_of_the_very_pixels(bench: Workbench, bands: Any) -> None:
    """The same numbers as whole files, with scale and nodata in their tags, give the same masks."""
    file = _pipeline(bench, "out", uri=str(_split(bench)), bands=bands)
    assert hdm("validate", "--data", file).returncode == 0
    done = hdm("run", file)
    assert done.returncode == 0, done.stdout + done.stderr
    for folder in sorted((bench.root / "data").iterdir()):
        stacked = []
        for key in ("vv", "vh"):
            with rasterio.open(folder / f"{key}.tif") as source:
                stacked.append(source.read(1))
                place = {"transform": source.transform, "crs": source.crs}
        path = write_band(bench.root / f"whole/S1_{folder.name}.tif", np.stack(stacked), nodata=0, **place)
        with rasterio.open(path, "r+") as target:
            target.scales, target.offsets = (0.01, 0.01), (-100, -100)
    whole = _pipeline(bench, "whole-out", uri="whole", bands=[1, 2])
    Pipeline.from_yaml(whole).run()
    masks = [published(bench.root / name) for name in ("out", "whole-out")]
    names = [f"S1_{name}/mask.tif" for name in ("large", "middle", "small")]
    assert [sorted(path for path in found if path.endswith(".tif")) for found in masks] == [names, names]
    for name in names:
        pixels = [rasterio.open(bench.root / out / name).read(1) for out in ("out", "whole-out")]
        assert np.array_equal(*pixels)
        assert set(np.unique(pixels[0])) >= {0, 1}


def test_dates_and_items_reach_the_products(bench: Workbench) -> None:
    Pipeline.from_yaml(_pipeline(bench, "out", uri=str(_split(bench)), bands=["vv", "vh"])).run()
    out = bench.root / "out"
    made = {one.id: one for one in pystac.Collection.from_file(str(out / "collection.json")).get_items()}
    assert sorted(made) == ["S1_large", "S1_middle", "S1_small"]
    for name, one in made.items():
        assert one.properties["datetime"] == "2024-06-02T10:10:31Z"
        assert one.properties["hdm:datetime_source"] == "the STAC item"
        link = one.get_single_link("derived_from")
        assert link is not None
        source = pystac.Item.from_file(str((out / name / str(link.target)).resolve()))
        assert source.id == name
        with rasterio.open(out / name / "mask.tif") as mask:
            assert mask.tags()["HDM_DATETIME"] == "2024-06-02T10:10:31Z"
    report = json.loads((out / "run.json").read_text())
    assert report["scenes"]["S1_small"]["input"].endswith("S1_small.json")


def test_an_item_that_lacks_an_asset_is_quarantined_with_a_remedy(bench: Workbench) -> None:
    file = _split(bench)
    place = bench.root / "catalog/sentinel-2-l2a/S1_small/S1_small.json"
    content = json.loads(place.read_text())
    del content["assets"]["vh"]
    place.write_text(json.dumps(content))
    remote = bench.root / "catalog/sentinel-2-l2a/S1_middle/S1_middle.json"
    content = json.loads(remote.read_text())
    content["assets"]["vv"]["href"] = "https://nowhere.example/vv.tif"
    remote.write_text(json.dumps(content))
    pipeline = _pipeline(bench, "out", uri=str(file), bands={"co": "vv", "cross": "vh"})
    done = hdm("run", pipeline)
    assert done.returncode == 3, done.stdout + done.stderr
    report = json.loads((bench.root / "out/run.json").read_text())["scenes"]
    assert report["S1_large"]["status"] == "done"
    assert "no asset or band vh" in report["S1_small"]["error"]["what"]
    assert "input.bands" in report["S1_small"]["error"]["remedy"]
    assert report["S1_middle"]["error"]["where"] == "https://nowhere.example/vv.tif"
    assert "allow_network" in report["S1_middle"]["error"]["remedy"]


def test_a_changed_item_alone_is_redone(bench: Workbench) -> None:
    pipeline = _pipeline(bench, "out", uri=str(_split(bench)), bands=["vv", "vh"])
    Pipeline.from_yaml(pipeline).run()
    place = bench.root / "catalog/sentinel-2-l2a/S1_small/S1_small.json"
    content = json.loads(place.read_text())
    content["assets"]["vv"]["raster:bands"][0]["offset"] = -100.5
    place.write_text(json.dumps(content))
    assert Pipeline.from_yaml(pipeline).run().done == ("S1_small",)


def test_the_products_of_a_run_are_no_scenes_of_the_next(bench: Workbench) -> None:
    Pipeline.from_yaml(_pipeline(bench, "out", uri=str(_split(bench)), bands=["vv", "vh"])).run()
    again = hdm("run", _pipeline(bench, "again", uri="out/collection.json", bands=["mask"], scale={"fixed": [0, 1]}))
    assert again.returncode == 2
    assert "no scenes" in again.stdout + again.stderr
