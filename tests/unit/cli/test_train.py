"""The command `train`, as a user calls it."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from hdm_pipeline.cli.train import WEIGHTS, train
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.model.checkpoints import load_network
from tests.small_pyramid import SMALLEST


@pytest.fixture
def app() -> typer.Typer:
    application = typer.Typer()
    application.command()(train)
    return application


def write(folder: Path, **changes: object) -> Path:
    settings = {
        "output": "out",
        "steps": 3,
        "network": {"options": SMALLEST},
        "data": {"workers": 0, "batches": [{"size": 32, "images": 4}]},
        "validation": {"every": 0},
        "threads": 1,
        **changes,
    }
    path = folder / "train.yaml"
    path.write_text(yaml.safe_dump(settings))
    return path


def test_it_trains_and_exports(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(write(tmp_path)), "--steps", "2"])
    assert result.exit_code == 0, result.output
    network = load_network(tmp_path / "out" / WEIGHTS)
    assert network.config["widths"] == SMALLEST["widths"]
    assert len((tmp_path / "out" / "log.csv").read_text().splitlines()) == 3


def test_running_again_trains_nothing_more(app: typer.Typer, tmp_path: Path) -> None:
    arguments = [str(write(tmp_path)), "--output", str(tmp_path / "elsewhere"), "--quiet"]
    assert CliRunner().invoke(app, arguments).exit_code == 0
    log = (tmp_path / "elsewhere" / "log.csv").read_text()
    before = load_network(tmp_path / "elsewhere" / WEIGHTS).fingerprint()
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert load_network(tmp_path / "elsewhere" / WEIGHTS).fingerprint() == before
    assert (tmp_path / "elsewhere" / "log.csv").read_text() == log


@pytest.mark.parametrize(
    ("changes", "options", "match"),
    [({"stepps": 3}, [], "stepps"), ({"optimizer": {"warmup": 2}}, ["--steps", "1"], "warmup must be smaller")],
)
def test_mistakes_in_the_file_and_on_the_command_line_are_named(
    app: typer.Typer, tmp_path: Path, changes: dict[str, object], options: list[str], match: str
) -> None:
    with pytest.raises(ConfigError, match=match):
        CliRunner().invoke(app, [str(write(tmp_path, **changes)), *options], catch_exceptions=False)


@pytest.mark.long
@pytest.mark.ray
@pytest.mark.slow
def test_two_replicas_train_one_network(app: typer.Typer, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, [str(write(tmp_path, replicas=2))])
    assert result.exit_code == 0, result.output
    assert len((tmp_path / "out" / "log.csv").read_text().splitlines()) == 4
    load_network(tmp_path / "out" / WEIGHTS)
