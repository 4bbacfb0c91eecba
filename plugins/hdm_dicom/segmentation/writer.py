"""The writer plug-in for DICOM Segmentations. highdicom is loaded when one is written, not when one is planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hdm_dicom.derived import codes
from hdm_dicom.derived.write_errors import write_error
from hdm_dicom.options import READER, check_names, one_of
from hdm_dicom.segmentation.style import SegmentationStyle
from hdm_pipeline.contracts import ClassInfo, Product, SceneHeader, VolumeGeometry
from hdm_pipeline.errors import ConfigError, WriteError

_KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
_OPTIONS = ("type", "omit_empty_frames", "empty", "series_number", "series_description", "deidentify")
_WHERE = "output.products, segmentation"


class SegmentationWriter:
    """Writes one DICOM SEG a series.

    Args:
        options: ``type`` BINARY (default), FRACTIONAL or LABELMAP; ``omit_empty_frames`` (default true);
            ``empty`` what to do when nothing was found: ``write`` a segmentation whose frames are all empty (default)
            or ``error``; ``series_number`` (default 900) and ``series_description`` of the new series;
            ``deidentify: {key_file: PATH}`` to remove who the patient is, see `hdm_dicom.privacy.deidentify`.

    Raises:
        ConfigError: an option is unknown or has a wrong value.
    """

    name: ClassVar[str] = "segmentation"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        options = dict(options or {})
        check_names(options, list(_OPTIONS), _WHERE)
        kind = str(options.get("type", "BINARY")).upper()
        one_of(kind, _KINDS, f"{_WHERE}, type")
        omit = options.get("omit_empty_frames", True)
        one_of(omit, (True, False), f"{_WHERE}, omit_empty_frames")
        self._empty = options.get("empty", "write")
        one_of(self._empty, ("write", "error"), f"{_WHERE}, empty")
        number, description = options.get("series_number", 900), options.get("series_description", "HDM segmentation")
        if not isinstance(number, int) or not 1 <= number < 1 << 31:
            raise ConfigError("series_number must be a positive integer", where=_WHERE)
        if not isinstance(description, str) or not 1 <= len(description) <= 64 or "\\" in description:
            raise ConfigError("series_description must have 1 to 64 characters, no backslash", where=_WHERE)
        self._style = SegmentationStyle(kind, bool(omit), number, description)  # type: ignore[arg-type]
        self._key = _key(options.get("deidentify"))

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Check the coded terms; see `hdm_dicom.derived.codes.check`."""
        return codes.check(classes)

    def check_scene(self, scene: SceneHeader) -> None:
        """Refuse a scene whose images nothing can refer to; see `hdm_dicom.derived.frame_references`."""
        from hdm_dicom.derived.frame_references import check_references

        check_references(scene)

    def filename(self, scene: SceneHeader) -> str:
        """Always ``segmentation.dcm``."""
        return "segmentation.dcm"

    def write(self, product: Product, path: Path) -> None:
        """Write the segmentation; the same bytes for the same product.

        Memory is a slice and the description of every frame; slices and pixel data pass through unnamed files next
        to `path`.

        Raises:
            OutputError: the disk is full.
            WriteError: not a DICOM series, changed since, empty where that is an error, or any other failure.
        """
        from hdm_dicom.segmentation.writing import write_segmentation

        where = product.scene.ref.id
        if product.scene.ref.reader != READER or not isinstance(product.scene.geometry, VolumeGeometry):
            raise WriteError(
                "a DICOM segmentation needs a DICOM series", where=where, remedy="choose the product `mask` for rasters"
            )
        try:
            write_segmentation(product, path, self._style, refuse_empty=self._empty == "error", key=self._key)
        except OSError as error:
            raise write_error(error, "the segmentation", path, where) from None


def _key(option: object) -> bytes | None:
    if option is None or option is False:
        return None
    where = f"{_WHERE}, deidentify"
    if not isinstance(option, Mapping) or not isinstance(option.get("key_file"), str):
        raise ConfigError(
            "deidentify needs the file of its key", where=where, remedy="write `deidentify: {key_file: PATH}`"
        )
    check_names(option, ["key_file"], where)
    from hdm_dicom.privacy.deidentify import read_key

    return read_key(option["key_file"], where)
