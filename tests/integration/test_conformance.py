"""The shipped suites, run on our plug-ins and on a stranger's; and the suites themselves, run on plug-ins that lie."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from PIL import Image
from rasterio.enums import Resampling

from hdm_geotiff.polygons.writer import PolygonWriter
from hdm_geotiff.products.quicklook import QuicklookWriter
from hdm_geotiff.products.writer import MaskWriter, ScoreWriter, UncertaintyWriter
from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import ClassInfo, SavedLabels, SceneHeader, SceneRef, SupportRequest
from hdm_pipeline.grid import Window
from hdm_pipeline.testing import ConformanceError, check_reader, check_writer, example_header, example_product

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "example_plugin"


def write_tiff(path: Path, pixels: npt.NDArray[Any], mask: npt.NDArray[np.bool_] | None = None, **profile: Any) -> None:
    profile = {
        "driver": "GTiff",
        "crs": "EPSG:32633",
        "transform": Affine(10, 0, 5e5, 0, -10, 5e6),
        **profile,
    }
    count, height, width = pixels.shape
    with rasterio.open(path, "w", count=count, height=height, width=width, dtype=pixels.dtype, **profile) as file:
        file.write(pixels)
        if mask is not None:
            file.write_mask(mask)


@pytest.fixture
def tiffs(tmp_path: Path) -> Path:
    """Scenes of several layouts, with nodata, NaN and an internal mask."""
    folder = tmp_path / "tiffs"
    folder.mkdir()
    rng = np.random.default_rng(1)
    pixels = rng.normal(-10, 4, (2, 333, 410)).astype(np.float32)
    pixels[:, :20] = np.nan
    pixels[1, 50:60, 70:90] = np.nan
    write_tiff(folder / "a.tif", pixels, nodata=np.nan, tiled=True, blockxsize=128, blockysize=64, compress="deflate")
    bytes_ = rng.integers(0, 255, (3, 90, 75), dtype=np.uint8)
    write_tiff(folder / "b.tif", bytes_, nodata=7)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
        write_tiff(folder / "c.tif", bytes_[:1], rng.random((90, 75)) < 0.8)
    write_tiff(folder / "d.tif", np.full((1, 1, 1), 5, np.int16))
    with rasterio.open(folder / "a.tif", "r+") as file:
        file.build_overviews([2, 4, 8], Resampling.cubic)
    return folder


def test_the_geotiff_reader_conforms(tiffs: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    content = (tiffs / "a.tif").read_bytes()
    (damaged / "cut.tif").write_bytes(content[: len(content) // 2])
    (damaged / "text.tif").write_text("no image at all")
    label = np.zeros((1, 90, 75), np.uint8)
    label[0, 10:40, 5:50] = 1
    write_tiff(tmp_path / "label.tif", label)
    write_tiff(tmp_path / "small.tif", label[:, :50])
    image = str(tiffs / "b.tif")
    check_reader(
        GeoTiffReader,
        str(tiffs),
        damaged=[str(damaged)],
        support=SupportRequest(image, str(tmp_path / "label.tif")),
        unusable_support=[
            SupportRequest(image, str(tmp_path / "small.tif")),
            SupportRequest(image, str(damaged / "text.tif")),
        ],
    )


def read_tiff(path: Path) -> npt.NDArray[np.uint8]:
    with rasterio.open(path) as file:
        return np.asarray(file.read())


def test_the_geotiff_writers_conform(tmp_path: Path) -> None:
    check_writer(
        MaskWriter, example_product(), tmp_path / "mask", read_mask=read_tiff, empty=example_product(empty=True)
    )
    check_writer(ScoreWriter, example_product(), tmp_path / "score", empty=example_product(empty=True))
    for form in ("gpkg", "fgb", "parquet"):
        options = {"format": form}
        check_writer(
            PolygonWriter, example_product(), tmp_path / form, options=options, empty=example_product(empty=True)
        )
    check_writer(UncertaintyWriter, example_product(), tmp_path / "uncertainty", empty=example_product(empty=True))
    check_writer(QuicklookWriter, example_product(), tmp_path / "quicklook", empty=example_product(empty=True))


def test_the_example_product_can_be_checked_at_any_size(tmp_path: Path) -> None:
    header = example_header(65, 31)
    check_writer(MaskWriter, example_product(header), tmp_path, read_mask=read_tiff)


@pytest.mark.data
def test_the_geotiff_reader_conforms_on_real_scenes(test_data: Path) -> None:
    check_reader(GeoTiffReader, str(test_data / "flood"), options={"recursive": True})


@pytest.mark.data
def test_the_dicom_plugins_conform_on_a_real_volume(test_data: Path, tmp_path: Path) -> None:
    from hdm_dicom.nifti import NiftiWriter
    from hdm_dicom.reader import DicomReader
    from hdm_dicom.segmentation.writer import SegmentationWriter

    volume = test_data / "dicom" / "ct-abdomen"
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for file in (volume / "example_ct_dicom").iterdir():
        (damaged / file.name).write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    check_reader(DicomReader, str(volume), damaged=[str(damaged)])
    reader = DicomReader({})
    header = next(reader.header(found) for found in reader.discover(str(volume)) if isinstance(found, SceneRef))
    codes = {"category": "SCT:91723000:Anatomical Structure", "type": "SCT:10200004:Liver"}
    classes = (ClassInfo(1, "liver", codes=codes),)
    for writer in (SegmentationWriter, NiftiWriter):
        product, empty = (example_product(header, classes, empty=flag) for flag in (False, True))
        check_writer(writer, product, tmp_path / writer.name, empty=empty)


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example plug-in, installed as a stranger would into a folder of its own, without network."""
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "plugin")
    target = tmp_path_factory.mktemp("installed")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--target", str(target), str(source)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return target


