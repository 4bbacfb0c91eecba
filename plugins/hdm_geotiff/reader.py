"""The GeoTIFF reader plug-in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

from rasterio.io import DatasetReader

from hdm_geotiff import discovery
from hdm_geotiff.aoi import load_area
from hdm_geotiff.environment import check_uri, open_dataset, reading
from hdm_geotiff.header import describe, georeference
from hdm_geotiff.options import ReaderOptions
from hdm_geotiff.source import GeoTiffSource
from hdm_geotiff.support import read_example
from hdm_pipeline.contracts import LabeledImage, SceneHeader, SceneRef, Skipped, SupportRequest


class GeoTiffReader:
    """Implements `hdm_pipeline.contracts.Reader` for GeoTIFF files; options as in `ReaderOptions`."""

    name: ClassVar[str] = "geotiff"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """Check the options.

        Raises:
            ConfigError: an option is unknown or wrong, or the area of interest cannot be used.
        """
        self.options = ReaderOptions.from_mapping(options)
        self._aoi = None if self.options.aoi is None else load_area(self.options.aoi)

    def discover(self, uri: str) -> Iterator[SceneRef | Skipped]:
        """Find scenes; see `Reader.discover` and `hdm_geotiff.discovery`."""
        yield from discovery.discover(uri, self.options, self.name)

    def header(self, ref: SceneRef) -> SceneHeader:
        """Read a scene's header; see `Reader.header`."""
        with self._dataset(ref.uri) as dataset:
            return self._describe(dataset, ref)

    @contextmanager
    def open(self, ref: SceneRef) -> Iterator[GeoTiffSource]:
        """Open a scene; each call opens the file anew, so that no dataset is shared. See `Reader.open`."""
        with self._dataset(ref.uri) as dataset:
            header = self._describe(dataset, ref)
            area = self._aoi.in_scene(*georeference(dataset), ref.uri) if self._aoi else None
            yield GeoTiffSource(dataset, header, area, allow_network=self.options.allow_network)

    def read_support(self, request: SupportRequest) -> list[LabeledImage]:
        """Read a labelled chip; see `Reader.read_support` and `hdm_geotiff.support`."""
        return [read_example(request, self.options)]

    @contextmanager
    def _dataset(self, uri: str) -> Iterator[DatasetReader]:
        check_uri(uri, allow_network=self.options.allow_network, allow_vrt=self.options.allow_vrt)
        with reading(uri, "open the file", allow_network=self.options.allow_network):
            dataset = open_dataset(uri)
        try:
            yield dataset
        finally:
            dataset.close()

    def _describe(self, dataset: DatasetReader, ref: SceneRef) -> SceneHeader:
        with reading(ref.uri, "read the header", allow_network=self.options.allow_network):
            return describe(dataset, ref, self.options)
