"""What the algorithms share: how they are described, how a pipeline is run, and how its results are shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingException,
    QgsProcessingFeedback,
    QgsProcessingOutputFile,
    QgsProcessingOutputFolder,
    QgsProcessingOutputMultipleLayers,
    QgsProcessingOutputNumber,
    QgsProcessingParameterBoolean,
    QgsRasterLayer,
    QgsVectorLayer,
)

from qgis_hdm.commands import CommandMissingError, find_command, run_command
from qgis_hdm.progress import Progress, failure_text
from qgis_hdm.results import NoResultsError, Result, find_results
from qgis_hdm.running import run
from qgis_hdm.settings import command_setting

_QUARANTINED = 3
"""Exit code of a run that quarantined some scenes and finished the others."""

MOST_LAYERS = 100
"""Most layers that are added at once."""


class HdmAlgorithm(QgsProcessingAlgorithm):
    """An algorithm that says what it is by three class attributes."""

    NAME: ClassVar[str]
    TITLE: ClassVar[str]
    HELP: ClassVar[str]

    def name(self) -> str:
        """What scripts call it, after ``hdm:``."""
        return self.NAME

    def displayName(self) -> str:
        """What the toolbox shows."""
        return self.TITLE

    def shortHelpString(self) -> str:
        """What the dialog shows beside the parameters."""
        return self.HELP

    def createInstance(self) -> HdmAlgorithm:
        """A fresh one for each run."""
        return type(self)()


class RunningAlgorithm(HdmAlgorithm):
    """An algorithm that runs a pipeline, and adds the results to the project if the user wants it."""

    def __init__(self) -> None:
        super().__init__()
        self._results: dict[str, Any] = {}
        self._load = False

    def add_run_parameters(self) -> None:
        """What every run may be told, and what it gives."""
        self.addParameter(QgsProcessingParameterBoolean("LOAD", "Add masks and polygons to the project", True))
        self.addOutput(QgsProcessingOutputFolder("RESULTS", "Output directory"))
        self.addOutput(QgsProcessingOutputFile("REPORT", "Report (run.json)"))
        for name, title in (
            ("DONE", "Scenes done in this run"),
            ("DONE_BEFORE", "Scenes done by earlier runs"),
            ("QUARANTINED", "Scenes quarantined"),
            ("LEFT", "Scenes still to do"),
        ):
            self.addOutput(QgsProcessingOutputNumber(name, title))
        self.addOutput(QgsProcessingOutputMultipleLayers("LAYERS", "Masks and polygons"))

    def run_pipeline(
        self,
        pipeline: Path,
        output: str,
        feedback: QgsProcessingFeedback,
        *,
        strict: bool = False,
        retry: bool = False,
        load: bool = True,
    ) -> dict[str, Any]:
        """Run a pipeline file by the command line; the results of the algorithm.

        Raises:
            QgsProcessingException: it cannot be run, or it failed.
        """
        progress = Progress()

        def tell(line: str) -> None:
            told, warned = progress.line(line)
            for text in told:
                feedback.pushInfo(text)
            for text in warned:
                feedback.pushWarning(text)
            feedback.setProgress(progress.percent)

        try:
            command = run_command(find_command(command_setting()), str(pipeline), output, strict=strict, retry=retry)
            feedback.pushCommandInfo(" ".join(command))
            ended = run(command, on_line=tell, on_error=feedback.pushConsoleInfo, cancelled=feedback.isCanceled)
        except CommandMissingError as error:
            raise QgsProcessingException(str(error)) from error
        except OSError as error:
            raise QgsProcessingException(f"hdm_pipeline cannot be started: {error}") from error
        if ended.cancelled:
            feedback.pushWarning("stopped: run again to go on from the last finished block")
        elif ended.code not in (0, _QUARANTINED):
            raise QgsProcessingException(failure_text(ended.code, ended.errors))
        summary = progress.summary
        if summary is None:
            return {}
        report = Path(summary["report"])
        self._load = load
        numbers = {name.upper(): summary[name] for name in ("done", "done_before", "quarantined", "left")}
        self._results = {**numbers, "RESULTS": str(report.parent), "REPORT": str(report)}
        return self._results

    def postProcessAlgorithm(self, context: QgsProcessingContext, feedback: QgsProcessingFeedback) -> dict[str, Any]:
        """In the main thread, where layers may be made."""
        if not self._results:
            return {}
        results = self._results | {"LAYERS": []}
        if self._load:
            results["LAYERS"] = add_layers(Path(results["RESULTS"]), ("mask", "polygons"), context, feedback)
        return results


def add_layers(
    folder: Path,
    kinds: tuple[str, ...],
    context: QgsProcessingContext,
    feedback: QgsProcessingFeedback,
    most: int = MOST_LAYERS,
) -> list[str]:
    """Add the results of a run to the project when the algorithm ends; their paths.

    QGIS takes the style that lies beside each file.

    Raises:
        QgsProcessingException: the folder holds no results.
    """
    try:
        found = [result for result in find_results(folder) if result.kind in kinds]
    except NoResultsError as error:
        raise QgsProcessingException(str(error)) from error
    if len(found) > most:
        feedback.pushWarning(f"{len(found)} layers are there, and only the first {most} are added")
    paths = []
    for result in found[:most]:
        layer = _layer(result)
        if not layer.isValid():
            feedback.pushWarning(f"{result.path} cannot be opened, and is left out")
            continue
        context.temporaryLayerStore().addMapLayer(layer)
        details = QgsProcessingContext.LayerDetails(result.title, context.project(), "LAYERS")
        context.addLayerToLoadOnCompletion(layer.id(), details)
        paths.append(str(result.path))
    return paths


def _layer(result: Result) -> QgsRasterLayer | QgsVectorLayer:
    if result.kind == "polygons":
        return QgsVectorLayer(str(result.path), result.title, "ogr")
    return QgsRasterLayer(str(result.path), result.title)
