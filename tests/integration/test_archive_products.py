"""What is made of all scenes of a run: mosaics; and of two runs: changes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from affine import Affine
from rasterio.warp import transform_bounds

from hdm_pipeline.comparison import compare_outputs, comparison_text
from hdm_pipeline.errors import ConfigError, LostLockError
from hdm_pipeline.options import RunOptions
from hdm_pipeline.output.lock import RunLock
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.events import Event, SceneDone
from tests.integration.conftest import Workbench
from tests.lost_lock import THEIRS, lose, quick_locks

LEFT, TOP, SIDE = 500_000.0, 5_000_000.0, 10.0


def place_scene(
    path: Path,
    water: npt.NDArray[np.bool_],
    x: int = 0,
    y: int = 0,
    *,
    side: float = SIDE,
    holes: Any = None,
    **more: Any,
) -> None:
    """A scene [y, x] of two bands, dark where there is water, whose corner lies x and y pixels from the common one."""
    pixels = np.where(water, -19.0, -8.0) + np.array([0.0, -6.0])[:, None, None]
    if holes is not None:
        pixels[:, holes] = np.nan
    transform = Affine(side, 0, LEFT + x * SIDE, 0, -side, TOP - y * SIDE)
    profile = {"driver": "GTiff", "dtype": "float32", "count": 2, "nodata": np.nan, "crs": "EPSG:32633", **more}
    path.parent.mkdir(exist_ok=True)
    height, width = water.shape
    with rasterio.open(path, "w", **{"transform": transform, **profile}, height=height, width=width) as file:
        file.write(pixels.astype(np.float32))


def left_half(height: int, width: int, columns: int) -> npt.NDArray[np.bool_]:
    """Water in the first columns."""
    return np.broadcast_to(np.arange(width) < columns, (height, width))


@pytest.fixture
def tiles(bench: Workbench) -> Workbench:
    """Three scenes in a row that overlap by ten pixels."""
    shutil.rmtree(bench.scenes)
    for number, name in enumerate("abc"):
        place_scene(bench.scenes / f"{name}.tif", left_half(80, 100, 30 + 10 * number), x=90 * number)
    return bench


def run(bench: Workbench, folder: str = "out", *, mosaic: bool = False, **sections: Any) -> dict[str, Any]:
    output = {"directory": folder, "products": ["mask"]}
    file = bench.pipeline(folder, **{"output": output, **sections})
    Pipeline.from_yaml(file).run(options=RunOptions(mosaic=mosaic))
    found: dict[str, Any] = json.loads((bench.root / folder / "run.json").read_text())
    return found


def test_all_masks_are_one_raster(tiles: Workbench) -> None:
    report = run(tiles)
    out = tiles.root / "out"
    assert report["mosaics"]["mask"] == {"files": ["mosaic.vrt", "mosaic.qml"], "left_out": {}}
    moved = tiles.root / "moved"
    shutil.copytree(out, moved)
    shutil.rmtree(out)
    with rasterio.open(moved / "mosaic.vrt") as mosaic:
        assert mosaic.shape == (80, 280)
        assert mosaic.transform == Affine(SIDE, 0, LEFT, 0, -SIDE, TOP)
        assert (mosaic.nodata, mosaic.crs.to_epsg()) == (255, 32633)
        assert mosaic.colormap(1)[1] != mosaic.colormap(1)[0]
        pixels = mosaic.read(1)
    for number, name in enumerate("abc"):
        with rasterio.open(moved / name / "mask.tif") as mask:
            # The next scene lies above the last ten columns.
            end = 90 if name != "c" else 100
            assert np.array_equal(mask.read(1)[:, :end], pixels[:, 90 * number : 90 * number + end])


def test_nodata_of_a_scene_is_transparent_in_the_mosaic(bench: Workbench) -> None:
    shutil.rmtree(bench.scenes)
    place_scene(bench.scenes / "a.tif", left_half(80, 100, 100))
    holes = np.zeros((80, 100), np.bool_)
    holes[:40] = True
    place_scene(bench.scenes / "b.tif", left_half(80, 100, 0), holes=holes)
    run(bench)
    with rasterio.open(bench.root / "out/mosaic.vrt") as mosaic:
        pixels = mosaic.read(1)
    assert pixels[:32].mean() == 1
    assert pixels[48:].mean() == 0


def test_every_crs_has_a_mosaic_of_its_own(tiles: Workbench) -> None:
    assert run(tiles)["mosaics"]["mask"]["files"] == ["mosaic.vrt", "mosaic.qml"]
    place_scene(tiles.scenes / "d.tif", left_half(80, 100, 50), crs="EPSG:32634")
    place_scene(tiles.scenes / "e.tif", left_half(80, 100, 50), crs=None, transform=Affine.identity())
    place_scene(tiles.scenes / "f.tif", left_half(80, 100, 50), transform=Affine(8, 6, LEFT, 6, -8, TOP))
    told = run(tiles)["mosaics"]["mask"]
    assert [name for name in told["files"] if name.endswith(".vrt")] == [
        "mosaic.EPSG_32633.vrt",
        "mosaic.EPSG_32634.vrt",
    ]
    assert told["about"] == {
        "mosaic.EPSG_32633.vrt": "3 scenes in EPSG:32633 (WGS 84 / UTM zone 33N) as one",
        "mosaic.EPSG_32634.vrt": "1 scene in EPSG:32634 (WGS 84 / UTM zone 34N) as one",
    }
    page = (tiles.root / "out" / "report.html").read_text()
    assert all(what in page for what in told["about"].values())
    assert set(told["left_out"]) == {"e", "f"}
    assert not (tiles.root / "out/mosaic.vrt").exists()  # it would show scenes of one CRS as all


def test_each_class_is_one_file_on_demand(tiles: Workbench) -> None:
    out = tiles.root / "out"
    name = "mosaic_1_water.tif"
    assert name not in run(tiles)["mosaics"]["mask"]["files"]
    assert name in run(tiles, mosaic=True)["mosaics"]["mask"]["files"]
    with rasterio.open(out / name) as cog, rasterio.open(out / "mosaic.vrt") as vrt:
        assert cog.transform == vrt.transform
        assert np.array_equal(cog.read(1), vrt.read(1))  # the only class has the value 1
        assert cog.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
    written = (out / name).stat().st_mtime_ns
    assert name in run(tiles)["mosaics"]["mask"]["files"]
    assert (out / name).stat().st_mtime_ns == written  # nothing changed: it stays
    place_scene(tiles.scenes / "d.tif", left_half(80, 100, 50), x=270)
    assert name not in run(tiles)["mosaics"]["mask"]["files"]
    assert not (out / name).exists()  # it lacks a scene


def test_files_of_others_stay(tiles: Workbench) -> None:
    out = tiles.root / "out"
    out.mkdir()
    (out / "mosaic_of_mine.tif").write_text("mine")
    run(tiles)
    run(tiles)
    assert (out / "mosaic_of_mine.tif").read_text() == "mine"


def test_a_mask_that_is_damaged_or_gone_is_left_out(tiles: Workbench) -> None:
    run(tiles)
    out = tiles.root / "out"
    (out / "a" / "mask.tif").unlink()
    (out / "b" / "mask.tif").write_bytes(b"damaged")
    shutil.rmtree(out / ".hdm" / "catalogs")
    options = RunOptions(time_budget=0.0)  # nothing is published anew
    Pipeline.from_yaml(tiles.root / "out.yaml").run(options=options)
    told = json.loads((out / "run.json").read_text())["mosaics"]["mask"]
    assert set(told["left_out"]) >= {"b"}
    assert "gone" in told["left_out"].get("a", "gone")
    with rasterio.open(out / "mosaic.vrt") as mosaic:
        assert mosaic.shape == (80, 100)


@pytest.fixture
def dates(bench: Workbench) -> Workbench:
    """Two runs, `one` and `two`, over one grid; the later one has no data in its last rows."""
    for folder, columns in (("one", 40), ("two", 60)):
        shutil.rmtree(bench.scenes)
        holes = np.zeros((80, 100), np.bool_)
        holes[64:] = folder == "two"
        water = left_half(80, 100, columns).copy()
        water[:16] = folder == "one"
        place_scene(bench.scenes / f"{folder}.tif", water, holes=holes)
        run(bench, folder)
    return bench


def masks(bench: Workbench) -> list[npt.NDArray[np.uint8]]:
    found = []
    for folder in ("one", "two"):
        with rasterio.open(bench.root / folder / folder / "mask.tif") as file:
            found.append(file.read(1))
    return found


def test_changes_are_counted_and_drawn(dates: Workbench) -> None:
    to = dates.root / "change"
    found = compare_outputs(dates.root / "one", dates.root / "two", to)
    one, two = masks(dates)
    valid = (one != 255) & (two != 255)
    truth = {"stable": (one == 1) & (two == 1), "gained": (one == 0) & (two == 1), "lost": (one == 1) & (two == 0)}
    for kind, where in truth.items():
        assert where.any()
        assert found["classes"]["water"][kind] == {"pixels": where.sum(), "area_m2": pytest.approx(where.sum() * 100)}
    (file,) = found["files"]
    with rasterio.open(to / file) as change:
        pixels = change.read(1)
        assert change.tags(1)["CLASS_2"] == "gained"
        assert change.transform == Affine(SIDE, 0, LEFT, 0, -SIDE, TOP)
    assert (pixels[~valid] == 255).all()
    for value, kind in enumerate(("stable", "gained", "lost"), 1):
        assert np.array_equal(pixels == value, truth[kind])
    assert json.loads((to / "change.json").read_text()) == found
    assert found["notices"] == []
    assert (to / ".hdm").is_dir()


def test_another_grid_is_warped_onto_the_earlier_one(bench: Workbench) -> None:
    shutil.rmtree(bench.scenes)
    place_scene(bench.scenes / "fine.tif", left_half(80, 100, 50))
    run(bench, "one")
    shutil.rmtree(bench.scenes)
    place_scene(bench.scenes / "coarse_left.tif", left_half(40, 30, 30), side=20)
    # Where the two overlap they disagree: the first one counts.
    right = left_half(40, 30, 10) & ~left_half(40, 30, 5)
    place_scene(bench.scenes / "coarse_right.tif", right, x=50, side=20)
    place_scene(bench.scenes / "elsewhere.tif", left_half(80, 100, 50), x=5000)
    run(bench, "two")
    found = compare_outputs(bench.root / "one", bench.root / "two")
    assert found["scenes"]["fine"]["with"] == ["coarse_left", "coarse_right"]
    assert any("warped" in notice for notice in found["notices"])
    assert found["unmatched"] == {"before": [], "after": ["elsewhere"]}
    water = found["classes"]["water"]
    assert water["stable"]["pixels"] == pytest.approx(50 * 80, rel=0.02)
    assert water["gained"]["pixels"] == pytest.approx(20 * 80, rel=0.05)
    assert water["lost"]["pixels"] <= 80


def test_overlaps_are_told_and_neighbors_are_not(tiles: Workbench) -> None:
    """Areas of scenes that lie on each other count twice."""
    run(tiles, "one")
    found = compare_outputs(tiles.root / "one.yaml", tiles.root / "one")
    assert [scene["with"] for scene in found["scenes"].values()] == [["a"], ["b"], ["c"]]
    assert any("overlap (a and b" in notice for notice in found["notices"])
    assert found["classes"]["water"]["gained"]["pixels"] == found["classes"]["water"]["lost"]["pixels"] == 0
    shutil.rmtree(tiles.scenes)
    for number, name in enumerate("de"):
        place_scene(tiles.scenes / f"{name}.tif", left_half(80, 100, 30), x=100 * number)
    run(tiles, "two")
    assert compare_outputs(tiles.root / "two", tiles.root / "two")["notices"] == []


def test_another_crs_is_warped_too(bench: Workbench) -> None:
    shutil.rmtree(bench.scenes)
    place_scene(bench.scenes / "a.tif", left_half(80, 100, 50))
    run(bench, "one")
    (bench.scenes / "a.tif").unlink()
    west, south, east, north = transform_bounds(32633, 4326, LEFT, TOP - 800, LEFT + 1000, TOP)
    grid = Affine((east - west) / 100, 0, west, 0, (south - north) / 80, north)
    place_scene(bench.scenes / "b.tif", left_half(80, 100, 50), crs="EPSG:4326", transform=grid)
    run(bench, "two")
    water = compare_outputs(bench.root / "one", bench.root / "two")["classes"]["water"]
    assert water["stable"]["pixels"] == pytest.approx(50 * 80, rel=0.05)


def test_runs_that_have_nothing_in_common_are_refused(bench: Workbench, tmp_path: Path) -> None:
    for folder, x in (("one", 0), ("two", 5000)):
        shutil.rmtree(bench.scenes)
        place_scene(bench.scenes / "a.tif", left_half(80, 100, 50), x=x)
        run(bench, folder)
    one, two = bench.root / "one", bench.root / "two"
    with pytest.raises(ConfigError, match="lies on"):
        compare_outputs(one, two)
    with pytest.raises(ConfigError, match="no run"):
        compare_outputs(one, tmp_path / "nothing")
    with pytest.raises(ConfigError, match="output directory"):
        compare_outputs(one, two, two)


def test_the_command_prints_a_table(dates: Workbench) -> None:
    one, two = str(dates.root / "one"), str(dates.root / "two")
    command = [sys.executable, "-m", "hdm_pipeline", "compare", one, two, "--to", str(dates.root / "to")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    header, row, report = done.stdout.splitlines()
    assert header.split() == ["class", "stable", "gained", "lost"]
    found = json.loads((dates.root / "to/change.json").read_text())
    assert row == comparison_text(found).splitlines()[1]
    assert "km2" in row or "m2" in row
    assert report.endswith("change.json")


def test_a_run_that_lost_its_lock_leaves_the_directory_to_the_other(
    tiles: Workbench, monkeypatch: pytest.MonkeyPatch
) -> None:
    locks = quick_locks(monkeypatch)
    output = {"directory": "out", "products": ["mask", "stac"]}
    path = tiles.pipeline(output=output)
    theirs = ["run.json", "report.html", "metrics.prom"]
    out = tiles.root / "out"

    of_others = [out / name for name in theirs[:2]] + [out / ".hdm" / theirs[2]]

    def take(event: Event) -> None:
        if isinstance(event, SceneDone) and event.scene == "c":
            lose(locks[0], lambda: (out / ".hdm" / "run.lock").write_text(json.dumps(THEIRS)))
            for path in of_others:
                path.write_bytes(b"of the other run")

    with pytest.raises(LostLockError) as caught:
        Pipeline.from_yaml(path).run(on_event=take)
    assert caught.value.where == str(out)
    assert not [*out.glob("mosaic*"), *out.glob("collection*")]
    assert {path.name: path.read_bytes() for path in of_others} == dict.fromkeys(theirs, b"of the other run")
    assert json.loads((out / ".hdm" / "run.lock").read_text()) == THEIRS


def test_a_run_that_is_not_complete_is_compared_with_a_notice(dates: Workbench) -> None:
    one, two = dates.root / "one", dates.root / "two"
    report = json.loads((one / "run.json").read_text())
    for status, said in (("stopped", "stopped before"), ("running", "killed before"), ("failed", "failed")):
        (one / "run.json").write_text(json.dumps({**report, "status": status}))
        (notice,) = compare_outputs(one, two)["notices"]
        assert str(one) in notice
        assert said in notice
    (one / "run.json").write_text(json.dumps(report))
    with RunLock(two / ".hdm" / "run.lock", "me"):
        found = compare_outputs(one, two)
    (notice,) = found["notices"]
    assert str(two) in notice
    assert "still writing" in notice
    assert notice in comparison_text(found)


def test_changes_are_not_written_among_files_of_others(dates: Workbench) -> None:
    """A marker there would hide the scenes of an archive that is searched recursively."""
    one, two = dates.root / "one", dates.root / "two"
    with pytest.raises(ConfigError, match="other files"):
        compare_outputs(one, two, dates.scenes)
    assert not (dates.scenes / ".hdm").exists()
    with pytest.raises(ConfigError, match="output directory"):
        compare_outputs(one, two, two / "two" / "change")
    assert not (two / "two" / "change").exists()
    to = dates.root / "change"
    (to / ".hdm").mkdir(parents=True)  # all that is left where nothing was found in common
    assert compare_outputs(one, two, to) == compare_outputs(one, two, to)
