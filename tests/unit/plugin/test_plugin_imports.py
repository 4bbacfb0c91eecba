"""The import graph of the plug-in packages: each file imports only files of the rows above its own.

So there is no circle, not even through an import inside a function, and the tables below are the graph as it is.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PLUGINS = Path(__file__).resolve().parents[3] / "plugins"
PROMISED = {"hdm_pipeline.contracts", "hdm_pipeline.errors", "hdm_pipeline.grid"}
"""What the core promises to plug-ins (docs/plugins.md)."""

ROWS = {
    "hdm_dicom": (
        # what needs nothing of the package
        ("attributes", "codes", "deflated", "instances", "options", "seg_pixels", "seg_style", "transposed_file"),
        ("uids", "write_errors"),
        # files to volumes
        ("headers", "series", "deidentify", "nifti"),
        ("discovery", "labels", "stack", "seg_sources"),
        ("original_paths", "pixels", "rtstruct", "seg_dataset"),
        # volumes to slices, and back
        ("volume_io",),
        ("source", "stored_slices"),
        ("support", "seg_writer"),
        # the plug-ins
        ("reader", "writer"),
    ),
    "hdm_geotiff": (
        ("options", "remote", "uris", "validity", "pixel_areas"),
        ("discovery", "environment", "header"),
        ("aoi", "cog"),
        ("source",),
        ("opening", "support"),
        ("reader", "writer"),
    ),
}


def imported(file: Path) -> Iterator[str]:
    """Modules that a file imports anywhere, also within functions and for types only."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file.name}: relative import"
            inside = node.module in ROWS
            yield from (f"{node.module}.{name.name}" for name in node.names) if inside else (str(node.module),)
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)


@pytest.mark.parametrize("package", ROWS)
def test_imports_go_upwards_only(package: str) -> None:
    row_of = {f"{package}.{name}": number for number, row in enumerate(ROWS[package]) for name in row}
    files = [file for file in sorted((PLUGINS / package).glob("*.py")) if file.stem != "__init__"]
    assert {f"{package}.{file.stem}" for file in files} == set(row_of), "each file stands in the table once"
    for file in files:
        own = row_of[f"{package}.{file.stem}"]
        wrong = [name for name in imported(file) if name.startswith(f"{package}.") and row_of[name] >= own]
        assert not wrong, f"{package}.{file.stem} imports {wrong}"


@pytest.mark.parametrize("package", ROWS)
def test_only_what_is_promised_is_imported(package: str) -> None:
    for file in sorted((PLUGINS / package).glob("*.py")):
        names = {name for name in imported(file) if name.split(".")[0].startswith("hdm_")}
        strange = {name for name in names if not name.startswith(f"{package}.")} - PROMISED
        assert not strange, f"{package}.{file.stem} imports {strange}"
