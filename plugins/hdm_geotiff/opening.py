"""Opening scenes: each call opens the file anew, so that no dataset is shared between threads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rasterio.io import DatasetReader

from hdm_geotiff.aoi import AreaOfInterest
from hdm_geotiff.environment import open_dataset, reading
from hdm_geotiff.header import describe, georeference
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.source import GeoTiffSource
from hdm_geotiff.uris import check_uri
from hdm_pipeline.contracts import SceneHeader, SceneRef


def read_header(ref: SceneRef, options: ReaderOptions) -> SceneHeader:
    """A scene's header; see `Reader.header`."""
    with _dataset(ref.uri, options) as dataset:
        return _describe(dataset, ref, options)


@contextmanager
def open_source(ref: SceneRef, options: ReaderOptions, aoi: AreaOfInterest | None) -> Iterator[GeoTiffSource]:
    """Open a scene; see `Reader.open`."""
    with _dataset(ref.uri, options) as dataset:
        header = _describe(dataset, ref, options)
        with reading(ref.uri, "read the header", allow_network=options.allow_network):
            area = None if aoi is None else aoi.in_scene(*georeference(dataset), ref.uri)
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


def _describe(dataset: DatasetReader, ref: SceneRef, options: ReaderOptions) -> SceneHeader:
    with reading(ref.uri, "read the header", allow_network=options.allow_network):
        return describe(dataset, ref, options)
