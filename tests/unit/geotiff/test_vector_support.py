"""Labels drawn as polygons, lines and points: formats, coordinates, what they say, windows, and mistakes."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as parquet
import pytest
import rasterio.features
import shapely
from affine import Affine
from pyproj import CRS
from shapely.geometry import LineString, MultiPoint, MultiPolygon, Point, Polygon, box, shape

from hdm_geotiff.examples import cuts, vector_file
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import STATISTICS_PIXELS, ImageWindow, LabeledImage, Selection, SupportRequest, VectorLabels
from hdm_pipeline.errors import SupportError
from tests.unit.geotiff.conftest import UTM, WriteTif, find
from tests.vector_files import write_vector

SIZE = 40
FLOOD, DRY, UNSURE, AREA = "flood", "dry", "unsure", "area"
ALL_FORMATS = ("a.gpkg", "a.geojson", "a.json", "a.fgb", "a.shp", "a.parquet", "a.geoparquet")

Read = Callable[..., list[LabeledImage]]


def at(left: float, top: float, right: float, bottom: float) -> Polygon:
    """A box of pixels in the coordinates of the image."""
    grid: Affine = UTM["transform"]
    return box(*(grid * (left, bottom)), *(grid * (right, top)))


def place(column: float, row: float) -> tuple[float, float]:
    """A position in pixels in the coordinates of the image."""
    return UTM["transform"] * (column, row)  # type: ignore[no-any-return]


def selected(name: str) -> Selection:
    return Selection(where=f"class = '{name}'")


@pytest.fixture
def chip(write_tif: WriteTif) -> Path:
    pixels = np.arange(2 * SIZE * SIZE, dtype=np.float32).reshape(2, SIZE, SIZE)
    return write_tif("chip.tif", pixels, descriptions=("VV", "VH"))


def read(image: Path, labels: Path | str, **vector: Any) -> list[LabeledImage]:
    return GeoTiffReader().read_support(SupportRequest(str(image), str(labels), vector=VectorLabels(**vector)))


def label_of(image: Path, labels: Path, **vector: Any) -> npt.NDArray[np.uint8]:
    (example,) = read(image, labels, **vector)
    return example.label


def expected(*boxes: tuple[int, int, int, int, int], size: int = SIZE, rest: int = 255) -> npt.NDArray[np.uint8]:
    """A label of boxes (left, top, right, bottom, value), later ones on top."""
    label = np.full((size, size), rest, dtype=np.uint8)
    for left, top, right, bottom, value in boxes:
        label[top:bottom, left:right] = value
    return label


# --- formats and coordinates


@pytest.mark.parametrize("name", ALL_FORMATS)
@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857", "EPSG:32634"])
def test_every_format_in_any_crs_gives_the_same_labels(chip: Path, tmp_path: Path, name: str, crs: str) -> None:
    drawn = [(at(5, 6, 20, 18), FLOOD), (at(25, 6, 35, 30), DRY), (at(1, 1, 3, 3), UNSURE)]
    file = write_vector(tmp_path / name, drawn, crs=crs)
    (example,) = read(chip, file, target=selected(FLOOD), background=selected(DRY))
    assert np.array_equal(example.label, expected((5, 6, 20, 18, 1), (25, 6, 35, 30, 0)))
    assert [band.name for band in example.bands] == ["VV", "VH"]
    assert example.pixels.shape == (2, SIZE, SIZE)
    assert example.pixel_size == pytest.approx(10.0)
    assert example.name == "chip.tif"
    assert example.statistics is None
    assert example.warnings == ()


def test_polygons_traced_from_a_mask_give_it_back(chip: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(SIZE, SIZE))
    mask = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) > 0).astype(np.uint8)
    traced = rasterio.features.shapes(mask, mask=mask == 1, transform=UTM["transform"])
    file = write_vector(tmp_path / "a.gpkg", [(shape(geometry), FLOOD) for geometry, _ in traced], crs="EPSG:4326")
    assert np.array_equal(label_of(chip, file, complete=True), mask)


def test_a_file_without_a_crs_is_refused_until_the_pipeline_names_one(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.shp", [(at(5, 6, 20, 18), FLOOD)], crs=None)
    error = refused(chip, file, "says no coordinate reference system", complete=True)
    assert "crs: EPSG:" in error.remedy
    assert ".prj" in error.what
    assert np.array_equal(label_of(chip, file, complete=True, crs="EPSG:32633"), expected((5, 6, 20, 18, 1), rest=0))


def test_metres_in_a_geojson_that_names_no_crs(chip: Path, tmp_path: Path) -> None:
    file = tmp_path / "a.geojson"
    geometry = shapely.geometry.mapping(at(5, 6, 20, 18))
    collection = {
        "type": "FeatureCollection",
        "features": [{"type": "Feature", "properties": {}, "geometry": geometry}],
    }
    file.write_text(json.dumps(collection))
    refused(chip, file, "no degrees", complete=True)
    assert label_of(chip, file, complete=True, crs="EPSG:32633").sum() == 15 * 12


def test_a_crs_that_contradicts_the_file_is_taken_and_told(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD)], crs="EPSG:32633")
    wrong = tmp_path / "wrong.gpkg"
    write_vector(wrong, [(at(5, 6, 20, 18), FLOOD)], crs="EPSG:32634", source="EPSG:32634")
    (example,) = read(chip, wrong, complete=True, crs="EPSG:32633")
    assert np.array_equal(example.label, label_of(chip, file, complete=True))
    assert [warning.kind for warning in example.warnings] == ["labels_crs"]


def test_names_with_strange_characters(write_tif: WriteTif, tmp_path: Path) -> None:
    image = write_tif("ünd #1 [a].tif", np.ones((SIZE, SIZE), np.uint8))
    for suffix in (".gpkg", ".geojson", ".shp"):
        file = write_vector(tmp_path / f"l'äke #1?&[x],{suffix}", [(at(5, 6, 20, 18), FLOOD)])
        assert (label_of(image, file, complete=True) == 1).sum() == 15 * 12


# --- what the features say


def test_what_is_not_drawn_is_unknown_or_background(chip: Path, tmp_path: Path) -> None:
    drawn = [(at(5, 6, 20, 18), FLOOD), (at(0, 0, 30, 25), AREA)]
    file = write_vector(tmp_path / "a.gpkg", drawn)
    assert np.array_equal(label_of(chip, file, target=selected(FLOOD)), expected((5, 6, 20, 18, 1)))
    assert np.array_equal(
        label_of(chip, file, target=selected(FLOOD), complete=True), expected((5, 6, 20, 18, 1), rest=0)
    )
    within = label_of(chip, file, target=selected(FLOOD), extent=selected(AREA))
    assert np.array_equal(within, expected((0, 0, 30, 25, 0), (5, 6, 20, 18, 1)))


def test_classes_of_one_file_by_filter(chip: Path, tmp_path: Path) -> None:
    drawn = [(at(5, 6, 20, 18), FLOOD), (at(25, 6, 35, 30), DRY), (at(1, 20, 10, 30), "it's")]
    file = write_vector(tmp_path / "a.gpkg", drawn)
    others = label_of(chip, file, target=selected(DRY), background=Selection(where="class <> 'dry'"))
    assert np.array_equal(others, expected((5, 6, 20, 18, 0), (25, 6, 35, 30, 1), (1, 20, 10, 30, 0)))
    assert (label_of(chip, file, target=Selection(where="\"class\" = 'it''s' AND number > 1")) == 1).sum() == 90


def test_layers_of_one_file(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD)], layer="water")
    write_vector(file, [(at(25, 6, 35, 30), FLOOD)], layer="land", append=True)
    label = label_of(chip, file, target=Selection("water"), background=Selection("land"))
    assert np.array_equal(label, expected((5, 6, 20, 18, 1), (25, 6, 35, 30, 0)))
    error = refused(chip, file, "2 layers, and none is named", complete=True)
    assert "water, land" in error.remedy
    assert "water, land" in refused(chip, file, "no layer 'lakes'", target=Selection("lakes")).remedy


def test_the_smaller_feature_lies_on_top_and_ignore_on_all(chip: Path, tmp_path: Path) -> None:
    lake, island, pond = at(2, 2, 30, 30), at(8, 8, 20, 20), at(10, 10, 14, 14)
    drawn = [(pond, FLOOD), (island, DRY), (lake, FLOOD), (at(12, 12, 40, 16), UNSURE)]
    file = write_vector(tmp_path / "a.gpkg", drawn)
    label = label_of(chip, file, target=selected(FLOOD), background=selected(DRY), ignore=selected(UNSURE))
    assert np.array_equal(
        label, expected((2, 2, 30, 30, 1), (8, 8, 20, 20, 0), (10, 10, 14, 14, 1), (12, 12, 40, 16, 255))
    )


def test_lines_and_points_without_width_label_the_pixels_they_touch(chip: Path, tmp_path: Path) -> None:
    line = LineString([place(3.5, 4.5), place(20.5, 4.5)])
    points = MultiPoint([place(10.2, 20.9), place(39.99, 39.99)])
    file = write_vector(tmp_path / "a.geojson", [(line, FLOOD), (points, FLOOD), (Point(place(10.2, 21.1)), DRY)])
    label = label_of(chip, file, target=selected(FLOOD), background=selected(DRY))
    assert np.array_equal(
        label, expected((3, 4, 21, 5, 1), (10, 20, 11, 21, 1), (39, 39, 40, 40, 1), (10, 21, 11, 22, 0))
    )


@pytest.mark.parametrize(("width", "unit"), [(6, "px"), (60, "m")])
def test_lines_and_points_with_a_width(chip: Path, tmp_path: Path, width: float, unit: str) -> None:
    line, point = LineString([place(-5, 10), place(45, 10)]), Point(place(20, 30))
    file = write_vector(tmp_path / "a.gpkg", [(line, FLOOD), (point, DRY)], crs="EPSG:4326")
    label = label_of(chip, file, target=selected(FLOOD), background=selected(DRY), width=width, width_unit=unit)
    assert np.array_equal(label == 1, expected((0, 7, 40, 13, 1)) == 1)
    disc = np.hypot(*(np.mgrid[0:SIZE, 0:SIZE] + 0.5 - np.array([30, 20])[:, None, None])) < 3
    assert np.count_nonzero((label == 0) != disc) <= 4  # the circle is drawn with corners


def test_metres_count_on_the_ground_also_where_pixels_are_degrees(write_tif: WriteTif, tmp_path: Path) -> None:
    """At 60 degrees north a pixel of a square in degrees is half as wide as high."""
    grid = Affine(1e-4, 0, 10, 0, -1e-4, 60)
    image = write_tif("chip.tif", np.ones((200, 200), np.uint8), crs="EPSG:4326", transform=grid)
    lines = [LineString([grid * (100, -9), grid * (100, 209)]), LineString([grid * (-9, 100), grid * (209, 100)])]
    for line, pixels in zip(lines, (100 / 5.58, 100 / 11.13), strict=True):
        file = write_vector(tmp_path / "a.gpkg", [(line, FLOOD)], source="EPSG:4326", crs="EPSG:4326")
        label = label_of(image, file, width=100.0, width_unit="m", target=Selection())
        assert (label == 1).sum() / 200 == pytest.approx(pixels, abs=1.01)
        file.unlink()


def test_metres_count_on_the_ground_also_where_angles_are_grads(write_tif: WriteTif, tmp_path: Path) -> None:
    """On the equator a grad is 100 km, and not the 111 of a degree."""
    grid = Affine(1e-4, 0, 10, 0, -1e-4, 0.01)
    image = write_tif("chip.tif", np.ones((200, 200), np.uint8), crs="EPSG:4807", transform=grid)
    line = LineString([grid * (100, -9), grid * (100, 209)])
    file = write_vector(tmp_path / "a.gpkg", [(line, FLOOD)], source="EPSG:4807", crs="EPSG:4807")
    label = label_of(image, file, width=1000.0, width_unit="m", target=Selection())
    assert (label == 1).sum() / 200 == pytest.approx(1000 / 10.02, abs=1.01)


def test_no_feature_is_lost_for_being_small(chip: Path, tmp_path: Path) -> None:
    small = at(7.6, 3.6, 7.9, 3.9)
    sliver = at(10.6, 20, 10.9, 30)
    file = write_vector(tmp_path / "a.gpkg", [(MultiPolygon([small, sliver]), FLOOD)])
    label = label_of(chip, file, target=Selection())
    assert label[3, 7] == 1
    assert (label == 1).sum() == 2


def test_the_hole_of_a_polygon_is_not_drawn(chip: Path, tmp_path: Path) -> None:
    ring = at(2, 2, 30, 30).difference(at(8, 8, 20, 20))
    file = write_vector(tmp_path / "a.fgb", [(ring, FLOOD)])
    assert np.array_equal(label_of(chip, file, target=Selection()), expected((2, 2, 30, 30, 1), (8, 8, 20, 20, 255)))


def test_pixels_without_data_are_unknown(write_tif: WriteTif, tmp_path: Path) -> None:
    pixels = np.ones((SIZE, SIZE), np.float32)
    pixels[:10] = np.nan
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD)])
    image = write_tif("chip.tif", pixels)
    assert np.array_equal(
        label_of(image, file, complete=True), expected((0, 0, 40, 40, 0), (5, 6, 20, 18, 1), (0, 0, 40, 10, 255))
    )
    pixels[:20] = np.nan
    refused(write_tif("chip.tif", pixels), file, "where the image holds no data", target=Selection())


# --- geometry that needs repair


def test_invalid_polygons_are_repaired_and_told(chip: Path, tmp_path: Path) -> None:
    bow = Polygon([place(5, 5), place(15, 15), place(15, 5), place(5, 15)])
    file = write_vector(tmp_path / "a.gpkg", [(bow, FLOOD), (at(20, 20, 30, 30), FLOOD)])
    (example,) = read(chip, file, target=Selection())
    assert [warning.kind for warning in example.warnings] == ["labels_repaired"]
    assert example.warnings[0].what.startswith("1 ")
    assert example.label[10, 6] == example.label[10, 13] == example.label[25, 25] == 1
    assert example.label[6, 10] == example.label[13, 10] == 255


def test_features_without_a_geometry_are_passed_over(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(None, FLOOD), (Polygon(), FLOOD), (at(5, 6, 20, 18), FLOOD)])
    assert (label_of(chip, file, target=Selection()) == 1).sum() == 15 * 12


# --- windows


def test_a_window_of_pixels_or_of_coordinates(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD)])
    whole = read(chip, file, complete=True)[0]
    west, south = place(4, 20)
    east, north = place(14, 2)
    import pyproj

    turn = pyproj.Transformer.from_crs("EPSG:32633", "EPSG:3857", always_xy=True)
    for window in (
        ImageWindow(pixels=(4, 2, 10, 18)),
        ImageWindow(bounds=(west, south, east, north)),
        ImageWindow(bounds=(*turn.transform(west, south), *turn.transform(east, north)), crs="EPSG:3857"),
    ):
        (example,) = read(chip, file, complete=True, window=window)
        if window.crs is None:
            assert np.array_equal(example.label, whole.label[2:20, 4:14])
            assert np.array_equal(example.pixels, whole.pixels[:, 2:20, 4:14])
            assert example.name == "chip.tif [4, 2, 10, 18]"
        else:
            assert abs(example.label.size - 180) < 40
    (edge,) = read(chip, file, complete=True, window=ImageWindow(pixels=(10, 10, 100, 100)))
    assert edge.label.shape == (30, 30)
    refused(chip, file, "outside of the image", complete=True, window=ImageWindow(pixels=(40, 0, 5, 5)))
    refused(chip, file, "nothing is drawn within the window", window=ImageWindow(pixels=(30, 30, 5, 5)))


@pytest.fixture
def scene(write_tif: WriteTif) -> Path:
    rows, columns = np.mgrid[0:2600, 0:3000]
    pixels = (rows * 3 + columns).astype(np.uint16)
    return write_tif("scene.tif", pixels, tiled=True, blockxsize=256, blockysize=256, compress="deflate")


def test_a_large_image_is_cut_around_what_is_drawn(scene: Path, tmp_path: Path) -> None:
    drawn = [(at(1500, 1200, 1650, 1300), FLOOD), (at(1700, 1250, 1720, 1500), DRY)]
    file = write_vector(tmp_path / "a.gpkg", drawn, crs="EPSG:4326")
    (example,) = read(scene, file, target=selected(FLOOD), background=selected(DRY))
    left, top, width, height = (int(part) for part in example.name.split("[")[1].rstrip("]").split(","))
    assert left <= 1500 - 100 <= 1720 + 100 <= left + width
    assert top <= 1200 - 100 <= 1500 + 100 <= top + height
    assert width <= cuts.SIDE
    assert height <= cuts.SIDE
    assert (example.label == 1).sum() == 150 * 100
    assert (example.label == 0).sum() == 20 * 250
    with GeoTiffReader().open(find(scene)) as source:
        whole = source.sample([0], STATISTICS_PIXELS)
    assert example.statistics is not None
    assert np.array_equal(example.statistics, whole)
    rows, columns = np.mgrid[top : top + height, left : left + width]
    assert np.array_equal(example.pixels[0], rows * 3 + columns)


def test_features_far_apart_give_several_examples_and_lose_nothing(scene: Path, tmp_path: Path) -> None:
    drawn = [(at(10, 10, 60, 60), FLOOD), (at(2900, 2500, 2950, 2590), FLOOD), (at(30, 2300, 90, 2360), DRY)]
    file = write_vector(tmp_path / "a.gpkg", drawn)
    examples = read(scene, file, target=selected(FLOOD), background=selected(DRY))
    assert len(examples) == 3
    assert sum(int((example.label == 1).sum()) for example in examples) == 2500 + 4500
    assert sum(int((example.label == 0).sum()) for example in examples) == 3600
    assert max(example.label.size for example in examples) < 400 * 400


def test_a_feature_larger_than_a_part_is_cut_without_overlap(scene: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(at(100, 100, 1900, 900), FLOOD)])
    examples = read(scene, file, complete=True)
    assert len(examples) == 2
    assert sum(int((example.label == 1).sum()) for example in examples) == 1800 * 800
    assert all((example.label == 0).any() for example in examples)


def test_of_too_many_parts_the_most_telling_are_taken_and_it_is_told(
    scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cuts, "SIDE", 256)
    ponds = [(at(x, y, x + 9, y + 9), FLOOD) for x in range(10, 1500, 300) for y in range(10, 2500, 300)]
    file = write_vector(tmp_path / "a.gpkg", [*ponds, (at(2700, 2300, 2740, 2330), DRY)])
    examples = read(scene, file, target=selected(FLOOD), background=selected(DRY))
    assert len(examples) == cuts.MOST
    assert any((example.label == 0).any() for example in examples)
    assert sum(bool((example.label == 1).any()) for example in examples) == cuts.MOST - 1
    (warning,) = [w for example in examples for w in example.warnings]
    assert warning.kind == "labels_left_out"
    assert not warning.suspect


# --- mistakes


def refused(image: Path, labels: Path | str, match: str, **vector: Any) -> SupportError:
    with pytest.raises(SupportError, match=match) as caught:
        read(image, labels, **vector)
    assert caught.value.remedy
    assert str(labels) in caught.value.where or str(image) in caught.value.where
    if "holds no data" not in match:  # what a run would refuse, a plan refuses
        request = SupportRequest(str(image), str(labels), vector=VectorLabels(**vector))
        with pytest.raises(SupportError, match=match):
            GeoTiffReader().vector_identity(request)
    return caught.value


@pytest.mark.parametrize("name", ALL_FORMATS)
def test_a_filter_that_selects_nothing_or_names_no_attribute(chip: Path, tmp_path: Path, name: str) -> None:
    file = write_vector(tmp_path / name, [(at(5, 6, 20, 18), FLOOD)])
    error = refused(chip, file, "no feature is selected as the class", target=selected("lake"))
    assert "class (flood)" in error.remedy
    for where in ("klass = 'flood'", "\"klass\" = 'flood'", "class = "):
        error = refused(chip, file, "no attribute 'klass'|filter cannot be used", target=Selection(where=where))
        assert "class (flood)" in error.remedy


@pytest.mark.parametrize("name", ["a.gpkg", "a.fgb", "a.geojson"])
def test_a_filter_that_fails_is_told_without_sql(chip: Path, tmp_path: Path, name: str) -> None:
    file = write_vector(tmp_path / name, [(at(5, 6, 20, 18), FLOOD)])
    for where in ("klass = 'flood'", "upper(klass) = 'FLOOD'"):
        error = refused(chip, file, "there is no attribute 'klass'", target=Selection(where=where))
        assert "class (flood)" in error.remedy
    error = refused(chip, file, "the filter cannot be used: class == ", target=Selection(where="class == "))
    assert "SQL" not in error.what
    assert "b'" not in error.what
    assert "a single =, not by ==" in error.remedy


def test_labels_elsewhere_say_where_both_lie(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(at(500, 600, 520, 618), FLOOD), (at(5, 5, 9, 9), DRY)])
    error = refused(chip, file, "none of the 1 features of the class lies in the image", target=selected(FLOOD))
    assert "505100, 5793910" in error.what
    assert "500200, 5799800" in error.what
    assert read(chip, file, target=selected(FLOOD), optional=True) == []
    request = SupportRequest(str(chip), str(file), vector=VectorLabels(selected(FLOOD), optional=True))
    assert GeoTiffReader().vector_identity(request) == ""


def test_features_of_a_large_file_are_looked_for_near_the_image(
    chip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is kept in memory and what is read near an image are the same."""
    drawn = [(at(x, y, x + 5, y + 4), FLOOD) for x in range(-100, 100, 9) for y in range(-100, 100, 9)]
    labels = []
    for most in (100_000, 10):
        monkeypatch.setattr(vector_file, "_MOST_KEPT", most)
        for name in ("a.gpkg", "a.fgb", "a.shp", "a.geojson"):
            file = write_vector(tmp_path / name, drawn, crs="EPSG:4326")
            labels.append(label_of(chip, file, target=selected(FLOOD), complete=True))
    assert 0.2 < labels[0].mean() < 0.5
    assert all(np.array_equal(label, labels[0]) for label in labels)


