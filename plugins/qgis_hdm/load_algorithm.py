"""`hdm:load`: add the results of a run to the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingOutputMultipleLayers,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFile,
    QgsProcessingParameterNumber,
)

from qgis_hdm.algorithm import MOST_LAYERS, HdmAlgorithm, add_layers

_KINDS = {
    "MASKS": ("mask", "Masks", True),
    "POLYGONS": ("polygons", "Polygons", True),
    "SCORES": ("score", "Scores", False),
}


class LoadResults(HdmAlgorithm):
    """Adds masks, polygons and scores with their styles."""

    NAME = "load"
    TITLE = "Load results"
    HELP = (
        "Adds the results of a run to the project: masks with the names and colors of their classes, polygons where "
        "the pipeline publishes them, and scores.\n\nThe folder is the one that output.directory names in the "
        "pipeline file: it holds run.json."
    )

    def flags(self) -> QgsProcessingAlgorithm.Flags:
        """In the main thread, where layers may be made."""
        return super().flags() | QgsProcessingAlgorithm.FlagNoThreading

    def initAlgorithm(self, config: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        self.addParameter(
            QgsProcessingParameterFile(
                "RESULTS", "Output directory of a run", behavior=QgsProcessingParameterFile.Folder
            )
        )
        for name, (_, title, default) in _KINDS.items():
            self.addParameter(QgsProcessingParameterBoolean(name, title, default))
        self.addParameter(
            QgsProcessingParameterNumber("MOST", "Most layers to add", defaultValue=MOST_LAYERS, minValue=1)
        )
        self.addOutput(QgsProcessingOutputMultipleLayers("LAYERS", "Layers"))
        self.addOutput(QgsProcessingOutputNumber("COUNT", "Number of layers"))

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Find and add them."""
        kinds = tuple(
            kind for name, (kind, _, _) in _KINDS.items() if self.parameterAsBoolean(parameters, name, context)
        )
        folder = Path(self.parameterAsFile(parameters, "RESULTS", context))
        most = self.parameterAsInt(parameters, "MOST", context)
        paths = add_layers(folder, kinds, context, feedback, most)
        if not paths:
            feedback.pushWarning(f"{folder}: no scene is done that has such results")
        return {"LAYERS": paths, "COUNT": len(paths)}
