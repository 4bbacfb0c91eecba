"""The writer plug-in for parametric maps. highdicom is loaded when one is written, not when one is planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hdm_dicom.derived.scenes import opened_series, require_series
from hdm_dicom.derived.series_options import SERIES_OPTIONS, check_keys, deidentify_key, new_series
from hdm_dicom.derived.write_errors import write_error
from hdm_dicom.options import check_names, one_of
from hdm_pipeline.contracts import ClassInfo, Product, SceneHeader, SceneKind
from hdm_pipeline.errors import ConfigError, WriteError

_WHERE = "output.products, parametric_map"
_OTHERS = "choose the product `segmentation` (type FRACTIONAL holds the scores), `nifti` or `label_image`"
_KINDS = ("score", "uncertainty")


class ParametricMapWriter:
    """Writes one parametric map a series: the score of each class, 0 to 1, or how uncertain it is.

    Args:
        options: ``of`` score (default) or uncertainty; ``classes`` names of those to write (default all);
            ``series_number`` (default 903) and ``series_description`` of the new series;
            ``deidentify: {key_file: PATH}``, as the segmentation has it.

    Raises:
        ConfigError: an option is unknown or has a wrong value.
    """

    name: ClassVar[str] = "parametric_map"
    scenes: ClassVar[SceneKind] = "volumes"
    libraries: ClassVar[tuple[str, ...]] = ("pydicom", "highdicom")
    media_type: ClassVar[str] = "application/dicom"

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        options = dict(options or {})
        check_names(options, ["of", "classes", *SERIES_OPTIONS], _WHERE)
        self._of = options.get("of", "score")
        one_of(self._of, _KINDS, f"{_WHERE}, of")
        self.needs_uncertainty = self._of == "uncertainty"
        classes = options.get("classes")
        if classes is not None and not (
            isinstance(classes, list) and classes and all(isinstance(c, str) for c in classes)
        ):
            remedy = "name classes of support.classes (`classes: [liver]`), or leave it out for all of them"
            raise ConfigError("classes must be a list of names", where=f"{_WHERE}, classes", remedy=remedy)
        self._classes: tuple[str, ...] | None = tuple(classes) if classes else None
        self._series = new_series(options, _WHERE, 903, f"HDM {self._of}")
        self._key = deidentify_key(options, _WHERE)

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Check that the classes that are asked for are there.

        Raises:
            ConfigError: one is not.
        """
        known = [info.name for info in classes]
        for name in self._classes or ():
            if name not in known:
                raise ConfigError(
                    f"no class is called {name!r}", where=f"{_WHERE}, classes", remedy=f"use {', '.join(known)}"
                )
        return []

    def check_beside(self, products: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Warn where `deidentify` is not that of the other products; see `check_keys`."""
        return check_keys(self.name, products)

    def check_scene(self, scene: SceneHeader) -> None:
        """Refuse scenes without a place in the patient, and single slices of unknown thickness: a map states both.

        Raises:
            ReadError: the series cannot be opened any more.
            WriteError: no DICOM series, or it has no place or extent, or its images share their UIDs.
        """
        from hdm_dicom.derived.frame_references import check_references

        where = scene.ref.id
        require_series(scene, "a parametric map needs")
        check_references(scene)
        volume = opened_series(scene).volume
        if volume.located and len(volume.frames) == 1 and not volume.first.thickness:
            raise WriteError(
                "a parametric map states the thickness of its slices, and this single slice has none: no SliceThickness"
                " (0018,0050)",
                where=where,
                remedy=_OTHERS,
            )
        if not volume.located:
            raise WriteError(
                "a parametric map needs images with a place in the patient",
                where=where,
                remedy=_OTHERS,
            )

    def filename(self, scene: SceneHeader) -> str:
        """``score.dcm`` or ``uncertainty.dcm``."""
        return f"{self._of}.dcm"

    def write(self, product: Product, path: Path) -> None:
        """Write the map; the same bytes for the same product.

        Memory is a few slices and the description of every frame; pixels pass through an unnamed file next to `path`.

        Raises:
            OutputError: the disk is full.
            WriteError: as `check_scene`, changed since, larger than DICOM allows, or any other failure.
        """
        from hdm_dicom.maps.writing import MapStyle, write_map

        self.check_scene(product.scene)
        chosen = tuple(
            band for band, info in enumerate(product.classes) if self._classes is None or info.name in self._classes
        )
        style = MapStyle(self._of, chosen, *self._series)
        try:
            write_map(product, path, style, self._key)
        except OSError as error:
            raise write_error(error, "the parametric map", path, product.scene.ref.id) from None
