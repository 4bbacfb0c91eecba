"""The writer plug-in for DICOM Segmentations. highdicom is loaded when one is written, not when one is planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hdm_dicom.derived import codes
from hdm_dicom.derived.layers import overlapping
from hdm_dicom.derived.scenes import require_series
from hdm_dicom.derived.series_options import SERIES_OPTIONS, check_keys, deidentify_key, new_series
from hdm_dicom.derived.write_errors import write_error
from hdm_dicom.options import check_names, one_of
from hdm_dicom.segmentation.style import MAX_BYTES, MAX_SIDE, OTHERS, SegmentationStyle
from hdm_pipeline.contracts import ClassInfo, Product, SceneHeader, SceneKind
from hdm_pipeline.errors import ConfigError, WriteError

_KINDS = ("BINARY", "FRACTIONAL", "LABELMAP")
_OPTIONS = ("type", "segments", "omit_empty_frames", "empty", "dates", *SERIES_OPTIONS)
_WHERE = "output.products, segmentation"


class SegmentationWriter:
    """Writes one DICOM SEG a series.

    Args:
        options: ``type`` BINARY (default), FRACTIONAL or LABELMAP; ``segments``: ``exclusive`` (default), a pixel has
            one class, or ``overlapping``, it has all whose scores reach the threshold; ``omit_empty_frames`` (default
            true); ``empty`` what to do when nothing was found: ``write`` a segmentation whose frames are all empty
            (default) or ``error``; ``series_number`` (default 900) and ``series_description`` of the new series;
            ``dates`` of creation: those of the ``source`` (default), so that the same product is the same file, or
            ``now``; ``deidentify: {key_file: PATH}`` to remove who the patient is, see `hdm_dicom.privacy.deidentify`.

    Raises:
        ConfigError: an option is unknown or has a wrong value.
    """

    name: ClassVar[str] = "segmentation"
    scenes: ClassVar[SceneKind] = "volumes"
    libraries: ClassVar[tuple[str, ...]] = ("pydicom", "highdicom")
    media_type: ClassVar[str] = "application/dicom"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        options = dict(options or {})
        check_names(options, list(_OPTIONS), _WHERE)
        kind = str(options.get("type", "BINARY")).upper()
        one_of(kind, _KINDS, f"{_WHERE}, type")
        layered = overlapping(options, _WHERE)
        if layered and kind != "BINARY":
            raise ConfigError(
                f"type {kind} has no overlapping segments",
                where=f"{_WHERE}, segments",
                remedy="take type BINARY; FRACTIONAL holds every class's score as it is",
            )
        omit = options.get("omit_empty_frames", True)
        one_of(omit, (True, False), f"{_WHERE}, omit_empty_frames")
        self._empty = options.get("empty", "write")
        one_of(self._empty, ("write", "error"), f"{_WHERE}, empty")
        dates = options.get("dates", "source")
        one_of(dates, ("source", "now"), f"{_WHERE}, dates")
        number, description = new_series(options, _WHERE, 900, "HDM segmentation")
        self._style = SegmentationStyle(kind, bool(omit), number, description, layered, dates == "now")  # type: ignore[arg-type]
        self._key = deidentify_key(options, _WHERE)

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Check the coded terms; see `hdm_dicom.derived.codes.check`."""
        return codes.check(classes)

    def check_beside(self, products: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Warn where `deidentify` is not that of the other products; see `check_keys`."""
        return check_keys(self.name, products)

    def check_scene(self, scene: SceneHeader) -> None:
        """Refuse what is known not to fit into a segmentation; see `SceneCheckingWriter.check_scene`.

        Raises:
            WriteError: no DICOM series, or one whose images nothing can refer to, or whose frames, all of them written,
                exceed what a file may hold.
        """
        from hdm_dicom.derived.frame_references import check_references

        where = scene.ref.id
        require_series(scene, "a DICOM segmentation needs", OTHERS)
        check_references(scene)
        _, depth, height, width = scene.shape
        if max(height, width) > MAX_SIDE:
            what = f"images of {height} x {width} pixels are larger than DICOM allows"
            raise WriteError(what, where=where, remedy=OTHERS)
        least = depth * height * width // (8 if self._style.kind == "BINARY" else 1)
        if not self._style.omit_empty_frames and least > MAX_BYTES:
            raise WriteError(
                f"pixel data of {least} bytes are more than DICOM allows (4 GiB)",
                where=where,
                remedy=f"leave omit_empty_frames on; or {OTHERS}",
            )

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

        self.check_scene(product.scene)
        where = product.scene.ref.id
        try:
            write_segmentation(product, path, self._style, refuse_empty=self._empty == "error", key=self._key)
        except OSError as error:
            raise write_error(error, "the segmentation", path, where) from None
