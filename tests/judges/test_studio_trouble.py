"""What the studio's page makes of trouble: a clear message, and no stroke lost."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import rasterio
from playwright.sync_api import Browser, Route, expect

from tests.dicom_series import write_series
from tests.judges.conftest import RequireJudge
from tests.judges.studio_page import Desk, browser, dash, fresh, studio

PIPELINE = """
name: trouble
input:
  uri: {uri}
  reader: {reader}
  bands: [1]
  scale: {{fixed: [0, 255]}}
support:
  adapt: off
  classes:
    - {{name: field, examples: []}}
output: {{directory: out, products: [{product}]}}
execution: {{executor: inline}}
"""
LARGE = (18000, 36000)
SLICES = 1500


@pytest.fixture(scope="module")
def chromium(require_judge: RequireJudge) -> Iterator[Browser]:
    with browser(require_judge) as opened:
        yield opened


def write_scene(file: Path, shape: tuple[int, int]) -> None:
    """A scene of which only the upper left corner holds pixels: the rest of the file is a hole."""
    profile = {"driver": "GTiff", "count": 1, "dtype": "uint8", "height": shape[0], "width": shape[1]}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "sparse_ok": True, "crs": "EPSG:32633"}
    transform = rasterio.Affine(10, 0, 500_000, 0, -10, 5_800_000)
    with rasterio.open(file, "w", transform=transform, **profile) as made:
        corner = np.random.default_rng(0).integers(1, 255, (min(512, shape[0]), min(512, shape[1])), np.uint8)
        made.write(corner, 1, window=((0, corner.shape[0]), (0, corner.shape[1])))


def pipeline(folder: Path, uri: str, reader: str = "geotiff", product: str = "mask") -> Path:
    file = folder / "trouble.yaml"
    file.write_text(textwrap.dedent(PIPELINE).format(uri=uri, reader=reader, product=product), encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """A folder with three scenes, one of them large, and the address of a studio on it."""
    folder = tmp_path_factory.mktemp("trouble")
    (folder / "scenes").mkdir()
    write_scene(folder / "scenes" / "a_small.tif", (400, 500))
    write_scene(folder / "scenes" / "b_gone.tif", (400, 500))
    write_scene(folder / "scenes" / "c_large.tif", LARGE)
    with studio(pipeline(folder, "scenes/*.tif")) as address:
        yield folder, address


@pytest.fixture
def desk(chromium: Browser, rasters: tuple[Path, str]) -> Iterator[Desk]:
    page = fresh(chromium)
    opened = Desk(page, rasters[1])
    opened.switch("Try by itself after each stroke", on=False)
    yield opened
    page.context.close()


def drawn(desk: Desk, scene: str) -> int:
    """Labelled pixels of a scene, as the server says."""
    slices = desk.page.request.get(f"{desk.origin}/api/scenes/{scene}/labels").json()["slices"]
    return sum(pixels for values in slices.values() for pixels in values.values())


def test_two_browsers_see_one_truth(chromium: Browser, desk: Desk, rasters: tuple[Path, str]) -> None:
    other = Desk(fresh(chromium), rasters[1])
    other.switch("Try by itself after each stroke", on=False)
    for one in (desk, other):
        one.open("a_small")
    desk.stroke(1, dash((100, 100), 40))
    expect(other.page.get_by_role("button", name="field")).to_contain_text("pixels")
    other.stroke(0, dash((100, 300), 40))
    expect(desk.page.get_by_role("button", name="background")).to_contain_text("pixels")
    assert drawn(desk, "a_small") == drawn(other, "a_small") > 0
    other.page.context.close()


@pytest.mark.parametrize("away", [True, False], ids=["no answer", "full disk"])
def test_no_stroke_is_lost(desk: Desk, away: bool) -> None:
    desk.open("a_small")
    before = drawn(desk, "a_small")
    full = {
        "error": {"type": "OutputError", "what": "the disk is full", "where": "labels", "remedy": "free some space"}
    }

    def refuse(route: Route) -> None:
        if away:
            route.abort()
        else:
            route.fulfill(status=507, json=full)

    desk.page.route("**/strokes", refuse)
    desk.line(1, dash((400, 200), 30))
    message = desk.page.get_by_role("alert").filter(has_text="1 stroke is not saved")
    expect(message).to_contain_text("does not answer" if away else "Free some space")
    desk.picture("not_saved")
    desk.page.reload()
    expect(message).to_be_visible()
    desk.page.unroute("**/strokes")
    message.get_by_role("button", name="Try now").click()
    expect(message).to_be_hidden()
    assert drawn(desk, "a_small") > before


def test_a_file_that_vanishes_is_told(desk: Desk, rasters: tuple[Path, str]) -> None:
    (rasters[0] / "scenes" / "b_gone.tif").unlink()
    desk.page.locator(".scene", has_text="b_gone").click()
    alert = desk.page.get_by_role("alert").filter(has_text="What to do")
    expect(alert.first).to_be_visible()
    desk.open("a_small")


def test_a_very_large_scene_is_looked_at_and_drawn_on(desk: Desk) -> None:
    desk.open("c_large")
    desk.radius(150)
    desk.stroke(1, [(2000, 2000), (30000, 15000)])
    assert drawn(desk, "c_large") > 1_000_000
    desk.page.keyboard.press("Control+z")
    expect(desk.page.get_by_role("button", name="Undo")).to_be_disabled()
    assert drawn(desk, "c_large") == 0
    assert desk.troubles == []


def test_a_pipeline_file_that_cannot_be_written(desk: Desk, rasters: tuple[Path, str]) -> None:
    file = rasters[0] / "trouble.yaml"
    desk.open("a_small")
    desk.stroke(1, dash((200, 200), 40))
    file.chmod(0o444)
    desk.page.get_by_role("button", name="Save to pipeline").click()
    expect(desk.page.get_by_text("read-only")).to_be_visible()
    expect(desk.page.get_by_text("What to do")).to_be_visible()
    file.chmod(0o644)
    desk.page.get_by_role("button", name="Save to pipeline").click()
    expect(desk.page.get_by_role("heading", name="Saved")).to_be_visible()
    assert "a_small" in file.read_text(encoding="utf-8")


def test_fifteen_hundred_slices(chromium: Browser, tmp_path: Path) -> None:
    write_series(tmp_path / "series", [float(z) for z in range(SLICES)], shape=(32, 32))
    with studio(pipeline(tmp_path, "series", "dicom", "segmentation")) as address:
        desk = Desk(fresh(chromium), address)
        desk.switch("Try by itself after each stroke", on=False)
        desk.open("")
        desk.slice(1400)
        expect(desk.page.get_by_text(f"1401 / {SLICES}")).to_be_visible()
        desk.stroke(1, dash((16, 16), 8))
        desk.page.keyboard.press("PageDown")
        expect(desk.page.get_by_text(f"1400 / {SLICES}")).to_be_visible()
        assert desk.troubles == []
