"""The Processing provider: a group of algorithms, and their setting."""

from __future__ import annotations

from qgis.core import QgsProcessingProvider

from qgis_hdm import settings
from qgis_hdm.load_algorithm import LoadResults
from qgis_hdm.run_algorithm import RunPipeline
from qgis_hdm.train_algorithm import Train


class HdmProvider(QgsProcessingProvider):
    """`hdm:train`, `hdm:run` and `hdm:load`."""

    def id(self) -> str:
        """What algorithms' names begin with."""
        return "hdm"

    def name(self) -> str:
        """What the toolbox shows."""
        return "Few-shot segmentation"

    def load(self) -> bool:
        """Called when Processing starts."""
        settings.register(self.name())
        self.refreshAlgorithms()
        return True

    def unload(self) -> None:
        """Called when Processing ends."""
        settings.unregister()

    def loadAlgorithms(self) -> None:
        """Called by `refreshAlgorithms`."""
        for algorithm in (Train, RunPipeline, LoadResults):
            self.addAlgorithm(algorithm())