def test_an_extent_in_which_nothing_is_drawn_is_background(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(at(500, 600, 520, 618), FLOOD), (at(5, 5, 9, 9), AREA)])
    assert np.array_equal(
        label_of(chip, file, target=selected(FLOOD), extent=selected(AREA)), expected((5, 5, 9, 9, 0))
    )


def test_background_alone_is_an_example_and_told(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(at(500, 600, 520, 618), FLOOD), (at(5, 5, 9, 9), DRY)])
    (example,) = read(chip, file, target=selected(FLOOD), background=selected(DRY))
    assert np.array_equal(example.label, expected((5, 5, 9, 9, 0)))
    assert [warning.kind for warning in example.warnings] == ["only_background"]


def test_an_image_without_coordinates(write_tif: WriteTif, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD)])
    refused(
        write_tif("chip.tif", np.ones((SIZE, SIZE), np.uint8), crs=None, transform=None), file, "without coordinates"
    )


def test_files_that_are_not_there_damaged_or_something_else(chip: Path, tmp_path: Path) -> None:
    good = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD)])
    refused(chip, tmp_path / "gone.gpkg", "No such file")
    (tmp_path / "a.kml").write_text("<kml/>")
    assert "ogr2ogr" in refused(chip, tmp_path / "a.kml", "not from .kml").remedy
    virtual = tmp_path / "virtual.json"
    virtual.write_text(f"<OGRVRTDataSource><OGRVRTLayer name='a'><SrcDataSource>{good}</SrcDataSource></OGRVRTLayer>")
    refused(chip, virtual, "is not GeoJSON")
    commands = tmp_path / "commands.json"
    commands.write_text(
        json.dumps({"type": "gdal_streamed_alg", "command_line": f"gdal vector pipeline ! read {good}"})
    )
    refused(chip, commands, "is not GeoJSON")
    database = tmp_path / "database.gpkg"
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE a (geometry BLOB)")
    refused(chip, database, "is not GeoPackage|no layer|cannot be read")
    short = tmp_path / "short.gpkg"
    short.write_bytes(good.read_bytes()[:300])
    refused(chip, short, "cannot be read")
    (tmp_path / "text.geojson").write_text('{"type": "FeatureCollection", "features": [')
    refused(chip, tmp_path / "text.geojson", "cannot be read|no layer")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and nothing else")
    refused(chip, tmp_path / "bad.parquet", "GeoParquet file cannot be read")
    refused(chip, "s3://bucket/a.gpkg", "local files only")
    empty = write_vector(tmp_path / "empty.gpkg", [])
    refused(chip, empty, "has no features")


