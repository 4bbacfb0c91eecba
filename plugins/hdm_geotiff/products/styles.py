"""Class names and colors as GDAL and QGIS look for them beside a raster.

``mask.tif.aux.xml`` is GDAL's persistent auxiliary metadata (PAM): category names, and a raster attribute table with
the columns that GDAL's usages define. A GeoTIFF has no place for these that GDAL before 3.11 reads. ``mask.qml``,
``score.qml`` and ``polygons.qml`` are styles of QGIS 3, which takes one of the raster's name by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from hdm_pipeline.contracts import BACKGROUND, ClassInfo

BACKGROUND_COLOR = (245, 245, 245)
"""Where a program shows background at all."""

_NOT_XML = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

_INTEGER, _TEXT = 0, 2
_COLUMNS = (  # name, type and usage, as GDAL numbers them
    ("Value", _INTEGER, 5),
    ("Class", _TEXT, 2),
    ("Red", _INTEGER, 6),
    ("Green", _INTEGER, 7),
    ("Blue", _INTEGER, 8),
    ("Alpha", _INTEGER, 9),
)
_FILL_ALPHA = 90
"""How opaque the inside of a polygon is: what lies below can be seen."""

_RAMP = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Probabilities at which the ramp of scores has a color and the legend a line."""


def attribute_table(classes: Sequence[ClassInfo]) -> str:
    """Category names and attribute table of a mask, as PAM."""
    root = ElementTree.Element("PAMDataset")
    band = ElementTree.SubElement(root, "PAMRasterBand", band="1")
    names = {BACKGROUND: "background", **{one.value: one.name for one in classes}}
    categories = ElementTree.SubElement(band, "CategoryNames")
    for value in range(max(names) + 1):  # the n-th name is that of value n
        ElementTree.SubElement(categories, "Category").text = _clean(names.get(value, ""))
    table = ElementTree.SubElement(band, "GDALRasterAttributeTable", tableType="thematic")
    for index, (name, kind, usage) in enumerate(_COLUMNS):
        column = ElementTree.SubElement(table, "FieldDefn", index=str(index))
        for tag, value_of in (("Name", name), ("Type", str(kind)), ("Usage", str(usage))):
            ElementTree.SubElement(column, tag).text = value_of
    rows = [(BACKGROUND, "background", BACKGROUND_COLOR, 0)]
    rows += [(one.value, one.name, one.color, 255) for one in classes]
    for index, (value, name, color, alpha) in enumerate(rows):
        row = ElementTree.SubElement(table, "Row", index=str(index))
        for field in (value, name, *color, alpha):
            ElementTree.SubElement(row, "F").text = _clean(str(field))
    return _text(root)


def mask_style(classes: Sequence[ClassInfo]) -> str:
    """A style for QGIS: each class in its color, background transparent; nodata is transparent by itself."""
    renderer, root = _style("paletted")
    palette = ElementTree.SubElement(renderer, "colorPalette")
    entries = [(BACKGROUND, "background", BACKGROUND_COLOR, 0)]
    for value, name, color, alpha in [*entries, *((one.value, one.name, one.color, 255) for one in classes)]:
        ElementTree.SubElement(
            palette, "paletteEntry", value=str(value), label=_clean(name), color=_hex(color), alpha=str(alpha)
        )
    return _text(root)


def score_style(classes: Sequence[ClassInfo]) -> str:
    """A style for QGIS: the first class's probability, from transparent at 0 to its color at 1."""
    first = classes[0]
    renderer, root = _style("singlebandpseudocolor")
    renderer.set("classificationMin", "0")
    renderer.set("classificationMax", "1")
    shader = ElementTree.SubElement(ElementTree.SubElement(renderer, "rastershader"), "colorrampshader")
    shader.attrib.update(colorRampType="INTERPOLATED", classificationMode="1", clip="0")
    shader.attrib.update(minimumValue="0", maximumValue="1")
    for share in _RAMP:
        shader.append(
            ElementTree.Element(
                "item",
                value=f"{share:g}",
                label=f"{_clean(first.name)} {share:.0%}",
                color=_hex(first.color),
                alpha=str(round(255 * share)),
            )
        )
    return _text(root)


def polygon_style(classes: Sequence[ClassInfo], attribute: str = "class") -> str:
    """A style for QGIS: polygons by the class that an attribute names, half transparent, with an outline."""
    root = ElementTree.Element("qgis", version="3.22.0", styleCategories="Symbology")
    renderer = ElementTree.SubElement(root, "renderer-v2", type="categorizedSymbol", attr=attribute)
    categories = ElementTree.SubElement(renderer, "categories")
    symbols = ElementTree.SubElement(renderer, "symbols")
    for index, one in enumerate(classes):
        name = _clean(one.name)
        ElementTree.SubElement(categories, "category", symbol=str(index), value=name, label=name, render="true")
        symbol = ElementTree.SubElement(symbols, "symbol", type="fill", name=str(index), alpha="1")
        layer = ElementTree.SubElement(symbol, "layer", {"class": "SimpleFill", "enabled": "1", "pass": "0"})
        red, green, blue = one.color
        for key, value in {
            "color": f"{red},{green},{blue},{_FILL_ALPHA}",
            "style": "solid",
            "outline_color": f"{red},{green},{blue},255",
            "outline_style": "solid",
            "outline_width": "0.4",
            "outline_width_unit": "MM",
        }.items():
            ElementTree.SubElement(layer, "prop", k=key, v=value)
    return _text(root)


def _style(renderer: str) -> tuple[ElementTree.Element, ElementTree.Element]:
    """A renderer of the first band, and the style that it is part of."""
    root = ElementTree.Element("qgis", version="3.22.0", styleCategories="Symbology")
    pipe = ElementTree.SubElement(root, "pipe")
    made = ElementTree.SubElement(pipe, "rasterrenderer", type=renderer, band="1", opacity="1", alphaBand="-1")
    ElementTree.SubElement(made, "rasterTransparency")
    return made, root


def _hex(color: Sequence[int]) -> str:
    return "#" + bytes(color).hex()


def _clean(text: str) -> str:
    """`text` without what no XML may hold: one such character would cost a program the whole file."""
    return _NOT_XML.sub("\ufffd", text)


def _text(root: ElementTree.Element) -> str:
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode") + "\n"
