"""Masks and scores as GeoTIFF: pixels, place, tags, bounds and failures."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from rasterio.crs import CRS
from rasterio.enums import MaskFlags
from rasterio.rpc import RPC

from hdm_geotiff.files.placing import put
from hdm_geotiff.products.cog import windows
from hdm_geotiff.products.writer import MaskWriter, ScoreWriter, UncertaintyWriter
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import (
    CatalogEntry,
    ClassInfo,
    RunCatalog,
    SceneHeader,
    SidecarWriter,
    VolumeGeometry,
    Writer,
)
from hdm_pipeline.errors import ConfigError, OutputError, ReadError, WriteError
from hdm_pipeline.grid import Window
from tests.raster_product import PROVENANCE, UTM_TRANSFORM, ArraySource, pattern, product, scene
from tests.unit.geotiff.conftest import WriteTif, find

WRITERS = [MaskWriter, ScoreWriter]
ROTATED = (17.3, 5.0, 100.0, 10.0, -8.66, 200.0)
SOUTH_UP = (0.5, 0.0, -180.0, 0.0, 0.5, -90.0)


@pytest.mark.parametrize("kind", WRITERS)
def test_is_a_writer(kind: type[Writer]) -> None:
    assert isinstance(kind(), Writer)
    assert kind({}).filename(scene(5, 5)) == f"{kind.name}.tif"
    with pytest.raises(ConfigError, match="no options"):
        kind({"compress": "jpeg"})


def test_the_uncertainty_is_laid_out_like_scores_and_must_be_there(tmp_path: Path) -> None:
    made = product(scene(60, 70))
    doubt = np.random.default_rng(0).integers(0, 256, (2, 60, 70)).astype(np.uint8)
    with pytest.raises(WriteError, match="not computed"):
        UncertaintyWriter().write(made, tmp_path / "none.tif")
    UncertaintyWriter().write(replace(made, uncertainty=ArraySource(doubt)), tmp_path / "uncertainty.tif")
    valid = made.mask.read(Window(z=0, y=0, x=0, height=60, width=70))[0] != 255
    with rasterio.open(tmp_path / "uncertainty.tif") as written:
        np.testing.assert_array_equal(written.read(), np.where(valid, doubt, 0))
        np.testing.assert_array_equal(written.dataset_mask() > 0, valid)
        assert set(written.units) == {"uncertainty"}
        assert written.scales[0] == 1 / 255


@pytest.mark.parametrize("size", [(1, 1), (300, 200), (512, 512), (513, 1030), (1500, 700)])
def test_the_mask_is_exact(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "mask.tif"
    MaskWriter().write(product(scene(*size)), path)
    with rasterio.open(path) as written:
        assert np.array_equal(written.read(), pattern(*size))
        assert written.nodata == 255
        assert written.dtypes == ("uint8",)
        assert written.transform == Affine(*UTM_TRANSFORM)
        assert written.crs == CRS.from_epsg(32633)
        assert written.block_shapes == [(512, 512)]
        # Nearest: an overview never invents a class between two others.
        for factor in written.overviews(1):
            small = written.read(1, out_shape=(-(-size[0] // factor), -(-size[1] // factor)))
            assert set(np.unique(small)) <= {0, 1, 2, 255}


def test_overviews_are_decimated_not_averaged(tmp_path: Path) -> None:
    """An averaged overview of a color table still holds class numbers, but not those of any one pixel."""
    noise = np.random.default_rng(0).integers(0, 3, (1, 1024, 1024)).astype(np.uint8)
    MaskWriter().write(product(scene(1024, 1024), noise), tmp_path / "mask.tif")
    with rasterio.open(tmp_path / "mask.tif", overview_level=0) as overview:
        small = overview.read(1)
    assert small.shape == (512, 512)
    assert any(np.array_equal(small, noise[0, i::2, j::2]) for i in (0, 1) for j in (0, 1))


def test_names_colors_and_provenance_are_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mask.tif"
    MaskWriter().write(product(scene(20, 30)), path)
    assert sorted(os.listdir(tmp_path)) == ["mask.qml", "mask.tif", "mask.tif.aux.xml"]
    with rasterio.open(path) as written:
        assert written.colormap(1)[1] == (30, 100, 220, 255)
        assert written.colormap(1)[2] == (200, 0, 0, 255)
        assert written.colormap(1)[255][3] == 0
        assert written.tags(1)["CLASS_1"] == "flood"
        assert written.tags(1)["CLASS_2"] == "crue é <&>"
        assert "1 flood" in written.descriptions[0]
        tags = written.tags()
    assert tags["HDM_PIPELINE_HASH"] == PROVENANCE.pipeline_hash
    assert tags["HDM_WEIGHTS_HASH"] == PROVENANCE.weights_hash
    assert tags["HDM_SUPPORT_HASH"] == PROVENANCE.support_hash
    assert tags["HDM_VERSION"] == PROVENANCE.version
    assert tags["HDM_THRESHOLD"] == "0.5"


def test_scores_keep_all_256_values_and_are_masked(tmp_path: Path) -> None:
    made = product(scene(700, 900))
    path = tmp_path / "score.tif"
    ScoreWriter().write(made, path)
    valid = pattern(700, 900)[0] != 255
    with rasterio.open(path) as written:
        scores = written.read()
        assert set(np.unique(scores[:, valid])) == set(range(256))
        assert np.array_equal(
            np.where(valid, made.score.read(Window(z=0, y=0, x=0, height=700, width=900)), 0),
            np.where(valid, scores, 0),
        )
        for band in (1, 2):
            assert np.array_equal(written.read_masks(band) != 0, valid)
        assert written.nodata is None
        assert written.mask_flag_enums[0] == [MaskFlags.per_dataset]
        assert written.descriptions == ("flood", "crue é <&>")
        assert written.scales[0] * 255 == pytest.approx(1.0)


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize(("transform", "crs"), [(ROTATED, None), (ROTATED, "EPSG:32631"), (SOUTH_UP, "EPSG:4326")])
def test_any_grid_comes_back(tmp_path: Path, kind: type[Writer], transform: tuple[float, ...], crs: str | None) -> None:
    path = tmp_path / "out.tif"
    kind().write(product(scene(600, 40, transform=transform, crs=crs)), path)
    with rasterio.open(path) as written:
        assert tuple(written.transform)[:6] == pytest.approx(transform, rel=1e-12)
        assert written.crs == (CRS.from_user_input(crs) if crs else None)


def test_ground_control_points_come_back(tmp_path: Path) -> None:
    points = [
        [0.0, 0.0, 10.0, 50.0, 1.5, "a", ""],
        [6.0, 8.0, 11.0, 49.0, 2.0, "b", ""],
        [0.0, 8.0, 11.0, 50.0, 0.0, "c", ""],
    ]
    attributes = {"gcps": points, "gcps_crs_wkt": CRS.from_epsg(4326).to_wkt()}
    header = scene(6, 8, transform=(1, 0, 0, 0, 1, 0), crs=None, attributes=attributes)
    MaskWriter().write(product(header), tmp_path / "mask.tif")
    with rasterio.open(tmp_path / "mask.tif") as written:
        gcps, crs = written.gcps
    assert [[p.row, p.col, p.x, p.y, p.z] for p in gcps] == [point[:5] for point in points]
    assert crs == CRS.from_epsg(4326)


@pytest.mark.parametrize("crs", [None, "EPSG:4326"])
def test_rational_polynomials_come_back(write_tif: WriteTif, tmp_path: Path, crs: str | None) -> None:
    """Also of a file that names the CRS of its polynomials, and has no transform."""
    values = {"err_bias": 1.5, "err_rand": 0.5, "height_off": 70.25, "height_scale": 500.0, "lat_off": 45.1}
    values |= {"lat_scale": 0.1, "line_off": 3.0, "line_scale": 4.0, "long_off": 11.2, "long_scale": 0.2}
    values |= {"samp_off": 5.0, "samp_scale": 6.0}
    lists = {name: [1.0, *[i * 1e-7 for i in range(19)]] for name in ("line_num_coeff", "line_den_coeff")}
    lists |= {name: [0.5, *[i * 1e-9 for i in range(19)]] for name in ("samp_num_coeff", "samp_den_coeff")}
    path = write_tif("a.tif", np.ones((6, 8), np.uint8), crs=crs, transform=None, rpcs=RPC(**values, **lists))
    header = GeoTiffReader().header(find(path))
    (note,) = header.warnings
    assert "rational polynomials" in str(note)
    for writer in (MaskWriter(), ScoreWriter()):
        target = tmp_path / f"{writer.name}.tif"
        writer.write(product(header), target)
        with rasterio.open(target) as written:
            assert written.rpcs is not None
            found = written.rpcs.to_dict()
            assert {name: found[name] for name in values} == values
            for name, coefficients in lists.items():
                assert found[name] == pytest.approx(coefficients, rel=1e-14)
        beside = target.with_name(f"{target.name}.aux.xml")
        assert not beside.exists() or "RPC" not in beside.read_text()


@pytest.mark.parametrize("kind", WRITERS)
def test_nothing_valid_is_a_valid_product(tmp_path: Path, kind: type[Writer]) -> None:
    mask = np.full((1, 1100, 600), 255, dtype=np.uint8)
    kind().write(product(scene(1100, 600), mask), tmp_path / "out.tif")
    with rasterio.open(tmp_path / "out.tif") as written:
        assert not written.read_masks(1).any()
        if kind is MaskWriter:
            assert (written.read(1) == 255).all()


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_input_gives_the_same_bytes(tmp_path: Path, kind: type[SidecarWriter]) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        kind().write(product(scene(1300, 1100)), tmp_path / name / "out.tif")
        files.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert files[0] == files[1]
    assert set(files[0]) <= {"out.tif", *kind().sidecars("out.tif")}


def test_pixels_are_pulled_by_windows(tmp_path: Path) -> None:
    made = product(scene(2000, 3000))
    MaskWriter().write(made, tmp_path / "mask.tif")
    assert isinstance(made.mask, ArraySource)
    assert made.mask.largest <= 512 * 1024


@pytest.mark.parametrize("values", [(), (0,), (255,), (1, 1), (-1,)])
def test_classes_that_do_not_fit_are_refused(values: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError):
        MaskWriter().check([ClassInfo(value, "x") for value in values])
    assert MaskWriter().check([ClassInfo(value, "x") for value in range(1, 255)]) == []


class Broken(ArraySource):
    """Pixels that cannot be read."""

    def read(self, window: Window) -> np.ndarray:
        raise OSError("the store is gone")


@pytest.mark.parametrize("kind", WRITERS)
def test_a_failure_leaves_nothing_behind(tmp_path: Path, kind: type[Writer]) -> None:
    made = product(scene(50, 50))
    (tmp_path / "out.tif").write_text("old")
    object.__setattr__(made, "mask", Broken(pattern(50, 50)))
    with pytest.raises(WriteError, match="the store is gone"):
        kind().write(made, tmp_path / "out.tif")
    assert os.listdir(tmp_path) == ["out.tif"]
    assert (tmp_path / "out.tif").read_text() == "old"


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises((OutputError, WriteError)):
        MaskWriter().write(product(scene(5, 5)), tmp_path / "gone" / "mask.tif")


def test_a_volume_is_refused(tmp_path: Path) -> None:
    flat = scene(5, 5)
    geometry = VolumeGeometry(tuple(np.eye(4).ravel().tolist()))
    volume = SceneHeader(flat.ref, flat.shape, flat.dtype, flat.bands, geometry)
    with pytest.raises(WriteError, match="volume"):
        MaskWriter().write(product(volume, pattern(5, 5)), tmp_path / "mask.tif")


MARS = (
    'GEOGCS["Mars",DATUM["Mars",SPHEROID["Mars",3396190,169.89]],PRIMEM["Airy-0",0],'
    'UNIT["degree",0.0174532925199433],AXIS["Longitude",EAST],AXIS["Latitude",NORTH]]'
)
LOCAL = 'LOCAL_CS["a mine",UNIT["metre",1],AXIS["x",EAST],AXIS["y",NORTH]]'


def run_of(root: Path, **scenes: SceneHeader) -> RunCatalog:
    """The output directory of a run that published the masks of scenes."""
    entries = []
    for name, header in scenes.items():
        path = root / name / "mask.tif"
        path.parent.mkdir(parents=True)
        MaskWriter().write(product(header), path)
        entries.append(CatalogEntry(name, (path,), "1"))
    (root / "memory").mkdir()
    return RunCatalog("test", root, root / "memory", tuple(entries))


def placed(side: float, left: float, **crs: str) -> SceneHeader:
    return scene(20, 30, transform=(side, 0.0, left, 0.0, -side, 40.0), **crs)


def test_a_mosaic_that_would_be_too_large_leaves_its_scenes_out(tmp_path: Path) -> None:
    """Others are made, and the run comes to its end."""
    far = {"a": placed(5e-8, 1.0, crs="EPSG:4326"), "b": placed(5e-8, 170.0, crs="EPSG:4326"), "c": placed(1, 5e5)}
    found = MaskWriter().mosaic(run_of(tmp_path, **far), whole=True)
    assert found["files"][0] == "mosaic.EPSG_32633.vrt"
    assert not any("4326" in name for name in found["files"])
    assert set(found["left_out"]) == {"a", "b"}
    assert "x 3380000030 pixels: use scenes of one resolution" in found["left_out"]["a"]


@pytest.mark.parametrize("crs", [MARS, LOCAL])
def test_masks_between_whose_places_nothing_leads_are_not_compared_and_that_is_told(tmp_path: Path, crs: str) -> None:
    before = run_of(tmp_path / "one", a=placed(1e-3, 5.0, crs=crs), b=placed(1e-3, 5.0, crs="EPSG:4326"))
    after = run_of(tmp_path / "two", c=placed(1e-3, 5.001, crs="EPSG:4326"))
    found = MaskWriter().compare(before, after, None)
    assert found["scenes"]["b"]["with"] == ["c"]
    assert found["unmatched"] == {"before": ["a"], "after": []}
    assert "a: nothing leads from its coordinate reference system to that of c" in found["notices"]
    same = MaskWriter().compare(before, before, None)
    assert [one["same_grid"] for one in same["scenes"].values()] == [True, True]


def test_changes_are_called_by_the_value_of_the_class_and_read_once_for_all(tmp_path: Path, monkeypatch: Any) -> None:
    before, after = (run_of(tmp_path / name, a=placed(10, 5e5)) for name in ("one", "two"))
    calls: list[SceneHeader] = []

    def counted(header: SceneHeader, block: tuple[int, int]) -> Iterator[Window]:
        calls.append(header)
        return windows(header, block)

    monkeypatch.setattr("hdm_geotiff.products.change.windows", counted)
    found = MaskWriter().compare(before, after, tmp_path / "to")
    assert len(calls) == 1  # for two classes
    assert found["files"] == ["a/change_1_flood.tif", "a/change_2_crue______.tif"]
    for value in (1, 2):
        with rasterio.open(tmp_path / "to" / found["files"][value - 1]) as change:
            pixels = pattern(20, 30)[0]
            np.testing.assert_array_equal(change.read(1), np.where(pixels == 255, 255, pixels == value))
    later = after.root / "a" / "mask.tif"
    MaskWriter().write(replace(product(placed(10, 5e5)), classes=product(placed(10, 5e5)).classes[1:]), later)
    found = MaskWriter().compare(before, after, tmp_path / "other")
    assert found["files"] == ["a/change_2_crue______.tif"]


def test_a_mask_that_cannot_be_compared_is_named(tmp_path: Path) -> None:
    """Its header is whole; that its pixels are not is no failure of writing."""
    before, after = (run_of(tmp_path / name, a=placed(10, 5e5)) for name in ("one", "two"))
    later = after.root / "a" / "mask.tif"
    with rasterio.open(later) as file:
        start = int(file.get_tag_item("BLOCK_OFFSET_0_0", "TIFF", bidx=1))
    content = bytearray(later.read_bytes())
    content[start : start + 40] = bytes(40)
    later.write_bytes(content)
    with pytest.raises(ReadError, match="cannot compare the masks") as caught:
        MaskWriter().compare(before, after, tmp_path / "to")
    assert caught.value.where == str(later)
    assert os.listdir(tmp_path / "to" / "a") == []


def test_small_files_appear_whole_or_not_at_all(tmp_path: Path, monkeypatch: Any) -> None:
    run = run_of(tmp_path, a=placed(10, 5e5))
    (tmp_path / ".mosaic.vrt.part").mkdir()  # of another run that writes there
    assert MaskWriter().mosaic(run, whole=False)["files"] == ["mosaic.vrt", "mosaic.qml"]
    written = (tmp_path / "mosaic.vrt").stat().st_mtime_ns
    MaskWriter().mosaic(run, whole=False)
    assert (tmp_path / "mosaic.vrt").stat().st_mtime_ns == written
    before = sorted(os.listdir(tmp_path))

    def full(source: Path, target: Path) -> None:
        raise OSError(errno.EDQUOT, "Disk quota exceeded")

    monkeypatch.setattr("hdm_geotiff.files.placing.os.replace", full)
    with pytest.raises(OutputError, match="the disk is full"):
        put(tmp_path / "mosaic.vrt", "other")
    assert sorted(os.listdir(tmp_path)) == before
    with pytest.raises(WriteError, match="No such file"):
        put(tmp_path / "none" / "item.json", "{}")


DISK_FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from hdm_geotiff.reader import GeoTiffReader
from hdm_geotiff.products.writer import MaskWriter, ScoreWriter
from hdm_pipeline.errors import OutputError
from tests.raster_product import product, scene
from tests.unit.geotiff.conftest import WriteTif, find

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv[2])
noise = np.random.default_rng(0).integers(0, 3, (1, 1500, 1500)).astype(np.uint8)
made = product(scene(1500, 1500), noise)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    {kind}().write(made, Path(sys.argv[1]) / "out.tif")
except OutputError as error:
    print("refused:", error.what)
else:
    print("written")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("kind", ["MaskWriter", "ScoreWriter"])
@pytest.mark.parametrize("limit", [0, 1000, 100_000, 400_000, 600_000])
def test_a_full_disk_never_looks_like_success(tmp_path: Path, kind: str, limit: int) -> None:
    """Files cannot grow beyond a limit, as on a full disk: the error is typed, and nothing half-written appears."""
    folders = [str(Path(__file__).parents[3] / part) for part in (".", "plugins")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, "-c", DISK_FULL.format(kind=kind), str(tmp_path), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if done.stdout.startswith("written"):
        with rasterio.open(tmp_path / "out.tif") as written:
            written.read()
        assert (tmp_path / "out.tif").stat().st_size <= limit
    else:
        assert "refused: the disk is full" in done.stdout, done.stdout + done.stderr
        assert os.listdir(tmp_path) == []
