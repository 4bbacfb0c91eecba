"""`hdm:train`: from a raster layer and drawn features to a pipeline file, and its run."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessing,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingParameterBand,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterFeatureSource,
    QgsProcessingParameterField,
    QgsProcessingParameterFile,
    QgsProcessingParameterFolderDestination,
    QgsProcessingParameterRange,
    QgsProcessingParameterRasterLayer,
    QgsProcessingParameterString,
    QgsRasterLayer,
)

from qgis_hdm.algorithm import RunningAlgorithm
from qgis_hdm.drawn_labels import drawn, write_labels
from qgis_hdm.pipeline_text import BACKGROUND, Training, pipeline_text, safe_name, unusable
from qgis_hdm.value_ranges import ranges_of

PIPELINE, LABELS, RESULTS = "training.yaml", "labels.gpkg", "results"
"""What lies in the output folder."""


class Train(RunningAlgorithm):
    """Writes a pipeline file with the drawn features as labelled examples, and runs it."""

    NAME = "train"
    TITLE = "Few-shot segmentation: train from layer and polygons"
    HELP = (
        "Learns classes from features that you drew on a raster (polygons, lines or points), and segments that raster "
        "or a folder of others.\n\n"
        f"A field names the class of each feature; the class {BACKGROUND} means: none of them. Without a field, all "
        "features are one class. What is not drawn is unknown, unless you tick that it is background. Features without "
        "a class are left out.\n\n"
        f"The output folder gets {PIPELINE} (the pipeline, to change and to run again), {LABELS} (the features) and "
        f"{RESULTS}/ (masks and polygons)."
    )

    def initAlgorithm(self, config: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        self.addParameter(QgsProcessingParameterRasterLayer("IMAGE", "Raster on which the features are drawn"))
        self.addParameter(
            QgsProcessingParameterFeatureSource("LABELS", "Drawn features", [QgsProcessing.TypeVectorAnyGeometry])
        )
        self.addParameter(
            QgsProcessingParameterField(
                "FIELD", "Field with the class (empty: all are one)", parentLayerParameterName="LABELS", optional=True
            )
        )
        self.addParameter(QgsProcessingParameterString("CLASS", "Name of the one class, without a field", "object"))
        self.addParameter(QgsProcessingParameterBoolean("COMPLETE", "What is not drawn is background", False))
        self.addParameter(
            QgsProcessingParameterFile(
                "SCENES",
                "Folder of rasters to segment (empty: the raster above)",
                behavior=QgsProcessingParameterFile.Folder,
                optional=True,
            )
        )
        self._add_advanced()
        self.addParameter(QgsProcessingParameterFolderDestination("OUTPUT", "Output folder"))
        self.addParameter(QgsProcessingParameterBoolean("RUN", "Run it now", True))
        self.addOutput(QgsProcessingOutputFile("PIPELINE", "Pipeline file"))
        self.add_run_parameters()

    def _add_advanced(self) -> None:
        """Parameters that most users need not see."""
        for parameter in (
            QgsProcessingParameterBand(
                "BANDS", "Bands (empty: all)", parentLayerParameterName="IMAGE", allowMultiple=True, optional=True
            ),
            QgsProcessingParameterRange(
                "RANGE", "Values that become 0 and 1, for all bands (empty: by the raster's own)", optional=True
            ),
            QgsProcessingParameterString("PRODUCTS", "Products, parted by commas", "mask, polygons"),
        ):
            parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
            self.addParameter(parameter)

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Write the labels and the pipeline file, and run it."""
        layer = self.parameterAsRasterLayer(parameters, "IMAGE", context)
        image = _file_of(layer)
        bands = tuple(self.parameterAsInts(parameters, "BANDS", context)) or tuple(range(1, layer.bandCount() + 1))
        source = self.parameterAsSource(parameters, "LABELS", context)
        if source is None:
            raise QgsProcessingException(self.invalidSourceError(parameters, "LABELS"))
        folder = Path(self.parameterAsString(parameters, "OUTPUT", context))
        field, one = (self.parameterAsString(parameters, name, context).strip() for name in ("FIELD", "CLASS"))
        found = drawn(source, field or None, one)
        if found.without_class:
            feedback.pushWarning(f"{found.without_class} features have no class or no geometry, and are left out")
        limits = self.parameterAsRange(parameters, "RANGE", context) if parameters.get("RANGE") else []
        given = limits if limits and all(map(math.isfinite, limits)) else None
        products = self.parameterAsString(parameters, "PRODUCTS", context)
        training = Training(
            name=safe_name(Path(image).stem),
            image=image,
            scenes=(self.parameterAsFile(parameters, "SCENES", context) or image,),
            bands=bands,
            ranges=ranges_of(layer, bands, given),
            labels=LABELS,
            classes=tuple(name for name in found.classes if name != BACKGROUND),
            background=BACKGROUND in found.classes,
            complete=self.parameterAsBoolean(parameters, "COMPLETE", context),
            output=RESULTS,
            products=tuple(name for part in products.split(",") if (name := part.strip())),
        )
        if reason := unusable(training):
            raise QgsProcessingException(reason)
        folder.mkdir(parents=True, exist_ok=True)
        write_labels(source, folder / LABELS, field or None, one, context.transformContext())
        pipeline = folder / PIPELINE
        _write(pipeline, pipeline_text(training), feedback)
        results = {"PIPELINE": str(pipeline), "OUTPUT": str(folder)}
        if self.parameterAsBoolean(parameters, "RUN", context):
            load = self.parameterAsBoolean(parameters, "LOAD", context)
            self._results = results | self.run_pipeline(pipeline, "", feedback, load=load)
            return self._results
        return results


def _file_of(layer: QgsRasterLayer | None) -> str:
    """The file that a raster layer shows."""
    source = "" if layer is None else layer.source()
    if layer is None or layer.providerType() != "gdal" or not os.path.isfile(source):
        raise QgsProcessingException(
            f"The raster is no file that hdm_pipeline can open: {source or '(none)'}\n"
            "Export it as GeoTIFF (right click > Export > Save As), and take that."
        )
    return os.path.abspath(source)


def _write(path: Path, text: str, feedback: QgsProcessingFeedback) -> None:
    """Write the pipeline file; one that the user has changed is kept under another name."""
    if path.is_file() and (before := path.read_text(encoding="utf-8")) != text:
        kept = next(one for n in range(1, 10_000) if not (one := path.with_suffix(f".{n}.yaml")).exists())
        kept.write_text(before, encoding="utf-8")
        feedback.pushWarning(f"{path.name} was there and said something else: it is kept as {kept.name}")
    path.write_text(text, encoding="utf-8")
