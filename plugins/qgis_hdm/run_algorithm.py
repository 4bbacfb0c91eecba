"""`hdm:run`: run a pipeline file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qgis.core import (
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProcessingParameterBoolean,
    QgsProcessingParameterFile,
)

from qgis_hdm.algorithm import RunningAlgorithm


class RunPipeline(RunningAlgorithm):
    """Runs a pipeline file by the command line, with progress; cancelling loses no finished block."""

    NAME = "run"
    TITLE = "Run pipeline"
    HELP = (
        "Segments everything that a pipeline file (YAML) names and that is not done yet, with the installed "
        "hdm_pipeline.\n\nCancel stops after the blocks that are being worked on; the next run goes on from there. "
        "Scenes that cannot be read are quarantined and told, and the rest goes on."
    )

    def initAlgorithm(self, config: dict[str, Any] | None = None) -> None:
        """Declare parameters and outputs."""
        self.addParameter(
            QgsProcessingParameterFile("PIPELINE", "Pipeline file", fileFilter="Pipelines (*.yaml *.yml)")
        )
        self.addParameter(
            QgsProcessingParameterFile(
                "OUTPUT",
                "Output directory (empty: the one that the file names)",
                behavior=QgsProcessingParameterFile.Folder,
                optional=True,
            )
        )
        self.addParameter(
            QgsProcessingParameterBoolean("STRICT", "Quarantine scenes whose result may be nonsense", False)
        )
        self.addParameter(QgsProcessingParameterBoolean("RETRY", "Try quarantined scenes again", False))
        self.add_run_parameters()

    def processAlgorithm(
        self, parameters: dict[str, Any], context: QgsProcessingContext, feedback: QgsProcessingFeedback
    ) -> dict[str, Any]:
        """Run it."""
        return self.run_pipeline(
            Path(self.parameterAsFile(parameters, "PIPELINE", context)),
            self.parameterAsFile(parameters, "OUTPUT", context),
            feedback,
            strict=self.parameterAsBoolean(parameters, "STRICT", context),
            retry=self.parameterAsBoolean(parameters, "RETRY", context),
            load=self.parameterAsBoolean(parameters, "LOAD", context),
        )
