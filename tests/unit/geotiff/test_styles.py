"""Names and colors beside a product, as text; what QGIS and GDAL make of them is judged in tests/judges."""

from __future__ import annotations

from xml.etree import ElementTree

from hdm_geotiff.products.styles import attribute_table, mask_style, polygon_style, score_style
from hdm_pipeline.contracts import ClassInfo

CLASSES = (ClassInfo(1, "lake", (0, 114, 178)), ClassInfo(4, 'a\x01 "<&> é\n', (230, 159, 0)))


def test_every_value_has_its_category() -> None:
    table = ElementTree.fromstring(attribute_table(CLASSES))
    names = [one.text or "" for one in table.iter("Category")]
    assert names == ["background", "lake", "", "", 'a\ufffd "<&> é\n']
    rows = [[field.text for field in row] for row in table.iter("Row")]
    assert rows[:2] == [
        ["0", "background", "245", "245", "245", "0"],
        ["1", "lake", "0", "114", "178", "255"],
    ]
    assert rows[2][0] == "4"
    usages = [int(usage.text or "") for usage in table.iter("Usage")]
    assert usages == [5, 2, 6, 7, 8, 9]  # GFU_MinMax, Name, Red, Green, Blue, Alpha


def test_background_is_transparent_and_classes_are_not() -> None:
    entries = list(ElementTree.fromstring(mask_style(CLASSES)).iter("paletteEntry"))
    assert [(one.get("value"), one.get("alpha")) for one in entries] == [("0", "0"), ("1", "255"), ("4", "255")]
    assert [one.get("color") for one in entries[1:]] == ["#0072b2", "#e69f00"]
    assert entries[2].get("label") == 'a\ufffd "<&> é\n'


def test_the_ramp_of_scores_goes_from_nothing_to_the_color() -> None:
    items = list(ElementTree.fromstring(score_style(CLASSES)).iter("item"))
    assert [float(one.get("value", "")) for one in items] == [0, 0.25, 0.5, 0.75, 1]
    assert [one.get("alpha") for one in items] == ["0", "64", "128", "191", "255"]
    assert {one.get("color") for one in items} == {"#0072b2"}
    assert items[-1].get("label") == "lake 100%"


def test_polygons_have_a_symbol_for_each_class() -> None:
    root = ElementTree.fromstring(polygon_style(CLASSES))
    symbols = {one.get("name"): {p.get("k"): p.get("v") for p in one.iter("prop")} for one in root.iter("symbol")}
    categories = [(one.get("value"), symbols[one.get("symbol")]["color"]) for one in root.iter("category")]
    assert categories == [("lake", "0,114,178,90"), ('a\ufffd "<&> é\n', "230,159,0,90")]
    assert symbols["0"]["outline_color"] == "0,114,178,255"
