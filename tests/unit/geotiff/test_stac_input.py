"""STAC as input: items become scenes, their assets bands; real catalogs made with pystac over real files."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pystac
import pytest

from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.reader import GeoTiffReader
from hdm_geotiff.stac.catalog import ItemAt, find_items
from hdm_pipeline.config.example import Example
from hdm_pipeline.contracts import LabelPatch, SceneLabels, SceneRef, Skipped
from hdm_pipeline.errors import ArchiveError, EmptyArchiveError, UnsupportedSceneError
from hdm_pipeline.grid import Window
from hdm_pipeline.support.examples import expand
from tests.stac_catalog import asset, catalog, item, write_band
from tests.unit.geotiff.conftest import NIR, RED
from tests.unit.geotiff.stac_scenes import find_all, find_one, read_whole


def test_a_static_catalog_is_followed_and_keeps_ids_and_dates(
    tmp_path: Path, two_bands: dict[str, pystac.Asset]
) -> None:
    file = catalog(tmp_path / "cat", item("S2B_32UQD_20240602", two_bands))
    ref = find_one(file, asked=["B04"])
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
        assert find_one(part, asked=["B04"]) == ref


def test_an_item_is_the_image_of_an_example(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    ref = find_one(catalog(tmp_path / "cat", item("a", two_bands)), asked=["B04"])
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
    ref = find_one(search, asked=["red"])
    assert (ref.id, ref.uri) == ("a", f"{search}#a")
    names, pixels, _ = read_whole(ref, asked=["red"])
    assert names == ["red"]
    assert np.array_equal(pixels[0], RED)
    assert GeoTiffReader({"asked": ["red"]}).header(ref).attributes["stac_item"] == "https://nowhere.example/items/a"
    found["assets"]["B04"]["href"] = "../gone/B04.tif"
    search.write_text(json.dumps({"type": "FeatureCollection", "features": [found]}))
    with pytest.raises(UnsupportedSceneError, match="network") as caught:
        GeoTiffReader({"asked": ["red"]}).header(find_one(search, asked=["red"]))
    assert caught.value.where == "https://nowhere.example/gone/B04.tif"


def test_items_without_a_place_of_their_own_start_at_the_list(
    tmp_path: Path, two_bands: dict[str, pystac.Asset]
) -> None:
    found = item("a", two_bands).to_dict(include_self_link=False)
    found["assets"]["B04"]["href"] = "./data/B04.tif"
    (tmp_path / "search.json").write_text(json.dumps({"type": "FeatureCollection", "features": [found]}))
    assert np.array_equal(read_whole(find_one(tmp_path / "search.json", asked=["B04"]), asked=["B04"])[1][0], RED)


def test_what_cannot_be_used_is_named_and_the_rest_goes_on(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    good = item("good", two_bands).to_dict(include_self_link=False)
    old = item("old", two_bands, deprecated=True).to_dict(include_self_link=False)
    undated = {**good, "id": "undated", "properties": {"datetime": "yesterday"}}
    numbered = {**good, "id": 7}
    features = [good, good, old, undated, {"type": "Feature", "properties": {}}, None, numbered]
    (tmp_path / "search.json").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    found = find_all(tmp_path / "search.json")
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
        assert np.array_equal(read_whole(find_one(file, asked=["B04"]), asked=["B04"])[1][0], NIR)
    (tmp_path / "my%20data").mkdir()
    write_band(tmp_path / "my%20data/B04.tif", RED)
    assert np.array_equal(read_whole(find_one(search, asked=["B04"]), asked=["B04"])[1][0], RED)


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
    found = find_all(file)
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
        find_all(tmp_path / "x.json")


def test_a_catalog_that_is_not_there(tmp_path: Path) -> None:
    for name in ("no.json", "no*.json"):
        with pytest.raises(EmptyArchiveError, match="does not exist"):
            find_all(tmp_path / name)
    catalog(tmp_path / "cat")
    with pytest.raises(EmptyArchiveError) as caught:
        find_all(tmp_path / "cat")  # the folder, not its file
    assert str(tmp_path / "cat/catalog.json") in caught.value.remedy


def test_own_products_are_no_scenes(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    own = catalog(tmp_path / "out", item("a", two_bands))
    (tmp_path / "out/.hdm").mkdir()
    place = tmp_path / "out/scene/item.json"
    place.parent.mkdir()
    place.write_text(json.dumps(item("a", two_bands).to_dict(include_self_link=False)))
    for named in (own, place):
        with pytest.raises(ArchiveError, match="products are no scenes"):
            find_all(named)
    content = json.loads(catalog(tmp_path / "cat", item("b", two_bands)).read_text())
    content["links"].append({"rel": "child", "href": "../out/catalog.json"})
    (tmp_path / "cat/catalog.json").write_text(json.dumps(content))
    assert [one.id for one in find_all(tmp_path / "cat/catalog.json") if isinstance(one, SceneRef)] == ["b"]


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
    ids = [one.id for one in find_all(tmp_path / "s.json") if isinstance(one, SceneRef)]
    assert len({name.casefold() for name in ids}) == 6
    assert "l2a__SAME" in ids
    assert "a_b_c.tif" in ids
    assert not {"collection.json", "same", "a/b:c.tif"} & set(ids)
    (tmp_path / "s.json").write_text(json.dumps({"type": "FeatureCollection", "features": features[::-1]}))
    again = [one.id for one in find_all(tmp_path / "s.json") if isinstance(one, SceneRef)]
    assert len({name.casefold() for name in again}) == 6


def test_an_interval_is_kept(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    times = {"start_datetime": "2024-06-01T00:00:00+02:00", "end_datetime": "2024-06-30T00:00:00Z"}
    file = catalog(tmp_path / "cat", item("a", two_bands, None, **times))
    found = GeoTiffReader({"asked": ["B04"]}).header(find_one(file, asked=["B04"])).attributes
    assert "datetime" not in found
    assert (found["start_datetime"], found["end_datetime"]) == ("2024-05-31T22:00:00Z", "2024-06-30T00:00:00Z")


def test_an_asset_in_a_zip(tmp_path: Path) -> None:
    write_band(tmp_path / "data/a.tif", RED)
    with zipfile.ZipFile(tmp_path / "scene.zip", "w") as archive:
        archive.write(tmp_path / "data/a.tif", "inner/a.tif")
    found = item("a", {"B04": asset(f"/vsizip/{tmp_path}/scene.zip/inner/a.tif")}).to_dict(include_self_link=False)
    (tmp_path / "a.json").write_text(json.dumps(found))
    ref = find_one(tmp_path / "a.json", asked=["B04"])
    assert np.array_equal(read_whole(ref, asked=["B04"])[1][0], RED)
    with zipfile.ZipFile(tmp_path / "scene.zip", "a") as archive:
        archive.writestr("more", "x")
    assert find_one(tmp_path / "a.json", asked=["B04"]).identity != ref.identity


def test_the_identity_changes_with_files_values_and_dates_and_not_by_moving(
    tmp_path: Path, two_bands: dict[str, pystac.Asset]
) -> None:
    def identity(folder: Path) -> str:
        return find_one(folder / "cat/catalog.json", asked=["B04"]).identity

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


def test_items_come_in_the_order_of_the_catalog(tmp_path: Path, two_bands: dict[str, pystac.Asset]) -> None:
    file = catalog(tmp_path / "cat", *(item(name, two_bands) for name in "dacb"))
    found = [one.content["id"] for one in find_items(str(file), ReaderOptions.parse({})) if isinstance(one, ItemAt)]
    assert found == list("dacb")
