"""Extras: one table for `pyproject.toml` and for errors, and what each world does without the other's libraries."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from hdm_pipeline.errors import MissingExtraError
from hdm_pipeline.extras import EXTRAS, PACKAGE, extra_of, install, lacking, missing_extra, of_import, require

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FOR_DEVELOPERS = {"all", "dev", "judges", "fuzz", "bench", "docs", "peers"}

WITHOUT = """
import sys

class Gone:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Gone())
from hdm_pipeline.cli.main import main
sys.argv = ["hdm_pipeline", *{arguments!r}]
main()
"""


def distributions(requirements: list[str]) -> set[str]:
    """Names as pip knows them, with extras of theirs and without versions; less those of this package."""
    names = {re.split(r"[<>=!~ ;]", one)[0] for one in requirements}
    return {name for name in names if not name.startswith(PACKAGE)}


def without(extra: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line where the libraries of an extra are not installed."""
    code = WITHOUT.format(names=set(EXTRAS[extra].libraries), arguments=list(arguments))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)


def test_the_table_is_that_of_the_project() -> None:
    told = {name: distributions(found) for name, found in PROJECT["optional-dependencies"].items()}
    assert {name: told[name] for name in EXTRAS} == {name: set(one.libraries.values()) for name, one in EXTRAS.items()}
    assert set(told) - set(EXTRAS) <= FOR_DEVELOPERS
    core = distributions(PROJECT["dependencies"])
    assert not core & {name for one in EXTRAS.values() for name in one.libraries.values()}


def test_a_missing_extra_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert extra_of("rasterio.features") == "geo"
    assert extra_of("nowhere") is extra_of("") is extra_of(None) is None
    assert lacking("geo") == []
    require("geo", "nothing")
    monkeypatch.setitem(sys.modules, "rasterio", None)  # what an import finds that is not installed
    monkeypatch.setitem(sys.modules, "shapely", None)
    assert lacking("geo") == ["rasterio", "shapely"]
    error = missing_extra("geo", "reading scenes", otherwise="take another reader")
    assert isinstance(error, MissingExtraError)
    assert error.what == "reading scenes needs rasterio and shapely, not installed here"
    monkeypatch.setitem(sys.modules, "pystac", None)
    assert missing_extra("geo", "this").what == "this needs rasterio, shapely and pystac, not installed here"
    assert error.remedy == f"{install('geo')}, or take another reader"
    with pytest.raises(MissingExtraError):
        require("geo", "reading scenes")


def test_each_world_says_which_extra_it_needs(tmp_path: Path) -> None:
    samples = without("geo", "samples", str(tmp_path / "samples"))
    assert samples.returncode == 2
    assert install("geo") in samples.stderr
    (tmp_path / "p.yaml").write_text(
        "name: p\ninput: {uri: ., reader: dicom, bands: [1], scale: {fixed: [0, 1]}}\n"
        "support: {classes: [{name: a, examples: [{image: a.dcm, mask: b.dcm}]}]}\n"
        "output: {directory: out, products: [nifti]}\n"
    )
    for name in ("a.dcm", "b.dcm"):
        (tmp_path / name).write_bytes(b"\0" * 128 + b"DICM")
    found = without("dicom", "plan", str(tmp_path / "p.yaml"))
    assert found.returncode == 2
    assert "the plug-in 'dicom' needs pydicom" in found.stderr
    assert install("dicom") in found.stderr
    listed = without("dicom", "plugins")
    assert listed.returncode == 0
    marked = {line.split()[0] for line in listed.stdout.splitlines() if install("dicom") in line}
    assert {"dicom", "segmentation", "rtstruct", "nifti"} <= marked
    assert not marked & {"geotiff", "mask", "polygons", "stac"}


def test_a_missing_extra_is_told_before_a_run_and_by_the_commands_of_plugins(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0" + bytes(64))
    (tmp_path / "p.yaml").write_text(
        "name: p\ninput: {uri: a.tif, reader: geotiff, bands: [1], scale: {fixed: [0, 1]}}\n"
        "support: {classes: [{name: a, examples: [{image: a.tif, mask: a.tif}]}]}\n"
        "output: {directory: out, products: [mask]}\n"
    )
    checked = without("geo", "validate", str(tmp_path / "p.yaml"))
    assert checked.returncode == 2
    assert checked.stderr.count(install("geo")) >= 2, "of the reader and of the product"
    drafted = without("geo", "init", str(tmp_path / "a.tif"), "--output", str(tmp_path / "new.yaml"), "--yes")
    assert drafted.returncode == 2
    assert install("geo") in drafted.stderr
    episode = {
        "task": "a",
        "support": [{"image": "a.tif", "mask": "a.tif"}],
        "query": {"image": "a.tif", "mask": "a.tif"},
    }
    (tmp_path / "e.jsonl").write_text(json.dumps(episode) + "\n")
    judged = without("geo", "evaluate", str(tmp_path / "e.jsonl"), "--adapt", "off")
    assert judged.returncode == 2
    assert install("geo") in judged.stderr
    (tmp_path / "key").write_text("0" * 64)
    (tmp_path / "key").chmod(0o600)
    hidden = without("dicom", "deidentify", str(tmp_path), str(tmp_path / "out"), "--key-file", str(tmp_path / "key"))
    assert hidden.returncode == 2
    assert install("dicom") in hidden.stderr
    assert "Traceback" not in hidden.stderr


def test_a_library_that_is_there_and_broken_is_no_missing_extra() -> None:
    assert of_import(ImportError("libgdal.so.36: cannot open", name="rasterio._base"), "reading") is None
    assert of_import(ImportError("no name at all"), "reading") is None


def test_what_fails_otherwise_while_it_is_imported_is_shown_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint

    from hdm_pipeline.errors import PluginLoadError
    from hdm_pipeline.plugin import registry

    point = EntryPoint("broken", "no_such_module_of_anybody:Reader", registry.READERS)
    monkeypatch.setattr(registry, "available", lambda _: {"broken": point})
    with pytest.raises(PluginLoadError, match="no_such_module_of_anybody"):
        registry.load(registry.READERS, "broken")
