"""The plug-in, as QGIS knows it: it adds the provider, and takes it away."""

from __future__ import annotations

from qgis.core import QgsApplication

from qgis_hdm.provider import HdmProvider


class HdmPlugin:
    """Adds `HdmProvider` to Processing, in the program and in `qgis_process`."""

    def __init__(self) -> None:
        self._provider: HdmProvider | None = None

    def initProcessing(self) -> None:
        """Called by `qgis_process`, which has no window."""
        self._provider = HdmProvider()
        QgsApplication.processingRegistry().addProvider(self._provider)

    def initGui(self) -> None:
        """Called by the program."""
        self.initProcessing()

    def unload(self) -> None:
        """Called when the plug-in is switched off."""
        if self._provider is not None:
            QgsApplication.processingRegistry().removeProvider(self._provider)
            self._provider = None