def test_a_parquet_file_that_is_no_geoparquet(chip: Path, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"class": ["flood"]}), tmp_path / "a.parquet")
    refused(chip, tmp_path / "a.parquet", "no geometries")


def test_geoparquet_names_the_extra_that_it_needs(chip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write_vector(tmp_path / "a.parquet", [(at(5, 6, 20, 18), FLOOD)])
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    assert "hdm-pipeline[parquet]" in refused(chip, file, "pyarrow, which is not installed").remedy


def test_a_shapefile_without_its_companions(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.shp", [(at(5, 6, 20, 18), FLOOD)])
    file.with_suffix(".dbf").unlink()
    refused(chip, file, "no attribute|filter cannot be used|no feature", target=selected(FLOOD))
    file.with_suffix(".shx").unlink()
    refused(chip, file, "cannot be read", complete=True)


def test_an_extent_must_be_a_polygon(chip: Path, tmp_path: Path) -> None:
    line = LineString([place(3.5, 4.5), place(20.5, 4.5)])
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD), (line, AREA)])
    refused(chip, file, "no polygon", target=selected(FLOOD), extent=selected(AREA))


# --- what is checked before, and what tells of changes


def test_the_file_is_checked_without_the_image(tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD)])

    def check(**vector: Any) -> None:
        GeoTiffReader().check_vector(SupportRequest("nowhere.tif", str(file), vector=VectorLabels(**vector)))

    check(target=selected(FLOOD))
    for wrong in (
        {"target": selected("x")},
        {"target": Selection("lakes")},
        {"background": selected("x")},
        {"extent": Selection(where="area = 1")},
        {"crs": "EPSG:1"},
    ):
        with pytest.raises(SupportError):
            check(**wrong)


