"""Which output directory a user means; what is none is told with what is there."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from hdm_pipeline.cli.main import app
from hdm_pipeline.errors import ConfigError
from hdm_pipeline.output.meant import output_directory
from hdm_pipeline.reporting.status import output_status


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Looks like an output directory, and holds what one holds."""
    folder = tmp_path / "runs" / "out"
    (folder / ".hdm").mkdir(parents=True)
    (folder / "run.json").write_text('{"status": "done"}')
    (folder / "a").mkdir()
    (folder / "a" / "mask.tif").write_bytes(b"II*\0")
    return folder


@pytest.mark.parametrize("name", ["run.json", "a/mask.tif"])
@pytest.mark.parametrize("command", ["status", "report"])
def test_a_file_of_an_output_is_answered_with_its_directory(out: Path, command: str, name: str) -> None:
    with pytest.raises(ConfigError, match="a file of an output") as caught:
        output_directory(out / name)
    assert caught.value.remedy == f"give {out}"
    result = CliRunner().invoke(app, [command, str(out / name)])
    assert isinstance(result.exception, ConfigError)
    assert result.exception.remedy == f"give {out}"


def test_another_file_is_told_to_be_none(tmp_path: Path) -> None:
    file = tmp_path / "mask.tif"
    file.write_bytes(b"II*\0" + bytes(3 << 20))  # larger than a pipeline file may be
    with pytest.raises(ConfigError, match="neither an output directory nor a pipeline file") as caught:
        output_directory(file)
    assert "output.directory" in caught.value.remedy


def test_a_wrong_pipeline_file_is_told_as_one(tmp_path: Path) -> None:
    file = tmp_path / "flood.yaml"
    file.write_text("name: flood")
    with pytest.raises(ConfigError, match="problems in the pipeline"):
        output_directory(file)


@pytest.mark.parametrize(
    ("name", "what", "remedy"),
    [
        ("nowhere", "there is no such directory", "run the pipeline first"),
        ("runs", "but below it", "runs/out"),
        ("runs/out/a", "lies in an output directory", "runs/out"),
        (".", "no run has written here", "output.directory"),
        ("loop", "a symbolic link that leads round in a circle", "output.directory"),
    ],
)
def test_a_folder_that_is_no_output_is_told_with_what_is_meant(
    out: Path, tmp_path: Path, name: str, what: str, remedy: str
) -> None:
    assert out.is_dir()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(ConfigError, match=what) as caught:
        output_status(tmp_path / name)
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("value", [None, 3, b"out", "", "a\0b"])
def test_what_is_no_path_is_refused(value: object) -> None:
    with pytest.raises(ConfigError, match="is no path"):
        output_directory(value)  # type: ignore[arg-type]
