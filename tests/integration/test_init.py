"""`init`: from a folder and its labels to a pipeline file that is valid, and runs."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import shapely
import yaml
from typer.testing import CliRunner, Result

from hdm_pipeline.cli.main import app
from hdm_pipeline.errors import ArchiveError, ConfigError, SceneError
from tests.integration.conftest import Workbench, write_mask, write_scene
from tests.vector_files import write_vector


def invoke(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def lake_and_land(path: Path) -> Path:
    """A polygon within a lake of `large.tif`, and one on land."""
    lake = shapely.box(500_000 + 1500, 5_000_000 - 1990, 500_000 + 1700, 5_000_000 - 1700)
    land = shapely.box(500_000 + 2000, 5_000_000 - 1990, 500_000 + 2200, 5_000_000 - 1700)
    return write_vector(path, [(lake, "lake"), (land, "land")])


def test_masks_are_wired_in_and_the_draft_runs(bench: Workbench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bench.root)
    written = invoke("init", "scenes", "--labels", "support", "--class", "water")
    assert written.exit_code == 0, written.output
    assert "checked: valid" in written.output
    looked_at = invoke("validate", "water.yaml", "--data")
    assert (looked_at.exit_code, looked_at.output) == (0, "water.yaml: valid\n")
    assert "--data also opens the examples" in invoke("validate", "water.yaml").output
    draft = yaml.safe_load(Path("water.yaml").read_text())
    (example,) = draft["support"]["classes"][0]["examples"]
    assert example == {"image": "support/chip.tif", "mask": "support/chip_mask.tif", "value": 1}
    assert draft["output"]["products"] == ["mask", "polygons"]

    cheap = (f"model.weights={bench.weights}", "support.adapt=off", "execution.executor=inline", "tiling.size=128")
    ran = invoke("run", "water.yaml", *(part for setting in cheap for part in ("--set", setting)))
    assert ran.exit_code == 0, ran.output
    lines = ran.stdout.splitlines()
    table = lines.index(next(line for line in lines if line.startswith("scene ")))
    assert [line.split()[0] for line in lines[table + 1 : table + 4]] == ["large", "middle", "small"]
    assert " km²  " in lines[table + 1]
    assert any(line.startswith("  out/water/large/mask.tif") for line in lines)
    assert lines[-1] == "report: out/water/run.json"
    assert "class water: 1 example" in ran.stderr
    assert "\x1b" not in ran.output

    again = invoke("init", "scenes", "--labels", "support", "--class", "water")
    assert isinstance(again.exception, ConfigError)
    assert "--force" in str(again.exception)


def test_polygons_are_wired_in_with_what_is_background(bench: Workbench) -> None:
    labels = lake_and_land(bench.root / "drawn.gpkg")
    file = bench.root / "lakes.yaml"
    written = invoke("init", bench.scenes, "--labels", labels, "--class", "lake", "--output", file)
    assert written.exit_code == 0, written.output
    assert "checked: valid" in written.output
    (example,) = yaml.safe_load(file.read_text())["support"]["classes"][0]["examples"]
    assert example == {
        "image": "scenes/large.tif",
        "labels": "drawn.gpkg",
        "where": "class = 'lake'",
        "background": "class = 'land'",
    }
    unknown = invoke("init", bench.scenes, "--labels", labels, "--class", "flood", "--output", bench.root / "x.yaml")
    assert isinstance(unknown.exception, ConfigError)
    assert "lake (class of drawn)" in str(unknown.exception)


def test_a_person_is_asked_for_what_is_not_given(bench: Workbench) -> None:
    lake_and_land(bench.root / "drawn.gpkg")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "hdm_pipeline", "init"]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=bench.root)
    os.close(theirs)
    os.write(ours, b"scenes\ndrawn.gpkg\nflood\n99\n2\n")
    told = b""
    while True:
        try:
            part = os.read(ours, 4096)
        except OSError:  # the other end is closed: the process has ended
            break
        if not part:
            break
        told += part
    os.close(ours)
    assert process.wait() == 0, told.decode()
    assert "flood is lake (class of drawn)" in told.decode()
    assert "where: \"class = 'lake'\"" in (bench.root / "flood.yaml").read_text()


def test_without_labels_the_draft_is_for_the_studio(test_data: Path, tmp_path: Path) -> None:
    file = tmp_path / "field.yaml"
    written = invoke("init", test_data / "geotiff" / "naip", "--class", "field", "--yes", "--output", file)
    assert written.exit_code == 0, written.output
    draft = yaml.safe_load(file.read_text())
    assert draft["input"]["bands"] == [1, 2, 3, 4]
    assert draft["input"]["scale"] == {"fixed": [0, 255]}
    assert draft["support"]["classes"] == [{"name": "field", "examples": []}]
    assert f"studio {file}" in written.output
    assert "still to be labelled" in written.output
    steps = written.output.split("next:")[1]
    assert steps.index(f"studio {file}") < steps.index("after labels are saved")
    assert "after every change" not in steps
    told = invoke("validate", file)
    assert "studio" in str(told.exception)


def test_a_series_with_a_segmentation(test_data: Path, tmp_path: Path) -> None:
    series, file = test_data / "dicom" / "dcmqi", tmp_path / "liver.yaml"
    written = invoke("init", series / "ct-3slice", "--labels", series / "liver.dcm", "--yes", "--output", file)
    assert written.exit_code == 0, written.output
    assert "checked: valid" in written.output
    draft = yaml.safe_load(file.read_text())
    assert draft["input"]["reader"] == "dicom"
    assert draft["input"]["scale"] == {"fixed": "abdomen"}
    assert draft["support"]["classes"][0]["examples"][0]["segment"] == "Liver"
    assert draft["output"]["products"] == ["segmentation"]


def test_what_is_odd_is_said_and_what_is_no_archive_is_refused(bench: Workbench, test_data: Path) -> None:
    empty, odd, broken = bench.root / "empty", bench.root / "odd", bench.root / "broken"
    empty.mkdir()
    refused = invoke("init", empty, "--class", "water", "--yes")
    assert isinstance(refused.exception, ArchiveError)
    assert refused.exception.remedy

    shutil.copytree(bench.scenes, odd)
    write_mask(odd / "another.tif", 50, 50, 1)
    mixed = invoke("init", odd, "--class", "water", "--yes", "--output", bench.root / "odd.yaml")
    assert mixed.exit_code == 0, mixed.output
    assert "1 of the scenes that were looked at have other bands, such as another" in mixed.output
    assert "  bands: [1, 2]\n" in (bench.root / "odd.yaml").read_text()

    broken.mkdir()
    shutil.copy(test_data / "geotiff" / "rasterio" / "corrupt.tif", broken)
    unreadable = invoke("init", broken, "--class", "water", "--yes", "--output", bench.root / "broken.yaml")
    assert isinstance(unreadable.exception, SceneError)
    assert not (bench.root / "broken.yaml").exists()

    unknown = invoke("init", bench.scenes, "--class", "water", "--yes", "--reader", "foo")
    assert isinstance(unknown.exception, ConfigError)
    assert "'foo'" in str(unknown.exception)
    assert "geotiff" in str(unknown.exception.remedy)

    (bench.root / "there.yaml").touch()
    there = invoke("init", empty, "--class", "water", "--yes", "--output", bench.root / "there.yaml")
    assert "there already" in str(there.exception), "told before the archive is looked at"

    unasked = invoke("init")
    assert isinstance(unasked.exception, ConfigError)
    assert "ARCHIVE and --class" in str(unasked.exception)


def test_masks_whose_images_nobody_can_tell_are_refused(bench: Workbench) -> None:
    write_scene(bench.root / "elsewhere" / "one.tif", 64, 64, 1)
    for number in (1, 2):
        write_mask(bench.root / "masks" / f"{number}_mask.tif", 64, 64, number)
    asked = ("init", bench.scenes, "--labels", bench.root / "masks", "--class", "water", "--value", "1")
    refused = invoke(*asked, "--output", bench.root / "x.yaml")
    assert "--image" in str(refused.exception)
