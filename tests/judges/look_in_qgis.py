"""What QGIS sees of rasters and polygons: opened, described and drawn by PyQGIS.

Run by the system's Python, not by pytest: look_in_qgis.py PICTURE FILE...   prints a list of descriptions as JSON;
PICTURE becomes what the first file looks like over magenta, in the extent of the last one, 450 by 350 pixels.
"""

import json
import sys

from qgis.core import (
    QgsApplication,
    QgsLayerTreeLayer,
    QgsMapLayer,
    QgsMapRendererParallelJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def described(layer: QgsMapLayer) -> dict:
    renderer = layer.renderer()
    found = {"valid": layer.isValid(), "renderer": renderer.type()}
    found["legend"] = [
        node.data(0)  # Qt.DisplayRole: what the layer tree shows
        for node in layer_nodes(layer)
        if node.data(0)
    ]
    if renderer.type() == "categorizedSymbol":
        layers = [(one, one.symbol().symbolLayer(0)) for one in renderer.categories()]
        found["field"] = renderer.classAttribute()
        found["classes"] = [
            [one.value(), one.label(), drawn.color().name(), drawn.color().alpha(), drawn.strokeColor().name()]
            for one, drawn in layers
        ]
    if renderer.type() == "paletted":
        found["classes"] = [[one.value, one.label, one.color.name(), one.color.alpha()] for one in renderer.classes()]
    if renderer.type() == "singlebandpseudocolor":
        items = renderer.shader().rasterShaderFunction().colorRampItemList()
        found["items"] = [[one.value, one.label, one.color.name(), one.color.alpha()] for one in items]
    return found


def opened(path: str) -> QgsMapLayer:
    return QgsRasterLayer(path, path) if path.endswith(".tif") else QgsVectorLayer(path, path, "ogr")


def layer_nodes(layer: QgsMapLayer) -> list:
    return layer.legend().createLayerTreeModelLegendNodes(QgsLayerTreeLayer(layer))


def drawn(layer: QgsMapLayer, within: QgsMapLayer, path: str) -> None:
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(within.extent())
    settings.setOutputSize(QSize(450, 350))
    settings.setBackgroundColor(QColor(255, 0, 255))
    job = QgsMapRendererParallelJob(settings)
    job.start()
    job.waitForFinished()
    job.renderedImage().save(path)


def main() -> None:
    QgsApplication.setPrefixPath("/usr", True)
    application = QgsApplication([], False)
    application.initQgis()
    picture, *paths = sys.argv[1:]
    layers = [opened(path) for path in paths]
    drawn(layers[0], layers[-1], picture)
    print(json.dumps([described(layer) for layer in layers]))


main()
