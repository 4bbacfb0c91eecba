"""The training file."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdm_pipeline.config.file import TrainingFileError
from hdm_pipeline.training.config import TrainConfig

SHIPPED = Path(__file__).resolve().parents[3] / "pipelines"
MINIMAL = "output: out\nsteps: 5\ndata: {batches: [{size: 64, images: 4}]}\n"


@pytest.mark.parametrize(
    "name", ["train_pyramid_small.yaml", "train_pyramid.yaml", "tune_pyramid.yaml", "train_hdmnet_pascal.yaml"]
)
def test_shipped_files_are_valid(name: str) -> None:
    config = TrainConfig.load(SHIPPED / name)
    assert config.steps > 1000


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    text = MINIMAL.replace("data: {", "data: {sources: [{kind: folder, path: mine}], ")
    (tmp_path / "train.yaml").write_text(text)
    config = TrainConfig.load(tmp_path / "train.yaml")
    assert config.output == tmp_path / "out"
    assert config.data.sources[0].path == tmp_path / "mine"


def test_paths_of_tasks_and_backbone_count_from_the_file_too(tmp_path: Path) -> None:
    text = MINIMAL.replace("data: {", "data: {sources: [{kind: tasks, path: real, leave_out: [a]}], ")
    text += "network: {backbone: lite0.safetensors, weights: first.safetensors}\n"
    text += "validation: {source: {kind: tasks, path: real, only: [a]}}\n"
    (tmp_path / "train.yaml").write_text(text)
    config = TrainConfig.load(tmp_path / "train.yaml")
    assert config.data.sources[0].path == tmp_path / "real"
    assert config.validation.source.path == tmp_path / "real"
    assert config.network.backbone == tmp_path / "lite0.safetensors"
    assert config.network.weights == str(tmp_path / "first.safetensors")
    shipped = TrainConfig.load(tmp_path / "train.yaml", ["network.weights=builtin:pyramid-small"])
    assert shipped.network.weights == "builtin:pyramid-small"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            MINIMAL.replace("batches: [", "sources: [{kind: tasks, path: x, leave_out: [a]}], batches: [")
            + "validation: {source: {kind: tasks, path: x, only: [a, b]}}\n",
            "training uses as well: b",
        ),
        (MINIMAL + "stepps: 3\n", "stepps"),
        (MINIMAL.replace("size: 64", "size: 60"), "multiples of 32"),
        (MINIMAL + "optimizer: {warmup: 5}\n", "warmup"),
        (MINIMAL.replace("steps: 5", "steps: -1"), "steps"),
        (MINIMAL.replace("batches: [", "sources: [{kind: pascal-5i, path: x, fold: 4}], batches: ["), "fold"),
        ("- 1\n", "not a mapping"),
        ("a: [", "not valid YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "train.yaml").write_text(text)
    with pytest.raises(TrainingFileError, match=match):
        TrainConfig.load(tmp_path / "train.yaml")


def test_every_mistake_has_its_line(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(
        """\
output: out
steps: -1
data:
  batches: [{size: 64, images: 4}]
  sources:
    - kind: folder
      path: mine
      share: 0
    - kind: folder
      share: 2
"""
    )
    with pytest.raises(TrainingFileError) as caught:
        TrainConfig.load(tmp_path / "train.yaml")
    found = {problem.key: problem.line for problem in caught.value.problems}
    assert found == {"steps": 2, "data.sources.0.share": 8, "data.sources.1.path": 9}


def test_values_of_the_command_line_replace_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text(MINIMAL)
    config = TrainConfig.load(tmp_path / "train.yaml", ["steps=7", "optimizer.lr=0.5"])
    assert (config.steps, config.optimizer.lr) == (7, 0.5)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainingFileError, match="cannot be read"):
        TrainConfig.load(tmp_path / "none.yaml")
