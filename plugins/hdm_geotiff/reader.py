"""The GeoTIFF reader plug-in. GDAL is loaded when a file is opened, not when a pipeline is checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from hdm_geotiff.archive import discovery
from hdm_geotiff.options import READER, ReaderOptions
from hdm_pipeline.contracts import (
    LabelChoice,
    LabeledImage,
    SavedLabels,
    SceneHeader,
    SceneLabels,
    SceneRef,
    SceneSource,
    Skipped,
    SupportRequest,
)

if TYPE_CHECKING:
    from pathlib import Path

    from hdm_geotiff.examples.kept_labels import KeptLabels
    from hdm_geotiff.examples.vector_support import DrawnLabels
    from hdm_geotiff.scenes.aoi import AreaOfInterest


class GeoTiffReader:
    """Implements `hdm_pipeline.contracts.Reader` for GeoTIFF files; options as in `ReaderOptions`."""

    name: ClassVar[str] = READER
    takes_bands: ClassVar[bool] = True
    volumes: ClassVar[bool] = False
    not_pixels: ClassVar[tuple[str, ...]] = ("allow_network",)
    libraries: ClassVar[tuple[str, ...]] = ("rasterio", "pyproj")

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        """Check the options.

        Raises:
            ConfigError: an option is unknown or wrong, or the area of interest cannot be used.
        """
        self.options = ReaderOptions.parse(options)
        self._aoi: AreaOfInterest | None = None
        if self.options.aoi is not None:
            from hdm_geotiff.scenes.aoi import load_area

            self._aoi = load_area(self.options.aoi)

    def check_input(self, uri: str) -> None:
        """Whether this reader could take an input; see `hdm_geotiff.archive.listing.check_address`."""
        from hdm_geotiff.archive.listing import check_address

        check_address(uri, self.options)

    def discover(self, uri: str) -> Iterator[SceneRef | Skipped]:
        """Find scenes; see `Reader.discover` and `hdm_geotiff.archive.discovery`."""
        yield from discovery.discover(uri, self.options, self.name)

    def header(self, ref: SceneRef) -> SceneHeader:
        """Read a scene's header; see `Reader.header`."""
        from hdm_geotiff.scenes.opening import read_header

        return read_header(ref, self.options, self._aoi)

    def open(self, ref: SceneRef) -> AbstractContextManager[SceneSource]:
        """Open a scene; each call opens the file anew, so that no dataset is shared. See `Reader.open`."""
        from hdm_geotiff.scenes.opening import open_source

        return open_source(ref, self.options, self._aoi)

    def example_files(self, request: SupportRequest) -> list[str]:
        """Files on disk, beside image and mask, that an example is read from; see `examples.example_image`."""
        from hdm_geotiff.examples.example_image import image_files

        return image_files(request.image, self.options)

    def read_support(self, request: SupportRequest) -> list[LabeledImage]:
        """Read a labelled image; see `Reader.read_support`, and `support` and `vector_support` in `examples`."""
        if request.vector is not None:
            return self._drawn.read(request)
        from hdm_geotiff.examples.support import read_example

        return read_example(request, self.options)

    def check_vector(self, request: SupportRequest) -> None:
        """Check a file of drawn labels; see `VectorLabelReader.check_vector`."""
        self._drawn.check(request)

    def vector_identity(self, request: SupportRequest) -> str:
        """What changes with drawn labels; see `VectorLabelReader.vector_identity`."""
        return self._drawn.identity(request)

    def save_labels(self, labels: SceneLabels, folder: Path) -> SavedLabels:
        """Keep labels that a person draws; see `LabelKeeper.save_labels` and `hdm_geotiff.examples.kept_labels`."""
        return self._kept.save(labels, folder)

    def load_labels(self, ref: SceneRef, classes: Mapping[int, str], folder: Path) -> SceneLabels | None:
        """Labels that were kept; see `LabelKeeper.load_labels`."""
        return self._kept.load(ref, classes, folder)

    @cached_property
    def _kept(self) -> KeptLabels:
        from hdm_geotiff.examples.kept_labels import KeptLabels

        return KeptLabels(self.options)

    def label_choices(self, path: str) -> list[LabelChoice]:
        """What a vector file or a mask holds; see `DraftingReader` and `hdm_geotiff.examples.choices`."""
        from hdm_geotiff.examples.choices import label_choices

        return label_choices(path, self.options)

    def told_of(self, ref: SceneRef) -> str:
        """Nothing: a scene is called as its file."""
        return ""

    @cached_property
    def _drawn(self) -> DrawnLabels:
        from hdm_geotiff.examples.vector_support import DrawnLabels

        return DrawnLabels(self.options)
