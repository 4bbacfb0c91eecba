"""Kept preparations: found again by what decides them, never by anything else, and never trusted when damaged."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from safetensors import SafetensorError

from hdm_pipeline.config.schema import PipelineConfig
from hdm_pipeline.model.checkpoints import save_weights
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.plugin.registry import make_reader
from hdm_pipeline.support import kept, prepare
from hdm_pipeline.support.examples import support_files
from hdm_pipeline.support.kept import KeptPreparation, Shelf
from hdm_pipeline.support.preparation import Preparation
from hdm_pipeline.support.read import ReadExamples, read_examples
from tests.small_pyramid import small_pyramid
from tests.unit.support.test_prepare import pipeline


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HDM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "prepared"


@pytest.fixture
def config(tmp_path: Path) -> PipelineConfig:
    save_weights(small_pyramid(2), tmp_path / "w.safetensors")
    return pipeline(tmp_path, tmp_path / "w.safetensors", classes=2)


def read(config: PipelineConfig, *, private: bool = False) -> ReadExamples:
    return read_examples(config, support_files(config), make_reader("geotiff", {}), private=private)


def prepared(config: PipelineConfig, *, private: bool = False) -> Preparation:
    workspace = Workspace(Path(config.output.directory))
    workspace.create()
    return prepare.prepare(config, read(config, private=private), workspace)


def was_kept(found: Preparation) -> bool:
    return all(of_class.get("kept", False) for of_class in found.report.values())


def changed(config: PipelineConfig, part: str, **values: Any) -> PipelineConfig:
    return config.model_copy(update={part: getattr(config, part).model_copy(update=values)})


def test_the_second_time_nothing_is_computed(
    cache: Path, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = prepared(config)
    monkeypatch.setattr(prepare, "load_segmenter", None)  # no network is loaded
    elsewhere = config.model_copy(update={"output": config.output.model_copy(update={"directory": f"{cache}/out"})})
    second = prepared(elsewhere)
    assert not was_kept(first)
    assert was_kept(second)
    assert (first.support_hash, first.weights_hash) == (second.support_hash, second.weights_hash)
    assert (first.temperatures, first.area_scores) == (second.temperatures, second.area_scores)
    assert (first.bundle.weights, first.bundle.reductions) == (second.bundle.weights, second.bundle.reductions)
    for before, after in zip(first.report.values(), second.report.values(), strict=True):
        told = {**after, "seconds": after["seconds_when_prepared"]}
        expected = {**before, "kept": True, "seconds_when_prepared": before["seconds"]}
        assert json.dumps(told, sort_keys=True) == json.dumps(expected, sort_keys=True)
        assert 0 < after["seconds"] < before["seconds"], "how long it took now"
    for one, other in zip(first.pictures, second.pictures, strict=True):
        np.testing.assert_array_equal(one.scores, other.scores)
        np.testing.assert_array_equal(one.image, other.image)
        assert (one.name, one.class_name, one.iou, one.color) == (other.name, other.class_name, other.iou, other.color)


def test_whatever_decides_the_result_makes_it_anew(cache: Path, config: PipelineConfig, tmp_path: Path) -> None:
    prepared(config)
    names = config.support.classes[1].model_copy(update={"name": "another"})
    others = [
        changed(config, "support", classes=[config.support.classes[0], names]),
        changed(config, "support", calibrate="off"),
        changed(config, "model", reduction=2.0),
        changed(config, "tiling", size=256),
    ]
    assert not any(was_kept(prepared(other)) for other in others)
    assert was_kept(prepared(config))
    with rasterio.open(tmp_path / "mask_0.tif", "r+") as mask:
        labels = mask.read(1)
        labels[0, 0] ^= 1
        mask.write(labels, 1)
    assert not was_kept(prepared(config))
    save_weights(small_pyramid(3), tmp_path / "w.safetensors")
    assert not was_kept(prepared(config))


def test_what_cannot_be_kept_is_not(cache: Path, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    prepared(config, private=True)
    prepared(changed(config, "model", precision="bf16"))
    prepared(changed(config, "output", products=["mask", "uncertainty"]))  # what it asks the network is asked each time
    monkeypatch.setenv("HDM_CACHE", "off")
    prepared(config)
    assert not cache.exists()
    monkeypatch.setenv("HDM_CACHE", str(cache.parent))
    cache.parent.parent.joinpath("a file").write_text("")
    monkeypatch.setenv("HDM_CACHE", str(cache.parent.parent / "a file"))  # no folder can be made there
    assert not was_kept(prepared(config))


def test_a_full_disk_is_no_reason_to_fail(cache: Path, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise SafetensorError("I/O error: No space left on device (os error 28)")  # no OSError

    monkeypatch.setattr("safetensors.numpy.save_file", full)
    assert not was_kept(prepared(config))
    assert not list(cache.iterdir())


def test_a_user_without_a_home_keeps_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HDM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", homeless)
    assert kept.cache_folder() is None


def homeless() -> Path:
    raise RuntimeError("Could not determine home directory.")  # what pathlib says


def test_a_damaged_file_is_made_anew(cache: Path, config: PipelineConfig) -> None:
    prepared(config)
    (file,) = cache.iterdir()
    whole = file.read_bytes()
    for damaged in (b"", whole[:100], whole[: len(whole) // 2]):
        file.write_bytes(damaged)
        assert not was_kept(prepared(config))
        assert was_kept(prepared(config))


def test_what_killed_writers_left_is_removed_and_what_is_being_written_is_not(
    cache: Path, config: PipelineConfig
) -> None:
    cache.mkdir(parents=True)
    old, new = cache / ".a.safetensors.1.tmp", cache / ".b.safetensors.2.tmp"
    for path in (old, new):
        path.write_bytes(b"half")
    hours_ago = old.stat().st_mtime - 2 * 3600
    os.utime(old, (hours_ago, hours_ago))
    prepared(config)
    assert not old.exists()
    assert new.exists()


def test_many_writers_leave_one_whole_file_and_the_latest_used_stay(
    cache: Path, config: PipelineConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepared(config)
    examples = read(config)
    shelf = Shelf.of(config, examples.classes, private=False)
    found = shelf.get()
    assert isinstance(found, KeptPreparation)
    monkeypatch.setattr(os, "getpid", iter(range(10**6)).__next__)  # as writers in processes of their own
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: shelf.put(replace(found)), range(40)))
    assert len(list(cache.iterdir())) == 1
    assert shelf.get() is not None
    monkeypatch.setattr(kept, "_MOST_FILES", 2)
    for number in range(3):
        Shelf(cache / f"{number}.safetensors").put(found)
        os.utime(cache / f"{number}.safetensors", ns=(number, number))
    shelf.put(found)
    assert len(list(cache.iterdir())) == 2
    assert shelf.get() is not None
