"""Which of the things in a file of labels is the class."""

from __future__ import annotations

from hdm_pipeline.contracts import LabelChoice
from hdm_pipeline.drafting.labels import matching

LAKES = LabelChoice("water", 100, "class of lakes", {"layer": "lakes", "where": "class = 'water'"})
DRAWN = LabelChoice("water", 5, "class of drawn", {"layer": "drawn", "where": "class = 'water'"})
LAND = LabelChoice("land", 5, "class of drawn", {"layer": "drawn", "where": "class = 'land'"})


def values(*names: int) -> list[LabelChoice]:
    return [LabelChoice(str(name), 9, "values", {"value": name}) for name in names]


def test_features_called_as_the_class_are_it_best_where_others_are_drawn_too() -> None:
    assert matching([LAKES, DRAWN, LAND], "Water", None) == [DRAWN, LAKES]
    assert matching([LAKES, DRAWN, LAND], "flood", None) == []
    assert matching([LAKES, DRAWN, LAND], "flood", "land") == [LAND]


def test_a_mask_of_one_thing_needs_no_name() -> None:
    assert [c.name for c in matching(values(-1, 0, 1, 255), "flood", None)] == ["1"]
    assert matching(values(0, 1, 2), "flood", None) == []
    assert [c.name for c in matching(values(0, 1, 2), "flood", "2")] == ["2"]
    assert matching(values(0, 1), "flood", "7") == []
