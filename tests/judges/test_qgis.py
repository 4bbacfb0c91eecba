"""QGIS and gdalinfo judge names, colors and transparency of masks and scores."""

from __future__ import annotations

import csv
import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from hdm_geotiff.polygons.writer import PolygonWriter
from hdm_geotiff.products.writer import MaskWriter, ScoreWriter
from hdm_pipeline.contracts import ClassInfo
from tests.judges.conftest import RequireJudge
from tests.judges.headless_qgis import Qgis, find_qgis
from tests.raster_product import CLASSES, pattern, product, scene

HEIGHT, WIDTH = 350, 450
MAGENTA = (255, 0, 255)
"""What the picture shows where a layer is transparent."""


@pytest.fixture
def qgis(tmp_path: Path) -> Qgis:
    return find_qgis(tmp_path / "home")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = product(scene(HEIGHT, WIDTH))
    MaskWriter().write(made, tmp_path / "mask.tif")
    ScoreWriter().write(made, tmp_path / "score.tif")
    return tmp_path


def picture(path: Path) -> npt.NDArray[np.uint8]:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_a_mask_has_names_and_colors_and_is_transparent_elsewhere(qgis: Qgis, folder: Path) -> None:
    (told,) = qgis.look(folder / "seen.png", folder / "mask.tif")
    assert told["renderer"] == "paletted"
    assert told["classes"] == [
        [0, "background", "#f5f5f5", 0],
        [1, "flood", "#1e64dc", 255],
        [2, "crue é <&>", "#c80000", 255],
    ]
    assert told["legend"][-3:] == ["background", "flood", "crue é <&>"]
    seen, mask = picture(folder / "seen.png"), pattern(HEIGHT, WIDTH)[0]
    assert {0, 1, 2, 255} == set(np.unique(mask))
    for value, color in {0: MAGENTA, 255: MAGENTA, **{one.value: one.color for one in CLASSES}}.items():
        assert (seen[mask == value] == color).all(), f"value {value} is not drawn as {color}"


def test_names_are_there_without_the_style_too(qgis: Qgis, folder: Path) -> None:
    """By GDAL's category names: for programs that do not read a .qml."""
    (folder / "mask.qml").unlink()
    (told,) = qgis.look(folder / "seen.png", folder / "mask.tif")
    assert [label for _, label, _, _ in told["classes"][:3]] == ["background", "flood", "crue é <&>"]


def test_a_score_is_a_ramp_of_probability(qgis: Qgis, folder: Path) -> None:
    (told,) = qgis.look(folder / "seen.png", folder / "score.tif")
    assert told["renderer"] == "singlebandpseudocolor"
    assert told["items"][0] == [0, "flood 0%", "#1e64dc", 0]
    assert told["items"][-1] == [1, "flood 100%", "#1e64dc", 255]
    seen, mask = picture(folder / "seen.png").astype(int), pattern(HEIGHT, WIDTH)[0]
    assert (seen[mask == 255] == MAGENTA).all()
    y, x = np.nonzero(mask != 255)
    share = ((y + x) % 256 / 255)[:, None]  # see `product`
    expected = np.array(CLASSES[0].color) * share + np.array(MAGENTA) * (1 - share)
    assert np.abs(seen[y, x] - expected).max() <= 4


def test_polygons_are_drawn_by_class(qgis: Qgis, folder: Path) -> None:
    PolygonWriter().write(product(scene(HEIGHT, WIDTH)), folder / "polygons.gpkg")
    told, _ = qgis.look(folder / "seen.png", folder / "polygons.gpkg", folder / "mask.tif")
    assert (told["renderer"], told["field"]) == ("categorizedSymbol", "class")
    assert told["classes"] == [
        ["flood", "flood", "#1e64dc", 90, "#1e64dc"],
        ["crue é <&>", "crue é <&>", "#c80000", 90, "#c80000"],
    ]
    seen, mask = picture(folder / "seen.png").astype(int), pattern(HEIGHT, WIDTH)[0]
    inside = np.array(CLASSES[0].color) * 90 / 255 + np.array(MAGENTA) * (1 - 90 / 255)
    assert np.mean(np.abs(seen[mask == 1] - inside).max(axis=1) <= 3) > 0.5  # outlines are drawn, too


def test_names_of_many_classes_with_gaps(qgis: Qgis, tmp_path: Path) -> None:
    classes = (
        ClassInfo(1, "a\n'\" \x07é", (1, 2, 3)),
        ClassInfo(9, "ż" * 64, (4, 5, 6)),
        ClassInfo(254, "z", (7, 8, 9)),
    )
    MaskWriter().write(replace(product(scene(40, 50)), classes=classes), tmp_path / "m.tif")
    (told,) = qgis.look(tmp_path / "seen.png", tmp_path / "m.tif")
    assert [value for value, *_ in told["classes"]] == [0, 1, 9, 254]
    assert [label for _, label, _, _ in told["classes"]][2:] == ["ż" * 64, "z"]
    (tmp_path / "m.qml").unlink()
    (told,) = qgis.look(tmp_path / "seen.png", tmp_path / "m.tif")
    assert {int(value): label for value, label, *_ in told["classes"]}[254] == "z"


def test_processing_takes_a_mask(qgis: Qgis, folder: Path) -> None:
    found = qgis.run("native:rasterlayeruniquevaluesreport", INPUT=folder / "mask.tif", BAND=1)
    counts = np.bincount(pattern(HEIGHT, WIDTH).ravel(), minlength=256)
    assert found["TOTAL_PIXEL_COUNT"] == HEIGHT * WIDTH
    assert found["NODATA_PIXEL_COUNT"] == counts[255]
    table = qgis.run(
        "native:rasterlayeruniquevaluesreport", INPUT=folder / "mask.tif", BAND=1, OUTPUT_TABLE=folder / "t.csv"
    )
    with open(table["OUTPUT_TABLE"], newline="") as lines:
        found = {int(float(row["value"])): int(float(row["count"])) for row in csv.DictReader(lines)}
    assert found == {value: counts[value] for value in (0, 1, 2)}


def gdalinfo(program: str, path: Path, *options: str) -> str:
    command = [program, *options, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True, env={"PATH": "/usr/bin"}).stdout


def test_gdalinfo_shows_categories_and_the_attribute_table(folder: Path, require_judge: RequireJudge) -> None:
    program = require_judge("gdalinfo", install="apt install gdal-bin")
    text = gdalinfo(program, folder / "mask.tif")
    assert "Categories:\n      0: background\n      1: flood\n      2: crue é <&>\n" in text
    told: dict[str, Any] = json.loads(gdalinfo(program, folder / "mask.tif", "-json"))
    fields = told["rat"]["fieldDefn"]
    assert [one["name"] for one in fields] == ["Value", "Class", "Red", "Green", "Blue", "Alpha"]
    assert [row["f"] for row in told["rat"]["row"]] == [
        [0, "background", 245, 245, 245, 0],
        [1, "flood", 30, 100, 220, 255],
        [2, "crue é <&>", 200, 0, 0, 255],
    ]
