"""The writer plug-in for RT Structure Sets. highdicom is loaded when one is written, not when one is planned."""

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
from hdm_dicom.structure_set.style import StructureStyle
from hdm_pipeline.contracts import ClassInfo, Product, SceneHeader, SceneKind

_OPTIONS = ("empty", "segments", *SERIES_OPTIONS)
_WHERE = "output.products, rtstruct"
_NEEDS = "a structure set needs"
_OTHERS = "choose the product `polygons` for rasters"


class StructureSetWriter:
    """Writes one RT Structure Set a series: a ROI a class, contours on the stored slices.

    Args:
        options: ``empty`` what to do when nothing was found: ``write`` a structure set whose ROIs have no contours
            (default) or ``error``; ``segments``: ``exclusive`` (default), a pixel has one class, or ``overlapping``, it
            has all whose scores reach the threshold; ``series_number`` (default 901) and ``series_description`` of the
            new series; ``deidentify: {key_file: PATH}`` to remove who the patient is, see
            `hdm_dicom.privacy.deidentify`.

    Raises:
        ConfigError: an option is unknown or has a wrong value.
    """

    name: ClassVar[str] = "rtstruct"
    scenes: ClassVar[SceneKind] = "volumes"
    libraries: ClassVar[tuple[str, ...]] = ("pydicom", "highdicom")
    media_type: ClassVar[str] = "application/dicom"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        options = dict(options or {})
        check_names(options, list(_OPTIONS), _WHERE)
        self._empty = options.get("empty", "write")
        one_of(self._empty, ("write", "error"), f"{_WHERE}, empty")
        number, description = new_series(options, _WHERE, 901, "HDM structures")
        self._style = StructureStyle(number, description, overlapping(options, _WHERE))
        self._key = deidentify_key(options, _WHERE)

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Check the coded terms; none is needed. See `hdm_dicom.derived.codes.check`."""
        return codes.check(classes, required=())

    def check_beside(self, products: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Warn where `deidentify` is not that of the other products; see `check_keys`."""
        return check_keys(self.name, products)

    def check_scene(self, scene: SceneHeader) -> None:
        """Contours need slices with a place in the patient.

        Raises:
            WriteError: not a DICOM series, or without positions.
        """
        from hdm_dicom.derived.frame_references import check_references
        from hdm_dicom.structure_set.writing import open_located

        require_series(scene, _NEEDS, _OTHERS)
        check_references(scene)
        open_located(scene)

    def filename(self, scene: SceneHeader) -> str:
        """Always ``rtstruct.dcm``."""
        return "rtstruct.dcm"

    def write(self, product: Product, path: Path) -> None:
        """Write the structure set; the same bytes for the same product.

        Memory is a few slices and the contours as text.

        Raises:
            OutputError: the disk is full.
            WriteError: not a DICOM series, without a place, changed since, empty where that is an error, or any other
                failure.
        """
        from hdm_dicom.structure_set.writing import write_structure_set

        require_series(product.scene, _NEEDS, _OTHERS)
        try:
            write_structure_set(product, path, self._style, refuse_empty=self._empty == "error", key=self._key)
        except OSError as error:
            raise write_error(error, "the structure set", path, product.scene.ref.id) from None
