"""What QGIS sees of rasters: opened, described and drawn by PyQGIS; run by the system's Python, not by pytest.

Usage: look_in_qgis.py PICTURE RASTER...   prints a list of descriptions as JSON; PICTURE becomes what the first one
looks like over magenta, a pixel of the raster a pixel of the picture.
"""

import json
import sys

from qgis.core import QgsApplication, QgsMapRendererParallelJob, QgsMapSettings, QgsRasterLayer
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor


def described(layer: QgsRasterLayer) -> dict:
    renderer = layer.renderer()
    found = {"valid": layer.isValid(), "renderer": renderer.type()}
    found["legend"] = [
        node.data(0)  # Qt.DisplayRole: what the layer tree shows
        for node in layer_nodes(layer)
        if node.data(0)
    ]
    if renderer.type() == "paletted":
        found["classes"] = [[one.value, one.label, one.color.name(), one.color.alpha()] for one in renderer.classes()]
    if renderer.type() == "singlebandpseudocolor":
        items = renderer.shader().rasterShaderFunction().colorRampItemList()
        found["items"] = [[one.value, one.label, one.color.name(), one.color.alpha()] for one in items]
    return found


def layer_nodes(layer: QgsRasterLayer) -> list:
    from qgis.core import QgsLayerTreeLayer, QgsMapLayerLegend

    return QgsMapLayerLegend.defaultRasterLegend(layer).createLayerTreeModelLegendNodes(QgsLayerTreeLayer(layer))


def drawn(layer: QgsRasterLayer, path: str) -> None:
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(layer.width(), layer.height()))
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
    layers = [QgsRasterLayer(path, path) for path in paths]
    drawn(layers[0], picture)
    print(json.dumps([described(layer) for layer in layers]))


main()
