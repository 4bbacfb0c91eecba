"""Opening scenes: each call opens the file anew, so that no dataset is shared between threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from rasterio.io import DatasetReader

from hdm_geotiff.aoi import AreaOfInterest, SceneArea
from hdm_geotiff.environment import open_dataset, reading
from hdm_geotiff.header import describe, georeference
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.source import GeoTiffSource
from hdm_geotiff.uris import check_uri
from hdm_pipeline.contracts import SceneHeader, SceneRef, SceneWarning


def read_header(ref: SceneRef, options: ReaderOptions, aoi: AreaOfInterest | None) -> SceneHeader:
    """A scene's header; see `Reader.header`."""
    with _dataset(ref.uri, options) as dataset:
        return _describe(dataset, ref, options, aoi)[0]


@contextmanager
def open_source(ref: SceneRef, options: ReaderOptions, aoi: AreaOfInterest | None) -> Iterator[GeoTiffSource]:
    """Open a scene; see `Reader.open`."""
    with _dataset(ref.uri, options) as dataset:
        header, area = _describe(dataset, ref, options, aoi)
        with reading(ref.uri, "read the header", allow_network=options.allow_network):
            source = GeoTiffSource(dataset, header, area, allow_network=options.allow_network)
        yield source


@contextmanager
def _dataset(uri: str, options: ReaderOptions) -> Iterator[DatasetReader]:
    check_uri(uri, allow_network=options.allow_network, allow_vrt=options.allow_vrt)
    with reading(uri, "open the file", allow_network=options.allow_network):
        dataset = open_dataset(uri)
    try:
        yield dataset
    finally:
        dataset.close()


def _describe(
    dataset: DatasetReader, ref: SceneRef, options: ReaderOptions, aoi: AreaOfInterest | None
) -> tuple[SceneHeader, SceneArea | None]:
    """The header, which also says where the area of interest misses the scene, and the area in the scene's pixels."""
    with reading(ref.uri, "read the header", allow_network=options.allow_network):
        header = describe(dataset, ref, options)
        area = None if aoi is None else aoi.in_scene(*georeference(dataset), ref.uri)
    if aoi is not None and area is not None and area.misses(dataset.height, dataset.width):
        remedy = f"leave the scene out (input.exclude), or check {aoi.path}"
        missed = SceneWarning("outside_aoi", "the area of interest lies outside of it: all is nodata", remedy)
        header = replace(header, warnings=(*header.warnings, missed))
    return header, area
