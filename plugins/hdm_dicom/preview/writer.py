"""The writer plug-in for previews. pydicom is loaded when one is written, not when one is planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hdm_dicom.derived.scenes import require_series
from hdm_dicom.derived.series_options import SERIES_OPTIONS, check_keys, deidentify_key, new_series
from hdm_dicom.derived.write_errors import write_error
from hdm_dicom.options import check_names, one_of
from hdm_dicom.preview.style import PreviewStyle
from hdm_pipeline.contracts import ClassInfo, Product, SceneHeader, SceneKind
from hdm_pipeline.errors import ConfigError

_WHERE = "output.products, preview"


class PreviewWriter:
    """Writes one multi-frame secondary capture a series: slices with the mask burned in.

    Args:
        options: ``every`` so many slices (default 1); ``opacity`` of areas (0.35); ``legend`` (default true);
            ``series_number`` (default 904) and ``series_description`` of the new series;
            ``deidentify: {key_file: PATH}``, as the segmentation has it.

    Raises:
        ConfigError: an option is unknown or has a wrong value.
    """

    name: ClassVar[str] = "preview"
    scenes: ClassVar[SceneKind] = "volumes"
    libraries: ClassVar[tuple[str, ...]] = ("pydicom", "highdicom")
    media_type: ClassVar[str] = "application/dicom"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        options = dict(options or {})
        check_names(options, ["every", "opacity", "legend", *SERIES_OPTIONS], _WHERE)
        every, opacity, legend = options.get("every", 1), options.get("opacity", 0.35), options.get("legend", True)
        if type(every) is not int or every < 1:
            remedy = "give 1 for all slices, 5 for every fifth"
            raise ConfigError("every must be a positive integer", where=f"{_WHERE}, every", remedy=remedy)
        if isinstance(opacity, bool) or not isinstance(opacity, int | float) or not 0 <= opacity <= 1:
            remedy = "leave it out for 0.35; 0 draws outlines only"
            raise ConfigError("opacity must be a number from 0 to 1", where=f"{_WHERE}, opacity", remedy=remedy)
        one_of(legend, (True, False), f"{_WHERE}, legend")
        number, description = new_series(options, _WHERE, 904, "HDM preview (burned in)")
        self._style = PreviewStyle(every, float(opacity), bool(legend), number, description)
        self._key = deidentify_key(options, _WHERE)

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Any classes can be drawn."""
        return []

    def check_beside(self, products: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Warn where `deidentify` is not that of the other products; see `check_keys`."""
        return check_keys(self.name, products)

    def check_scene(self, scene: SceneHeader) -> None:
        """Refuse what is no DICOM series, and images that cannot be referred to.

        Raises:
            WriteError: it is none, or images share their UIDs.
        """
        from hdm_dicom.derived.frame_references import check_references

        require_series(scene, "a preview needs")
        check_references(scene)

    def filename(self, scene: SceneHeader) -> str:
        """Always ``preview.dcm``."""
        return "preview.dcm"

    def write(self, product: Product, path: Path) -> None:
        """Write the preview; the same bytes for the same product.

        Memory is a few slices; pixels pass through an unnamed file next to `path`.

        Raises:
            OutputError: the disk is full.
            ReadError: a slice of the source cannot be decoded any more.
            WriteError: not a DICOM series, changed since, larger than DICOM allows, or to be de-identified although the
                source says that something is burned into its pixels.
        """
        from hdm_dicom.preview.writing import write_preview

        self.check_scene(product.scene)
        try:
            write_preview(product, path, self._style, self._key)
        except OSError as error:
            raise write_error(error, "the preview", path, product.scene.ref.id) from None
