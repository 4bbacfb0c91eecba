"""The wheel in an environment without the repository: it carries what a user needs, and its first commands work.

The libraries are those of this environment, named by a path file; the repository itself, which is installed here in
editable form, is not among them. A truly empty environment: `make wheel-check`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio

ROOT = Path(__file__).resolve().parents[2]
Call = Callable[..., "subprocess.CompletedProcess[str]"]
NEEDED = (
    "hdm_pipeline/weights/pyramid.safetensors",
    "hdm_pipeline/weights/pyramid-small.safetensors",
    "hdm_pipeline/reporting/html/templates/report.html",
    "hdm_pipeline/py.typed",
    "hdm_geotiff/reader.py",
    "hdm_dicom/reader.py",
    "hdm_studio/server.py",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of what git knows, and the page of the studio where it is built."""
    copy = tmp_path_factory.mktemp("source")
    known = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    listed = known.split("\n")
    page = ROOT / "plugins" / "hdm_studio" / "page"
    listed += [str(path.relative_to(ROOT)) for path in page.rglob("*") if path.is_file()]
    for name in listed:
        if name.startswith(("hdm_pipeline/", "plugins/", "pyproject", "README", "LICENSE", "NOTICE")):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_file():
                shutil.copy(ROOT / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(copy / "dist"), "."], cwd=copy, check=True, timeout=300)
    (built,) = (copy / "dist").glob("hdm_pipeline-*.whl")
    return built


@pytest.fixture(scope="module")
def call(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Call:
    """Calls the command of an environment that holds the wheel, in a folder of its own."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder / "env", with_pip=False)
    python = folder / "env" / "bin" / "python"
    site = Path(subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip())  # fmt: skip
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)  # what pip does with a wheel of Python alone
    (site / "libraries.pth").write_text(f"{_libraries(folder)}\n")
    work = folder / "work"
    work.mkdir()

    def run(*arguments: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "HDM_CACHE": "off", "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [python, *arguments], cwd=work, env=environment, capture_output=True, text=True, timeout=300
        )
        assert done.returncode == 0 or not ok, done.stderr[-2000:]
        return done

    return run


def _libraries(folder: Path) -> Path:
    """This environment's libraries by links, but for the repository and what puts it on the path."""
    linked = folder / "libraries"
    linked.mkdir()
    places = {Path(sysconfig.get_path("purelib")), Path(rasterio.__file__).parents[1]}
    for place in places:
        for entry in place.iterdir():
            ours = entry.name.startswith(("hdm_", "__editable__")) or entry.suffix == ".pth"
            if not ours and not (linked / entry.name).exists():
                (linked / entry.name).symlink_to(entry)
    return linked


def test_it_carries_what_a_user_needs(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    assert set(NEEDED) <= names
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "qgis_hdm"))]
    if (ROOT / "plugins" / "hdm_studio" / "page" / "index.html").is_file():
        assert "hdm_studio/page/index.html" in names


def test_nothing_of_the_repository_is_used(call: Call) -> None:
    code = "import hdm_pipeline.run, hdm_geotiff.reader, hdm_dicom.reader, hdm_studio.command, sys; print([m.__file__ for n, m in sys.modules.items() if n.startswith('hdm_') and getattr(m, '__file__', None)])"  # noqa: E501
    found = call("-c", code).stdout
    assert "site-packages/hdm_dicom/reader.py" in found
    assert str(ROOT) not in found


def test_the_first_commands_work(call: Call, tmp_path: Path) -> None:
    assert call("-m", "hdm_pipeline", "--version").stdout.strip()
    assert "hdm_geotiff" in call("-m", "hdm_pipeline", "plugins").stdout
    assert "--port" in call("-m", "hdm_pipeline", "studio", "--help").stdout
    call("-m", "hdm_pipeline", "samples", str(tmp_path / "samples"))
    labels = str(tmp_path / "samples" / "support" / "labels.gpkg")
    file = str(tmp_path / "flood.yaml")
    drafted = ["init", str(tmp_path / "samples" / "scenes"), "--labels", labels, "--class", "water", "--output", file]
    call("-m", "hdm_pipeline", *drafted, "--yes")
    out = tmp_path / "out"
    quick = ["--set", "support.adapt=off", "--limit", "1", "--executor", "inline", "--output", str(out)]
    call("-m", "hdm_pipeline", "run", file, *quick)
    (mask,) = out.glob("*/mask.tif")
    with rasterio.open(mask) as opened:
        assert set(np.unique(opened.read(1))) <= {0, 1, 255}
    chips = sorted((tmp_path / "samples" / "support").glob("chip_?.tif"))[:2]
    pairs = [{"image": str(chip), "mask": str(chip.with_name(f"{chip.stem}_mask.tif"))} for chip in chips]
    episode = {"task": "flood", "support": [pairs[0]], "query": pairs[1]}
    (tmp_path / "episodes.jsonl").write_text(json.dumps(episode) + "\n")
    told = call("-m", "hdm_pipeline", "evaluate", str(tmp_path / "episodes.jsonl"), "--adapt", "off").stdout
    assert "flood" in told