_CHECK = """
import sys
from pathlib import Path
import numpy as np
from PIL import Image
from hdm_pipeline.contracts import SupportRequest
from hdm_pipeline.plugin.registry import READERS, WRITERS, load, make_reader, make_writer
from hdm_pipeline.testing import check_reader, check_writer, example_product

folder = Path(sys.argv[1])
support = SupportRequest(str(folder / "support" / "image.png"), str(folder / "support" / "mask.png"))
small = SupportRequest(str(folder / "support" / "image.png"), str(folder / "scenes" / "b.png"))
check_reader(
    load(READERS, "png"), str(folder / "scenes"), damaged=[str(folder / "damaged")],
    support=support, unusable_support=[small],
)
check_writer(
    load(WRITERS, "png-mask"), example_product(), folder / "out",
    read_mask=lambda path: np.asarray(Image.open(path))[None], empty=example_product(empty=True),
)
make_reader("png", {}), make_writer("png-mask", {})
print("conforms", load(READERS, "png").__module__, sys.modules["hdm_png"].__file__)
"""


def test_the_example_plugin_is_found_and_conforms(installed: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    for name in ("scenes", "support", "damaged", "out"):
        (tmp_path / name).mkdir()
    rgba = rng.integers(0, 256, (120, 80, 4), dtype=np.uint8)
    rgba[..., 3] = np.where(rng.random((120, 80)) < 0.8, 255, 0)
    Image.fromarray(rgba).save(tmp_path / "scenes" / "a.png")
    Image.fromarray(rgba[:33, :20, 0]).save(tmp_path / "scenes" / "b.png")
    Image.fromarray(rgba[..., :3]).save(tmp_path / "support" / "image.png")
    Image.fromarray((rgba[..., 0] > 100).astype(np.uint8)).save(tmp_path / "support" / "mask.png")
    (tmp_path / "damaged" / "cut.png").write_bytes((tmp_path / "scenes" / "a.png").read_bytes()[:900])
    (tmp_path / "damaged" / "text.png").write_text("no image at all")

    path = os.pathsep.join([str(installed), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", _CHECK, str(tmp_path)],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1].startswith(str(installed))


def test_the_example_plugin_is_short() -> None:
    assert len((EXAMPLE / "hdm_png.py").read_text().splitlines()) < 100


class _Source:
    """Passes everything on to an honest source, unless a liar below overrides it."""

    def __init__(self, source: Any) -> None:
        self.source = source
        self.header = source.header

    def read(self, window: Window, bands: Any) -> Any:
        return self.source.read(window, bands)

    def sample(self, bands: Any, max_pixels: int) -> Any:
        return self.source.sample(bands, max_pixels)

    def row_areas(self) -> Any:
        return self.source.row_areas()


def lying(read: Callable[[Any, Window, Any], Any]) -> type[GeoTiffReader]:
    """A reader whose sources read as told."""

    class Source(_Source):
        def read(self, window: Window, bands: Any) -> Any:
            return read(self.source, window, bands)

    class Liar(GeoTiffReader):
        @contextmanager
        def open(self, ref: Any) -> Any:
            with super().open(ref) as source:
                yield Source(source)

    return Liar


def shifted(source: Any, window: Window, bands: Any) -> Any:
    return source.read(moved(window), bands)


def unordered(source: Any, window: Window, bands: Any) -> Any:
    return source.read(window, sorted(bands))


def wrong_shape(source: Any, window: Window, bands: Any) -> Any:
    pixels, valid = source.read(window, bands)
    return pixels[:, :, ::-1][:, :-1], valid


def moved(window: Window) -> Window:
    return Window(z=window.z, y=window.y, x=max(0, window.x - 1), height=window.height, width=window.width)


_shared: dict[Any, Any] = {}


def shared(source: Any, window: Window, bands: Any) -> Any:
    return _shared.setdefault((source.header.ref.id, window, tuple(bands)), source.read(window, bands))


def normalized_by_window(source: Any, window: Window, bands: Any) -> Any:
    pixels, valid = source.read(window, bands)
    return pixels / np.float32(max(1.0, np.abs(pixels).max())), valid


@pytest.mark.parametrize(
    ("read", "word"),
    [
        (shifted, "read by itself differs"),
        (unordered, "order of bands"),
        (wrong_shape, "broke its contract"),
        (shared, "two reads differ"),
        (normalized_by_window, "read by itself differs"),
    ],
)
def test_a_reader_that_lies_is_found_out(tiffs: Path, read: Any, word: str) -> None:
    with pytest.raises(ConformanceError, match=word) as caught:
        check_reader(lying(read), str(tiffs))
    assert "Liar does not conform" in str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        (lambda read, window, bands, size: read(moved(window), bands, size), "is not what read gives"),
        (lambda read, window, bands, size: (read(window, bands, size)[0], np.ones(size, np.bool_)), "none around them"),
        (lambda read, window, bands, size: (read(window, bands, size)[0], np.zeros(size, np.bool_)), "all around them"),
        (lambda read, window, bands, size: read(window, sorted(bands), size), "another order"),
        (lambda read, window, bands, size: (read(window, bands, size)[0] - 40, read(window, bands, size)[1]), "around"),
    ],
)
def test_a_reader_that_lies_about_overviews_is_found_out(tiffs: Path, wrong: Any, word: str) -> None:
    class Source(_Source):
        def read_reduced(self, window: Window, bands: Any, size: Any) -> Any:
            return wrong(self.source.read_reduced, window, bands, size)

    class Liar(GeoTiffReader):
        @contextmanager
        def open(self, ref: Any) -> Any:
            with super().open(ref) as source:
                yield Source(source)

    with pytest.raises(ConformanceError, match=word):
        check_reader(Liar, str(tiffs / "a.tif"))


@pytest.mark.parametrize(
    ("save", "load", "word"),
    [
        (lambda keep, labels: replace(keep(labels), files=()), None, "files lie in the folder, 0 are named"),
        (lambda keep, labels: keep(replace(labels, patches=labels.patches[1:])), None, "come back changed"),
        (lambda keep, labels: _swapped(keep(labels)), None, "holds other labels than were drawn"),
        (None, lambda give, classes: give({1: "first", 2: "second class", 3: "d'été"}), "no class"),
        (None, lambda give, classes: None, "not given back"),
    ],
)
def test_a_reader_that_lies_about_labels_is_found_out(tiffs: Path, save: Any, load: Any, word: str) -> None:
    class Liar(GeoTiffReader):
        def save_labels(self, labels: Any, folder: Path) -> Any:
            keep = partial(super().save_labels, folder=folder)
            return save(keep, labels) if save else keep(labels)

        def load_labels(self, ref: Any, classes: Any, folder: Path) -> Any:
            give = partial(super().load_labels, ref, folder=folder)
            return load(lambda named: give(classes=named), classes) if load else give(classes=classes)

    with pytest.raises(ConformanceError, match=word):
        check_reader(Liar, str(tiffs / "b.tif"))


def _swapped(saved: SavedLabels) -> SavedLabels:
    """Each class with the example of another."""
    return replace(saved, examples=dict(zip(saved.examples, reversed(saved.examples.values()), strict=True)))


def test_a_reader_that_mutates_the_archive_is_found_out(tiffs: Path) -> None:
    class Mutating(GeoTiffReader):
        def header(self, ref: Any) -> SceneHeader:
            Path(f"{ref.uri}.aux.xml").write_text("<PAMDataset/>")
            return super().header(ref)

    with pytest.raises(ConformanceError, match="files of the archive were changed"):
        check_reader(Mutating, str(tiffs))


def test_readers_that_fail_in_their_own_words_are_found_out(tiffs: Path, tmp_path: Path) -> None:
    class Careless(GeoTiffReader):
        def __init__(self, options: Any = None) -> None:
            super().__init__({})

        def discover(self, uri: str) -> Any:
            if not Path(uri).exists():
                raise FileNotFoundError(uri)
            yield from super().discover(uri)

    with pytest.raises(ConformanceError) as caught:
        check_reader(Careless, str(tiffs))
    assert len(caught.value.findings) == 2
    assert "an unknown option raises nothing" in str(caught.value)
    assert "FileNotFoundError" in str(caught.value)


class _Stamped(MaskWriter):
    written = 0

    def write(self, product: Any, path: Path) -> None:
        super().write(product, path)
        _Stamped.written += 1
        path.write_bytes(path.read_bytes() + bytes([_Stamped.written]))


class _Littering(MaskWriter):
    def write(self, product: Any, path: Path) -> None:
        super().write(product, path)
        path.with_suffix(".tmp").touch()


class _StampedBeside(MaskWriter):
    written = 0

    def write(self, product: Any, path: Path) -> None:
        super().write(product, path)
        _StampedBeside.written += 1
        path.with_suffix(".qml").write_text(f"number {_StampedBeside.written}")


class _Greedy(MaskWriter):
    def write(self, product: Any, path: Path) -> None:
        _, _, height, width = product.mask.shape
        product.mask.read(Window(z=0, y=0, x=0, height=height, width=width))
        super().write(product, path)


class _Outside(MaskWriter):
    def write(self, product: Any, path: Path) -> None:
        product.mask.read(Window(z=0, y=0, x=0, height=10**6, width=1))


class _Wrong(MaskWriter):
    def write(self, product: Any, path: Path) -> None:
        super().write(product, path)
        with rasterio.open(path, "r+", IGNORE_COG_LAYOUT_BREAK="YES") as file:
            mask = file.read(1)
            mask[5, 5] ^= 1
            file.write(mask, 1)
            file.build_overviews([2], Resampling.nearest)


class _Mutating(MaskWriter):
    def write(self, product: Any, path: Path) -> None:
        product.scene.attributes["seen"] = True
        super().write(product, path)


class _Helpful(MaskWriter):
    def write(self, product: Any, path: Path) -> None:
        path.parent.mkdir(exist_ok=True)
        super().write(product, path)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (_Stamped, "written twice differs"),
        (_StampedBeside, "written twice differs"),
        (_Littering, "other files are left"),
        (_Greedy, "pulled at once"),
        (_Outside, "outside of the scene"),
        (_Wrong, "does not read back"),
        (_Mutating, "header is changed"),
        (_Helpful, "a folder is made"),
    ],
)
def test_a_writer_that_lies_is_found_out(kind: Any, word: str, tmp_path: Path) -> None:
    with pytest.raises(ConformanceError, match=word):
        check_writer(kind, example_product(), tmp_path, read_mask=read_tiff)
