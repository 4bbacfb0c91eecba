"""Labels that a person draws: saved as files, read back pixel by pixel, and used as examples."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyogrio
import pytest
import rasterio
import shapely
from affine import Affine

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.config.example import Example
from hdm_pipeline.contracts import (
    LabelKeeper,
    LabelPatch,
    SavedLabels,
    SceneLabels,
    SceneRef,
    SupportRequest,
)
from hdm_pipeline.errors import OutputError, SupportError
from hdm_pipeline.grid import Window
from hdm_pipeline.support.examples import expand
from tests.products import write_safe
from tests.unit.geotiff.conftest import UTM, WriteTif, find

CLASSES = {1: "lake", 2: "farmer's field"}
COLORS = {1: (0, 90, 200), 2: (200, 90, 0)}
SIZE = (200, 300)
DEGREES = {"crs": "EPSG:4326", "transform": Affine(1e-4, 0, 15.1, 0, -1e-4, 50)}
PLAIN = {"crs": None, "transform": Affine.identity()}


def drawn(height: int = SIZE[0], width: int = SIZE[1]) -> npt.NDArray[np.uint8]:
    """Labels with islands, holes, pixels that touch by corners only, and much that is unknown."""
    values = np.full((height, width), 255, np.uint8)
    y, x = np.ogrid[:height, :width]
    values[(y - 70) ** 2 + (x - 80) ** 2 < 50**2] = 1
    values[(y - 70) ** 2 + (x - 80) ** 2 < 20**2] = 0
    values[(y - 70) ** 2 + (x - 80) ** 2 < 9**2] = 1
    values[120:180, 130:290] = np.random.default_rng(0).choice(np.array([0, 1, 2, 255], np.uint8), (60, 160))
    values[-1, -1] = 2
    return values


def patches(values: npt.NDArray[np.uint8], side: int = 64) -> tuple[LabelPatch, ...]:
    height, width = values.shape
    found = (
        Window(z=0, y=y, x=x, height=min(side, height - y), width=min(side, width - x))
        for y in range(0, height, side)
        for x in range(0, width, side)
    )
    return tuple(LabelPatch(one, values[one.y : one.bottom, one.x : one.right]) for one in found)


def whole(labels: SceneLabels | None, shape: tuple[int, int] = SIZE) -> npt.NDArray[np.uint8]:
    values = np.full(shape, 255, np.uint8)
    for patch in labels.patches if labels else ():
        values[patch.window.y : patch.window.bottom, patch.window.x : patch.window.right] = patch.values
    return values


def save(path: Path, folder: Path, values: npt.NDArray[np.uint8], reader: GeoTiffReader | None = None) -> SavedLabels:
    folder.mkdir(exist_ok=True)
    labels = SceneLabels(find(path), CLASSES, COLORS, patches(values))
    return (reader or GeoTiffReader()).save_labels(labels, folder)


def load(path: Path, folder: Path, classes: Mapping[int, str] = CLASSES) -> SceneLabels | None:
    return GeoTiffReader().load_labels(find(path), classes, folder)


def requests(example: Mapping[str, Any]) -> SupportRequest:
    """What a run would ask the reader for."""
    (request,) = expand(Example.model_validate(dict(example)), "any")
    return request


def scene(write_tif: WriteTif, name: str = "a.tif", **profile: Any) -> Path:
    return write_tif(name, np.random.default_rng(1).integers(1, 200, (2, *SIZE), dtype=np.uint8), **profile)


def test_it_is_a_keeper() -> None:
    assert isinstance(GeoTiffReader(), LabelKeeper)


@pytest.mark.parametrize("profile", [{}, PLAIN, {"transform": Affine(7, 2, 5e5, 2, -7, 5e6)}, DEGREES])
def test_labels_come_back_and_are_examples(write_tif: WriteTif, tmp_path: Path, profile: dict[str, Any]) -> None:
    path, values = scene(write_tif, **profile), drawn()
    saved = save(path, tmp_path / "labels", values)
    assert np.array_equal(whole(load(path, tmp_path / "labels")), values)
    assert sorted(Path(file).name for file in saved.files) == [
        *([] if profile == PLAIN else ["a_labels.gpkg"]),
        "a_labels.tif",
        "a_labels.tif.aux.xml",
    ]
    assert list(saved.examples) == ["lake", "farmer's field"]
    reader = GeoTiffReader()
    for value, name in CLASSES.items():
        request = requests(saved.examples[name])
        assert (request.vector is None) == (profile == PLAIN)
        if request.vector:
            reader.check_vector(request)
        (image,) = reader.read_support(request)
        assert np.array_equal(image.label, np.where(values == 255, 255, values == value))


def test_strokes_of_other_scenes_stay(write_tif: WriteTif, tmp_path: Path) -> None:
    one, other = scene(write_tif), scene(write_tif, "b.tif")
    save(one, tmp_path, drawn())
    save(other, tmp_path, drawn()[::-1])
    assert np.array_equal(whole(load(one, tmp_path)), drawn())
    assert np.array_equal(whole(load(other, tmp_path)), drawn()[::-1])


def test_a_later_save_is_what_is_read(write_tif: WriteTif, tmp_path: Path) -> None:
    path, values = scene(write_tif), drawn()
    reader = GeoTiffReader()
    saved = save(path, tmp_path / "labels", values, reader)
    reader.read_support(requests(saved.examples["lake"]))
    values[5:9, 5:9] = 1
    saved = save(path, tmp_path / "labels", values, reader)
    (image,) = reader.read_support(requests(saved.examples["lake"]))
    assert np.array_equal(image.label, np.where(values == 255, 255, values == 1))


def test_nothing_drawn_leaves_no_file(write_tif: WriteTif, tmp_path: Path) -> None:
    path = scene(write_tif)
    save(path, tmp_path / "labels", drawn())
    saved = save(path, tmp_path / "labels", np.full(SIZE, 255, np.uint8))
    assert (saved.files, dict(saved.examples)) == ((), {})
    assert os.listdir(tmp_path / "labels") == []
    assert load(path, tmp_path / "labels") is None


@pytest.mark.parametrize("profile", [{}, PLAIN])
@pytest.mark.parametrize("value", [0, 1])
def test_what_is_drawn_is_background_of_a_class_that_is_not(
    write_tif: WriteTif, tmp_path: Path, profile: dict[str, Any], value: int
) -> None:
    path, values = scene(write_tif, **profile), np.where(drawn() == value, value, 255).astype(np.uint8)
    saved = save(path, tmp_path / "labels", values)
    assert list(saved.examples) == list(CLASSES.values())
    assert (whole(load(path, tmp_path / "labels")) == values).all()
    reader = GeoTiffReader()
    for label, name in CLASSES.items():
        if label == value:  # a class alone: a pipeline file wants background of another example
            assert "background" not in saved.examples[name] or profile
            continue
        request = requests(saved.examples[name])
        if request.vector:
            reader.check_vector(request)
        (image,) = reader.read_support(request)
        assert np.array_equal(image.label, np.where(values == 255, 255, 0))


def test_a_filter_that_the_file_does_not_know_is_still_a_mistake(write_tif: WriteTif, tmp_path: Path) -> None:
    saved = save(scene(write_tif), tmp_path / "labels", np.where(drawn() == 0, 0, 255).astype(np.uint8))
    for where in ("class = 'lak'", "class = 'Lake'"):
        request = requests({**saved.examples["lake"], "where": where})
        with pytest.raises(SupportError, match="no feature is selected"):
            GeoTiffReader().check_vector(request)


def test_classes_are_told_by_their_names(write_tif: WriteTif, tmp_path: Path) -> None:
    path, values = scene(write_tif), drawn()
    save(path, tmp_path / "labels", values)
    loaded = load(path, tmp_path / "labels", {1: "road", 2: "lake"})
    assert np.array_equal(whole(loaded), np.select([values == 1, values == 0], [2, 0], 255))
    assert loaded is not None
    assert loaded.colors == {2: COLORS[1]}


@pytest.mark.parametrize("name", ["background", "no background", 'say "this"', "<&>", "\u00e9tang;--"])
def test_any_name_of_a_class_will_do(write_tif: WriteTif, tmp_path: Path, name: str) -> None:
    path, values = scene(write_tif), np.where(drawn() == 2, 255, drawn()).astype(np.uint8)
    labels = SceneLabels(find(path), {1: name}, {}, patches(values))
    saved = GeoTiffReader().save_labels(labels, tmp_path)
    (image,) = GeoTiffReader().read_support(requests(saved.examples[name]))
    assert np.array_equal(image.label, values)
    edit(tmp_path / "a_labels.gpkg", lambda features: features)
    assert np.array_equal(whole(load(path, tmp_path, {1: name})), values)


def edit(path: Path, change: Any) -> None:
    """Change features as a GIS does: `change` gets and gives a list of (geometry, class)."""
    meta, _, shapes, (names,) = pyogrio.raw.read(path, layer="labels", columns=["class"])
    found = change(list(zip(shapely.from_wkb(shapes), names.tolist(), strict=True)))
    pyogrio.raw.write(
        path,
        shapely.to_wkb(np.array([shape for shape, _ in found], dtype=object)),
        [np.array([name for _, name in found], dtype=object)],
        ["class"],
        layer="labels",
        driver="GPKG",
        geometry_type="Unknown",
        crs=meta["crs"],
    )


def test_edits_in_a_gis_count(write_tif: WriteTif, tmp_path: Path) -> None:
    path, values = scene(write_tif), drawn()
    save(path, tmp_path, values)
    edit(tmp_path / "a_labels.gpkg", lambda features: features)
    assert np.array_equal(whole(load(path, tmp_path)), values)
    corner = UTM["transform"] @ Affine.translation(10, 5)
    box = shapely.box(corner.c, corner.f - 40, corner.c + 70, corner.f)
    point = shapely.Point(corner.c + 10 * 200.5, corner.f - 5)
    edit(tmp_path / "a_labels.gpkg", lambda features: [*features, (box, "farmer's field"), (point, "background")])
    values[5:9, 10:17], values[5, 210] = 2, 0
    assert np.array_equal(whole(load(path, tmp_path)), values)
    edit(tmp_path / "a_labels.gpkg", lambda features: [(box, "farmer's feild")])
    with pytest.raises(SupportError, match="farmer's feild") as caught:
        load(path, tmp_path)
    assert "a_labels.gpkg" in caught.value.where
    (tmp_path / "a_labels.gpkg").unlink()
    assert np.array_equal(whole(load(path, tmp_path)), drawn())


def test_outlines_of_a_lost_raster_are_enough(write_tif: WriteTif, tmp_path: Path) -> None:
    path = scene(write_tif)
    save(path, tmp_path, drawn())
    (tmp_path / "a_labels.tif").unlink()
    assert np.array_equal(whole(load(path, tmp_path)), drawn())


def test_a_raster_of_another_size_or_place_is_refused(write_tif: WriteTif, tmp_path: Path) -> None:
    path = scene(write_tif)
    save(path, tmp_path / "labels", drawn())
    write_tif("a.tif", np.ones((2, 100, 300), np.uint8))
    with pytest.raises(SupportError, match="no longer fit"):
        load(path, tmp_path / "labels")
    scene(write_tif, transform=UTM["transform"] @ Affine.translation(5, 0))
    with pytest.raises(SupportError, match="no longer lie"):
        load(path, tmp_path / "labels")
    (tmp_path / "labels" / "a_labels.tif").write_text("no image")
    with pytest.raises(SupportError, match="cannot be read"):
        load(path, tmp_path / "labels")


def test_a_program_that_has_outlines_open_is_told_of(write_tif: WriteTif, tmp_path: Path) -> None:
    path = scene(write_tif)
    save(path, tmp_path / "labels", drawn())
    log = tmp_path / "labels" / "a_labels.gpkg-wal"
    log.write_bytes(b"changes")
    with pytest.raises(OutputError, match="another program"):
        save(path, tmp_path / "labels", drawn()[::-1])
    log.write_bytes(b"")
    save(path, tmp_path / "labels", drawn()[::-1])
    assert not log.exists()


def test_other_programs_see_names_and_colors(write_tif: WriteTif, tmp_path: Path) -> None:
    save(scene(write_tif), tmp_path, drawn())
    with rasterio.open(tmp_path / "a_labels.tif") as file:
        assert (file.nodata, file.crs, file.transform) == (255, UTM["crs"], UTM["transform"])
        assert file.colormap(1)[2][:3] == COLORS[2]
        assert file.tags()["HDM_CLASSES"] == '{"1": "lake", "2": "farmer\'s field"}'
    assert "<Category>farmer's field</Category>" in (tmp_path / "a_labels.tif.aux.xml").read_text()
    info = pyogrio.read_info(tmp_path / "a_labels.gpkg")
    assert (info["layer_name"], list(info["fields"]), info["crs"]) == ("labels", ["class"], UTM["crs"])


@pytest.mark.parametrize("placed", [UTM, PLAIN], ids=["placed", "picture"])
def test_a_large_scene_is_saved_and_read_where_something_is_drawn(tmp_path: Path, placed: Any) -> None:
    path = tmp_path / "large.tif"
    profile = {**placed, "driver": "GTiff", "count": 1, "dtype": "uint8", "height": 4_200, "width": 4_000}
    with rasterio.open(path, "w", **profile, tiled=True, blockxsize=512, blockysize=512, sparse_ok=True) as file:
        for column in (0, 3_000):
            file.write(np.full((1, 500, 500), 9, np.uint8), window=rasterio.windows.Window(column, 2_400, 500, 500))
    one, other = drawn()[:, :180], drawn()[:, ::-1]
    places = [Window(z=0, y=2_450, x=3_020, height=200, width=300), Window(z=0, y=2_450, x=7, height=200, width=180)]
    labels = SceneLabels(find(path), CLASSES, COLORS, (LabelPatch(places[0], other), LabelPatch(places[1], one)))
    reader = GeoTiffReader()
    saved = reader.save_labels(labels, tmp_path)
    assert sum(Path(file).stat().st_size for file in saved.files) < 2 * 2**20
    loaded = reader.load_labels(labels.scene, CLASSES, tmp_path)
    assert loaded is not None
    assert sum(patch.values.size for patch in loaded.patches) < 2**21
    found, expected = np.full((2, 4_200, 4_000), 255, np.uint8)
    for image in reader.read_support(requests(saved.examples["lake"])):
        x, y, width, height = map(int, image.name.partition("[")[2][:-1].split(","))
        assert width * height < 2**20
        found[y : y + height, x : x + width] = image.label
    for window, values in zip(places, (other, one), strict=True):
        part = expected[window.y : window.bottom, window.x : window.right]
        part[values != 255] = values[values != 255] == 1
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("packed", [False, True])
def test_scenes_of_several_files_are_examples(tmp_path: Path, packed: bool) -> None:
    band = np.random.default_rng(2).integers(1200, 4000, (60, 60), dtype=np.uint16)
    safe = write_safe(tmp_path / "archive", {"B04": band, "B11": band})
    if packed:
        shutil.make_archive(str(safe), "zip", safe.parent, safe.name)
        shutil.rmtree(safe)
    options = {"recursive": True, "asked": ["B04"]}
    (ref,) = (one for one in GeoTiffReader(options).discover(str(tmp_path / "archive")) if isinstance(one, SceneRef))
    shape = GeoTiffReader(options).header(ref).shape[2:]
    values = np.full(shape, 255, np.uint8)
    values[3:9, 2:7], values[0] = 1, 0
    saved = GeoTiffReader(options).save_labels(SceneLabels(ref, CLASSES, COLORS, patches(values)), tmp_path)
    (image,) = GeoTiffReader(options).read_support(requests(saved.examples["lake"]))
    assert np.array_equal(np.where(image.valid, values, 255), image.label)


DISK_FULL = """
import resource, signal, sys
from pathlib import Path
import numpy as np
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import LabelPatch, SceneLabels
from hdm_pipeline.errors import OutputError
from hdm_pipeline.grid import Window

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
path, folder, limit = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
reader = GeoTiffReader()
(ref,) = reader.discover(path)
values = np.random.default_rng(0).integers(0, 2, (200, 300)).astype(np.uint8)
labels = SceneLabels(ref, {1: "lake"}, {}, (LabelPatch(Window.whole(0, (200, 300)), values),))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    reader.save_labels(labels, folder)
except OutputError as error:
    print("refused:", error.what)
