"""What is fuzzed: bytes in, a typed error or a result out; any other exception is a finding.

A target is made once in its process, with a scratch folder, and called with each input. Its corpus starts from small
valid inputs, which the fuzzer changes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Target = Callable[[bytes], None]

_WINDOW = 64


@dataclass(frozen=True)
class Harness:
    """One kind of input.

    Attributes:
        make: makes the target; called with the modules below instrumented.
        seeds: valid inputs.
        modules: packages whose branches guide the fuzzer.
        longest: bytes of an input.
    """

    make: Callable[[Path], Target]
    seeds: Callable[[Path], Iterator[bytes]]
    modules: tuple[str, ...]
    longest: int


def _yaml(folder: Path) -> Target:
    from hdm_pipeline.config.file import PipelineFileError, read_pipeline_file

    file = folder / "any.yaml"

    def target(data: bytes) -> None:
        file.write_bytes(data)
        with suppress(PipelineFileError):
            read_pipeline_file(file, (), {}).absolute()

    return target


def _yaml_seeds(_folder: Path) -> Iterator[bytes]:
    for path in sorted((Path(__file__).parents[2] / "pipelines").glob("[!t]*.yaml")):
        yield path.read_bytes()
    yield b"a: &a [1, 2]\nb: [*a, *a]\nname: ${HOME:-x}\n"


def _bands(_folder: Path) -> Target:
    from hdm_pipeline.contracts import Band
    from hdm_pipeline.errors import ConfigError, SceneError
    from hdm_pipeline.pixels.bands import resolve

    bands = (Band("VV"), Band("VH"), Band("Band 7"))
    pixels = np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 2, 2)
    valid = np.ones((2, 2), dtype=np.bool_)

    def target(data: bytes) -> None:
        try:
            plan = resolve([data.decode("utf-8", "surrogateescape")], bands)
        except (ConfigError, SceneError):
            return
        made, still = plan.apply(pixels[list(plan.indices)], valid)
        assert made.shape == (1, 2, 2)
        assert np.isfinite(made[:, still]).all()

    return target


def _bands_seeds(_folder: Path) -> Iterator[bytes]:
    yield from (b"VV", b"1", b"(VH - VV) / (VH + 'Band 7')", b"log10(b1)", b"min(VV, abs(VH), 2.5e-3)", b"-sqrt(VV)*+3")


def _dicom(folder: Path) -> Target:
    from hdm_dicom.reader import DicomReader
    from hdm_pipeline.contracts import SceneRef
    from hdm_pipeline.errors import ArchiveError, SceneError
    from hdm_pipeline.grid import Window

    reader = DicomReader({"max_volume_bytes": 1 << 24, "max_frame_pixels": 1 << 20})
    file = folder / "any.dcm"

    def target(data: bytes) -> None:
        file.write_bytes(data)
        with suppress(ArchiveError, SceneError):
            for found in reader.discover(str(folder)):
                if isinstance(found, SceneRef):
                    header = reader.header(found)
                    with reader.open(found) as source:
                        source.read(Window.whole(0, header.shape[2:]), [0])

    return target


def _dicom_seeds(folder: Path) -> Iterator[bytes]:
    from pydicom.uid import RLELossless

    from tests.dicom_series import write_series

    image = np.arange(256, dtype=np.uint16).reshape(16, 16)
    for name, change in (("plain", None), ("rle", lambda dataset, _index: dataset.compress(RLELossless))):
        paths = write_series(folder / name, pixels=lambda _index: image, change=change)
        yield paths[0].read_bytes()


def _tiff(folder: Path) -> Target:
    from hdm_geotiff.reader import GeoTiffReader
    from hdm_pipeline.contracts import SceneRef
    from hdm_pipeline.errors import SceneError
    from hdm_pipeline.grid import Window

    reader = GeoTiffReader({"max_pixels": 1 << 24, "max_block_bytes": 1 << 24})
    file = folder / "any.tif"

    def target(data: bytes) -> None:
        file.write_bytes(data)
        ref = SceneRef("any", str(file), "geotiff", "fuzz")
        with suppress(SceneError), reader.open(ref) as source:
            _, _, height, width = source.header.shape
            source.read(Window(z=0, y=0, x=0, height=min(height, _WINDOW), width=min(width, _WINDOW)), [0])
            source.row_areas()

    return target


def _tiff_seeds(folder: Path) -> Iterator[bytes]:
    import rasterio
    from affine import Affine

    pixels = np.arange(2 * 32 * 32, dtype=np.int16).reshape(2, 32, 32)
    for options in ({}, {"compress": "deflate", "tiled": True, "blockxsize": 16, "blockysize": 16}, {"nodata": 3}):
        place = {"crs": "EPSG:32633", "transform": Affine(10, 0, 500000, 0, -10, 5000000)}
        profile = {"driver": "GTiff", "count": 2, "height": 32, "width": 32, "dtype": "int16", **place, **options}
        with rasterio.open(folder / "seed.tif", "w", **profile) as file:
            file.write(pixels)
        yield (folder / "seed.tif").read_bytes()


HARNESSES = {
    "yaml": Harness(_yaml, _yaml_seeds, ("hdm_pipeline", "yaml"), 4096),
    "bands": Harness(_bands, _bands_seeds, ("hdm_pipeline",), 220),
    "dicom": Harness(_dicom, _dicom_seeds, ("hdm_dicom", "pydicom"), 8192),
    "tiff": Harness(_tiff, _tiff_seeds, ("hdm_geotiff",), 16384),
}
