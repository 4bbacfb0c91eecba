"""What a run left, as the plug-in finds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from qgis_hdm.results import NoResultsError, find_results


def report(folder: Path, scenes: dict[str, Any]) -> None:
    (folder / "run.json").write_text(json.dumps({"scenes": scenes}))


def test_only_what_is_done_and_there_is_found(tmp_path: Path) -> None:
    for name in ("b/mask.tif", "b/mask.qml", "b/score.tif", "b/polygons.gpkg", "a/mask.tif", "c/mask.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    report(
        tmp_path,
        {
            "b": {"status": "done", "outputs": ["b/mask.tif", "b/mask.qml", "b/score.tif", "b/polygons.gpkg"]},
            "a": {"status": "done", "outputs": ["a/mask.tif", "a/score.tif"]},
            "c": {"status": "quarantined", "outputs": ["c/mask.tif"]},
            "d": {"status": "running"},
        },
    )
    found = [(one.title, one.path.name) for one in find_results(tmp_path)]
    assert found == [
        ("a mask", "mask.tif"),
        ("b mask", "mask.tif"),
        ("b score", "score.tif"),
        ("b polygons", "polygons.gpkg"),
    ]


def test_a_folder_without_a_report_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoResultsError, match="no output directory"):
        list(find_results(tmp_path))
    for text in ("{", "[]", "{}", '{"scenes": 1}'):
        (tmp_path / "run.json").write_text(text)
        with pytest.raises(NoResultsError, match="cannot be read"):
            list(find_results(tmp_path))
