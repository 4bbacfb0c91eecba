"""The writer plug-in for structured reports. highdicom is loaded when one is written, not when one is planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from hdm_dicom.derived import codes
from hdm_dicom.derived.scenes import opened_series, require_series
from hdm_dicom.derived.series_options import SERIES_OPTIONS, check_keys, deidentify_key, new_series
from hdm_dicom.derived.write_errors import write_error
from hdm_dicom.options import check_names
from hdm_dicom.report.rules import RULES, parse_rules
from hdm_pipeline.contracts import ClassInfo, Product, SceneHeader, SceneKind
from hdm_pipeline.errors import WriteError

_WHERE = "output.products, report"


class ReportWriter:
    """Writes one measurement report (Comprehensive SR, TID 1500) a series, which refers to its segmentation.

    Args:
        options: ``lesions`` (default false): also tell the connected regions of each class, those of at least
            ``min_volume_ml`` (0), at most ``max_lesions`` (20) a class; ``series_number`` (default 902) and
            ``series_description`` of the new series; ``deidentify: {key_file: PATH}``, as the segmentation has it.

    Raises:
        ConfigError: an option is unknown or has a wrong value.
    """

    name: ClassVar[str] = "report"
    scenes: ClassVar[SceneKind] = "volumes"
    libraries: ClassVar[tuple[str, ...]] = ("pydicom", "highdicom")
    media_type: ClassVar[str] = "application/dicom"
    after: ClassVar[tuple[str, ...]] = ("segmentation",)

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        options = dict(options or {})
        check_names(options, [*RULES, *SERIES_OPTIONS], _WHERE)
        self._rules = parse_rules(options, _WHERE)
        self._series = new_series(options, _WHERE, 902, "HDM measurements")
        self._key = deidentify_key(options, _WHERE)

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Check the coded terms; what is doubtful about them is told by the segmentation."""
        codes.check(classes)
        return []

    def check_beside(self, products: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Refuse a report that is not de-identified as its segmentation; see `check_keys`."""
        return check_keys(self.name, products, "segmentation")

    def check_scene(self, scene: SceneHeader) -> None:
        """Refuse scenes whose voxels have no known size.

        Raises:
            ReadError: the series cannot be opened any more.
            WriteError: no DICOM series, no place in the patient, no pixel spacing, one slice without thickness,
                projections, or images that share their UIDs.
        """
        from hdm_dicom.derived.frame_references import check_references
        from hdm_dicom.report.measure import sized

        require_series(scene, "a DICOM report needs")
        check_references(scene)
        if not sized(opened_series(scene).volume):
            raise WriteError(
                "a report needs slices of a known size: a place in the patient, pixel spacing and thickness",
                where=scene.ref.id,
                remedy="use the product `measurements`, which leaves empty what is not known",
            )

    def filename(self, scene: SceneHeader) -> str:
        """Always ``report.dcm``."""
        return "report.dcm"

    def write(self, product: Product, path: Path) -> None:
        """Measure the scene and write the report; the same bytes for the same product.

        Memory is a few slices, and what is told.

        Raises:
            OutputError: the disk is full.
            ReadError: a slice of the source cannot be decoded any more.
            WriteError: as `check_scene`, changed since it was segmented, or not de-identified as its segmentation.
        """
        from hdm_dicom.report.document import ReportStyle
        from hdm_dicom.report.writing import write_report

        self.check_scene(product.scene)
        try:
            write_report(product, path, ReportStyle(*self._series), self._rules, self._key)
        except OSError as error:
            raise write_error(error, "the report", path, product.scene.ref.id) from None
