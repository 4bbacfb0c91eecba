"""The features that the user drew, with their class as text, as a GeoPackage."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from qgis.core import (
    QgsCoordinateTransformContext,
    QgsFeature,
    QgsFeatureSource,
    QgsField,
    QgsFields,
    QgsProcessingException,
    QgsVectorFileWriter,
    QgsWkbTypes,
)
from qgis.PyQt.QtCore import QVariant

from qgis_hdm.pipeline_text import CLASS_FIELD


@dataclass(frozen=True)
class Drawn:
    """What was drawn.

    Attributes:
        classes: their names, sorted.
        without_class: features that were left out, because they have no class or no geometry.
    """

    classes: list[str]
    without_class: int


def drawn(source: QgsFeatureSource, field: str | None, one: str) -> Drawn:
    """Which classes were drawn.

    Args:
        source: the features; only the selected ones, if the user chose so.
        field: whose value is the class; None for one class.
        one: name of that class.
    """
    names = [_class_of(feature, field, one) for feature in source.getFeatures()]
    return Drawn(sorted(set(names) - {""}), names.count(""))


def write_labels(
    source: QgsFeatureSource, path: Path, field: str | None, one: str, transforms: QgsCoordinateTransformContext
) -> None:
    """Write the features that have a class, with one attribute, `CLASS_FIELD`; the file appears whole or not at all.

    Args:
        source: see `drawn`.
        path: of the GeoPackage.
        field: see `drawn`.
        one: see `drawn`.
        transforms: of the project.

    Raises:
        QgsProcessingException: the features have no CRS, or the file cannot be written.
    """
    if not source.sourceCrs().isValid():
        raise QgsProcessingException(
            "The drawn features have no coordinate reference system.\nSet it: right click on the layer > Layer CRS."
        )
    fields = QgsFields()
    fields.append(QgsField(CLASS_FIELD, QVariant.String))
    options = QgsVectorFileWriter.SaveVectorOptions()
    options.driverName, options.layerName = "GPKG", "labels"
    unfinished = path.with_name(f".{path.name}")
    kind = QgsWkbTypes.Unknown  # polygons and multipolygons may be mixed, whatever the source says
    writer = QgsVectorFileWriter.create(str(unfinished), fields, kind, source.sourceCrs(), transforms, options)
    if writer.hasError() != QgsVectorFileWriter.NoError:
        raise QgsProcessingException(f"{path} cannot be written: {writer.errorMessage()}")
    for feature in source.getFeatures():
        name = _class_of(feature, field, one)
        if not name:
            continue
        written = QgsFeature(fields)
        written.setAttribute(0, name)
        written.setGeometry(feature.geometry())  # the writer makes lines of curves
        if not writer.addFeature(written):
            raise QgsProcessingException(f"{path} cannot be written: {writer.errorMessage()}")
    del writer  # closes the file
    os.replace(unfinished, path)


def _class_of(feature: QgsFeature, field: str | None, one: str) -> str:
    """A feature's class; empty without one, or without a geometry."""
    if not feature.hasGeometry():
        return ""
    return one if field is None else _text(feature[field])


def _text(value: object) -> str:
    """A class as text: 3.0 is 3; NULL is empty."""
    if value is None or (isinstance(value, QVariant) and value.isNull()):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value).strip()
