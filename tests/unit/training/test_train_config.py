"""The training file."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdm_pipeline.errors import ConfigError
from hdm_pipeline.training.config import TrainConfig

SHIPPED = Path(__file__).resolve().parents[3] / "pipelines"
MINIMAL = "output: out\nsteps: 5\ndata: {batches: [{size: 64, images: 4}]}\n"


@pytest.mark.parametrize("name", ["train_pyramid_small.yaml", "train_hdmnet_pascal.yaml"])
def test_shipped_files_are_valid(name: str) -> None:
    config = TrainConfig.load(SHIPPED / name)
    assert config.steps > 1000


def test_paths_count_from_the_file(tmp_path: Path) -> None:
    text = MINIMAL.replace("data: {", "data: {sources: [{kind: folder, path: mine}], ")
    (tmp_path / "train.yaml").write_text(text)
    config = TrainConfig.load(tmp_path / "train.yaml")
    assert config.output == tmp_path / "out"
    assert config.data.sources[0].path == tmp_path / "mine"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (MINIMAL + "stepps: 3\n", "stepps"),
        (MINIMAL.replace("size: 64", "size: 60"), "multiples of 32"),
        (MINIMAL + "optimizer: {warmup: 5}\n", "warmup"),
        (MINIMAL.replace("steps: 5", "steps: -1"), "steps"),
        (MINIMAL.replace("batches: [", "sources: [{kind: pascal-5i, path: x, fold: 4}], batches: ["), "fold"),
        ("- 1\n", "file"),
        ("a: [", "cannot be read"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "train.yaml").write_text(text)
    with pytest.raises(ConfigError, match=match):
        TrainConfig.load(tmp_path / "train.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        TrainConfig.load(tmp_path / "none.yaml")
