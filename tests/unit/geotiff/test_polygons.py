"""Polygons of masks: the same as polygonising the whole mask, in the right place, with the right numbers."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import pyogrio.raw
import pyproj
import pytest
import shapely
from rasterio import features
from rasterio.crs import CRS
from scipy import ndimage

from hdm_geotiff.polygons.writer import PolygonWriter
from hdm_geotiff.products.writer import provenance_tags
from hdm_pipeline.contracts import Product, SceneHeader, VolumeGeometry
from hdm_pipeline.errors import ConfigError, OutputError, WriteError
from hdm_pipeline.grid import Window
from tests.raster_product import CLASSES, PROVENANCE, ArraySource, pattern, product, scene

Mask = npt.NDArray[np.uint8]
NOWHERE: Mapping[str, Any] = {"transform": (1.0, 0.0, 0.0, 0.0, 1.0, 0.0), "crs": None}
ROTATED = (17.3, 5.0, 100.0, 10.0, -8.66, 200.0)


def made_of(mask: Mask, block: tuple[int, int] = (256, 1024), **place: Any) -> Product:
    """A product of a mask [y, x]; the scores are `product`'s."""
    return replace(product(scene(*mask.shape, **place), mask[None]), block=block)


def written(made: Product, folder: Path, **options: Any) -> dict[str, Any]:
    """The columns of the polygons written, and their `shapes`."""
    writer = PolygonWriter(options)
    path = folder / writer.filename(made.scene)
    writer.write(made, path)
    if path.suffix == ".parquet":
        pq = pytest.importorskip("pyarrow.parquet")
        columns = pq.read_table(path).to_pydict()
        return {**columns, "shapes": shapely.from_wkb(np.array(columns.pop("geom"), dtype=object))}
    meta, _, shapes, columns = pyogrio.raw.read(path, layer="polygons")
    assert path.parent == folder
    assert set(os.listdir(folder)) == {path.name, "polygons.qml"}
    return {**dict(zip(meta["fields"], columns, strict=True)), "shapes": shapely.from_wkb(shapes), "meta": meta}


