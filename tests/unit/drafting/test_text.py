"""A draft is a pipeline file, whatever the names in it, and names no more than it was told."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdm_pipeline.config.file import read_pipeline_file
from hdm_pipeline.contracts import Band
from hdm_pipeline.drafting.labels import Wired
from hdm_pipeline.drafting.scaling import choose
from hdm_pipeline.drafting.text import pipeline_text
from hdm_pipeline.errors import ConfigError
from tests.unit.drafting.test_scaling import RGB, VOXELS, seen

EXAMPLE = {"image": "a.tif", "labels": "b.gpkg", "where": "\"a b\" = 'it''s'", "background": "class <> 'x'"}


@pytest.mark.parametrize("name", ["flood", "wet # land: {a}", "yes", "流域", 'it\'s "wet"', "two\nlines", "- 7"])
def test_names_and_paths_come_back_as_they_were(tmp_path: Path, name: str) -> None:
    file = tmp_path / "draft.yaml"
    look = seen(*RGB)
    wired = Wired([EXAMPLE | {"image": str(tmp_path / name / "a.tif")}])
    file.write_text(pipeline_text(look, choose(look, name), wired, name="draft", class_name=name, file=file))
    config = read_pipeline_file(file).absolute()
    assert config.support.classes[0].name == name
    (example,) = config.support.classes[0].examples
    assert (example.image, example.where) == (str(tmp_path / name / "a.tif"), EXAMPLE["where"])


def test_the_products_and_tiles_follow_the_kind_of_scenes(tmp_path: Path) -> None:
    file = tmp_path / "draft.yaml"

    def drafted(**settings: object) -> str:
        look = seen(Band("CT", "HU"), **settings)  # type: ignore[arg-type]
        return pipeline_text(look, choose(look, "liver"), None, name="liver", class_name="liver", file=file)

    assert "products: [mask, polygons]" in drafted()
    assert "size: 256, overlap: 32" in drafted(side=200)
    volumes = drafted(geometry=VOXELS)
    assert "products: [segmentation]" in volumes
    assert "SCT:10200004:Liver" in volumes
    assert "voxels of 1 x 1 x 2 mm" in volumes
    assert "examples: []" in volumes


def test_what_series_are_called_is_not_written(tmp_path: Path) -> None:
    look = seen(Band("CT", "HU"), geometry=VOXELS)
    look.told["CT DOE^JANE abdomen"] += 1
    text = pipeline_text(look, choose(look, "liver"), None, name="l", class_name="liver", file=tmp_path / "d.yaml")
    assert "DOE" not in text


def test_a_path_that_would_be_a_variable_is_refused(tmp_path: Path) -> None:
    look, wired = seen(*RGB), Wired([{"image": "${HOME}/a.tif", "mask": "b.tif"}])
    with pytest.raises(ConfigError, match="variable"):
        pipeline_text(look, choose(look, "a"), wired, name="a", class_name="a", file=tmp_path / "d.yaml")
