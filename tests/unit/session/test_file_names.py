"""Names of files that ids cannot take whole."""

from __future__ import annotations

import dataclasses
import unicodedata

import pytest

from hdm_geotiff.recipes.scene_ids import scene_id
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.session.file_names import file_name
from hdm_pipeline.session.scenes import chosen
from hdm_pipeline.session.values import SceneState


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("/data/lake 1.tif", ""),
        ("/data/Müller (2).tif", "Müller (2).tif"),
        ("/Müller/lake.tif", ""),
        ("/data/Müller.SAFE/", "Müller.SAFE"),
        ("https://host/data/M%C3%BCller.tif", "Müller.tif"),
        ("/data/100%C3%BC.tif", "100%C3%BC.tif"),
        ("/data/M\udcfcller.tif", "M?ller.tif"),
    ],
)
def test_the_name_is_told_where_the_id_lost_some_of_it(uri: str, name: str) -> None:
    ref = SceneRef("id", uri, "geotiff", "1")
    assert file_name(ref) == name
    assert file_name(dataclasses.replace(ref, private=True)) == ""


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("Köln/lake.tif", "Köln/lake.tif"),
        ("2024/Köln/lake (1).tif", "2024/Köln/lake (1).tif"),
        ("2024/lake.tif", ""),
        ("日本/東京.tif", "日本/東京.tif"),
        ("Köln/" + "x" * 150 + ".tif", "Köln/" + "x" * 150 + ".tif"),
    ],
)
def test_the_folders_are_told_where_the_id_is_made_of_them(path: str, name: str) -> None:
    ref = SceneRef(scene_id(path, "path"), f"/data/Jürgen/{path}", "geotiff", "1")
    assert file_name(ref) == name
    by_name = SceneRef(scene_id(path, "name"), f"/data/Jürgen/{path}", "geotiff", "1")
    assert "/" not in file_name(by_name)


@pytest.mark.parametrize("text", ["Müller", "müll", unicodedata.normalize("NFD", "MÜLLER"), "muller-1a"])
def test_a_scene_is_found_by_its_own_name_and_by_its_id(text: str) -> None:
    of = [
        SceneState("Muller-1a", "new", name=unicodedata.normalize("NFD", "Müller.tif")),
        SceneState("lake", "new"),
    ]
    assert [one.id for one in chosen(of, text=text)] == ["Muller-1a"]