def in_order(shapes: npt.NDArray[Any], classes: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """An order of regions that does not depend on how they were found: by the upper left vertex, then by class."""
    corners = [min((y, x) for x, y in shape.exterior.coords) for shape in shapes]
    return np.array(sorted(range(len(shapes)), key=lambda i: (*corners[i], classes[i])), dtype=np.int64)


def check_whole(mask: Mask, folder: Path, block: tuple[int, int]) -> int:
    """The polygons of a mask in blocks are those that GDAL finds in the whole; returns their number."""
    found = written(made_of(mask, block, **NOWHERE), folder)
    shapes, classes = found["shapes"], found["class_id"]
    labelled = np.where(mask == 255, 0, mask)
    whole = [(shapely.geometry.shape(one), int(value)) for one, value in features.shapes(labelled, labelled != 0)]
    expected, values = np.array([one for one, _ in whole], dtype=object), np.array([value for _, value in whole])
    assert len(shapes) == len(expected)
    assert shapely.is_valid(shapes).all()
    assert (shapely.area(shapes) == found["pixels"]).all()
    one, other = in_order(shapes, classes), in_order(expected, values)
    assert (classes[one] == values[other]).all()
    assert shapely.equals(shapes[one], expected[other]).all()
    assert (shapely.get_num_coordinates(shapes[one]) == shapely.get_num_coordinates(expected[other])).all()
    return len(shapes)


def spiral(side: int) -> Mask:
    """One region that winds around the background through all blocks."""
    mask = np.zeros((side, side), np.uint8)
    y, x, dy, dx, left = 0, 0, 0, 1, side
    mask[0, 0] = 1
    steps = [side - 1, *[n for k in range(side - 1, 0, -2) for n in (k, k)]]
    for step in steps:
        for _ in range(step):
            y, x = y + dy, x + dx
            mask[y, x] = 1
        dy, dx = dx, -dy
        left -= 1
    return mask


def nested(side: int) -> Mask:
    """Rings within rings: holes in holes, of two classes and nodata by turns."""
    y, x = np.ogrid[:side, :side]
    depth = np.minimum(np.minimum(y, side - 1 - y), np.minimum(x, side - 1 - x))
    return np.array([1, 0, 2, 255, 1, 2], np.uint8)[depth % 6]


def diagonals(side: int) -> Mask:
    """Pixels that meet by their corners only, both ways."""
    y, x = np.ogrid[:side, :side]
    return (((x + y) % 7 == 0) | ((x - y) % 5 == 0)).astype(np.uint8)


def pinched(side: int) -> Mask:
    """Regions that meet themselves at corners: outside and hole, hole and hole."""
    mask = np.ones((side, side), np.uint8)
    mask[1::4, 1::4] = mask[2::4, 2::4] = 0
    mask[0, 2] = mask[side - 1, 3] = 0
    return mask


def comb(side: int) -> Mask:
    """Teeth that are joined in the last row only: many open regions become one."""
    mask = np.zeros((side, side), np.uint8)
    mask[:, ::2] = 1
    mask[-1] = 1
    return mask


def joining(side: int) -> Mask:
    """Two arms that become one region, beside another one with holes that end before and after that."""
    mask = np.zeros((side, side), np.uint8)
    mask[:15, 0] = mask[:15, 2] = mask[14, :3] = 1
    mask[:, 4:12] = 2
    mask[2:5, 6:9] = mask[20:24, 6:9] = 0
    return mask


SHAPES = {
    "spiral": spiral,
    "nested": nested,
    "diagonals": diagonals,
    "pinched": pinched,
    "comb": comb,
    "joining": joining,
}
SHAPES |= {"checkers": lambda side: (np.indices((side, side)).sum(0) % 2).astype(np.uint8)}
SHAPES |= {"full": lambda side: np.ones((side, side), np.uint8)}
BLOCKS = [(1, 7), (5, 1000), (8, 8), (1000, 1000)]


@pytest.mark.parametrize("block", BLOCKS, ids=str)
@pytest.mark.parametrize("name", SHAPES)
def test_blocks_leave_no_seam_in_adversarial_masks(tmp_path: Path, name: str, block: tuple[int, int]) -> None:
    mask = SHAPES[name](29)
    count = check_whole(mask, tmp_path, block)
    assert count == sum(ndimage.label(mask == value)[1] for value in (1, 2))


@pytest.mark.parametrize("seed", range(12))
def test_blocks_leave_no_seam_in_random_masks(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2)
    mask = rng.choice(np.array([0, 1, 2, 255], np.uint8), (height, width), p=[0.3, 0.45, 0.2, 0.05])
    if seed % 3 == 0:
        mask = ndimage.grey_dilation(mask, 3)
    check_whole(mask, tmp_path, (int(rng.integers(1, 20)), int(rng.integers(1, 70))))


def test_a_wide_mask_is_read_in_few_rows_and_keeps_its_polygons(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("hdm_geotiff.polygons.polygonize._READ_PIXELS", 1500)
    monkeypatch.setattr("hdm_geotiff.polygons.polygonize._STRIP_PIXELS", 700)
    mask = np.where(pattern(60, 300)[0] == 255, 255, pattern(60, 300)[0]).astype(np.uint8)
    made = made_of(mask, (40, 64), **NOWHERE)
    found = written(made, tmp_path)
    assert isinstance(made.mask, ArraySource)
    assert made.mask.largest <= 5 * 64
    assert sorted(found["pixels"]) == sorted(
        size for value in (1, 2) for size in np.bincount(ndimage.label(mask == value)[0].ravel())[1:]
    )


def test_attributes_are_those_of_the_pixels(tmp_path: Path) -> None:
    mask = pattern(90, 120)[0]
    made = made_of(mask, (32, 50))
    header = replace(made.scene, attributes={"datetime": "2021-06-05T10:11:12Z"})
    found = written(replace(made, scene=header), tmp_path)
    assert all(len(name) <= 10 for name in found["meta"]["fields"])
    assert set(found["scene"]) == {"scene"}
    assert set(found["date"].astype("datetime64[D]")) == {np.datetime64("2021-06-05")}
    y, x = np.mgrid[:90, :120]
    scores = [(y + x) % 256, (3 * y + x) % 256]
    for number, one in enumerate(CLASSES):
        labels, count = ndimage.label(mask == one.value)
        chosen = found["class_id"] == one.value
        assert set(found["class"][chosen]) == {one.name}
        sizes = np.bincount(labels.ravel())[1:]
        assert sorted(found["pixels"][chosen]) == sorted(sizes)
        means = ndimage.mean(scores[number], labels, range(1, count + 1)) / 255
        pairs = sorted(zip(found["pixels"][chosen], found["score"][chosen], strict=True))
        assert pairs == [(size, pytest.approx(mean, abs=1e-4)) for size, mean in sorted(zip(sizes, means, strict=True))]
    assert PROVENANCE.weights_hash in str(pyogrio.read_info(tmp_path / "polygons.gpkg")["layer_metadata"])


@pytest.mark.parametrize("crs", ["EPSG:32633", "EPSG:4326", "EPSG:3857", "EPSG:2263"])
def test_areas_are_those_on_the_ellipsoid(tmp_path: Path, crs: str) -> None:
    """Geod is the second opinion; its sides are geodesics, so the outlines get vertices in between."""
    x, y = pyproj.Transformer.from_crs(4326, crs, always_xy=True).transform(-74.3, 60.7)
    side = 2e-4 if crs == "EPSG:4326" else 20.0
    transform = (side, 0.0, x, 0.0, -side, y)
    found = written(made_of(pattern(300, 400)[0], (100, 90), transform=transform, crs=crs), tmp_path)
    back = pyproj.Transformer.from_crs(crs, 4326, always_xy=True)
    shapes = shapely.segmentize(found["shapes"], 3 * side)
    shapes = shapely.transform(shapes, lambda at: np.stack(back.transform(at[:, 0], at[:, 1]), axis=1))
    geod = pyproj.CRS(crs).get_geod()
    assert geod is not None
    expected = [abs(geod.geometry_area_perimeter(shape)[0]) for shape in shapes]
    assert found["area_m2"] == pytest.approx(expected, rel=2e-5)


def test_a_rotated_scene_has_rotated_polygons(tmp_path: Path) -> None:
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 5:12] = 1
    found = written(made_of(mask, transform=ROTATED, crs="EPSG:32631"), tmp_path)
    a, b, c, d, e, f = ROTATED
    corners = [(a * x + b * y + c, d * x + e * y + f) for x, y in ((5, 4), (12, 4), (12, 9), (5, 9))]
    assert shapely.equals(found["shapes"][0], shapely.Polygon(corners))
    assert CRS.from_user_input(found["meta"]["crs"]) == CRS.from_epsg(32631)
    scale = 0.9996 * (1 + ((500_000 - 200) / 6_378_137) ** 2 / 2)  # of UTM, so far from its meridian
    assert found["area_m2"][0] == pytest.approx(shapely.area(found["shapes"][0]) / scale**2, rel=2e-4)


@pytest.mark.parametrize("transform", [ROTATED, (10.0, 0, 0, 0, -10.0, 0), (10.0, 0, 0, 0, 10.0, 0)])
@pytest.mark.parametrize("simplify", [None, "1 px"])
def test_outer_rings_go_counter_clockwise(tmp_path: Path, transform: Any, simplify: str | None) -> None:
    found = written(made_of(nested(40), transform=transform), tmp_path, simplify=simplify)
    assert shapely.is_ccw(shapely.get_exterior_ring(found["shapes"])).all()
    holes = shapely.get_rings(found["shapes"])
    assert shapely.is_ccw(holes).sum() == len(found["shapes"])


def test_ground_control_points_place_polygons(tmp_path: Path) -> None:
    corners = [(4, 5), (4, 12), (9, 12), (9, 5)]
    at = [(0, 0), (0, 30), (20, 0), (20, 30), *corners]

    def place(row: int, column: int) -> tuple[float, float]:
        bend = 1e-5 * (row - 3) ** 2 * (column % 7)  # no polynomial: the points themselves must be hit
        return 12 + 1e-3 * column + 2e-4 * row + bend, 50 - 1e-3 * row + 1e-4 * column - bend

    points = [[*point, *place(*point), 0.0, str(number), ""] for number, point in enumerate(at)]
    attributes = {"gcps": points, "gcps_crs_wkt": CRS.from_epsg(4326).to_wkt()}
    mask = np.zeros((20, 30), np.uint8)
    mask[4:9, 5:12] = 1
    found = written(made_of(mask, attributes=attributes, **NOWHERE), tmp_path)
    expected = shapely.Polygon([place(*corner) for corner in corners])
    assert shapely.hausdorff_distance(found["shapes"][0], expected) < 1e-7
    assert CRS.from_user_input(found["meta"]["crs"]) == CRS.from_epsg(4326)
    geod = pyproj.Geod(ellps="WGS84")
    area = abs(geod.geometry_area_perimeter(expected)[0])
    assert found["area_m2"][0] == pytest.approx(area, rel=0.1)  # the map bends within the region


@pytest.mark.parametrize(
    "at",
    [
        [(0, 0)],
        [(0, 0), (0, 8)],
        [(0, 0), (4, 4), (8, 8)],
        [(0, 0), (2, 2), (4, 4), (6, 6), (8, 8)],
        [(0, 0), (0, 0), (0, 0), (0, 0)],
        [(0, 0), (0, 8), (8, math.nan)],
    ],
)
def test_ground_control_points_that_tell_no_place_are_refused(
    tmp_path: Path, at: list[tuple[float, float]], capfd: pytest.CaptureFixture[str]
) -> None:
    points = [[row, column, 12 + column, 50 - row, 0.0, str(number), ""] for number, (row, column) in enumerate(at)]
    attributes = {"gcps": points, "gcps_crs_wkt": CRS.from_epsg(4326).to_wkt()}
    made = made_of(np.ones((8, 8), np.uint8), attributes=attributes, **NOWHERE)
    with pytest.raises(WriteError, match="ground control points") as caught:
        PolygonWriter().check_scene(made.scene)
    assert "leave polygons out" in caught.value.remedy
    assert not capfd.readouterr().err


def test_rational_polynomials_alone_are_refused(tmp_path: Path) -> None:
    made = made_of(np.ones((4, 4), np.uint8), attributes={"rpcs": {"LINE_OFF": "1"}}, **NOWHERE)
    with pytest.raises(WriteError, match="RPC") as caught:
        PolygonWriter().write(made, tmp_path / "polygons.gpkg")
    assert "gdalwarp -rpc" in caught.value.remedy


def test_without_coordinates_polygons_are_in_pixels(tmp_path: Path) -> None:
    found = written(made_of(nested(20), **NOWHERE), tmp_path)
    assert np.isnan(found["area_m2"]).all()
    assert found["meta"]["crs"] is None or "Undefined" in found["meta"]["crs"]
    assert shapely.total_bounds(found["shapes"]).tolist() == [0, 0, 20, 20]
    assert np.isnat(found["date"].astype("datetime64[D]")).all()
    for options in ({"simplify": "3 m"}, {"min_area": "3 m2"}):
        with pytest.raises(WriteError, match="needs coordinates"):
            PolygonWriter(options).write(made_of(nested(20), **NOWHERE), tmp_path / "polygons.gpkg")
        with pytest.raises(WriteError, match="needs coordinates"):
            PolygonWriter(options).check_scene(made_of(nested(20), **NOWHERE).scene)
        PolygonWriter(options).check_scene(made_of(nested(20)).scene)


@pytest.mark.parametrize("name", ["datetime", "start_datetime"])
def test_the_date_of_polygons_is_that_of_the_tags(tmp_path: Path, name: str) -> None:
    made = made_of(np.ones((4, 4), np.uint8), attributes={name: "2024-06-02T10:10:31Z"})
    found = written(made, tmp_path)
    assert np.datetime64(found["date"][0], "D") == np.datetime64("2024-06-02")
    assert provenance_tags(made)["HDM_DATETIME"][:10] == "2024-06-02"


@pytest.mark.parametrize("form", ["gpkg", "fgb", "parquet"])
def test_all_formats_hold_the_same(tmp_path: Path, form: str) -> None:
    folders = [tmp_path / name for name in ("one", "two", "three")]
    for folder in folders:
        folder.mkdir()
    made = made_of(diagonals(60), (16, 20))
    one, other = written(made, folders[0]), written(made, folders[1], format=form)
    assert sorted(shapely.to_wkt(one["shapes"])) == sorted(shapely.to_wkt(other["shapes"]))
    for name in ("pixels", "score", "area_m2", "class"):
        assert sorted(one[name]) == pytest.approx(sorted(other[name])) if name != "class" else True
    written(made, folders[2], format=form)
    name = f"polygons.{form}"
    assert (folders[1] / name).read_bytes() == (folders[2] / name).read_bytes()


def test_the_users_settings_of_gdal_stay(tmp_path: Path) -> None:
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": "2001-02-03T04:05:06.000Z"})
    try:
        written(made_of(nested(20)), tmp_path)
        assert pyogrio.get_gdal_config_option("OGR_CURRENT_DATE") == "2001-02-03T04:05:06.000Z"
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": None})


@pytest.mark.skipif(sys.platform != "linux", reason="looks for open files where Linux shows them")
def test_a_failure_leaves_no_file_open(tmp_path: Path, monkeypatch: Any) -> None:
    """The scores of the second half cannot be read."""
    pytest.importorskip("pyarrow")
    monkeypatch.setattr("hdm_geotiff.polygons.vector_files.MOST_POLYGONS", 10)
    made = made_of(SHAPES["checkers"](50), (25, 50))

    class Half(ArraySource):
        def read(self, window: Window) -> Mask:
            if window.y >= 25:
                raise WriteError("gone", where="", remedy="")
            return super().read(window)

    broken = replace(made, score=Half(made.score.read(Window(z=0, y=0, x=0, height=50, width=50))))
    with pytest.raises(WriteError, match="gone") as caught:
        PolygonWriter({"format": "parquet"}).write(broken, tmp_path / "polygons.parquet")
    links = [os.path.realpath(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")]
    assert not [link for link in links if str(tmp_path) in link], caught  # whose frames hold what was not closed
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("form", ["gpkg", "fgb", "parquet"])
def test_a_scene_without_regions_has_a_file_without_polygons(tmp_path: Path, form: str) -> None:
    found = written(made_of(np.full((30, 40), 255, np.uint8)), tmp_path, format=form)
    assert len(found["shapes"]) == 0
    assert {"class", "class_id", "area_m2", "pixels", "score", "scene", "date"} <= set(found)


def test_batches_are_appended_under_one_spatial_index(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("hdm_geotiff.polygons.vector_files.MOST_POLYGONS", 100)
    mask = SHAPES["checkers"](50)
    found = written(made_of(mask, (10, 20)), tmp_path)
    assert len(found["shapes"]) == 1250
    box = tuple(shapely.total_bounds(found["shapes"][700]))
    sql = f"SELECT COUNT(*) AS n FROM rtree_polygons_geom WHERE minx >= {box[0]} AND maxx <= {box[2]}"
    counted = pyogrio.raw.read(tmp_path / "polygons.gpkg", sql=sql)[3][0][0]
    assert counted == (shapely.bounds(found["shapes"])[:, [0, 2]] == [box[0], box[2]]).all(axis=1).sum()


def test_small_regions_are_left_out(tmp_path: Path) -> None:
    mask = np.zeros((40, 40), np.uint8)
    mask[1:3, 1:3] = mask[10:20, 10:20] = 1
    mask[30, 30] = 2
    assert sorted(written(made_of(mask), tmp_path, min_area="4 px")["pixels"]) == [4, 100]
    assert sorted(written(made_of(mask), tmp_path, min_area="500 m2")["pixels"]) == [100]


@pytest.mark.parametrize("amount", ["2 px", "20 m"])
def test_simplifying_moves_outlines_by_no_more_than_that(tmp_path: Path, amount: str) -> None:
    y, x = np.ogrid[:200, :200]
    mask = (((x - 100) ** 2 + (y - 100) ** 2 < 80**2) & ((x - 100) ** 2 + (y - 90) ** 2 > 30**2)).astype(np.uint8)
    folders = tmp_path / "a", tmp_path / "b"
    for folder in folders:
        folder.mkdir()
    one, other = written(made_of(mask), folders[0]), written(made_of(mask), folders[1], simplify=amount)
    assert shapely.is_valid(other["shapes"]).all()
    assert shapely.get_num_coordinates(other["shapes"]) < 0.4 * shapely.get_num_coordinates(one["shapes"])
    assert 5 < shapely.hausdorff_distance(one["shapes"][0], other["shapes"][0]) <= 20 * 1.001
    assert other["area_m2"] == pytest.approx(one["area_m2"])


def test_simplified_polygons_are_valid(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    mask = ndimage.grey_dilation((rng.random((150, 150)) < 0.12).astype(np.uint8), 3)
    found = written(made_of(mask), tmp_path, simplify="2 px")
    assert len(found["shapes"]) == ndimage.label(mask)[1]
    assert shapely.is_valid(found["shapes"]).all()
    assert not shapely.is_empty(found["shapes"]).any()
    assert (shapely.get_type_id(found["shapes"]) == shapely.GeometryType.POLYGON).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"driver": "x"}, "no such option"),
        ({"format": "shp"}, "no such format"),
        ({"simplify": 5}, "5 is not a number with the unit m or px"),
        ({"simplify": "5 m2"}, "not a number with the unit m or px"),
        ({"min_area": "-5 px"}, "with the unit m2 or px"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        PolygonWriter(options)


def test_geoparquet_without_pyarrow_names_the_extra(monkeypatch: Any) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pyarrow") as caught:
        PolygonWriter({"format": "parquet"})
    assert "hdm-pipeline[parquet]" in caught.value.remedy


def test_a_volume_is_refused(tmp_path: Path) -> None:
    flat = scene(5, 5)
    volume = SceneHeader(
        flat.ref, flat.shape, flat.dtype, flat.bands, VolumeGeometry(tuple(np.eye(4).ravel().tolist()))
    )
    with pytest.raises(WriteError, match="volume"):
        PolygonWriter().write(product(volume, pattern(5, 5)), tmp_path / "polygons.gpkg")


DISK_FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from hdm_geotiff.polygons.writer import PolygonWriter
from hdm_pipeline.errors import OutputError
from tests.raster_product import product, scene

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
made = product(scene(300, 300), np.random.default_rng(0).integers(0, 3, (1, 300, 300)).astype(np.uint8))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    PolygonWriter({{"format": "{form}"}}).write(made, Path(sys.argv[1]) / "out.{form}")
except OutputError as error:
    print("refused:", error.what)
else:
    print("written")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("form", ["gpkg", "fgb", "parquet"])
@pytest.mark.parametrize("limit", [0, 1000, 200_000])
def test_a_full_disk_never_looks_like_success(tmp_path: Path, form: str, limit: int) -> None:
    folders = [str(Path(__file__).parents[3] / part) for part in (".", "plugins")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, "-c", DISK_FULL.format(form=form), str(tmp_path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "refused: the disk is full" in done.stdout, done.stdout + done.stderr
    assert os.listdir(tmp_path) == []


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises((OutputError, WriteError)):
        PolygonWriter().write(product(scene(5, 5)), tmp_path / "gone" / "polygons.gpkg")
