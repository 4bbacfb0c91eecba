"""The reader plug-in over DICOM series. pydicom is loaded when files are read, not when a pipeline is checked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from hdm_dicom.options import READER, ReaderOptions
from hdm_pipeline.contracts import LabeledImage, SceneHeader, SceneRef, Skipped, SupportRequest

if TYPE_CHECKING:
    from hdm_dicom.volumes.source import DicomSource


class DicomReader:
    """Finds and opens DICOM series; implements `hdm_pipeline.contracts.Reader`.

    Args:
        options: see `ReaderOptions`.

    Raises:
        ConfigError: an option is unknown or has a wrong value.
    """

    name: ClassVar[str] = READER
    volumes: ClassVar[bool] = True

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self.options = ReaderOptions.parse(options)

    def check_input(self, uri: str) -> None:
        """Whether this reader could take an input; see `hdm_dicom.archive.addresses.check_input`."""
        from hdm_dicom.archive.addresses import check_input

        check_input(uri)

    def discover(self, uri: str) -> Iterator[SceneRef | Skipped]:
        """Find the volumes behind a folder, file, zip archive, glob or list; see `hdm_dicom.archive.discovery.find`."""
        from hdm_dicom.archive.discovery import find
        from hdm_dicom.archive.references import reference

        found, skipped = find(uri, self.options)
        yield from skipped
        yield from (reference(volume, self.name) for volume in found)

    def header(self, ref: SceneRef) -> SceneHeader:
        """Shape, geometry and warnings of a volume; see `hdm_dicom.volumes.volume_io.open_volume` for the errors."""
        from hdm_dicom.volumes.source import read_header

        return read_header(ref, self.options)

    @contextmanager
    def open(self, ref: SceneRef) -> Iterator[DicomSource]:
        """Open a volume for reading slices."""
        from hdm_dicom.volumes.source import DicomSource

        yield DicomSource(ref, self.options)

    def read_support(self, request: SupportRequest) -> list[LabeledImage]:
        """Labelled slices of a series; see `hdm_dicom.examples.support.read_support`."""
        from hdm_dicom.examples.support import read_support

        return read_support(request, self.options)
