"""Scenes of one day as one scene: which are joined, and what their pixels are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine

from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.reader import GeoTiffReader
from hdm_geotiff.recipes.layers import Layer, LayeredScene, layered_ref
from hdm_geotiff.scenes.joined_scenes import join_by_date, open_mosaic
from hdm_geotiff.scenes.opening import open_source
from hdm_geotiff.scenes.source import RasterSource
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.errors import ConfigError, ReadError, UnsupportedSceneError
from hdm_pipeline.grid import Window
from tests.products import write_safe
from tests.unit.geotiff.conftest import UTM, WriteTif
from tests.unit.geotiff.test_layered import values, whole

MOSAIC = {"mosaic": "date", "date": "_%Y%m%d"}


def at(row: int, column: int, **more: Any) -> dict[str, Any]:
    """A profile that begins at a place of the common grid."""
    return {"transform": UTM["transform"] * Affine.translation(column, row), **more}


def refs(folder: Path, **options: Any) -> dict[str, SceneRef]:
    found = GeoTiffReader({**MOSAIC, **options}).discover(str(folder))
    return {ref.id: ref for ref in found if isinstance(ref, SceneRef)}


def tagged(path: Path) -> Path:
    """The file with a date of its own, that of a later day."""
    with rasterio.open(path, "r+") as file:
        file.update_tags(TIFFTAG_DATETIME="2023:05:01 08:00:00")
    return path


def read(ref: SceneRef, **options: Any) -> npt.NDArray[np.float32]:
    with GeoTiffReader({**MOSAIC, **options}).open(ref) as source:
        pixels, valid = source.read(whole(source), range(source.header.shape[0]))
    return np.where(valid, pixels, np.float32("nan"))


def test_neighbours_of_a_day_are_one_scene_and_others_stay(tmp_path: Path, write_tif: WriteTif) -> None:
    picture = values(40, 60)
    write_tif("a_20220126.tif", picture[:40, :30])
    write_tif("b_20220126.tif", picture[:40, 30:], **at(0, 30))
    write_tif("c_20220127.tif", picture, **at(40, 0))  # another day
    write_tif("d_20220126.tif", picture, **at(500, 500))  # elsewhere
    write_tif("e_20220126.tif", picture, **at(40, 0, crs="EPSG:32634"))
    write_tif("f_20220126.tif", picture, transform=UTM["transform"] * Affine.translation(0.5, 40))  # another grid
    write_tif("g.tif", picture, **at(40, 0))  # no date
    (tmp_path / "h_20220126.tif").write_bytes(b"II*\0 no more")
    found = refs(tmp_path)
    assert sorted(found) == [
        "2022-01-26_a_20220126", "c_20220127", "d_20220126", "e_20220126", "f_20220126", "g", "h_20220126"
    ]  # fmt: skip
    mosaic = found["2022-01-26_a_20220126"]
    assert {Path(path).name for path in mosaic.members} == {"a_20220126.tif", "b_20220126.tif"}
    header = GeoTiffReader(MOSAIC).header(mosaic)
    assert header.shape == (1, 1, 40, 60)
    assert header.geometry.transform == tuple(UTM["transform"])[:6]
    assert any("a mosaic of 2 scenes" in str(warning) for warning in header.warnings)
    np.testing.assert_array_equal(read(mosaic)[0], picture)
    assert [
        ref for ref in GeoTiffReader().discover(str(tmp_path)) if isinstance(ref, SceneRef) and "mosaic" in ref.recipe
    ] == []


def test_overlaps_gaps_and_windows(tmp_path: Path, write_tif: WriteTif) -> None:
    first, second, third = (values(50, 50, seed) for seed in (1, 2, 3))
    first[:, 40:] = 0
    write_tif("a_20220126.tif", first, nodata=0)
    write_tif("b_20220126.tif", second, **at(10, 35))
    write_tif("c_20220126.tif", third, **at(60, 85))  # hangs on b by a corner
    (ref,) = refs(tmp_path).values()
    wanted = np.full((110, 135), np.nan, dtype=np.float32)
    wanted[60:110, 85:135] = third
    wanted[10:60, 35:85] = second
    wanted[:50, :40] = first[:, :40]
    np.testing.assert_array_equal(read(ref)[0], wanted)
    with GeoTiffReader(MOSAIC).open(ref) as source:
        for y, x in ((0, 0), (5, 30), (33, 37), (61, 0), (70, 90)):
            window = Window(z=0, y=y, x=x, height=40, width=45)
            pixels, valid = source.read(window, [0])
            part = wanted[y : y + 40, x : x + 45]
            np.testing.assert_array_equal(np.where(valid, pixels[0], np.float32("nan")), part)
            assert (pixels[0][~valid] == 0).all()
    before = ref.identity
    write_tif("c_20220126.tif", first, **at(60, 85))
    assert next(iter(refs(tmp_path).values())).identity != before


def test_products_with_offsets_of_their_own(tmp_path: Path) -> None:
    """Each part is read by its own metadata."""
    band = {"B04": np.full((20, 20), 3000, dtype=np.uint16)}
    write_safe(tmp_path, band, tile="T33UUP", offset=-1000)
    write_safe(tmp_path, band, tile="T33UVP", offset=None)
    (ref,) = refs(tmp_path, asked=["B04"]).values()
    assert ref.id.startswith("2022-01-26_S2A_MSIL2A")
    # Both lie in one place here: the first by its id counts, N0301 before N0400.
    assert set(np.unique(read(ref, asked=["B04"]))) == {3000.0}


def test_the_date_may_stand_in_a_catalog(tmp_path: Path, write_tif: WriteTif) -> None:
    """Scenes as a catalog gives them, whose names say nothing."""
    found = []
    for name, place, date in (
        ("x", at(0, 0), "2022-01-26"),
        ("y", at(40, 0), "2022-01-26"),
        ("z", at(80, 0), "2022-02-01"),
    ):
        path = write_tif(f"{name}.tif", values(40, 40), **place)
        scene = LayeredScene((Layer("red", str(path)),), datetime=f"{date}T10:00:00Z")
        found.append(layered_ref(scene, name, str(path), [(name, "1")]))
    made = join_by_date(found, ReaderOptions.parse(MOSAIC), open_source)
    assert [ref.id for ref in made] == ["2022-01-26_x", "z"]
    assert GeoTiffReader(MOSAIC).header(made[0]).bands[0].name == "red"


def test_limits(tmp_path: Path, write_tif: WriteTif) -> None:
    with pytest.raises(ConfigError, match="join scenes"):
        GeoTiffReader({"mosaic": "week"})
    for name, place in (("a_20220126.tif", at(0, 0)), ("b_20220126.tif", at(40, 0))):
        write_tif(name, values(40, 40), **place)
    (ref,) = refs(tmp_path).values()
    with pytest.raises(UnsupportedSceneError, match="a mosaic of 2 scenes has 80 x 40"):
        GeoTiffReader({**MOSAIC, "max_pixels": 2000}).header(ref)


def test_few_files_of_a_mosaic_are_open_at_a_time(tmp_path: Path, write_tif: WriteTif) -> None:
    picture = values(400, 20)
    for number in range(40):
        write_tif(f"{number:02}_20220126.tif", picture[10 * number : 10 * number + 10], **at(10 * number, 0))
    (ref,) = refs(tmp_path).values()
    opened: list[str] = []

    @contextmanager
    def opener(ref: SceneRef, options: ReaderOptions, aoi: None) -> Iterator[RasterSource]:
        with open_source(ref, options, aoi) as source:
            opened.append(ref.id)
            most.append(len(opened))
            yield source
            opened.remove(ref.id)

    most: list[int] = []
    with open_mosaic(ref, ReaderOptions(), opener) as source:
        for _ in range(2):
            np.testing.assert_array_equal(source.read(whole(source), [0])[0][0], picture)
    assert max(most) == 16
    assert opened == []


def test_a_damaged_file_of_a_mosaic_is_named(tmp_path: Path, write_tif: WriteTif) -> None:
    for number in range(3):
        write_tif(f"{number}_20220126.tif", values(40, 40), compress="deflate", **at(40 * number, 0))
    (ref,) = refs(tmp_path).values()
    (tmp_path / "1_20220126.tif").write_bytes(b"II*\0 no more")
    with GeoTiffReader(MOSAIC).open(ref) as source, pytest.raises(ReadError, match="cannot open") as caught:
        source.read(whole(source), [0])
    assert caught.value.where.endswith("1_20220126.tif")


def test_the_date_of_a_name_may_be_told(tmp_path: Path, write_tif: WriteTif) -> None:
    for name, place in (("s026x2022a.tif", at(0, 0)), ("s026x2022b.tif", at(40, 0))):
        write_tif(name, values(40, 40), **place)
    assert len(refs(tmp_path)) == 2
    assert list(refs(tmp_path, date="s%jx%Y")) == ["2022-01-26_s026x2022a"]


def test_the_day_is_that_of_the_header(tmp_path: Path, write_tif: WriteTif) -> None:
    """The names of a product's files come before the tag of the file, and the tag alone joins nothing."""
    names = ("T33UUP_20220126T100321", "T33UVP_20220126T100321")
    for name, place in zip(names, (at(0, 0), at(40, 0)), strict=True):
        for band in ("B04", "B08"):
            tagged(write_tif(f"{name}_{band}.tif", values(40, 40), **place))
    options = {"mosaic": "date", "ids": "path"}
    (ref,) = GeoTiffReader(options).discover(str(tmp_path))
    assert isinstance(ref, SceneRef)
    day = GeoTiffReader(options).header(ref).attributes["datetime"][:10]
    assert (day, ref.id[:10]) == ("2022-01-26", day)
    for letter, place in (("a", at(0, 0)), ("b", at(40, 0))):
        tagged(write_tif(f"tagged/{letter}.tif", values(40, 40), **place))
    found = [ref.id for ref in GeoTiffReader(options).discover(str(tmp_path / "tagged")) if isinstance(ref, SceneRef)]
    assert sorted(found) == ["a", "b"]


def test_files_under_another_name_have_the_date_of_their_names(tmp_path: Path, write_tif: WriteTif) -> None:
    path = tagged(write_tif("x.tif", values(8, 8)))
    scene = LayeredScene((Layer("red", str(path)),), datetime="2022-01-26T10:00:00Z")
    attributes = GeoTiffReader().header(layered_ref(scene, "x", str(path), [("x", "1")])).attributes
    assert attributes == {"datetime": "2022-01-26T10:00:00Z", "datetime_source": "the names of its files"}
