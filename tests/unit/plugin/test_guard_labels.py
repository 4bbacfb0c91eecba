"""Readers that keep labels and lie are named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdm_pipeline.contracts import LabelKeeper, LabelPatch, SavedLabels, SceneLabels
from hdm_pipeline.errors import OutputError, PluginError
from hdm_pipeline.grid import Window
from tests.unit.plugin.honest import REF, reader_with

PATCH = LabelPatch(Window(z=0, y=1, x=2, height=2, width=3), np.full((2, 3), 1, np.uint8))
LABELS = SceneLabels(REF, {1: "flood"}, {1: (0, 0, 255)}, (PATCH,))


def keeper(saved: Any = None, loaded: Any = None) -> Any:
    return reader_with(
        save_labels=lambda labels, folder: saved(folder) if callable(saved) else saved,
        load_labels=lambda ref, classes, folder: loaded,
    )


def test_only_what_keeps_labels_says_so(tmp_path: Path) -> None:
    assert not isinstance(reader_with(), LabelKeeper)
    honest = keeper(SavedLabels((), {}), LABELS)
    assert isinstance(honest, LabelKeeper)
    assert honest.save_labels(LABELS, tmp_path) == SavedLabels((), {})
    assert honest.load_labels(REF, {1: "flood"}, tmp_path) is LABELS
    assert keeper().load_labels(REF, {1: "flood"}, tmp_path) is None


def written(folder: Path, name: str) -> str:
    (folder / name).write_text("")
    return str(folder / name)


@pytest.mark.parametrize(
    ("saved", "word"),
    [
        (None, "NoneType"),
        (SavedLabels(("/elsewhere/scene.tif",), {}), "outside"),
        (lambda folder: SavedLabels((str(folder / "scene.tif"),), {}), "not written"),
        (lambda folder: SavedLabels((written(folder, "other.tif"),), {}), "not called as its scene"),
        (SavedLabels((), {"mud": {"image": "a"}}), "'mud'"),
        (SavedLabels((), {"flood": {"mask": "a"}}), "image"),
    ],
)
def test_what_was_not_saved_is_caught(tmp_path: Path, saved: Any, word: str) -> None:
    with pytest.raises(PluginError, match=word) as caught:
        keeper(saved).save_labels(LABELS, tmp_path)
    assert "'liar'" in caught.value.what
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("loaded", "word"),
    [
        ([PATCH], "list"),
        (replace(LABELS, scene=replace(REF, id="other")), "another scene"),
        (replace(LABELS, patches=((0, 0),)), "tuple"),
        (replace(LABELS, patches=(replace(PATCH, values=PATCH.values.astype(np.int64)),)), "int64"),
        (replace(LABELS, patches=(replace(PATCH, values=PATCH.values[:1]),)), r"\(1, 3\)"),
        (replace(LABELS, patches=(replace(PATCH, values=PATCH.values + 1),)), "no class"),
    ],
)
def test_wrong_labels_are_caught(tmp_path: Path, loaded: Any, word: str) -> None:
    with pytest.raises(PluginError, match=word):
        keeper(None, loaded).load_labels(REF, {1: "flood"}, tmp_path)


def test_errors_of_ours_pass_and_others_are_told_without_their_text(tmp_path: Path) -> None:
    def full(folder: Path) -> None:
        raise OutputError("the disk is full")

    def broken(folder: Path) -> None:
        raise RuntimeError("Doe^John")

    with pytest.raises(OutputError):
        keeper(full).save_labels(LABELS, tmp_path)
    with pytest.raises(PluginError, match="failed in save_labels: RuntimeError") as caught:
        keeper(broken).save_labels(replace(LABELS, scene=replace(REF, private=True)), tmp_path)
    assert "Doe" not in str(caught.value)
    assert caught.value.__cause__ is None
