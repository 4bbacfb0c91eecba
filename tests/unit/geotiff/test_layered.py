"""Scenes whose bands lie in files of their own: found by patterns, on one grid, read without seams."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling
from rasterio.warp import reproject

from hdm_geotiff.archive.assembly import assemble
from hdm_geotiff.archive.listing import Found
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.reader import GeoTiffReader
from hdm_geotiff.recipes.layers import Layer, LayeredScene, layered_ref
from hdm_geotiff.scenes.layered import asked_for
from hdm_geotiff.scenes.raster_grid import Grid, Lie
from hdm_pipeline.contracts import SceneRef, SceneWarning, SupportRequest
from hdm_pipeline.errors import ConfigError, EmptyArchiveError, UnsupportedSceneError
from hdm_pipeline.grid import Window
from hdm_pipeline.testing.reader import check_reader
from tests.products import LANDSAT
from tests.unit.geotiff.conftest import UTM, WriteTif, find
from tests.unit.geotiff.test_discovery import ids, left_out, touch

COARSE = {**UTM, "transform": UTM["transform"] * Affine.scale(2)}
BANDS = {"B04": "*_B04.tif", "B11": "*_B11.tif"}


def values(height: int, width: int, seed: int = 0) -> npt.NDArray[np.uint16]:
    return np.random.default_rng(seed).integers(1, 4000, (height, width), dtype=np.uint16)


def whole(source: Any) -> Window:
    _, _, height, width = source.header.shape
    return Window(z=0, y=0, x=0, height=height, width=width)


def read_all(path: Path, **options: Any) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    with GeoTiffReader(options).open(find(path, **options)) as source:
        return source.read(whole(source), range(source.header.shape[0]))


PAIR = {"r": "*_r.tif", "g": "*_g.tif"}
DEEP = {"recursive": True}


@pytest.mark.parametrize(
    ("names", "bands", "options", "found"),
    [
        (["a_r.tif", "a_g.tif", "b_r.tif", "b_g.tif"], PAIR, {}, ["a", "b"]),
        (["a/r.tif", "a/g.tif", "b/r.tif", "b/g.tif"], {"x": "r.tif", "y": "g.tif"}, DEEP, ["a", "b"]),
        (["r/a.tif", "r/b.tif", "g/a.tif", "g/b.tif"], {"r": "r/*.tif", "g": "g/*.tif"}, {}, ["a", "b"]),
        (["a_10_r.tif", "a_20_g.tif"], {"r": "{scene}_*_r.tif", "g": "{scene}_*_g.tif"}, {}, ["a"]),
        (["p-001-a_r.tif", "p-002-a_g.tif"], PAIR, {"scene": r"-\d+-(\w+)_"}, ["a"]),
        (["x/a_r.tif", "y/a_r.tif", "x/a_g.tif", "y/a_g.tif"], PAIR, {**DEEP, "ids": "path"}, ["x__a", "y__a"]),
    ],
)
def test_files_become_scenes_by_patterns(
    names: list[str], bands: dict[str, str], options: dict[str, Any], found: list[str], tmp_path: Path
) -> None:
    touch(tmp_path, *names)
    assert ids(tmp_path, bands=bands, **options) == found
    for ref in GeoTiffReader({"bands": bands, **options}).discover(str(tmp_path)):
        assert isinstance(ref, SceneRef)
        assert [layer.name for layer in LayeredScene.loads(ref.recipe).layers] == list(bands)
        assert len(ref.members) == 2


def test_a_scene_that_lacks_a_band_is_named_and_not_dropped(tmp_path: Path, write_tif: WriteTif) -> None:
    for name in ("a_B04.tif", "a_B11.tif", "b_B04.tif", "c_B08.tif"):
        write_tif(name, values(8, 8))
    reader = GeoTiffReader({"bands": BANDS})
    refs = {ref.id: ref for ref in reader.discover(str(tmp_path)) if isinstance(ref, SceneRef)}
    assert set(refs) == {"a", "b"}
    assert reader.header(refs["a"]).shape == (2, 1, 8, 8)
    with pytest.raises(UnsupportedSceneError, match=r"B11 is missing: no file fits \*_B11.tif \(it has B04 in b_B04"):
        reader.header(refs["b"])
    assert "fits no pattern" in left_out(tmp_path, bands=BANDS)["c_B08.tif"]


def test_patterns_that_fit_no_file_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a_B04.tif", "a_B11.tif")
    for options, uri, told in (
        ({"bands": {"red": "*_b4x.tif", "nir": "*_n.tif"}}, "", r"red \(\*_b4x.tif\), nir \(\*_n.tif\)"),
        ({"bands": BANDS, "scene": "(T[0-9]+)_"}, "", "option scene, .*T"),
        ({"bands": BANDS}, "*_B04.tif", "name the folder instead"),
    ):
        with pytest.raises(EmptyArchiveError) as caught:
            ids(tmp_path / uri, **options)
        assert re.search(told, caught.value.remedy), caught.value.remedy
    assert ids(tmp_path / "*.tif", bands=BANDS) == ["a"]


def test_a_band_in_two_files_is_named(tmp_path: Path, write_tif: WriteTif) -> None:
    for name in ("a_B1.tif", "a_B10.tif"):
        write_tif(name, values(8, 8))
    options = {"bands": {"B1": "{scene}_B1*.tif"}}
    with pytest.raises(UnsupportedSceneError, match="band B1 is in 2 files"):
        GeoTiffReader(options).header(find(tmp_path, **options))


@pytest.mark.parametrize("bands", [[], {}, {"a": "*"}, {"a": 1}, {"a": "{scene}_{scene}.tif"}, {"a": "a*", "A": "b*"}])
def test_patterns_are_checked(bands: object) -> None:
    with pytest.raises(ConfigError):
        GeoTiffReader({"bands": bands})


def test_a_key_is_held_against_all_bands_of_a_scene(tmp_path: Path, write_tif: WriteTif) -> None:
    for name in ("a_B04.tif", "a_B11.tif"):
        write_tif(name, values(8, 8))
    options = {"bands": BANDS, "asked": ["B04"], "offset": {"B11": -1, "B4": -1}}
    (warning,) = GeoTiffReader(options).header(find(tmp_path, **options)).warnings
    assert isinstance(warning, SceneWarning)
    assert warning.what.split("'")[1] == "B4"
    assert "B04, B11" in warning.what
    assert warning.suspect


def test_equal_grids_give_the_pixels_of_one_file(tmp_path: Path, write_tif: WriteTif) -> None:
    red, short = values(90, 70, 1), values(90, 70, 2)
    red[:9] = 0
    write_tif("one/a.tif", np.stack([red, short]), nodata=0, scales=(0.5, 2.0), offsets=(3.0, 0.0))
    write_tif("two/a_B04.tif", red, nodata=0, scales=(0.5,), offsets=(3.0,))
    write_tif("two/a_B11.tif", short, nodata=0, scales=(2.0,), offsets=(0.0,))
    one, two = read_all(tmp_path / "one"), read_all(tmp_path / "two", bands=BANDS)
    np.testing.assert_array_equal(one[0], two[0])
    np.testing.assert_array_equal(one[1], two[1])
    header = GeoTiffReader({"bands": BANDS}).header(find(tmp_path / "two", bands=BANDS))
    assert [(band.name, band.nodata) for band in header.bands] == [("B04", 0), ("B11", 0)]


def test_a_coarse_band_is_resampled_as_gdal_does_it(tmp_path: Path, write_tif: WriteTif) -> None:
    fine, coarse = values(80, 60, 1), values(40, 30, 2)
    write_tif("a_B04.tif", fine)
    write_tif("a_B11.tif", coarse, **COARSE)
    for method in ("bilinear", "nearest"):
        pixels, valid = read_all(tmp_path, bands=BANDS, resampling=method)
        wanted = np.zeros(fine.shape, dtype=np.float32)
        places = {"src_transform": COARSE["transform"], "dst_transform": UTM["transform"], "tolerance": 0.0}
        how = {"src_crs": UTM["crs"], "dst_crs": UTM["crs"], "resampling": Resampling[method]}
        reproject(coarse.astype(np.float32), wanted, **places, **how)
        assert valid.all()
        np.testing.assert_array_equal(pixels[0], fine)
        np.testing.assert_allclose(pixels[1], wanted, rtol=1e-5)


def test_a_fine_band_is_averaged_on_a_coarse_grid(tmp_path: Path, write_tif: WriteTif) -> None:
    y, x = np.mgrid[0:80, 0:60]
    write_tif("a_B04.tif", (10 * x + y).astype(np.float32))
    write_tif("a_B11.tif", values(40, 30), **COARSE)
    options = {"bands": BANDS, "resolution": 20}
    header = GeoTiffReader(options).header(find(tmp_path, **options))
    assert header.shape == (2, 1, 40, 30)
    assert header.geometry.transform == tuple(COARSE["transform"])[:6]
    assert any("B04" in str(warning) and "resampled" in str(warning) for warning in header.warnings)
    pixels, _ = read_all(tmp_path, **options)
    inner = np.s_[1:-1, 1:-1]
    np.testing.assert_allclose(pixels[0][inner], (10 * (2 * x + 0.5) + 2 * y + 0.5)[:40, :30][inner], rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_pixel_is_the_same_in_any_window(data: st.DataObject) -> None:
    """Resampling, and validity with it, depends on the place in the scene and on nothing else: no seams."""
    step = data.draw(st.sampled_from([0.1, 1 / 6, 1 / 3, 0.5, 0.7, 1.0, 1.5, 2.0, 3.0]))
    shift = data.draw(st.sampled_from([0.0, 0.5, -0.25]))
    seed = data.draw(st.integers(0, 99))
    nearest = data.draw(st.booleans())
    rng = np.random.default_rng(seed)
    band = Grid(None, Affine.translation(5, 5), 40, 50)
    grid = Grid(
        None,
        Affine.translation(5 + max(shift, 0), 5 + max(shift, 0)) * Affine.scale(step),
        int(39 / step),
        int(49 / step),
    )
    lie = Lie.between(grid, band, "a", "b", "scene")
    stored = rng.normal(0, 1000, (40, 50)).astype(np.float32)
    known = rng.random((40, 50)) > data.draw(st.sampled_from([0.0, 0.02, 0.4]))

    def made(window: Window) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        source = lie.source(window, nearest)
        cut = np.s_[source.y : source.bottom, source.x : source.right]
        return lie.resampled(stored[cut], known[cut], source, window, nearest)

    all_of_it, all_valid = made(Window(z=0, y=0, x=0, height=grid.height, width=grid.width))
    y, x = data.draw(st.integers(0, grid.height - 1)), data.draw(st.integers(0, grid.width - 1))
    height, width = data.draw(st.integers(1, grid.height - y)), data.draw(st.integers(1, grid.width - x))
    part, valid = made(Window(z=0, y=y, x=x, height=height, width=width))
    place = np.s_[y : y + height, x : x + width]
    np.testing.assert_array_equal(valid, all_valid[place])
    np.testing.assert_array_equal(part[valid], all_of_it[place][valid])


def test_no_data_is_left_out_of_means(tmp_path: Path, write_tif: WriteTif) -> None:
    coarse = np.full((20, 20), 1000, dtype=np.uint16)
    coarse[:, 10:] = 0
    write_tif("a_B04.tif", values(40, 40))
    write_tif("a_B11.tif", coarse, nodata=0, **COARSE)
    pixels, valid = read_all(tmp_path, bands=BANDS)
    assert valid[:, :20].all()
    assert not valid[:, 20:].any()
    np.testing.assert_allclose(pixels[1][:, :20], 1000, rtol=1e-6)


def test_blocks_of_a_file_have_no_seams(tmp_path: Path, write_tif: WriteTif) -> None:
    coarse = values(150, 130, 2)
    coarse[40:60, 30:90] = 0
    write_tif("a_B04.tif", values(300, 260, 1))
    write_tif("a_B11.tif", coarse, nodata=0, **COARSE)
    pixels, valid = read_all(tmp_path, bands=BANDS)
    assert not valid.all()
    with GeoTiffReader({"bands": BANDS}).open(find(tmp_path, bands=BANDS)) as source:
        for y in range(0, 300, 77):
            for x in range(0, 260, 101):
                window = Window(z=0, y=y, x=x, height=min(77, 300 - y), width=min(101, 260 - x))
                part, known = source.read(window, (0, 1))
                place = np.s_[..., y : y + window.height, x : x + window.width]
                np.testing.assert_array_equal(part, pixels[place])
                np.testing.assert_array_equal(known, valid[place])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"crs": "EPSG:32634"}, "EPSG:32634.*EPSG:32633"),
        ({"transform": UTM["transform"] * Affine.translation(9, 0)}, "covers less"),
        ({"transform": UTM["transform"] * Affine.scale(0.5)}, "covers less"),
        ({"transform": UTM["transform"] * Affine.scale(3)}, "covers more"),
        ({"transform": UTM["transform"] * Affine.rotation(20)}, "rotated"),
    ],
)
def test_bands_that_do_not_lie_on_each_other_are_refused(
    change: dict[str, Any], what: str, tmp_path: Path, write_tif: WriteTif
) -> None:
    write_tif("a_B04.tif", values(20, 30))
    write_tif("a_B11.tif", values(20, 30), **change)
    with pytest.raises(UnsupportedSceneError) as caught:
        GeoTiffReader({"bands": BANDS, "asked": ["B04", "B11"]}).header(find(tmp_path, bands=BANDS))
    assert re.search(f"{what}|{'EPSG:32633.*EPSG:32634' if 'crs' in change else what}|covers", caught.value.what)
    assert "gdalwarp" in caught.value.remedy
    assert caught.value.where.startswith(str(tmp_path))


LAYERS = [Layer(name, f"{name}.tif") for name in ("B02", "B04", "B08")] + [Layer("SCL", "SCL.tif", extra=True)]


@pytest.mark.parametrize(
    ("asked", "names", "needed"),
    [
        ([], ["B02", "B04", "B08"], [0, 1, 2]),
        (["B08", "b04"], ["B04", "B08"], [0, 1]),
        (["(B08 - B04) / (B08 + B04)"], ["B04", "B08"], [0, 1]),
        (["SCL"], ["SCL"], [0]),
        (["1", "3"], ["B02", "B04", "B08"], [0, 2]),
        (["b1 - 2.5 * B08"], ["B02", "B04", "B08"], [0, 2]),
        (["1", "SCL"], ["B02", "B04", "B08", "SCL"], [0, 3]),
        (["B99"], ["B02", "B04", "B08"], [0, 1, 2]),
    ],
)
def test_only_the_bands_that_are_asked_for_are_opened(asked: list[str], names: list[str], needed: list[int]) -> None:
    layers, wanted = asked_for(LAYERS, asked)
    assert ([layer.name for layer in layers], wanted) == (names, needed)


def test_the_grid_is_that_of_the_finest_band_asked_for(tmp_path: Path, write_tif: WriteTif) -> None:
    write_tif("a_B04.tif", values(80, 60))
    write_tif("a_B11.tif", values(40, 30), **COARSE)
    ref = find(tmp_path, bands=BANDS)
    shapes = {
        asked: GeoTiffReader({"bands": BANDS, "asked": asked.split()}).header(ref).shape
        for asked in ("B04 B11", "B11", "2")
    }
    assert shapes == {"B04 B11": (2, 1, 80, 60), "B11": (1, 1, 40, 30), "2": (2, 1, 40, 30)}


def test_a_recipe_says_everything_and_is_part_of_the_identity(tmp_path: Path, write_tif: WriteTif) -> None:
    """What a catalog says of its assets reaches the pixels, and a changed catalog redoes the scene."""
    path = write_tif("asset.tif", np.stack([values(6, 6, 1), values(6, 6, 2)]))
    stored = rasterio.open(path).read(2)
    layer = Layer("red", str(path), band=2, scale=0.5, offset=-7.0, nodata=float(stored[0, 0]), unit="1")
    scene = LayeredScene((layer,), datetime="2022-01-26")
    assert LayeredScene.loads(scene.dumps()) == scene
    ref = layered_ref(scene, "item", "item.json", [("asset.tif", "1")])
    with GeoTiffReader().open(ref) as source:
        pixels, valid = source.read(whole(source), [0])
        assert source.header.attributes["end_datetime"] == "2022-01-26T23:59:59Z"
        assert source.header.bands[0].unit == "1"
    np.testing.assert_array_equal(valid, stored != stored[0, 0])
    np.testing.assert_allclose(pixels[0][valid], (stored * 0.5 - 7.0)[valid])
    other = layered_ref(LayeredScene((layer,), datetime="2023"), "item", "item.json", [("asset.tif", "1")])
    assert other.identity != ref.identity
    assert layered_ref(scene, "item", "item.json", [("asset.tif", "2")]).identity != ref.identity


def test_the_identity_covers_every_band_and_its_sidecars(tmp_path: Path, write_tif: WriteTif) -> None:
    for name in ("a_B04.tif", "a_B11.tif"):
        write_tif(name, values(8, 8))
    first = find(tmp_path, bands=BANDS).identity
    assert find(tmp_path, bands=BANDS).identity == first
    touch(tmp_path, "a_B11.tif.aux.xml")
    second = find(tmp_path, bands=BANDS).identity
    write_tif("a_B04.tif", values(9, 8))
    assert len({first, second, find(tmp_path, bands=BANDS).identity}) == 3


def test_a_damaged_band_is_named(tmp_path: Path, write_tif: WriteTif) -> None:
    write_tif("a_B04.tif", values(8, 8))
    (tmp_path / "a_B11.tif").write_bytes(b"II*\0 no more")
    with pytest.raises(Exception, match="cannot open") as caught:
        GeoTiffReader({"bands": BANDS}).header(find(tmp_path, bands=BANDS))
    assert "a_B11.tif" in str(caught.value)


def test_an_example_may_lie_in_files_of_its_own(tmp_path: Path, write_tif: WriteTif) -> None:
    red, short = values(16, 16, 1), values(8, 8, 2)
    write_tif("chip/c_B04.tif", red)
    write_tif("chip/c_B11.tif", short, **COARSE)
    mask = write_tif("mask.tif", (red > 2000).astype(np.uint8))
    reader = GeoTiffReader({"bands": BANDS})
    for image in ("chip", "chip/c_B11.tif"):
        (example,) = reader.read_support(SupportRequest(str(tmp_path / image), str(mask)))
        assert [band.name for band in example.bands] == ["B04", "B11"]
        np.testing.assert_array_equal(example.pixels[0], red)
        assert example.pixel_size == pytest.approx(10, rel=1e-2)


def test_an_example_of_one_file_without_names_has_the_bands_of_the_archive(write_tif: WriteTif) -> None:
    red = values(16, 16, 1)
    image = write_tif("chip.tif", np.stack([red, red]))
    mask = write_tif("mask.tif", (red > 2000).astype(np.uint8))
    for bands, names in ((BANDS, ["B04", "B11"]), ({**BANDS, "B12": "*_B12.tif"}, ["", ""])):
        (example,) = GeoTiffReader({"bands": bands}).read_support(SupportRequest(str(image), str(mask)))
        assert [band.name for band in example.bands] == names


def test_layered_scenes_keep_the_contract_of_readers(tmp_path: Path, write_tif: WriteTif) -> None:
    archive = tmp_path / "archive"
    for scene in ("a", "b"):
        for name, profile, side in (("B04", UTM, 80), ("B11", COARSE, 40)):
            write_tif(f"archive/{scene}_{name}.tif", values(side, side), nodata=7, **profile)
    chip = write_tif("chip/c_B04.tif", values(40, 40))
    write_tif("chip/c_B11.tif", values(20, 20), **COARSE)
    mask = write_tif("mask.tif", (values(40, 40) > 2000).astype(np.uint8))
    damaged = tmp_path / "damaged"
    write_tif("damaged/a_B04.tif", values(8, 8))
    (damaged / "a_B11.tif").write_bytes(b"II*\0 no more")
    check_reader(
        GeoTiffReader,
        str(archive),
        options={"bands": BANDS},
        damaged=[str(damaged)],
        support=SupportRequest(str(chip), str(mask)),
        unusable_support=[SupportRequest(str(tmp_path / "none"), str(mask))],
    )


@pytest.mark.parametrize("number", ["10021030", "20220231", "20220126"])
def test_a_number_of_eight_digits_is_no_date(tmp_path: Path, write_tif: WriteTif, number: str) -> None:
    for band in ("B04", "B11"):
        write_tif(f"parcel_{number}_{band}.tif", values(8, 8))
    header = GeoTiffReader({"bands": BANDS}).header(find(tmp_path, bands=BANDS))
    assert "datetime" not in header.attributes


def test_the_order_in_which_a_folder_lists_its_files_does_not_matter() -> None:
    names = [f"{LANDSAT}_{rest}" for rest in ("SR_B4.TIF", "SR_B5.TIF", "MTL.txt", "MTL.xml")]
    files = [Found(name, f"/a/{name}", f"identity of {name}") for name in names]
    (one,), (other,) = (assemble(order, ReaderOptions.parse({}), "geotiff") for order in (files, files[::-1]))
    assert one == other
    patterns = ReaderOptions.parse({"bands": {"red": "*_B4.TIF", "nir": "*_B5.TIF"}})
    (one,), (other,) = (assemble(order, patterns, "geotiff") for order in (files, files[::-1]))
    assert one == other