else:
    print("written")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize("limit", [0, 30_000])
def test_on_a_full_disk_the_earlier_labels_are_whole(write_tif: WriteTif, tmp_path: Path, limit: int) -> None:
    path = scene(write_tif)
    save(path, tmp_path / "labels", drawn())
    before = sorted(os.listdir(tmp_path / "labels"))
    folders = [str(Path(__file__).parents[3] / part) for part in (".", "plugins")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
    command = [sys.executable, "-c", DISK_FULL, str(path), str(tmp_path / "labels"), str(limit)]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert "the disk is full" in done.stdout, done.stdout + done.stderr
    assert sorted(os.listdir(tmp_path / "labels")) == before
    assert np.array_equal(whole(load(path, tmp_path / "labels")), drawn())


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_read_only(write_tif: WriteTif, tmp_path: Path) -> None:
    (tmp_path / "labels").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    with pytest.raises(OutputError, match="not writable"):
        save(scene(write_tif), tmp_path / "labels", drawn())


def test_a_folder_that_is_not_there(write_tif: WriteTif, tmp_path: Path) -> None:
    labels = SceneLabels(find(scene(write_tif)), CLASSES, COLORS, patches(drawn()))
    with pytest.raises(OutputError, match="not saved"):
        GeoTiffReader().save_labels(labels, tmp_path / "nowhere")


def test_cells_of_one_label_that_take_no_memory(write_tif: WriteTif, tmp_path: Path) -> None:
    path, folder = scene(write_tif), tmp_path / "labels"
    folder.mkdir()
    windows = [Window(z=0, y=y, x=x, height=64, width=64) for y in (0, 64, 128) for x in (0, 64, 128)]
    full = tuple(LabelPatch(one, np.broadcast_to(np.uint8(1), (64, 64))) for one in windows)
    GeoTiffReader().save_labels(SceneLabels(find(path), CLASSES, COLORS, full), folder)
    assert pyogrio.read_info(folder / "a_labels.gpkg")["features"] == 1
    (folder / "a_labels.tif").unlink()  # outlines are read then
    expected = np.full(SIZE, 255, np.uint8)
    expected[:192, :192] = 1
    assert np.array_equal(whole(load(path, folder)), expected)
