"""The tutorial is followed literally: its files are saved, its commands are given, and what it says comes true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from shapely.geometry import box

from hdm_pipeline.iou import iou
from tests.vector_files import write_vector

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "tutorials" / "polygons.md"
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)

LAND = ((250, 1800), (275, 2100), (150, 2900))
"""Values of lake and land in three bands."""

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Followed:
    """A folder in which the page was followed, and what each command said."""

    folder: Path
    said: dict[str, str]


def give(command: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Give a command in a shell, with the `python` that runs the tests."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    found = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(command, shell=True, cwd=folder, env=found, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Followed:
    folder = tmp_path_factory.mktemp("tutorial")
    text = PAGE.read_text(encoding="utf-8")
    said = {}
    for block in BLOCK.finditer(text):
        kind, content = block.groups()
        if kind == "yaml":
            (name,) = re.findall(r"[Ss]ave this as `([\w.]+)`", text[: block.start()])
            (folder / name).write_text(content)
            continue
        assert kind == "sh"
        for command in content.splitlines():
            done = give(command, folder)
            assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
            said[command] = done.stdout + done.stderr
    return Followed(folder, said)


def ious(output: Path, samples: Path) -> dict[str, float]:
    """IoU of each mask with the truth, where both hold data."""
    found = {}
    for path in sorted(output.glob("*/mask.tif")):
        with rasterio.open(path) as mask, rasterio.open(samples / "truth" / f"{path.parent.name}.tif") as truth:
            found[path.parent.name] = iou(mask.read(1) == 1, truth.read(1))
    return found


def test_every_command_does_what_the_page_says(followed: Followed) -> None:
    kinds = [re.findall(r"hdm_pipeline (\w+)", command)[0] for command in followed.said]
    assert kinds == ["samples", "validate", "plan", "run", "plan"]
    run = next(text for command, text in followed.said.items() if " run " in command)
    assert "2 scenes done" in run
    assert "5 examples" in run
    again = list(followed.said.values())[-1]
    assert "chip_1.tif" in again


def test_the_masks_are_those_of_lakes(followed: Followed) -> None:
    found = ious(followed.folder / "out" / "lakes", followed.folder / "samples")
    assert len(found) == 2
    assert min(found.values()) > 0.9
    with rasterio.open(followed.folder / "out" / "lakes" / "s1_20240602_birch" / "mask.tif") as mask:
        assert mask.tags(1)["CLASS_1"] == "lake"
        assert set(np.unique(mask.read(1)).tolist()) == {0, 1, 255}


def test_the_picture_is_drawn_by_its_script(followed: Followed) -> None:
    script, target = PAGE.with_name("polygons_picture.py"), followed.folder / "polygons.png"
    done = give(f"python {script} samples out/lakes {target}", followed.folder)
    assert done.returncode == 0, done.stderr
    committed = PAGE.with_name("polygons.png")
    assert committed.stat().st_size < 150_000
    with Image.open(target) as drawn, Image.open(committed) as shown:
        assert drawn.size == shown.size
        # The mask may differ by a pixel from one version of torch to another.
        difference = np.abs(np.asarray(drawn.convert("L"), float) - np.asarray(shown.convert("L"), float))
    assert (difference > 12).mean() < 0.02


@pytest.mark.long
def test_polygons_are_about_as_good_as_masks(followed: Followed, tmp_path: Path) -> None:
    """The two pipelines that ship, on the same scenes; the page says by how much they differ."""
    samples = str(followed.folder / "samples")
    found = {}
    for name in ("lakes_from_polygons", "flood_extent"):
        chosen = '--set support.adapt=off --set \'input.exclude=["*fir*", "*elm*"]\''
        command = f"python -m hdm_pipeline run {ROOT}/pipelines/{name}.yaml {chosen} --executor inline --output {name}"
        done = give(command, tmp_path, HDM_SAMPLES=samples, HDM_FLOOD_DATA=samples)
        assert done.returncode == 0, done.stderr
        found[name] = ious(tmp_path / name, Path(samples))
    polygons, masks = found["lakes_from_polygons"], found["flood_extent"]
    assert polygons.keys() == masks.keys()
    assert len(masks) == 3
    assert np.mean(list(polygons.values())) > np.mean(list(masks.values())) - 0.03


def test_the_pipeline_file_on_the_first_screen_of_the_readme(tmp_path: Path) -> None:
    """Scenes of three bands, a GeoPackage as it says, and the file as it stands there."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    kind, content = next(block.groups() for block in BLOCK.finditer(text))
    assert kind == "yaml"
    (tmp_path / "lakes.yaml").write_text(content)
    (tmp_path / "scenes").mkdir()
    rng = np.random.default_rng(1)
    rows, columns = np.mgrid[0:200, 0:240]
    lake = np.hypot((rows - 90) / 50, (columns - 110) / 70) < 1
    for index in range(2):
        grid = rasterio.Affine(10, 0, 500_000 + 10_000 * index, 0, -10, 5_200_000)
        profile = {"count": 3, "height": 200, "width": 240, "dtype": "uint16", "crs": "EPSG:32633", "transform": grid}
        with rasterio.open(tmp_path / "scenes" / f"s{index}.tif", "w", driver="GTiff", **profile) as file:
            file.write(
                np.stack([np.where(lake, a, b) + rng.normal(0, 60, lake.shape) for a, b in LAND]).astype("uint16")
            )
    drawn = [
        (box(500_800, 5_198_800, 501_400, 5_199_400), "lake"),
        (box(500_100, 5_198_050, 502_300, 5_198_400), "other"),
    ]
    write_vector(tmp_path / "my_labels.gpkg", drawn, crs="EPSG:3857")
    done = give("python -m hdm_pipeline run lakes.yaml --executor inline --set support.adapt=off", tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 example" in done.stderr
    for index in range(2):
        with rasterio.open(tmp_path / "out" / f"s{index}" / "mask.tif") as mask:
            assert iou(mask.read(1) == 1, lake.astype(np.uint8)) > 0.9
