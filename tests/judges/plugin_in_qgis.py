"""Our plug-in within QGIS, without a window: run by the system's Python, not by pytest.

Usage: plugin_in_qgis.py TASK, a JSON object: `algorithm`, `parameters`, `command` (the setting); `layers`, URIs of
rasters that are open in the project, by parameter; `cancel_at`, a text at which the user cancels; `picture` and
`under`, a PNG file and a raster, over which the layers that come out are drawn, with their legend. But for the first
three, each may be left out. Prints a JSON object: `results`, `error`, `told`, `warned`, `percent`, `layers`.
"""

import json
import sys

from qgis.core import (
    QgsApplication,
    QgsContrastEnhancement,
    QgsLayoutExporter,
    QgsLayoutItemLegend,
    QgsLayoutItemMap,
    QgsLayoutPoint,
    QgsLayoutSize,
    QgsLegendStyle,
    QgsMapLayerLegendUtils,
    QgsPrintLayout,
    QgsProcessingContext,
    QgsProcessingFeedback,
    QgsProject,
    QgsRasterLayer,
    QgsRasterMinMaxOrigin,
    QgsSingleBandGrayRenderer,
    QgsUnitTypes,
)
from qgis.PyQt.QtGui import QFont


class Feedback(QgsProcessingFeedback):
    """Notes what is told, and cancels when a certain text comes."""

    def __init__(self, cancel_at: str) -> None:
        super().__init__(False)
        self.told: list = []
        self.warned: list = []
        self.percent: list = []
        self.cancel_at = cancel_at
        self.progressChanged.connect(self.percent.append)

    def pushInfo(self, text: str) -> None:
        self.told.append(text)
        if self.cancel_at and self.cancel_at in text:
            self.cancel()

    def pushCommandInfo(self, text: str) -> None:
        self.told.append(text)

    def pushConsoleInfo(self, text: str) -> None:
        self.told.append(text)

    def pushWarning(self, text: str) -> None:
        self.warned.append(text)

    def reportError(self, text: str, fatal: bool = False) -> None:
        self.warned.append(text)


def run(task: dict) -> dict:
    import processing
    from qgis.core import QgsProcessingException

    project, context = QgsProject.instance(), QgsProcessingContext()
    context.setProject(project)
    for name, uri in task.get("layers", {}).items():
        layer = QgsRasterLayer(uri, name)
        project.addMapLayer(layer)
        task["parameters"][name] = layer.id()
    feedback = Feedback(task.get("cancel_at", ""))
    found: dict = {"results": None, "error": ""}
    try:
        found["results"] = processing.run(task["algorithm"], task["parameters"], context=context, feedback=feedback)
    except QgsProcessingException as error:
        found["error"] = str(error)
    layers = []
    for key, details in context.layersToLoadOnCompletion().items():  # what the program does at the end
        layer = context.takeResultLayer(key)
        layer.setName(details.name)
        project.addMapLayer(layer)
        layers.append(layer)
    found["layers"] = [described(layer) for layer in layers]
    if "picture" in task:
        draw(project, layers, task["under"], task["picture"])
    return found | {"told": feedback.told, "warned": feedback.warned, "percent": feedback.percent}


def described(layer: QgsRasterLayer) -> dict:
    renderer = layer.renderer()
    found = {"name": layer.name(), "source": layer.source(), "valid": layer.isValid(), "renderer": renderer.type()}
    if renderer.type() == "paletted":
        found["classes"] = [[one.value, one.label, one.color.name(), one.color.alpha()] for one in renderer.classes()]
    return found


def draw(project: QgsProject, layers: list, under: str, picture: str) -> None:
    """A map with its legend to the right, 160 by 100 millimetres."""
    ground = QgsRasterLayer(under, "scene")
    ground.setRenderer(QgsSingleBandGrayRenderer(ground.dataProvider(), 1))
    ground.setContrastEnhancement(QgsContrastEnhancement.StretchToMinimumMaximum, QgsRasterMinMaxOrigin.CumulativeCut)
    project.addMapLayer(ground)
    layout = QgsPrintLayout(project)
    layout.initializeDefaults()
    millimetres = QgsUnitTypes.LayoutMillimeters
    layout.pageCollection().page(0).setPageSize(QgsLayoutSize(160, 100, millimetres))
    chart = QgsLayoutItemMap(layout)
    chart.setRect(0, 0, 10, 10)  # a map without a size is never drawn
    chart.attemptMove(QgsLayoutPoint(2, 2, millimetres))
    chart.attemptResize(QgsLayoutSize(116, 96, millimetres))
    chart.setCrs(ground.crs())
    chart.setLayers([*layers, ground])
    layout.addLayoutItem(chart)
    chart.zoomToExtent(ground.extent())
    legend = QgsLayoutItemLegend(layout)
    legend.setLinkedMap(chart)
    legend.setAutoUpdateModel(False)
    for style in (QgsLegendStyle.Subgroup, QgsLegendStyle.SymbolLabel):
        legend.setStyleFont(style, QFont("DejaVu Sans", 7))
    tree = legend.model().rootGroup()
    tree.clear()
    for layer in layers:
        node = tree.addLayer(layer)
        entries = legend.model().layerLegendNodes(node)
        QgsMapLayerLegendUtils.setLegendNodeOrder(node, list(range(1, len(entries))))  # without the band's name
        legend.model().refreshLayerLegend(node)
    legend.attemptMove(QgsLayoutPoint(119, 2, millimetres))
    layout.addLayoutItem(legend)
    settings = QgsLayoutExporter.ImageExportSettings()
    settings.dpi = 110
    QgsLayoutExporter(layout).exportToImage(picture, settings)


def main() -> None:
    QgsApplication.setPrefixPath("/usr", True)
    application = QgsApplication([], False)
    application.initQgis()
    sys.path.append("/usr/share/qgis/python/plugins")
    from processing.core.Processing import Processing

    Processing.initialize()
    import qgis_hdm

    plugin = qgis_hdm.classFactory(None)
    plugin.initProcessing()
    from processing.core.ProcessingConfig import ProcessingConfig

    task = json.loads(sys.argv[1])
    ProcessingConfig.setSettingValue("HDM_COMMAND", task["command"])
    found = run(task)
    plugin.unload()
    print(json.dumps(found))


main()