def test_the_identity_changes_with_what_is_read_and_with_nothing_else(chip: Path, tmp_path: Path) -> None:
    def identity(file: Path, **vector: Any) -> str:
        return GeoTiffReader().vector_identity(
            SupportRequest(str(chip), str(file), vector=VectorLabels(target=selected(FLOOD), **vector))
        )

    near, far = (at(5, 6, 20, 18), FLOOD), (at(500, 600, 520, 618), FLOOD)
    file = write_vector(tmp_path / "a.shp", [near])
    before = identity(file)
    assert before == identity(write_vector(tmp_path / "b.gpkg", [near, far, (at(1, 1, 3, 3), DRY)], crs="EPSG:4326"))
    assert before != identity(write_vector(tmp_path / "c.gpkg", [(at(5, 6, 20, 19), FLOOD)]))
    assert before != identity(file, complete=True)
    assert before != identity(file, window=ImageWindow(pixels=(0, 0, 30, 30)))
    shutil.copy(tmp_path / "a.shp", tmp_path / "d.shp")
    for suffix in (".shx", ".dbf"):
        shutil.copy(tmp_path / f"a{suffix}", tmp_path / f"d{suffix}")
    prj = (tmp_path / "a.prj").read_text().replace("15.0", "15.0001")
    (tmp_path / "d.prj").write_text(prj)
    assert before != identity(tmp_path / "d.shp")


