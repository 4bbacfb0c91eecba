"""The QGIS plug-in as a package: what it imports, and the zip file that QGIS installs."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from qgis_zip import pack

ROOT = Path(__file__).resolve().parents[3]
PLUGIN = ROOT / "plugins" / "qgis_hdm"
MODULES = sorted(PLUGIN.glob("*.py"))
PURE = ("commands", "pipeline_text", "progress", "results", "running")


def imported(path: Path) -> set[str]:
    """Top-level names of all imports of a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_nothing_but_qgis_is_needed(path: Path) -> None:
    assert imported(path) <= {*sys.stdlib_module_names, "qgis", "processing", "qgis_hdm"}
    if path.stem in PURE:
        assert not imported(path) & {"qgis", "processing"}


def test_the_metadata_are_those_of_the_package() -> None:
    parser = configparser.ConfigParser()
    parser.read(PLUGIN / "metadata.txt")
    told = dict(parser["general"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert told["version"] == project["version"]
    assert told["license"] == project["license"]
    assert told["hasprocessingprovider"] == "yes"
    assert told["qgisminimumversion"] == "3.22"
    assert {"name", "description", "about", "author", "email"} <= set(told)


def test_the_wheel_is_without_it() -> None:
    from setuptools import find_packages

    chosen = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    found = [name for place in chosen["where"] for name in find_packages(str(ROOT / place), include=chosen["include"])]
    assert "hdm_geotiff" in found
    assert not [name for name in found if name.startswith("qgis")]


def test_the_zip_is_what_qgis_installs(tmp_path: Path) -> None:
    names = pack(tmp_path / "new" / "qgis_hdm.zip")
    with zipfile.ZipFile(tmp_path / "new" / "qgis_hdm.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == names
        assert {name.split("/")[0] for name in names} == {"qgis_hdm"}
        assert {f"qgis_hdm/{path.name}" for path in MODULES} < set(names)
        assert {"qgis_hdm/metadata.txt", "qgis_hdm/LICENSE"} < set(names)
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o100644}
        assert archive.read("qgis_hdm/progress.py") == (PLUGIN / "progress.py").read_bytes()
        archive.extractall(tmp_path / "installed")
    code = "import qgis_hdm.running, qgis_hdm.results, qgis_hdm.pipeline_text; print(qgis_hdm.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "installed", capture_output=True, text=True)
    assert done.stdout.strip() == str(tmp_path / "installed" / "qgis_hdm" / "__init__.py"), done.stderr


def test_the_same_sources_give_the_same_zip(tmp_path: Path) -> None:
    command = ["make", "--silent", "-C", str(ROOT), "qgis-plugin", f"PYTHON={sys.executable}"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "dist/qgis_hdm.zip" in done.stdout, done.stderr
    pack(tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (ROOT / "dist" / "qgis_hdm.zip").read_bytes()
