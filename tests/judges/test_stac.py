"""odc-stac and stackstac load what a run published by its STAC items; the pixels are those of the files."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pystac
import pytest
import rasterio
from rasterio.warp import transform_bounds

from hdm_pipeline.pipeline import Pipeline
from tests.integration.conftest import Workbench, bench, kit  # noqa: F401
from tests.judges.conftest import missing

OUTPUT = {"directory": "out", "products": ["mask", "score", "stac"]}
SCENES = ("large", "middle", "small")


@pytest.fixture
def items(bench: Workbench) -> list[pystac.Item]:  # noqa: F811
    options = {"options": {"date": "%Y%m%d"}}
    for day, name in enumerate(SCENES, 1):
        (bench.scenes / f"{name}.tif").rename(bench.scenes / f"2024060{day}_{name}.tif")
    Pipeline.from_yaml(bench.pipeline(output=OUTPUT, input=options)).run()
    catalog = pystac.Collection.from_file(str(bench.root / "out/collection.json"))
    return sorted(catalog.get_items(), key=lambda item: item.id)


def _judge(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        missing(module)


def _pixels(item: pystac.Item, key: str) -> np.ndarray[Any, Any]:
    with rasterio.open(str(item.assets[key].get_absolute_href())) as file:
        return np.asarray(file.read(1))


def test_odc_stac_loads_the_very_pixels(items: list[pystac.Item]) -> None:
    load = _judge("odc.stac").load
    for item in items:
        found = load([item], bands=["mask", "score"])  # grid, dates, types and nodata are all taken from the item
        assert found.odc.geobox.crs.epsg == 32633
        for key in ("mask", "score"):
            assert found[key].dtype == np.uint8
            assert np.array_equal(found[key].values[0], _pixels(item, key))
        assert found["mask"].attrs["nodata"] == 255
        assert str(found.time.values[0])[:10] == f"2024-06-0{SCENES.index(item.id[9:]) + 1}"
    together = load(items, bands=["mask"])
    assert together.sizes["time"] == 3


def test_stackstac_loads_the_very_pixels(items: list[pystac.Item]) -> None:
    stack = _judge("stackstac").stack
    for item in items:
        item.make_asset_hrefs_absolute()  # stackstac does not know where an item lies, nor proj:code
        place = {"epsg": int(item.ext.proj.code.split(":")[1]), "bounds": item.ext.proj.bbox, "resolution": 10}
        values = {"dtype": "uint8", "fill_value": np.uint8(255), "rescale": False}
        found = stack([item], assets=["mask"], **place, **values)
        pixels = found.compute(scheduler="synchronous").values[0, 0]
        assert np.array_equal(pixels, _pixels(item, "mask"))
        assert str(found.time.values[0])[:10] == item.properties["datetime"][:10]


def test_rasters_of_the_collection_lie_where_items_say(items: list[pystac.Item]) -> None:
    for item in items:
        with rasterio.open(Path(str(item.assets["mask"].get_absolute_href()))) as file:
            west, south, east, north = transform_bounds(file.crs, "OGC:CRS84", *file.bounds, 64)
        assert item.bbox == pytest.approx([west, south, east, north], abs=1e-6)
