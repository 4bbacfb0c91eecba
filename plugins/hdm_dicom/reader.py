"""The reader plug-in over DICOM series. pydicom is loaded when files are read, not when a pipeline is checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hdm_dicom.options import NOT_PIXELS, READER, ReaderOptions
from hdm_pipeline.contracts import (
    LabelChoice,
    LabeledImage,
    SavedLabels,
    SceneHeader,
    SceneLabels,
    SceneRef,
    Skipped,
    SupportRequest,
)
from hdm_pipeline.errors import ConfigError

if TYPE_CHECKING:
    from hdm_dicom.volumes.source import DicomSource

_SLICE = re.compile(r"^\s*2\s*$|\bb2\b|\bslice\b", re.IGNORECASE)
"""How `input.bands` names the slice itself among its neighbors."""


class DicomReader:
    """Finds and opens DICOM series; implements `hdm_pipeline.contracts.Reader`.

    Args:
        options: see `ReaderOptions`; and `asked`, the pipeline's `input.bands`.

    Raises:
        ConfigError: an option is unknown or has a wrong value, or the bands leave out the slice that is segmented.
    """

    name: ClassVar[str] = READER
    volumes: ClassVar[bool] = True
    takes_bands: ClassVar[bool] = True
    not_pixels: ClassVar[tuple[str, ...]] = NOT_PIXELS
    libraries: ClassVar[tuple[str, ...]] = ("pydicom",)

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        given = dict(options or {})
        asked = given.pop("asked", [])
        self.options = ReaderOptions.parse(given)
        if self.options.neighbors and asked and not any(_SLICE.search(band) for band in asked):
            raise ConfigError(
                f"with neighbors the bands {', '.join(asked)} leave out the slice itself: masks would be"
                " those of its neighbor",
                where="input.options.neighbors",
                remedy="set input.bands to [1, 2, 3] (below, slice, above), or neighbors to 0",
            )
        self._local = self.options.local()

    def check_input(self, uri: str) -> None:
        """Whether this reader could take an input, or ask an address.

        See `hdm_dicom.archive.addresses.check_input` and `hdm_dicom.remote.query.parse_query` for the errors.
        """
        from hdm_dicom.archive.addresses import check_input
        from hdm_dicom.pacs.address import is_address

        if not is_address(uri):
            check_input(uri)
            return
        from hdm_dicom.remote.connecting import check_connection
        from hdm_dicom.remote.discovery import WHERE
        from hdm_dicom.remote.query import parse_query

        address, _ = parse_query(uri, self.options, WHERE)
        check_connection(address, self.options)

    def discover(self, uri: str) -> Iterator[SceneRef | Skipped]:
        """Find the volumes behind a folder, file, zip archive, glob or list, or the series that a PACS lists.

        See `hdm_dicom.archive.discovery.find` and `hdm_dicom.remote.discovery.find`.
        """
        if self.is_remote(uri):
            from hdm_dicom.remote.discovery import find as find_remote

            yield from find_remote(uri, self.options, self.name)
            return
        from hdm_dicom.archive.discovery import find
        from hdm_dicom.archive.references import reference

        found, skipped = find(uri, self._local)
        yield from skipped
        yield from (reference(volume, self.name) for volume in found)

    def is_remote(self, uri: str) -> bool:
        """Whether this is an address of a PACS."""
        from hdm_dicom.pacs.address import is_address

        return is_address(uri)

    def fetch(
        self, ref: SceneRef, folder: Path, stopped: Callable[[], bool] = lambda: False
    ) -> list[SceneRef | Skipped]:
        """Bring a series of a PACS into a folder; see `hdm_dicom.remote.fetching`."""
        from hdm_dicom.remote.fetching import fetch

        return fetch(ref, folder, stopped, self.options, self.name)

    def fetch_example(self, uri: str, folder: Path) -> str:
        """Bring a labelled image, or its labels, from a PACS; see `hdm_dicom.remote.fetching`."""
        from hdm_dicom.remote.fetching import fetch_example

        return fetch_example(uri, folder, self.options)

    def header(self, ref: SceneRef) -> SceneHeader:
        """Shape, geometry and warnings of a volume; see `hdm_dicom.volumes.volume_io.open_volume` for the errors."""
        from hdm_dicom.volumes.source import read_header

        return read_header(ref, self._local)

    @contextmanager
    def open(self, ref: SceneRef) -> Iterator[DicomSource]:
        """Open a volume for reading slices."""
        from hdm_dicom.volumes.source import DicomSource

        yield DicomSource(ref, self._local)

    def label_choices(self, path: str) -> list[LabelChoice]:
        """Segments, structures or values of a file of labels; see `DraftingReader` and `hdm_dicom.examples.choices`."""
        from hdm_dicom.examples.choices import label_choices

        return label_choices(path)

    def told_of(self, ref: SceneRef) -> str:
        """Modality and description of a series; see `DraftingReader.told_of`."""
        from hdm_dicom.archive.references import told_of

        return told_of(ref)

    def read_support(self, request: SupportRequest) -> list[LabeledImage]:
        """Labelled slices of a series; see `hdm_dicom.examples.support.read_support`."""
        from hdm_dicom.examples.support import read_support

        return read_support(request, self._local)

    def save_labels(self, labels: SceneLabels, folder: Path) -> SavedLabels:
        """Keep labels that a person draws as a DICOM SEG; see `hdm_dicom.drawn_labels.saving.save`."""
        from hdm_dicom.drawn_labels.saving import save

        return save(labels, folder, self._local)

    def load_labels(self, ref: SceneRef, classes: Mapping[int, str], folder: Path) -> SceneLabels | None:
        """Labels that were kept; see `hdm_dicom.drawn_labels.loading.load`."""
        from hdm_dicom.drawn_labels.loading import load

        return load(ref, classes, folder, self._local)
