"""Writers that lie are named."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdm_pipeline.contracts import RunCatalog, VolumeGeometry
from hdm_pipeline.errors import PluginError, PluginLoadError, WriteError
from hdm_pipeline.grid import Window
from tests.unit.plugin.honest import HEADER, PRODUCT, writer_with


@pytest.mark.parametrize(
    "window",
    [
        Window(z=0, y=0, x=0, height=41, width=30),
        Window(z=0, y=-1, x=0, height=5, width=5),
        Window(z=1, y=0, x=0, height=5, width=5),
        Window(z=0, y=0, x=28, height=5, width=5),
        Window(z=0, y=5, x=5, height=0, width=5),
    ],
)
def test_a_writer_that_reads_outside_is_caught(window: Window, tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"'liar'.*outside"):
        writer_with(write=lambda product, path: product.mask.read(window)).write(PRODUCT, tmp_path / "x")
    with pytest.raises(PluginError, match=r"'liar'.*outside"):
        writer_with(write=lambda product, path: product.score.read(window)).write(PRODUCT, tmp_path / "x")


def test_a_writer_that_leaves_nothing_a_folder_or_a_link_is_caught(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("somewhere else")
    for name, act in {
        "nothing": lambda product, path: None,
        "empty": lambda product, path: path.touch(),
        "folder": lambda product, path: path.mkdir(),
        "link": lambda product, path: path.symlink_to(tmp_path / "target"),
    }.items():
        with pytest.raises(PluginError, match="no file"):
            writer_with(write=act).write(PRODUCT, tmp_path / name)


@pytest.mark.parametrize("name", ["../x.tif", "a/b.tif", "", "/x", 7, "run.json"])
def test_wrong_file_names_are_caught(name: Any) -> None:
    with pytest.raises(PluginError, match="file name"):
        writer_with(filename=lambda scene: name).filename(HEADER)


def test_a_writer_without_sidecars_has_none() -> None:
    assert writer_with().sidecars("mask.bin") == ()
    assert writer_with(sidecars=lambda filename: (f"{filename}.xml",)).sidecars("mask.bin") == ("mask.bin.xml",)


@pytest.mark.parametrize("name", ["../x.xml", "a/b.xml", "", "/x", 7, "run.json", "mask.bin"])
def test_wrong_names_of_sidecars_are_caught(name: Any) -> None:
    with pytest.raises(PluginError, match="sidecar"):
        writer_with(sidecars=lambda filename: (name,)).sidecars("mask.bin")


@pytest.mark.parametrize(
    "made",
    [{}, {"files": None}, {"files": [7]}, {"files": "mosaic"}, {"files": ["none"]}, {"files": [], "left_out": 1}],
)
def test_wrong_mosaics_are_caught(made: Any, tmp_path: Path) -> None:
    writer = writer_with(mosaic=lambda run, *, whole: made, compare=lambda before, after, folder: {})
    with pytest.raises(PluginError, match=r"'liar'.*mosaic"):
        writer.mosaic(RunCatalog("test", tmp_path, tmp_path, ()), whole=False)


def test_a_writer_gets_no_scene_of_a_kind_that_it_does_not_name() -> None:
    volume = replace(HEADER, geometry=VolumeGeometry(tuple(np.eye(4).ravel().tolist())))
    for kind, refused in (("rasters", volume), ("volumes", HEADER)):
        writer = writer_with(scenes=kind)
        with pytest.raises(WriteError, match=f"made of {kind} only"):
            writer.check_scene(refused)
        writer.check_scene(HEADER if refused is volume else volume)
    for writer in (writer_with(), writer_with(scenes="any")):
        writer.check_scene(HEADER)
        writer.check_scene(volume)


def test_a_kind_of_scenes_that_does_not_exist_is_caught() -> None:
    with pytest.raises(PluginLoadError, match="'raster', none of rasters, volumes, any"):
        writer_with(scenes="raster")
