"""The table at the end of a run, and what it says to open."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hdm_pipeline.reporting.scene_table import Foremost, next_lines, table_lines


def scene(area: float | None = None, pixels: int = 100, **more: Any) -> dict[str, Any]:
    areas = None if area is None else {"flood": area}
    return {"status": "done", "pixels": {"flood": pixels}, "area_m2": areas, "warnings": [], "outputs": [], **more}


def report(**scenes: dict[str, Any]) -> Foremost:
    return Foremost.of(scenes.items())


def test_the_largest_come_first_and_the_rest_is_counted(tmp_path: Path) -> None:
    found = report(**{f"s{n:02}": scene(1e4 * n) for n in range(1, 13)})
    lines = table_lines(found, tmp_path)
    assert [line.split() for line in lines[:3]] == [
        ["scene", "flood", "warnings"],
        ["s12", "12", "ha", "-"],
        ["s11", "11", "ha", "-"],
    ]
    assert lines[10:] == ["s03     3 ha  -", "... 2 more in run.json"]
    (tmp_path / "report.html").touch()
    assert table_lines(found, tmp_path)[-1] == "... 2 more in report.html"


@pytest.mark.parametrize(
    ("facts", "told"),
    [
        (scene(2.5e8), "250 km²"),
        (scene(34_560.0), "3.46 ha"),
        (scene(456.7), "457 m²"),
        (scene(0.0123), "12,300 mm²"),
        (scene(0.0), "0 m²"),
        (scene(None, 12_345), "12,345 px"),
        (scene(2.0, volume_ml={"flood": 1523.4}), "1,523 ml"),
        (scene(None, volume_ml={"flood": 0.034}), "0.034 ml"),
    ],
)
def test_amounts_have_sensible_units(facts: dict[str, Any], told: str, tmp_path: Path) -> None:
    assert table_lines(report(a=facts), tmp_path)[1].split() == ["a", *told.split(), "-"]


def test_scenes_without_an_area_come_last_whatever_they_hold(tmp_path: Path) -> None:
    lines = table_lines(report(a=scene(None, 10**9), b=scene(1e4), c=scene(2e2)), tmp_path)
    assert [" ".join(line.split()[:3]) for line in lines[1:]] == ["b 1 ha", "c 0.02 ha", "a 1,000,000,000 px"]


def test_what_is_not_done_has_no_row(tmp_path: Path) -> None:
    assert table_lines(report(a={"status": "quarantined", "error": {}}), tmp_path) == []


def test_classes_have_columns_and_many_classes_a_sum(tmp_path: Path) -> None:
    two = scene(pixels=0, area_m2={"wet": 1e4, "snow": 3e4}) | {"pixels": {"wet": 1, "snow": 3}}
    assert table_lines(report(a=two), tmp_path) == ["scene   wet  snow  warnings", "a      1 ha  3 ha  -"]
    names = dict.fromkeys("abcd", 1)
    many = scene() | {"pixels": names, "area_m2": dict.fromkeys(names, 20000.0)}
    assert table_lines(report(a=many), tmp_path)[1].split() == ["a", "8", "ha", "-"]


def test_a_narrow_terminal_keeps_numbers_and_both_ends_of_names(tmp_path: Path) -> None:
    warnings = [{"kind": "one_class", "suspect": False}, {"kind": "unlike_examples", "suspect": True}]
    name = "S2A_MSIL1C_20240602T101031_N0510_R022_T33UUP"
    found = report(**{name: scene(34_560.0, warnings=warnings)})
    assert table_lines(found, tmp_path)[1] == f"{name}  3.46 ha  unlike_examples, one_class"
    lines = table_lines(found, tmp_path, 40)
    assert all(len(line) <= 40 for line in lines)
    assert lines[1].startswith("S2A_M")
    assert "3.46 ha  unlik" in lines[1]


def test_what_to_open_is_named_with_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    (out / "report.html").touch()
    found = report(a=scene(1.0), b=scene(9.0, products={"mask": ["b/mask.tif", "b/mask.qml"]}))
    head = {
        "mosaics": {"mask": {"files": ["mosaic.vrt", "mosaic.qml"]}},
        "catalogs": {"stac": ["collection.json", "b/item.json"]},
    }
    lines = next_lines(head, found, out)
    assert [line.split()[0] for line in lines[1:-1]] == [
        "out/report.html",
        "out/mosaic.vrt",
        "out/collection.json",
        "out/b/mask.tif",
    ]
    assert lines[-1] == "report: out/run.json"
    head["mosaics"]["mask"] = {"files": ["mosaic.a.vrt"], "about": {"mosaic.a.vrt": "2 scenes in A as one"}}
    assert lines[2].endswith("all scenes as one")
    assert next_lines(head, found, out)[2].endswith("mosaic.a.vrt     2 scenes in A as one")
    assert next_lines({}, report(), Path("/elsewhere")) == ["report: /elsewhere/run.json"]
