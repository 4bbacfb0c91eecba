"""The writer `stac`: what an item and a collection say, where the files are real and where they are not there yet."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pystac
import pytest

from hdm_geotiff.polygons.writer import PolygonWriter
from hdm_geotiff.products.writer import MaskWriter, ScoreWriter
from hdm_geotiff.stac.collection import ITEM
from hdm_geotiff.stac.writer import StacWriter
from hdm_pipeline.contracts import (
    CatalogEntry,
    CatalogWriter,
    Product,
    PublishedFile,
    RunCatalog,
    SceneHeader,
    ScenePublication,
    VolumeGeometry,
)
from hdm_pipeline.errors import ConfigError, WriteError
from hdm_pipeline.testing import check_writer, example_product
from tests.raster_product import product, scene


def _published(folder: Path, header: SceneHeader, measures: Mapping[str, Any] | None = None) -> Product:
    """A product whose mask and scores were written, by the real writers."""
    folder.mkdir(parents=True)
    made = product(header)
    files = []
    for writer in (MaskWriter(), ScoreWriter()):
        path = folder / writer.filename(header)
        writer.write(made, path)
        files.append(PublishedFile(writer.name, path))
    return replace(made, published=ScenePublication("lakes", folder, tuple(files), measures or {}))


def _item(made: Product, folder: Path, **options: str) -> dict[str, Any]:
    path = folder / ITEM
    StacWriter(options).write(made, path)
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def test_the_contract_of_writers(tmp_path: Path) -> None:
    assert isinstance(StacWriter(), CatalogWriter)
    check_writer(StacWriter, example_product(), tmp_path, empty=example_product(empty=True))


def test_an_item_describes_the_files_that_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "scene"
    measures = {"valid": 0.5, "pixels": {"flood": 7, "crue é <&>": 0}, "area_m2": None}
    found = _item(_published(folder, scene(300, 500), measures), folder)
    mask, score = found["assets"]["mask"], found["assets"]["score"]
    for asset in (mask, score):
        content = (folder / asset["href"]).read_bytes()
        assert asset["file:size"] == len(content)
        assert asset["file:checksum"] == "1220" + hashlib.sha256(content).hexdigest()
        assert asset["type"] == pystac.MediaType.COG
        assert asset["raster:spatial_resolution"] == 10
    assert (mask["data_type"], mask["nodata"], mask["bands"]) == ("uint8", 255, [{"name": "mask"}])
    assert [band["name"] for band in score["bands"]] == ["flood", "crue é <&>"]
    assert score["bands"][0]["raster:scale"] == pytest.approx(1 / 255)
    assert mask["classification:classes"] == [
        {"value": 0, "name": "background", "title": "background"},
        {"value": 1, "name": "flood", "title": "flood", "color_hint": "1E64DC", "count": 7},
        {"value": 2, "name": "crue", "title": "crue é <&>", "color_hint": "C80000", "count": 0},
        {"value": 255, "name": "nodata", "title": "no data", "nodata": True},
    ]
    properties = found["properties"]
    assert (properties["proj:code"], properties["proj:shape"]) == ("EPSG:32633", [300, 500])
    assert properties["proj:bbox"] == [500_000, 5_797_000, 505_000, 5_800_000]
    assert (properties["hdm:valid"], properties["hdm:weights_hash"]) == (0.5, "weights")
    assert properties["hdm:support_hash"] == "support"
    assert "hdm:area_m2" not in properties
    assert found["collection"] == "lakes"


def test_names_of_classes_stay_apart(tmp_path: Path) -> None:
    made = _published(tmp_path / "a", scene(64, 64))
    names = ["ü", "background", "a b", "a/b"]
    classes = tuple(replace(made.classes[0], value=n, name=name) for n, name in enumerate(names, 1))
    found = _item(replace(made, classes=classes), tmp_path / "a")["assets"]["mask"]["classification:classes"]
    assert [one["name"] for one in found] == ["background", "class_1", "background_2", "a_b", "a_b_4", "nodata"]
    assert [one["title"] for one in found[1:-1]] == names


def test_an_unknown_date_is_not_invented(tmp_path: Path) -> None:
    properties = _item(_published(tmp_path / "a", scene(64, 64)), tmp_path / "a")["properties"]
    assert properties["datetime"] is None
    assert properties["hdm:datetime_source"] == "unknown"
    assert properties["start_datetime"] < "1901"
    assert properties["end_datetime"] > "2099"


def test_a_known_date(tmp_path: Path) -> None:
    header = scene(64, 64, attributes={"datetime": "2024-06-02T10:10:31Z", "datetime_source": "the scene's name"})
    made = _published(tmp_path / "a", header)
    properties = _item(made, tmp_path / "a")["properties"]
    assert properties["datetime"] == "2024-06-02T10:10:31Z"
    assert "start_datetime" not in properties


def test_a_scene_without_crs_has_no_place_and_says_why(tmp_path: Path) -> None:
    found = _item(_published(tmp_path / "a", scene(64, 64, crs=None)), tmp_path / "a")
    assert found["geometry"] is None
    assert "bbox" not in found
    assert found["properties"]["proj:code"] is None
    assert "no coordinate reference system" in found["properties"]["hdm:no_geometry"]
    assert "raster:spatial_resolution" not in found["assets"]["mask"]


def test_a_scene_with_a_crs_but_no_transform_has_no_place_either(tmp_path: Path) -> None:
    header = scene(64, 64, transform=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0))
    found = _item(_published(tmp_path / "a", header), tmp_path / "a")
    assert found["geometry"] is None
    assert found["properties"]["proj:code"] is None
    assert "proj:bbox" not in found["properties"]
    assert "no transform" in found["properties"]["hdm:no_geometry"]


def test_a_resolution_in_degrees_is_not_called_metres(tmp_path: Path) -> None:
    header = scene(64, 64, crs="EPSG:4326", transform=(0.001, 0, 10, 0, -0.001, 50))
    assert (
        "raster:spatial_resolution" not in _item(_published(tmp_path / "a", header), tmp_path / "a")["assets"]["mask"]
    )


def test_a_crs_without_code_is_written_out(tmp_path: Path) -> None:
    header = scene(64, 64, crs="+proj=laea +lat_0=50 +lon_0=11 +datum=WGS84")
    properties = _item(_published(tmp_path / "a", header), tmp_path / "a")["properties"]
    assert properties["proj:code"] is None
    assert "Lambert Azimuthal Equal Area" in properties["proj:wkt2"]


def test_links_lead_to_the_scene_unless_it_is_private(tmp_path: Path) -> None:
    folder = tmp_path / "out" / "scene"
    header = scene(64, 64)
    header = replace(header, ref=replace(header.ref, uri=str(tmp_path / "in" / "my scene é (x) [1]%.tif")))
    made = _published(folder, header)
    links = {link["rel"]: link["href"] for link in _item(made, folder)["links"]}
    assert links == {
        **dict.fromkeys(("root", "parent", "collection"), "../collection.json"),
        "via": "../../in/my%20scene%20%C3%A9%20%28x%29%20%5B1%5D%25.tif",
    }
    assert (folder / unquote(links["via"])).resolve() == Path(header.ref.uri)
    inside = f"/vsizip/{tmp_path}/in/a.zip/b.tif"
    packed = replace(made, scene=replace(header, ref=replace(header.ref, uri=inside)))
    assert {"rel": "via", "href": "../../in/a.zip", "title": "the scene"} in _item(packed, folder)["links"]
    private = replace(made, scene=replace(header, ref=replace(header.ref, private=True)))
    found = _item(private, folder)
    assert "via" not in {link["rel"] for link in found["links"]}
    assert "my scene" not in json.dumps(found)
    assert "hdm:input_identity" not in found["properties"]


def test_a_volume_is_refused(tmp_path: Path) -> None:
    made = product(scene(8, 8))
    volume = replace(made, scene=replace(made.scene, geometry=VolumeGeometry((1.0,) * 16)))
    with pytest.raises(WriteError, match="volume"):
        StacWriter().write(volume, tmp_path / ITEM)


@pytest.mark.parametrize("options", [{"licence": "x"}, {"license": 3}, {"title": " "}])
def test_wrong_options_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        StacWriter(options)


# ---------------------------------------------------------------------- the collection


def _entry(root: Path, name: str, west: float, width: float, version: str = "1", date: str = "") -> CatalogEntry:
    folder = root / name
    attributes = {"datetime": date, "datetime_source": "test"} if date else {}
    transform = (width / 64, 0, west, 0, -0.01, 10)
    header = scene(64, 64, crs="EPSG:4326", transform=transform, attributes=attributes)
    header = replace(header, ref=replace(header.ref, id=name))
    _item(_published(folder, header), folder)
    return CatalogEntry(name, (folder / "mask.tif", folder / ITEM), version)


def _finish(root: Path, *entries: CatalogEntry, **options: str) -> dict[str, Any]:
    memory = root / "memory"
    memory.mkdir(exist_ok=True)
    assert StacWriter(options).finish(RunCatalog("lakes", root, memory, entries)) == ["collection.json"]
    found: dict[str, Any] = json.loads((root / "collection.json").read_text())
    return found


def test_a_collection_sums_up_its_items(tmp_path: Path) -> None:
    dates = ("2024-06-02T10:00:00Z", "2023-01-01T00:00:00Z")
    entries = [_entry(tmp_path, "a", 1, 2, date=dates[0]), _entry(tmp_path, "b", 7, 1, date=dates[1])]
    found = _finish(tmp_path, *entries, _entry(tmp_path, "c", 3, 1), license="CC-BY-4.0", title="Lakes")
    assert found["extent"]["spatial"]["bbox"] == [[1, 9.36, 8, 10]]
    assert found["extent"]["temporal"]["interval"] == [[dates[1], dates[0]]]
    assert (found["license"], found["title"], found["id"]) == ("CC-BY-4.0", "Lakes", "lakes")
    assert [link["href"] for link in found["links"] if link["rel"] == "item"] == [f"./{n}/item.json" for n in "abc"]
    assert found["item_assets"]["mask"]["classification:classes"][1]["title"] == "flood"
    assert found["summaries"]["hdm:support_hash"] == ["support"]


def test_boxes_on_both_sides_of_the_antimeridian_stay_close(tmp_path: Path) -> None:
    found = _finish(
        tmp_path, _entry(tmp_path, "a", 175, 2), _entry(tmp_path, "b", -178, 2), _entry(tmp_path, "c", 179, 2)
    )
    assert found["extent"]["spatial"]["bbox"][0][::2] == [175, -176]


def test_only_changed_items_are_read_again(tmp_path: Path) -> None:
    entries = [_entry(tmp_path, "a", 1, 1), _entry(tmp_path, "b", 3, 1)]
    first = _finish(tmp_path, *entries)
    inode = (tmp_path / "collection.json").stat().st_ino
    (tmp_path / "a" / ITEM).write_text("no JSON: nobody may look")
    assert _finish(tmp_path, *entries) == first
    assert (tmp_path / "collection.json").stat().st_ino == inode  # nothing has changed, nothing is written
    assert _finish(tmp_path, entries[1])["extent"]["spatial"]["bbox"] == [[3, 9.36, 4, 10]]
    (tmp_path / "memory" / "items.json").write_text("{")  # a lost memory costs time and nothing else
    assert _finish(tmp_path, entries[1])["extent"]["spatial"]["bbox"] == [[3, 9.36, 4, 10]]


@pytest.mark.parametrize("content", [None, "{", "[]", '{"properties": {}, "assets": []}', "\udcff"])
def test_an_item_that_cannot_be_read_is_left_out_of_the_collection(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str | None
) -> None:
    entries = [_entry(tmp_path, "a", 1, 1), _entry(tmp_path, "b", 3, 1)]
    item = tmp_path / "a" / ITEM
    whole = item.read_bytes()
    if content is None:
        item.unlink()
    else:
        item.write_text(content, encoding="utf-8", errors="surrogateescape")
    found = _finish(tmp_path, *entries)
    assert [link["href"] for link in found["links"] if link["rel"] == "item"] == ["./b/item.json"]
    assert str(item) in caplog.text
    assert ("remove it" in caplog.text) == (content is not None)
    item.write_bytes(whole)
    assert len(_finish(tmp_path, *entries)["links"]) == 3  # what was left out is not remembered


def test_a_geopackage_has_no_checksum(tmp_path: Path) -> None:
    """Opening one, as QGIS does, changes its bytes."""
    header = scene(64, 64)
    folder = tmp_path / "a"
    made = _published(folder, header)
    writer = PolygonWriter()
    writer.write(made, path := folder / writer.filename(header))
    assert made.published is not None
    files = (*made.published.files, PublishedFile("polygons", path))
    assets = _item(replace(made, published=replace(made.published, files=files)), folder)["assets"]
    assert {"file:checksum", "file:size"} <= assets["mask"].keys()
    assert not {"file:checksum", "file:size"} & assets["polygons"].keys()


def test_a_run_without_scenes_leaves_an_empty_collection(tmp_path: Path) -> None:
    found = _finish(tmp_path)
    assert found["extent"] == {
        "spatial": {"bbox": [[-180, -90, 180, 90]]},
        "temporal": {"interval": [[None, None]]},
    }
