"""Opening scenes: each call opens the files anew, so that no dataset is shared between threads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from functools import partial

from hdm_geotiff.files.environment import lasting_environment, open_dataset, reading
from hdm_geotiff.files.uris import check_uri
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.scenes.aoi import AreaOfInterest, SceneArea
from hdm_geotiff.scenes.header import describe, names_of
from hdm_geotiff.scenes.joined_scenes import MARK, open_mosaic
from hdm_geotiff.scenes.layered import open_layered
from hdm_geotiff.scenes.raster_grid import Grid
from hdm_geotiff.scenes.source import GeoTiffSource, RasterSource
from hdm_geotiff.scenes.stored import StoredBands, own_laws
from hdm_geotiff.values import Law
from hdm_pipeline.contracts import SceneHeader, SceneRef, SceneWarning


def read_header(ref: SceneRef, options: ReaderOptions, aoi: AreaOfInterest | None) -> SceneHeader:
    """A scene's header; see `Reader.header`."""
    with open_source(ref, options, aoi) as source:
        return source.header


@contextmanager
def open_source(
    ref: SceneRef, options: ReaderOptions, aoi: AreaOfInterest | None, *, instead: str = ""
) -> Iterator[RasterSource]:
    """Open a scene, of one file or of several; see `Reader.open`.

    Args:
        ref: the scene.
        options: of the reader.
        aoi: the area of interest.
        instead: what else the user can do about a damaged file, for messages.
    """
    with _opened(ref, options, instead) as source:
        if aoi is not None:
            source.header, area = _placed(aoi, ref, source.header, source.grid)
            source.limit(area)
        yield source


def _opened(ref: SceneRef, options: ReaderOptions, instead: str) -> AbstractContextManager[RasterSource]:
    if ref.recipe.startswith(MARK):
        return open_mosaic(ref, options, open_source)
    return (open_layered if ref.recipe else _open_file)(ref, options, instead)


@contextmanager
def _open_file(ref: SceneRef, options: ReaderOptions, instead: str) -> Iterator[RasterSource]:
    check_uri(ref.uri, allow_network=options.allow_network, allow_vrt=options.allow_vrt)
    with reading(ref.uri, "open the file", allow_network=options.allow_network, instead=instead):
        dataset = open_dataset(ref.uri)
    with ExitStack() as stack:
        stack.enter_context(lasting_environment(allow_network=options.allow_network))
        stack.enter_context(dataset)
        with reading(ref.uri, "read the header", allow_network=options.allow_network, instead=instead):
            names = names_of(dataset)
            laws = options.values.applied(own_laws(dataset), ref, names)
            header = describe(dataset, laws, ref, options)
            if len(options.bands) == len(names) and not any(names):
                # One file beside an archive of bands in files of their own: an example. Its bands can only be these.
                bands = [replace(band, name=name) for band, (name, _) in zip(header.bands, options.bands, strict=True)]
                header = replace(header, bands=tuple(bands))
            stored = StoredBands(dataset, laws)
            anew = partial(_bands_anew, ref.uri, laws)
            source = GeoTiffSource(stored, header, stack, anew, allow_network=options.allow_network)
        yield source


@contextmanager
def _bands_anew(uri: str, laws: Sequence[Law]) -> Iterator[StoredBands]:
    with open_dataset(uri) as dataset:
        yield StoredBands(dataset, laws)


def _placed(aoi: AreaOfInterest, ref: SceneRef, header: SceneHeader, grid: Grid) -> tuple[SceneHeader, SceneArea]:
    """The area of interest in a scene's pixels, and a header that also says where it misses the scene."""
    area = aoi.in_scene(grid.crs, grid.transform, ref.uri)
    if not area.misses(grid.height, grid.width):
        return header, area
    remedy = f"leave the scene out (input.exclude), or check {aoi.path}"
    missed = SceneWarning("outside_aoi", "the area of interest lies outside of it: all is nodata", remedy)
    return replace(header, warnings=(*header.warnings, missed)), area