def test_edits_that_a_gis_has_not_yet_written_into_the_geopackage_count(chip: Path, tmp_path: Path) -> None:
    """QGIS leaves them in a write-ahead log beside the file as long as the project is open."""
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD), (at(25, 6, 35, 30), FLOOD)])
    request = SupportRequest(str(chip), str(file), vector=VectorLabels(complete=True))
    before = GeoTiffReader().vector_identity(request)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        stored = file.read_bytes()
        with connection:
            connection.execute("DELETE FROM a WHERE number = 1")
        assert file.with_name("a.gpkg-wal").stat().st_size > 0
        assert file.read_bytes() == stored
        assert GeoTiffReader().vector_identity(request) != before
        assert np.array_equal(label_of(chip, file, complete=True), expected((5, 6, 20, 18, 1), rest=0))


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    """The address of a server that describes a CRS, and what it was asked for."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            text = CRS.from_epsg(4326).to_wkt("WKT1_GDAL").encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}/crs", asked
        running.shutdown()
        thread.join()


@pytest.mark.parametrize(
    "spelled",
    [
        '"crs": {"type": "link", "properties": {"href": "URL"}}, ',
        '"CRS": {"properties": {"url": "URL"}, "type": "Url"}, ',
        '"\\u0063rs": {"type": "\\u006cink", "properties": {"href": "URL"}}, ',
        '"crs": {"type": "name", "properties": {"name": "EPSG:4326"}}, '
        '"crs": {"type": "link", "properties": {"href": "URL"}}, ',
        "'crs': {'type': 'link', 'properties': {'href': 'URL'}}, ",
    ],
    ids=["plain", "case", "escaped", "twice", "quotes"],
)
def test_the_address_of_a_crs_is_not_fetched(
    chip: Path, tmp_path: Path, server: tuple[str, list[str]], spelled: str
) -> None:
    address, asked = server
    file = write_vector(tmp_path / "a.geojson", [(at(5, 6, 20, 18), FLOOD)], crs="EPSG:4326")
    text = file.read_text()
    file.write_text(text.replace('"features"', spelled.replace("URL", address) + '"features"', 1))
    refused(chip, file, "is a link")
    assert asked == []
    # Links that are attributes are nobody's concern.
    file.write_text(text.replace('"class": "flood"', f'"class": "flood", "type": "link", "url": "{address}"'))
    assert read(chip, file, complete=True)
    assert asked == []


def test_the_address_of_a_crs_is_not_fetched_of_geoparquet_either(
    chip: Path, tmp_path: Path, server: tuple[str, list[str]]
) -> None:
    address, asked = server
    file = write_vector(tmp_path / "a.parquet", [(at(5, 6, 20, 18), FLOOD)])
    table = parquet.read_table(file)
    geo = json.loads(table.schema.metadata[b"geo"])
    geo["columns"][geo["primary_column"]]["crs"] = address
    parquet.write_table(table.replace_schema_metadata({b"geo": json.dumps(geo).encode()}), file)
    refused(chip, file, "GeoParquet file cannot be read")
    assert asked == []


_LINK = '"crs": {"type": "link", "properties": {"href": "http://127.0.0.1:9/crs"}}'


@pytest.mark.parametrize(
    "crs",
    [
        _LINK,
        _LINK.upper().replace("HTTP", "http"),
        _LINK.replace("crs", "c\\u0072s", 1),
        _LINK.replace('"', "'"),
        _LINK.replace('"link"', '"l\\u0069nk"'),
        _LINK.replace(":", ": /* */", 1),
        _LINK.replace(":", "/* */ :", 1),
        _LINK.replace("link", "url").replace("href", "url"),
        '"crs": {"type": "link", "type": "name", "properties": {"href": "http://127.0.0.1:9/crs"}}',
    ],
)
@pytest.mark.parametrize("where", ["before", "behind", "feature", "geometry"])
def test_a_crs_that_is_a_link_is_not_followed(
    chip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crs: str, where: str
) -> None:
    opened: list[object] = []
    monkeypatch.setattr(vector_file.pyogrio, "list_layers", lambda *args: opened.append(args))
    shown = dict.fromkeys(("before", "behind", "feature", "geometry"), "") | {where: f", {crs}"}
    geometry = f'{{"type": "Polygon"{shown["geometry"]}, "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}}'
    feature = f'{{"type": "Feature"{shown["feature"]}, "properties": {{}}, "geometry": {geometry}}}'
    text = f'{{"type": "FeatureCollection"{shown["before"]}, "features": [{feature}]{shown["behind"]}}}'
    file = tmp_path / "a.geojson"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SupportError, match="is a link") as refused:
        read(chip, file)
    assert "EPSG:32633" in str(refused.value.remedy)
    assert not opened


def test_an_attribute_called_crs_is_no_link(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.geojson", [(at(5, 6, 20, 18), FLOOD)], crs="EPSG:32633")
    content = json.loads(file.read_text(encoding="utf-8"))
    content["features"][0]["properties"] |= {"crs": "link", "note": "http://127.0.0.1:9/crs"}
    file.write_text(json.dumps(content), encoding="utf-8")
    assert (label_of(chip, file, target=selected(FLOOD)) == 1).any()
