"""Labels drawn as polygons, lines and points: formats, coordinates, what they say, windows, and mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio.features
from affine import Affine
from shapely.geometry import LineString, MultiPoint, MultiPolygon, Point, Polygon, shape

from hdm_geotiff.examples import cuts
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import STATISTICS_PIXELS, ImageWindow, Selection
from tests.unit.geotiff.conftest import CHIP_SIZE, UTM, WriteTif, find
from tests.unit.geotiff.drawn_labels import (
    AREA,
    DRY,
    FLOOD,
    UNSURE,
    at,
    expected,
    label_of,
    place,
    read,
    refused,
    selected,
)
from tests.vector_files import write_vector


def test_polygons_traced_from_a_mask_give_it_back(chip: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(CHIP_SIZE, CHIP_SIZE))
    mask = (noise + np.roll(noise, 1, 0) + np.roll(noise, 1, 1) > 0).astype(np.uint8)
    traced = rasterio.features.shapes(mask, mask=mask == 1, transform=UTM["transform"])
    file = write_vector(tmp_path / "a.gpkg", [(shape(geometry), FLOOD) for geometry, _ in traced], crs="EPSG:4326")
    assert np.array_equal(label_of(chip, file, complete=True), mask)


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
    disc = np.hypot(*(np.mgrid[0:CHIP_SIZE, 0:CHIP_SIZE] + 0.5 - np.array([30, 20])[:, None, None])) < 3
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
    pixels = np.ones((CHIP_SIZE, CHIP_SIZE), np.float32)
    pixels[:10] = np.nan
    file = write_vector(tmp_path / "a.gpkg", [(at(5, 6, 20, 18), FLOOD)])
    image = write_tif("chip.tif", pixels)
    assert np.array_equal(
        label_of(image, file, complete=True), expected((0, 0, 40, 40, 0), (5, 6, 20, 18, 1), (0, 0, 40, 10, 255))
    )
    pixels[:20] = np.nan
    refused(write_tif("chip.tif", pixels), file, "where the image holds no data", target=Selection())


def test_invalid_polygons_are_repaired_and_told(chip: Path, tmp_path: Path) -> None:
    bow = Polygon([place(5, 5), place(15, 15), place(15, 5), place(5, 15)])
    file = write_vector(tmp_path / "a.gpkg", [(bow, FLOOD), (at(20, 20, 30, 30), FLOOD)])
    (example,) = read(chip, file, target=Selection())
    assert [warning.kind for warning in example.warnings] == ["labels_repaired"]
    assert example.warnings[0].what.startswith("1 ")
    assert example.label[10, 6] == example.label[10, 13] == example.label[25, 25] == 1
    assert example.label[6, 10] == example.label[13, 10] == 255


def overlapping(*corners: tuple[float, float, float, float]) -> MultiPolygon:
    return MultiPolygon([at(*corner) for corner in corners])


@pytest.mark.parametrize(
    ("area", "boxes"),
    [
        (overlapping((5, 5, 15, 15), (10, 10, 20, 20)), [(5, 5, 15, 15, 1), (10, 10, 20, 20, 1)]),
        (overlapping((5, 5, 25, 25), (10, 10, 15, 15)), [(5, 5, 25, 25, 1)]),
        (Polygon(at(5, 5, 15, 15).exterior, [at(10, 10, 20, 20).exterior]), [(5, 5, 15, 15, 1), (10, 10, 15, 15, 255)]),
    ],
    ids=["parts that overlap", "a part within another", "a hole across the edge"],
)
def test_what_rings_enclose_is_labelled_and_holes_are_not(
    chip: Path, tmp_path: Path, area: Any, boxes: list[tuple[int, int, int, int, int]]
) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(area, FLOOD)])
    (example,) = read(chip, file, target=Selection())
    assert [warning.kind for warning in example.warnings] == ["labels_repaired"]
    assert np.array_equal(example.label, expected((0, 0, 40, 40, 255), *boxes))


def test_features_without_a_geometry_are_passed_over(chip: Path, tmp_path: Path) -> None:
    file = write_vector(tmp_path / "a.gpkg", [(None, FLOOD), (Polygon(), FLOOD), (at(5, 6, 20, 18), FLOOD)])
    assert (label_of(chip, file, target=Selection()) == 1).sum() == 15 * 12


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
