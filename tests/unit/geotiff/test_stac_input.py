"""STAC as input: items become scenes, their assets bands; real catalogs made with pystac over real files."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pystac
import pytest
from rasterio.crs import CRS

from hdm_geotiff.files import containers, remote
from hdm_geotiff.files.named_crs import crs_named
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.reader import GeoTiffReader
from hdm_geotiff.stac import catalog as stac_catalog
from hdm_geotiff.stac.catalog import ItemAt, find_items
from hdm_pipeline.config.example import Example
from hdm_pipeline.contracts import LabelPatch, RasterGeometry, SceneLabels, SceneRef, Skipped
from hdm_pipeline.errors import ArchiveError, ConfigError, EmptyArchiveError, ReadError, UnsupportedSceneError
from hdm_pipeline.grid import Window
from hdm_pipeline.support.examples import expand
from tests.stac_catalog import asset, catalog, item, stored, write_band

RED, NIR = stored(40, 50, 1), stored(40, 50, 2)


def _found(uri: Path | str, **options: Any) -> list[SceneRef | Skipped]:
    return list(GeoTiffReader(options).discover(str(uri)))


def _one(uri: Path | str, **options: Any) -> SceneRef:
    (found,) = _found(uri, **options)
    assert isinstance(found, SceneRef)
    return found


def _read(ref: SceneRef, **options: Any) -> tuple[list[str], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """(names of the bands, pixels, validity) of a whole scene."""
    with GeoTiffReader(options).open(ref) as source:
        count, _, height, width = source.header.shape
        pixels, valid = source.read(Window(z=0, y=0, x=0, height=height, width=width), range(count))
        return [band.name for band in source.header.bands], pixels, valid


@pytest.fixture
def two_bands(tmp_path: Path) -> dict[str, pystac.Asset]:
    """Red and near infrared in files of their own, and what else an item carries."""
    write_band(tmp_path / "data/B04.tif", RED)
    write_band(tmp_path / "data/B08.tif", NIR)
    return {
        "thumbnail": pystac.Asset("https://nowhere.example/t.jpg", media_type="image/jpeg", roles=["thumbnail"]),
        "B08": asset(tmp_path / "data/B08.tif", "data", **{"eo:bands": [{"name": "B08", "common_name": "nir"}]}),
        "B04": asset(tmp_path / "data/B04.tif", "data", "reflectance", bands=[{"name": "b", "eo:common_name": "red"}]),
        "metadata": pystac.Asset("https://nowhere.example/m.xml", media_type="application/xml", roles=["metadata"]),
    }


# ---------------------------------------------------------------------- where items are found


def test_a_static_catalog_is_followed_and_keeps_ids_and_dates(
    tmp_path: Path, two_bands: dict[str, pystac.Asset]
) -> None:
    file = catalog(tmp_path / "cat", item("S2B_32UQD_20240602", two_bands))
    ref = _one(file, asked=["B04"])
    assert ref.id == "S2B_32UQD_20240602"
    header = GeoTiffReader({"asked": ["B04"]}).header(ref)
    assert header.shape == (1, 1, 40, 50)
    place = tmp_path / "cat/sentinel-2-l2a/S2B_32UQD_20240602/S2B_32UQD_20240602.json"
    assert header.attributes == {
        "datetime": "2024-06-02T10:10:31Z",
        "datetime_source": "the STAC item",
        "stac_item": str(place),
    }
    assert ref.uri == str(place)
    for part in (place, place.parent.parent / "collection.json", tmp_path / "cat/**/S2B*.json"):
        assert _one(part, asked=["B04"]) == ref


def test_an_item_is_the_image_of_an_example(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    ref = _one(catalog(tmp_path / "cat", item("a", two_bands)), asked=["B04"])
    values = np.full((40, 50), 255, np.uint8)
    values[3:9, 2:7], values[20:] = 1, 0
    patch = LabelPatch(Window.whole(0, (40, 50)), values)
    reader = GeoTiffReader({"asked": ["B04"]})
    saved = reader.save_labels(SceneLabels(ref, {1: "lake"}, {}, (patch,)), tmp_path)
    assert saved.examples["lake"]["image"] == ref.uri
    (image,) = reader.read_support(next(expand(Example.model_validate(dict(saved.examples["lake"])), "lake")))
    assert np.array_equal(image.label, values)
    assert np.array_equal(image.pixels[0], RED)


def test_a_saved_search_with_files_beside_it(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    """Its item says that it lies on the network; relative links lead there, unless the files lie beside the list."""
    found = item("a", two_bands).to_dict(include_self_link=False)
    found["links"] = [{"rel": "self", "href": "https://nowhere.example/items/a"}]
    found["assets"]["B04"]["href"] = "data/B04.tif"
    search = tmp_path / "search.json"
    search.write_text(json.dumps({"type": "FeatureCollection", "features": [found]}))
    ref = _one(search, asked=["red"])
    assert (ref.id, ref.uri) == ("a", f"{search}#a")
    names, pixels, _ = _read(ref, asked=["red"])
    assert names == ["red"]
    assert np.array_equal(pixels[0], RED)
    assert GeoTiffReader({"asked": ["red"]}).header(ref).attributes["stac_item"] == "https://nowhere.example/items/a"
    found["assets"]["B04"]["href"] = "../gone/B04.tif"
    search.write_text(json.dumps({"type": "FeatureCollection", "features": [found]}))
    with pytest.raises(UnsupportedSceneError, match="network") as caught:
        GeoTiffReader({"asked": ["red"]}).header(_one(search, asked=["red"]))
    assert caught.value.where == "https://nowhere.example/gone/B04.tif"


def test_items_without_a_place_of_their_own_start_at_the_list(
    tmp_path: Path, two_bands: dict[str, pystac.Asset]
) -> None:
    found = item("a", two_bands).to_dict(include_self_link=False)
    found["assets"]["B04"]["href"] = "./data/B04.tif"
    (tmp_path / "search.json").write_text(json.dumps({"type": "FeatureCollection", "features": [found]}))
    assert np.array_equal(_read(_one(tmp_path / "search.json", asked=["B04"]), asked=["B04"])[1][0], RED)


def test_what_cannot_be_used_is_named_and_the_rest_goes_on(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    good = item("good", two_bands).to_dict(include_self_link=False)
    old = item("old", two_bands, deprecated=True).to_dict(include_self_link=False)
    undated = {**good, "id": "undated", "properties": {"datetime": "yesterday"}}
    numbered = {**good, "id": 7}
    features = [good, good, old, undated, {"type": "Feature", "properties": {}}, None, numbered]
    (tmp_path / "search.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = _found(tmp_path / "search.json")
    assert [one.id for one in found if isinstance(one, SceneRef)] == ["good"]
    reasons = {one.uri.rpartition("#")[2]: one.reason for one in found if isinstance(one, Skipped)}
    assert set(reasons) == {"good", "old", "undated", "4", "5", "7"}
    assert "more than once" in reasons["good"]
    assert "deprecated" in reasons["old"]
    assert "no valid STAC item" in reasons["undated"]
    assert "its id is no text" in reasons["7"]


def test_links_are_uris_and_a_file_that_is_called_so_counts_first(
    tmp_path: Path, two_bands: dict[str, pystac.Asset]
) -> None:
    (tmp_path / "my data").mkdir()
    write_band(tmp_path / "my data/B04.tif", NIR)
    found = item("a", two_bands).to_dict(include_self_link=False)
    found["assets"]["B04"]["href"] = "my%20data/B04.tif"
    (tmp_path / "an item.json").write_text(json.dumps(found))
    content = {"type": "Catalog", "id": "c", "stac_version": "1.0.0", "description": "c"}
    links = [{"rel": "item", "href": "an%20item.json"}]
    (tmp_path / "catalog.json").write_text(json.dumps({**content, "links": links}))
    search = tmp_path / "search.json"
    search.write_text(json.dumps({"type": "FeatureCollection", "features": [found]}))
    for file in (tmp_path / "catalog.json", search):
        assert np.array_equal(_read(_one(file, asked=["B04"]), asked=["B04"])[1][0], NIR)
    (tmp_path / "my%20data").mkdir()
    write_band(tmp_path / "my%20data/B04.tif", RED)
    assert np.array_equal(_read(_one(search, asked=["B04"]), asked=["B04"])[1][0], RED)


def test_a_link_that_leads_nowhere_is_left_out(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    file = catalog(tmp_path / "cat", item("a", two_bands), item("b", two_bands))
    gone = tmp_path / "cat/sentinel-2-l2a/b/b.json"
    gone.unlink()
    content = json.loads(file.read_text())
    content["links"] += [
        {"rel": "child", "href": "https://nowhere.example/catalog.json"},
        {"rel": "child", "href": "./catalog.json"},
    ]
    file.write_text(json.dumps(content))
    found = _found(file)
    assert [one.id for one in found if isinstance(one, SceneRef)] == ["a"]
    reasons = {one.uri: one.reason for one in found if isinstance(one, Skipped)}
    assert set(reasons) == {str(gone), "https://nowhere.example/catalog.json"}
    assert "network access is switched off" in reasons["https://nowhere.example/catalog.json"]


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        ('{"type": "FeatureCollection", "features": []}', EmptyArchiveError, "no item"),
        ('{"type": "Feature", "geometry": null, "properties": {}}', ArchiveError, "no STAC"),
        ("[1, 2]", ArchiveError, "no STAC"),
        ("{", ArchiveError, "cannot be read"),
        ("[" * 100_000, ArchiveError, "cannot be read"),
    ],
)
def test_what_is_no_stac_is_refused(tmp_path: Path, content: str, kind: type[ArchiveError], words: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(kind, match=words):
        _found(tmp_path / "x.json")


def test_a_catalog_that_is_not_there(tmp_path: Path) -> None:
    for name in ("no.json", "no*.json"):
        with pytest.raises(EmptyArchiveError, match="does not exist"):
            _found(tmp_path / name)
    catalog(tmp_path / "cat")
    with pytest.raises(EmptyArchiveError) as caught:
        _found(tmp_path / "cat")  # the folder, not its file
    assert str(tmp_path / "cat/catalog.json") in caught.value.remedy


def test_own_products_are_no_scenes(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    own = catalog(tmp_path / "out", item("a", two_bands))
    (tmp_path / "out/.hdm").mkdir()
    place = tmp_path / "out/scene/item.json"
    place.parent.mkdir()
    place.write_text(json.dumps(item("a", two_bands).to_dict(include_self_link=False)))
    for named in (own, place):
        with pytest.raises(ArchiveError, match="products are no scenes"):
            _found(named)
    content = json.loads(catalog(tmp_path / "cat", item("b", two_bands)).read_text())
    content["links"].append({"rel": "child", "href": "../out/catalog.json"})
    (tmp_path / "cat/catalog.json").write_text(json.dumps(content))
    assert [one.id for one in _found(tmp_path / "cat/catalog.json") if isinstance(one, SceneRef)] == ["b"]


def test_ids_are_safe_and_unique(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    write_band(tmp_path / "data/other.tif", NIR)
    other = {"B04": asset(tmp_path / "data/other.tif")}
    made = [
        item("same", two_bands),
        item("SAME", other),
        item("collection.json", two_bands),
        item("a/b:c.tif", two_bands),
        item("a_b_c.tif", two_bands),
    ]
    dicts = [one.to_dict(include_self_link=False) for one in made]
    dicts[0]["collection"], dicts[1]["collection"] = "l1c", "l2a"
    twice = {**dicts[0], "assets": other["B04"].to_dict() and {"B04": other["B04"].to_dict()}}
    features = [*dicts, twice]
    (tmp_path / "s.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    ids = [one.id for one in _found(tmp_path / "s.json") if isinstance(one, SceneRef)]
    assert len({name.casefold() for name in ids}) == 6
    assert "l2a__SAME" in ids
    assert "a_b_c.tif" in ids
    assert not {"collection.json", "same", "a/b:c.tif"} & set(ids)
    (tmp_path / "s.json").write_text(json.dumps({"type": "FeatureCollection", "features": features[::-1]}))
    again = [one.id for one in _found(tmp_path / "s.json") if isinstance(one, SceneRef)]
    assert len({name.casefold() for name in again}) == 6


# ---------------------------------------------------------------------- which asset is which band


@pytest.mark.parametrize(
    ("asked", "options", "names", "expected"),
    [
        (["B04", "B08"], {}, ["B04", "B08"], [RED, NIR]),
        (["nir", "red"], {}, ["nir", "red"], [NIR, RED]),
        (["(nir - B04) / (nir + B04)"], {}, ["nir", "B04"], [NIR, RED]),
        (["r", "n"], {"bands": {"r": "B04", "n": "nir"}}, ["r", "n"], [RED, NIR]),
        (["red", "B04"], {}, ["red", "B04"], [RED, RED]),
    ],
)
def test_bands_are_called_by_key_name_or_common_name(
    tmp_path: Path,
    two_bands: dict[str, pystac.Asset],
    asked: list[str],
    options: dict[str, Any],
    names: list[str],
    expected: list[np.ndarray[Any, Any]],
) -> None:
    file = catalog(tmp_path / "cat", item("a", two_bands))
    found, pixels, valid = _read(_one(file, asked=asked, **options), asked=asked, **options)
    assert found == names
    assert np.array_equal(pixels, np.stack(expected))
    assert valid.all()


def test_numbers_of_bands_only_where_there_is_one_file(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    several = catalog(tmp_path / "several", item("a", two_bands))
    with pytest.raises(UnsupportedSceneError, match="by number") as caught:
        GeoTiffReader({"asked": ["1"]}).header(_one(several, asked=["1"]))
    assert "B04" in str(caught.value)
    write_band(tmp_path / "data/both.tif", np.stack([RED, NIR]))
    for number, fields in enumerate(({}, {"bands": [{"name": "r"}, {"name": "n"}]})):
        file = catalog(tmp_path / f"one{number}", item("a", {"image": asset(tmp_path / "data/both.tif", **fields)}))
        asked = ["b2 - b1", "2"]
        _, pixels, _ = _read(_one(file, asked=asked), asked=asked)
        assert np.array_equal(pixels, np.stack([RED, NIR]))


def test_bands_of_one_asset(tmp_path: Path) -> None:
    write_band(tmp_path / "data/naip.tif", np.stack([RED, NIR]))
    fields = {"eo:bands": [{"name": "R", "common_name": "red"}, {"name": "N", "common_name": "nir"}]}
    file = catalog(tmp_path / "cat", item("a", {"image": asset(tmp_path / "data/naip.tif", **fields)}))
    for called in ("nir", "image:2", "image:N", "N"):
        options = {"bands": {"x": called}, "asked": ["x"]}
        assert np.array_equal(_read(_one(file, **options), **options)[1], NIR[None])


def test_an_asset_that_is_missing_quarantines_with_a_remedy(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    file = catalog(tmp_path / "cat", item("a", two_bands))
    options = {"bands": {"swir": "B11", "red": "B04"}, "asked": ["swir", "red"]}
    with pytest.raises(UnsupportedSceneError, match="no asset or band B11") as caught:
        GeoTiffReader(options).header(_one(file, **options))
    assert "B04, metadata" in caught.value.what
    assert "input.bands" in caught.value.remedy
    pictures = catalog(tmp_path / "p", item("a", {"thumbnail": two_bands["thumbnail"]}))
    with pytest.raises(UnsupportedSceneError, match="no asset of the item"):
        GeoTiffReader({}).header(_one(pictures))
    (tmp_path / "data/B04.tif").unlink()
    with pytest.raises(ReadError) as missing:
        GeoTiffReader({"asked": ["B04"]}).header(_one(file, asked=["B04"]))
    assert "B04.tif" in missing.value.where
    assert "not there" in missing.value.remedy


@pytest.mark.parametrize(
    "fields",
    [
        {"raster:bands": [{"scale": 0.0001, "offset": -0.1, "nodata": 7, "unit": "1"}]},
        {"bands": [{"raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 7, "unit": "1"}]},
        {"raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 7, "unit": "1"},
        {"bands": [{"name": "red"}], "raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 7, "unit": "1"},
    ],
    ids=["raster 1", "raster 2 in bands", "raster 2 in the asset", "both"],
)
def test_scale_offset_and_nodata_of_the_item_count(tmp_path: Path, fields: dict[str, Any]) -> None:
    pixels = RED.copy()
    pixels[:3] = 7
    write_band(tmp_path / "data/a.tif", pixels, nodata=9)
    file = catalog(tmp_path / "cat", item("a", {"B04": asset(tmp_path / "data/a.tif", **fields)}))
    ref = _one(file, asked=["B04"])
    _, found, valid = _read(ref, asked=["B04"])
    assert np.array_equal(valid, pixels != 7)
    assert found[0][valid] == pytest.approx(pixels[valid] * 1e-4 - 0.1, rel=1e-6)
    assert GeoTiffReader({"asked": ["B04"]}).header(ref).bands[0].unit == "1"
    _, mine, _ = _read(ref, asked=["B04"], offset=0)
    assert mine[0][valid] == pytest.approx(pixels[valid] * 1e-4, rel=1e-6)  # the user has the last word


def test_what_an_item_says_wrongly_or_not_at_all_is_left_to_the_file(tmp_path: Path) -> None:
    write_band(tmp_path / "data/a.tif", RED, nodata=int(RED[0, 0]))
    bands = [{"scale": "a lot", "offset": True, "nodata": "nan"}]
    file = catalog(tmp_path / "cat", item("a", {"B04": asset(tmp_path / "data/a.tif", **{"raster:bands": bands})}))
    _, found, valid = _read(_one(file, asked=["B04"]), asked=["B04"])
    assert np.array_equal(valid, RED[0, 0] != RED)
    assert np.array_equal(found[0][valid], RED[valid].astype(np.float32))


@pytest.mark.parametrize("code", [{"proj:code": "EPSG:32633"}, {"proj:epsg": 32633}])
def test_a_file_without_coordinates_lies_where_its_item_says(tmp_path: Path, code: dict[str, Any]) -> None:
    transform = [10, 0, 400_000, 0, -10, 5_000_000]
    write_band(tmp_path / "data/bare.tif", RED, crs=None, transform=None)
    write_band(tmp_path / "data/own.tif", RED)
    for name, shape, left in (("bare", [40, 50], 400_000), ("own", [40, 50], 500_000), ("bare", [41, 50], 0)):
        fields = {**code, "proj:transform": [*transform, 0, 0, 1], "proj:shape": shape}
        (tmp_path / "cat").mkdir(exist_ok=True)
        file = catalog(tmp_path / "cat", item("a", {"B04": asset(tmp_path / f"data/{name}.tif")}, **fields))
        geometry = GeoTiffReader({"asked": ["B04"]}).header(_one(file, asked=["B04"])).geometry
        assert isinstance(geometry, RasterGeometry)
        assert geometry.transform[2] == left
        assert bool(geometry.crs_wkt) == (left > 0)


@pytest.mark.parametrize("name", ["proj:code", "proj:wkt2"])
def test_a_crs_that_is_an_address_is_not_fetched(tmp_path: Path, server: str, name: str) -> None:
    write_band(tmp_path / "data/bare.tif", RED, crs=None, transform=None)
    fields = {name: f"{server}/api/search", "proj:transform": [10, 0, 4e5, 0, -10, 5e6], "proj:shape": [40, 50]}
    file = catalog(tmp_path / "cat", item("a", {"B04": asset(tmp_path / "data/bare.tif")}, **fields))
    geometry = GeoTiffReader({"asked": ["B04"]}).header(_one(file, asked=["B04"])).geometry
    assert isinstance(geometry, RasterGeometry)
    assert not geometry.crs_wkt
    assert not _Server.asked


def test_nor_is_that_of_an_area_of_interest(tmp_path: Path, server: str) -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    area = tmp_path / "aoi.geojson"
    for name in (f"{server}/api/search", f"/vsicurl/{server}/api/search"):
        area.write_text(json.dumps({**square, "crs": {"properties": {"name": name}}}), encoding="utf-8")
        with pytest.raises(ConfigError, match="neither by a code nor as WKT"):
            GeoTiffReader({"aoi": str(area)})
    assert not _Server.asked


@pytest.mark.parametrize(
    "name",
    [
        "EPSG:32633",
        "urn:ogc:def:crs:EPSG::32633",
        "http://www.opengis.net/def/crs/EPSG/0/32633",
        "+proj=utm +zone=33 +datum=WGS84",
        CRS.from_epsg(32633).to_wkt(),
        CRS.from_epsg(32633).to_wkt(version="WKT2_2019"),
    ],
)
def test_names_of_a_crs(name: str) -> None:
    assert crs_named(name).to_epsg() == 32633


def test_masks_of_clouds_are_read_but_have_no_number(tmp_path: Path) -> None:
    write_band(tmp_path / "data/a.tif", RED)
    write_band(tmp_path / "data/clouds.tif", (RED[::2, ::2] > 2000).astype(np.uint8), side=20)
    assets = {"clouds": asset(tmp_path / "data/clouds.tif", "data-mask"), "B04": asset(tmp_path / "data/a.tif")}
    file = catalog(tmp_path / "cat", item("a", assets))
    assert np.array_equal(_read(_one(file, asked=["1"]), asked=["1"])[1][0], RED)
    names, pixels, _ = _read(_one(file, asked=["B04", "clouds"]), asked=["B04", "clouds"])
    assert names == ["B04", "clouds"]
    assert set(np.unique(pixels[1])) == {0, 1}  # nearest: classes are never mixed


def test_an_interval_is_kept(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    times = {"start_datetime": "2024-06-01T00:00:00+02:00", "end_datetime": "2024-06-30T00:00:00Z"}
    file = catalog(tmp_path / "cat", item("a", two_bands, None, **times))
    found = GeoTiffReader({"asked": ["B04"]}).header(_one(file, asked=["B04"])).attributes
    assert "datetime" not in found
    assert (found["start_datetime"], found["end_datetime"]) == ("2024-05-31T22:00:00Z", "2024-06-30T00:00:00Z")


def test_an_asset_in_a_zip(tmp_path: Path) -> None:
    write_band(tmp_path / "data/a.tif", RED)
    with zipfile.ZipFile(tmp_path / "scene.zip", "w") as archive:
        archive.write(tmp_path / "data/a.tif", "inner/a.tif")
    found = item("a", {"B04": asset(f"/vsizip/{tmp_path}/scene.zip/inner/a.tif")}).to_dict(include_self_link=False)
    (tmp_path / "a.json").write_text(json.dumps(found))
    ref = _one(tmp_path / "a.json", asked=["B04"])
    assert np.array_equal(_read(ref, asked=["B04"])[1][0], RED)
    with zipfile.ZipFile(tmp_path / "scene.zip", "a") as archive:
        archive.writestr("more", "x")
    assert _one(tmp_path / "a.json", asked=["B04"]).identity != ref.identity


def test_the_identity_changes_with_files_values_and_dates_and_not_by_moving(
    tmp_path: Path, two_bands: dict[str, pystac.Asset]
) -> None:
    def identity(folder: Path) -> str:
        return _one(folder / "cat/catalog.json", asked=["B04"]).identity

    one = item("a", two_bands)
    catalog(tmp_path / "cat", one)
    first = identity(tmp_path)
    (tmp_path / "data/B08.tif").touch()
    assert identity(tmp_path) == first  # nobody asks for it
    seen = {first}
    one.assets["B04"].extra_fields["raster:offset"] = -0.1
    catalog(tmp_path / "cat", one)
    seen.add(identity(tmp_path))
    one.properties["datetime"] = "2024-06-03T00:00:00Z"
    one.datetime = None
    one.properties |= {"start_datetime": "2024-06-03T00:00:00Z", "end_datetime": "2024-06-03T00:00:00Z"}
    catalog(tmp_path / "cat", one)
    seen.add(identity(tmp_path))
    write_band(tmp_path / "data/B04.tif", NIR[:-1])
    seen.add(identity(tmp_path))
    assert len(seen) == 4
    before = identity(tmp_path)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("cat", "data"):
        (tmp_path / name).rename(moved / name)
    assert identity(moved) == before


# ---------------------------------------------------------------------- the network


class _Server(BaseHTTPRequestHandler):
    """A STAC API with one collection and pages of one item, and the items' files."""

    items: ClassVar[list[dict[str, Any]]] = []
    folder = Path()
    asked: ClassVar[list[dict[str, list[str]]]] = []

    def do_GET(self) -> None:
        base = f"http://127.0.0.1:{self.server.server_address[1]}"  # type: ignore[str-bytes-safe]
        url = urlsplit(self.path)
        if url.path == "/api":
            rels = {"self": "/api", "root": "/api", "search": "/api/search", "data": "/api/collections"}
            links = [{"rel": rel, "href": base + path, "type": "application/json"} for rel, path in rels.items()]
            links[2] |= {"type": "application/geo+json", "method": "GET"}
            conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
            root = {"type": "Catalog", "id": "api", "description": "x", "stac_version": "1.0.0"}
            self._answer({**root, "links": links, "conformsTo": conforms})
        elif url.path == "/api/search":
            query = parse_qs(url.query)
            self.asked.append(query)
            page = int(query.get("page", ["0"])[0])
            onward = [{"rel": "next", "href": f"{base}/api/search?page={page + 1}"}]
            links = onward if page + 1 < len(self.items) else []
            self._answer({"type": "FeatureCollection", "features": self.items[page : page + 1], "links": links})
        elif url.path.startswith("/static/") and (self.folder / url.path[8:]).is_file():
            self._answer((self.folder / url.path[8:]).read_bytes())
        else:
            self.send_error(404)

    def _answer(self, content: dict[str, Any] | bytes) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/geo+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    _Server.folder, _Server.items, _Server.asked = tmp_path, [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_the_search_of_an_api(tmp_path: Path, server: str, two_bands: dict[str, pystac.Asset]) -> None:
    pytest.importorskip("pystac_client")
    two_bands["B04"].href = f"{server}/static/data/B04.tif"
    _Server.items = [item(name, two_bands).to_dict(include_self_link=False) for name in ("a", "b")]
    url = f"{server}/api/search?collections=s2,l8&bbox=15,45,16,46&datetime=2024-06-01/2024-06-30&limit=1"
    with pytest.raises(ArchiveError, match="network access is switched off") as refused:
        _found(url)
    assert "allow_network" in refused.value.remedy
    assert not _Server.asked
    found = _found(url, allow_network=True, asked=["B04"])
    assert [one.id for one in found if isinstance(one, SceneRef)] == ["a", "b"]
    assert _Server.asked[0]["collections"] == ["s2,l8"]
    assert _Server.asked[0]["bbox"] == ["15.0,45.0,16.0,46.0"]
    assert isinstance(found[0], SceneRef)
    assert found[0].members == (f"{server}/static/data/B04.tif",)
    with pytest.raises(ArchiveError, match="no parameter"):
        _found(f"{server}/api/search?cloud=3", allow_network=True)
    with pytest.raises(ArchiveError, match="search fails"):
        _found(f"{server}/nothing/search", allow_network=True)


def test_without_pystac_client_an_api_is_an_error_that_names_it(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['pystac_client'] = None\n"
        "from hdm_geotiff.reader import GeoTiffReader\n"
        "try: list(GeoTiffReader({'allow_network': True}).discover('https://127.0.0.1:1/search'))\n"
        "except Exception as error: print(type(error).__name__, error.remedy)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ArchiveError pip install 'hdm-pipeline[stac]'")


def test_what_is_too_large_on_the_network_is_refused_and_not_cut(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text('{"stac_version": "1.0.0", "links": []}' + " " * 100, encoding="utf-8")
    monkeypatch.setattr(stac_catalog, "_MOST_BYTES", 50)  # cut there, it would be a whole catalog
    with pytest.raises(ArchiveError, match="too large"):
        _found(f"{server}/static/a.json", allow_network=True)
    monkeypatch.setattr(containers, "MOST_TEXT", 50)
    with pytest.raises(ReadError, match="too large"):
        remote.read_remote(f"{server}/static/a.json")
    monkeypatch.setattr(containers, "MOST_TEXT", 500)
    assert remote.read_remote(f"{server}/static/a.json").startswith('{"stac_version"')


def test_metadata_in_a_bucket_without_boto3_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ReadError, match="needs boto3") as refused:
        remote.read_remote("s3://bucket/MTD_MSIL2A.xml")
    assert "hdm-pipeline[s3]" in str(refused.value.remedy)


def test_items_come_in_the_order_of_the_catalog(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    file = catalog(tmp_path / "cat", *(item(name, two_bands) for name in "dacb"))
    found = [one.content["id"] for one in find_items(str(file), ReaderOptions.parse({})) if isinstance(one, ItemAt)]
    assert found == list("dacb")


def test_a_static_catalog_on_the_network(tmp_path: Path, server: str, two_bands: dict[str, pystac.Asset]) -> None:
    catalog(tmp_path / "cat", item("a", two_bands))
    url = f"{server}/static/cat/catalog.json"
    with pytest.raises(ArchiveError, match="network access is switched off"):
        _found(url)
    ref = _one(url, allow_network=True, asked=["B04"])
    assert ref.members == (f"{server}/static/data/B04.tif",)
    with pytest.raises(UnsupportedSceneError, match="network"):
        GeoTiffReader({"asked": ["B04"]}).header(ref)
    for href in (
        f"file://{tmp_path}/data/B04.tif",
        f"/vsizip/{tmp_path}/a.zip/a.tif",
        f"zip://{tmp_path}/a.zip!/a.tif",
    ):
        stranger = item("a", {"B04": asset(href)}).to_dict(include_self_link=False)
        (tmp_path / "cat/stranger.json").write_text(json.dumps(stranger))
        network = {"allow_network": True, "asked": ["B04"]}
        (place,) = _one(f"{server}/static/cat/stranger.json", **network).members
        assert place.startswith("file://") or place.startswith(server)  # no file of this machine is opened
    with pytest.raises(ArchiveError, match="cannot be read"):
        _found(f"{server}/static/none.json", allow_network=True)
    with pytest.raises(ArchiveError, match="user or a password"):
        _found("https://me:secret@127.0.0.1/catalog.json", allow_network=True)
