"""The product `measurements`: what was measured, as a table for scripts."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from hdm_dicom.derived.layers import overlapping
from hdm_dicom.derived.scenes import opened_series, require_series
from hdm_dicom.derived.series_options import check_keys, deidentify_key
from hdm_dicom.derived.tracking import Tracking, of_class, of_lesion
from hdm_dicom.derived.write_errors import write_error
from hdm_dicom.options import check_names, one_of
from hdm_dicom.report.rules import RULES, parse_rules
from hdm_pipeline.contracts import ClassInfo, Product, SceneHeader, SceneKind

if TYPE_CHECKING:
    from hdm_dicom.report.measure import Measures

_WHERE = "output.products, measurements"
_FORMATS = ("csv", "json")
_COLUMNS = (
    "scene",
    "class",
    "lesion",
    "tracking_identifier",
    "tracking_uid",
    "voxels",
    "volume_ml",
    "mean",
    "standard_deviation",
    "unit",
    "diameter_mm",
    "in_plane_diameter_mm",
    "first_slice",
    "last_slice",
    "regions",
    "regions_below_minimum",
    "regions_beyond_maximum",
)


class MeasurementsWriter:
    """Writes ``measurements.csv`` or ``measurements.json``: a row a class, and one a lesion where they are asked for.

    Args:
        options: ``format`` csv (default) or json; ``segments`` exclusive (default) or overlapping, as the segmentation;
            ``lesions`` (default false) with ``min_volume_ml`` (0) and
            ``max_lesions`` (20) as the product `report` has them; ``deidentify: {key_file: PATH}``, so that tracking
            UIDs are those of the de-identified segmentation.

    Raises:
        ConfigError: an option is unknown or has a wrong value.
    """

    name: ClassVar[str] = "measurements"
    scenes: ClassVar[SceneKind] = "volumes"
    libraries: ClassVar[tuple[str, ...]] = ("pydicom",)

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        options = dict(options or {})
        check_names(options, ["format", "segments", "deidentify", *RULES], _WHERE)
        self._format = options.get("format", "csv")
        one_of(self._format, _FORMATS, f"{_WHERE}, format")
        self.media_type = {"csv": "text/csv", "json": "application/json"}[self._format]
        self._rules = parse_rules(options, _WHERE)
        self._overlapping = overlapping(options, _WHERE)
        self._key = deidentify_key(options, _WHERE)

    def check(self, classes: Sequence[ClassInfo]) -> list[str]:
        """Any classes can be measured."""
        return []

    def check_beside(self, products: Mapping[str, Mapping[str, Any]]) -> list[str]:
        """Warn where `deidentify` is not that of the other products; see `check_keys`."""
        return check_keys(self.name, products)

    def filename(self, scene: SceneHeader) -> str:
        """``measurements.csv`` or ``measurements.json``."""
        return f"measurements.{self._format}"

    def write(self, product: Product, path: Path) -> None:
        """Measure the scene and write the table; the same bytes for the same product.

        Sizes are empty (null in JSON) where the voxels have none: images without a place in the patient, without pixel
        spacing, or one slice without thickness.

        Raises:
            OutputError: the disk is full.
            ReadError: a slice of the source cannot be decoded any more.
            WriteError: not a DICOM series, or changed since it was segmented.
        """
        from hdm_dicom.derived.sources import source_header
        from hdm_dicom.report.measure import measure

        where = product.scene.ref.id
        require_series(product.scene, "measurements need")
        found = measure(product, self._rules, overlapping=self._overlapping)
        series = str(source_header(opened_series(product.scene).volume).SeriesInstanceUID)
        unit = product.scene.bands[0].unit
        rows: list[dict[str, Any]] = []
        for one in found:
            counts = {
                "regions": one.regions,
                "regions_below_minimum": one.small,
                "regions_beyond_maximum": one.further,
            }
            rows.append(_row(where, one.info, None, of_class(series, one.info.name).keyed(self._key), one.whole, unit))
            rows[-1] |= counts
            for number, lesion in enumerate(one.lesions, 1):
                tracking = of_lesion(series, one.info.name, number, lesion.first or (0, 0, 0)).keyed(self._key)
                rows.append(_row(where, one.info, number, tracking, lesion, unit))
        try:
            path.write_text(_csv(rows) if self._format == "csv" else _json(where, unit, rows), encoding="utf-8")
        except OSError as error:
            raise write_error(error, "the table of measurements", path, where) from None


def _row(
    scene: str, info: ClassInfo, lesion: int | None, tracking: Tracking, measured: Measures, unit: str
) -> dict[str, Any]:
    """A row of the table; slices count from 0 along z of the plane that was read, as `slices` of examples do."""
    return {
        "scene": scene,
        "class": info.name,
        "lesion": lesion,
        "tracking_identifier": tracking.identifier,
        "tracking_uid": tracking.uid,
        "voxels": measured.voxels,
        "volume_ml": measured.volume_ml,
        "mean": measured.mean,
        "standard_deviation": measured.deviation,
        "unit": unit,
        "diameter_mm": measured.diameter_mm,
        "in_plane_diameter_mm": measured.in_plane_mm,
        "first_slice": measured.low[2] if measured.low else None,
        "last_slice": measured.high[2] if measured.high else None,
    }


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    table = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows({name: _plain(value) for name, value in row.items()} for row in rows)
    return text.getvalue()


def _plain(value: object) -> object:
    """A value as a spreadsheet may see it: a name that starts as a formula does is quoted."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@")):
        return f"'{value}"
    return value


def _json(scene: str, unit: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """One object a class, its lesions within."""

    def classes() -> Iterator[dict[str, Any]]:
        current: dict[str, Any] = {}
        for row in rows:
            told = {name: value for name, value in row.items() if name not in ("scene", "unit")}
            if row["lesion"] is None:
                if current:
                    yield current
                del told["lesion"]
                current = {**told, "lesions": []}
            else:
                del told["class"]
                current["lesions"].append(told)
        if current:
            yield current

    return json.dumps({"scene": scene, "unit": unit, "classes": list(classes())}, indent=1, ensure_ascii=False) + "\n"
