"""Commands of plug-ins: a distribution on the path, as an installed one is, before the real command line."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
GOOD = '''
from typing import Annotated
import typer
from hdm_pipeline.errors import ReadError

def greet(name: str, loud: Annotated[bool, typer.Option(help="Shout.")] = False) -> None:
    """Greet somebody."""
    if name == "nobody":
        raise ReadError("nobody is there", remedy="name somebody")
    if name == "some":
        raise typer.Exit(3)
    typer.echo(f"hello {name}".upper() if loud else f"hello {name}")

NUMBER = 3

def run() -> None:
    """Take the place of run."""
'''


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with three modules and the entry points of their distribution."""
    (tmp_path / "visitor.py").write_text(GOOD)
    (tmp_path / "broken.py").write_text("raise RuntimeError('its library is too old')\n")
    info = tmp_path / "visitor-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: visitor\nVersion: 1\n")
    (info / "entry_points.txt").write_text(
        "[hdm_pipeline.commands]\ngreet = visitor:greet\nbad = broken:command\ngone = nowhere:command\n"
        "run = visitor:run\nodd = visitor:NUMBER\n"
    )
    return tmp_path


def hdm(site: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(site), str(ROOT), str(ROOT / "plugins")])
    return subprocess.run(
        [sys.executable, "-m", "hdm_pipeline", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        check=False,
    )


def test_commands_of_plug_ins_stand_beside_those_of_the_core(site: Path) -> None:
    done = hdm(site, "--help")
    assert done.returncode == 0
    assert "Greet somebody." in done.stdout
    assert "Run a pipeline" in done.stdout
    assert "Take the place of run" not in done.stdout, "a command of the core is not replaced"
    assert done.stdout.count("Cannot be loaded") == 3
    done = hdm(site, "greet", "you", "--loud")
    assert (done.returncode, done.stdout) == (0, "HELLO YOU\n")
    assert "Shout." in hdm(site, "greet", "--help").stdout


@pytest.mark.parametrize(("name", "code", "words"), [("nobody", 1, "remedy: name somebody"), ("some", 3, "")])
def test_errors_and_exit_codes_are_those_of_the_core(site: Path, name: str, code: int, words: str) -> None:
    done = hdm(site, "greet", name)
    assert done.returncode == code
    assert words in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("name", "words"), [("bad", "its library is too old"), ("gone", "nowhere"), ("odd", "cannot be loaded")]
)
def test_a_broken_command_says_why_and_breaks_nothing_else(site: Path, name: str, words: str) -> None:
    done = hdm(site, name)
    assert done.returncode == 1
    assert words in done.stderr
    assert "remedy:" in done.stderr
    assert "Traceback" not in done.stderr


def test_plugins_lists_commands(site: Path) -> None:
    listed = hdm(site, "plugins").stdout
    assert "hdm_pipeline.commands" in listed
    assert "visitor:greet" in listed


def test_help_loads_nothing_heavy() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; from hdm_pipeline.cli.main import app\n"
        "done = CliRunner().invoke(app, ['--help']); assert 'deidentify' in done.output, done.output\n"
        "print(sorted({'pydicom', 'torch', 'rasterio', 'highdicom', 'ray', 'zarr'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.strip() == "[]"
