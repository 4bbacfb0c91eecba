"""zarr stays in its room, and what needs no pixels does not load it."""

import ast
import subprocess
import sys
from pathlib import Path

import hdm_pipeline

ROOT = Path(hdm_pipeline.__file__).parent


def test_only_one_module_imports_zarr() -> None:
    def imports_zarr(file: Path) -> bool:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if {name.split(".")[0] for name in names} & {"zarr", "zarrs", "numcodecs"}:
                return True
        return False

    found = [file.relative_to(ROOT).as_posix() for file in ROOT.rglob("*.py") if imports_zarr(file)]
    assert found == ["store/zarr_array.py"]


def test_commands_without_pixels_do_not_load_zarr() -> None:
    script = (
        "import sys, hdm_pipeline, hdm_pipeline.pipeline, hdm_pipeline.cli.main, hdm_pipeline.planning.plan; "
        "sys.exit(bool({'zarr', 'zarrs', 'numcodecs'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
