"""What the studio's page makes of trouble: a clear message, and no stroke lost."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import rasterio
from playwright.sync_api import Browser, Dialog, Locator, expect

from tests.dicom_series import write_series
from tests.judges.conftest import RequireJudge
from tests.judges.studio_page import Desk, Served, browser, dash, fresh, served

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
model: {{weights: builtin:pyramid-small}}
tiling: {{size: 256, overlap: 64}}
output: {{directory: out, products: [{product}]}}
execution: {{executor: inline}}
"""
LARGE = (18000, 36000)
SLICES = 1500
MERE_MORTAL = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"] if os.geteuid() == 0 else []
"""Even root is held to the permissions of files."""


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


def scenes(folder: Path, **shapes: tuple[int, int]) -> Path:
    """A pipeline on made scenes."""
    (folder / "scenes").mkdir()
    for name, shape in shapes.items():
        write_scene(folder / "scenes" / f"{name}.tif", shape)
    return pipeline(folder, "scenes/*.tif")


@pytest.fixture(scope="module")
def rasters(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Served]]:
    """A folder with scenes, one of them large, and a studio on it."""
    folder = tmp_path_factory.mktemp("trouble")
    file = scenes(folder, a_small=(400, 500), b_gone=(400, 500), c_large=LARGE)
    with served(file) as studio:
        yield folder, studio


@pytest.fixture
def desk(chromium: Browser, rasters: tuple[Path, Served]) -> Iterator[Desk]:
    with at(chromium, rasters[1].address) as opened:
        yield opened


@contextmanager
def at(chromium: Browser, address: str) -> Iterator[Desk]:
    """A person who tries only when asked to."""
    page = fresh(chromium)
    opened = Desk(page, address)
    opened.switch("Try by itself after each stroke", on=False)
    yield opened
    page.context.close()


def drawn(desk: Desk, scene: str) -> dict[str, int]:
    """Labelled pixels of a scene by value, as the server says."""
    slices = desk.page.request.get(f"{desk.origin}/api/scenes/{scene}/labels").json()["slices"]
    found: dict[str, int] = {}
    for values in slices.values():
        for value, pixels in values.items():
            found[value] = found.get(value, 0) + pixels
    return found


def on_disk(folder: Path, scene: str) -> dict[str, int]:
    """The same, as GDAL reads it in the file that belongs to the user."""
    (file,) = (folder / "labels").glob(f"{scene}*.tif")
    with rasterio.open(file) as labels:
        values, counts = np.unique(labels.read(1), return_counts=True)
    return {str(value): int(count) for value, count in zip(values, counts, strict=True) if value != 255}


def unsaved(desk: Desk, strokes: int) -> Locator:
    """The bar over the scene that says how many strokes are not saved."""
    told = "1 stroke is not saved" if strokes == 1 else f"{strokes} strokes are not saved"
    return desk.page.get_by_role("alert").filter(has_text=told)


def peak_mb(studio: Served) -> int:
    """Most memory that the studio has had."""
    status = Path(f"/proc/{studio.process.pid}/status").read_text(encoding="ascii")
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) >> 10


def test_two_browsers_see_one_truth(chromium: Browser, desk: Desk, rasters: tuple[Path, Served]) -> None:
    with at(chromium, rasters[1].address) as other:
        for one in (desk, other):
            one.open("a_small")
        desk.stroke(1, dash((100, 100), 40))
        other.stroke(0, dash((100, 300), 40))
        found = drawn(desk, "a_small")
        for one in (desk, other):
            for name, value in (("field", "1"), ("background", "0")):
                expect(one.page.get_by_role("button", name=name)).to_contain_text(f"{found[value]:,} pixels")
        assert found == on_disk(rasters[0], "a_small")
        assert desk.troubles == other.troubles == []


def test_on_a_full_disk_no_stroke_is_lost(desk: Desk, rasters: tuple[Path, Served]) -> None:
    folder, studio = rasters
    desk.open("a_small")
    desk.stroke(1, dash((250, 50), 20))
    before = drawn(desk, "a_small")
    room = resource.prlimit(studio.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(studio.process.pid, resource.RLIMIT_FSIZE, (0, room[1]))  # no file grows: as on a full disk
    try:
        desk.line(1, dash((400, 200), 30))
        expect(unsaved(desk, 1)).to_contain_text("kept in this browser")
        expect(unsaved(desk, 1)).to_contain_text(re.compile("free ", re.IGNORECASE))
        desk.line(0, dash((400, 300), 30))
        expect(unsaved(desk, 2)).to_be_visible()
        desk.page.reload()
        expect(unsaved(desk, 2)).to_be_visible()
    finally:
        resource.prlimit(studio.process.pid, resource.RLIMIT_FSIZE, room)
    unsaved(desk, 2).get_by_role("button", name="Try now").click()
    expect(unsaved(desk, 2)).to_be_hidden()
    found = drawn(desk, "a_small")
    assert found["1"] > before["1"]
    assert found["0"] > before.get("0", 0)
    assert found == on_disk(folder, "a_small")


def test_strokes_wait_for_a_studio_that_was_killed_and_a_scene_is_gone(chromium: Browser, tmp_path: Path) -> None:
    file = scenes(tmp_path, a_small=(400, 500), b_gone=(400, 500))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with served(file, port) as studio:
        desk = Desk(fresh(chromium), studio.address)
        desk.switch("Try by itself after each stroke", on=False)
        desk.open("a_small")
        desk.stroke(1, dash((100, 100), 40))
        before = on_disk(tmp_path, "a_small")
        studio.process.send_signal(signal.SIGKILL)
        studio.process.wait()
    desk.line(1, dash((100, 200), 40))
    desk.line(0, dash((100, 300), 40))
    expect(unsaved(desk, 2)).to_contain_text("does not answer")
    with served(file, port) as studio:
        expect(desk.page.get_by_text("the studio was started anew")).to_be_visible()
        desk.page.route("**/b_gone/thumbnail.png*", lambda route: route.abort())  # a scene that is open stays open
        desk.page.goto(studio.address)
        expect(unsaved(desk, 2)).to_be_hidden()
        expect(desk.page.get_by_role("navigation", name="Archive")).to_be_visible()
        unseen = desk.page.locator(".scene", has_text="b_gone").locator("img")
        expect(unseen).not_to_have_attribute("src", re.compile("."))  # no browser's sign of a broken picture
        desk.open("a_small")
        expect(desk.page.get_by_role("button", name="background")).to_contain_text("pixels")
        found = on_disk(tmp_path, "a_small")
        assert found["1"] == 2 * before["1"]
        assert found["0"] == before["1"]

        (tmp_path / "scenes" / "b_gone.tif").unlink()
        desk.page.locator(".scene", has_text="b_gone").click()
        alert = desk.page.get_by_role("alert").filter(has_text="What to do")
        expect(alert.first).to_contain_text("b_gone")
        desk.open("a_small")


def test_a_scene_that_vanishes_while_it_is_open(desk: Desk, rasters: tuple[Path, Served]) -> None:
    folder, _ = rasters
    desk.open("b_gone")
    desk.stroke(1, dash((100, 100), 40))
    (folder / "scenes" / "b_gone.tif").unlink()
    desk.stroke(0, dash((100, 300), 40))
    found = drawn(desk, "b_gone")
    assert found["0"] == found["1"] > 0
    assert found == on_disk(folder, "b_gone")


def test_a_very_large_scene_is_looked_at_and_drawn_on(desk: Desk, rasters: tuple[Path, Served]) -> None:
    _, studio = rasters
    before = peak_mb(studio)
    desk.open("c_large")
    desk.radius(150)
    desk.stroke(1, [(2000, 2000), (30000, 15000)])
    assert drawn(desk, "c_large")["1"] > 1_000_000
    desk.page.keyboard.press("Control+z")
    expect(desk.page.get_by_role("button", name="Undo")).to_be_disabled()
    assert drawn(desk, "c_large") == {}

    desk.zoom_to((400, 300), 0.7)
    desk.radius(20)
    desk.stroke(1, dash((450, 290), 40))
    desk.stroke(0, dash((450, 350), 40))
    # The network takes half a GB, and is loaded meanwhile; the scene's pixels as float32 would be 2.6.
    assert peak_mb(studio) - before < 1000
    tried = desk.try_it()
    assert max(tried["window"][2:]) <= 1024
    assert peak_mb(studio) - before < 1500
    assert desk.troubles == []


def test_a_pipeline_file_that_cannot_be_written(desk: Desk, rasters: tuple[Path, Served]) -> None:
    file = rasters[0] / "trouble.yaml"
    desk.open("a_small")
    desk.stroke(1, dash((200, 200), 40))
    desk.stroke(0, dash((200, 340), 40))
    before = file.read_text(encoding="utf-8")
    file.chmod(0o444)
    desk.page.get_by_role("button", name="Save to pipeline").click()
    dialog = desk.page.get_by_role("dialog", name="The pipeline file was not changed")
    expect(dialog).to_contain_text("read-only")
    expect(dialog).to_contain_text("What to do")
    wanted = dialog.locator("pre").inner_text()
    assert "a_small" in wanted
    assert file.read_text(encoding="utf-8") == before
    desk.page.keyboard.press("Escape")
    file.chmod(0o644)
    desk.page.get_by_role("button", name="Save to pipeline").click()
    expect(desk.page.get_by_role("heading", name="Saved")).to_be_visible()
    assert file.read_text(encoding="utf-8").strip() == wanted.strip()


def test_fifteen_hundred_slices(chromium: Browser, tmp_path: Path) -> None:
    write_series(tmp_path / "series", [float(z) for z in range(SLICES)], shape=(64, 64))
    with served(pipeline(tmp_path, "series", "dicom", "segmentation")) as studio, at(chromium, studio.address) as desk:
        desk.open("")
        desk.slice(1400)
        expect(desk.page.get_by_text(f"1401 / {SLICES}")).to_be_visible()
        desk.stroke(1, dash((16, 16), 8))
        desk.stroke(0, dash((48, 48), 8))
        desk.page.keyboard.press("PageDown")
        expect(desk.page.get_by_text(f"1400 / {SLICES}")).to_be_visible()
        assert desk.try_it()["window"] == [0, 0, 64, 64]
        assert desk.troubles == []


def test_a_damaged_scene_says_so_and_a_scene_is_found_by_its_own_name(chromium: Browser, tmp_path: Path) -> None:
    file = scenes(tmp_path, a_small=(400, 500), b_bad=(400, 500), **{"Müller & Söhne": (400, 500)})
    (tmp_path / "scenes" / "b_bad.tif").write_bytes(b"II*\0no TIFF")
    with served(file) as studio, at(chromium, studio.address) as desk:
        row = desk.page.locator(".scene", has_text="b_bad")
        expect(row).to_contain_text("Cannot be read")
        row.click()
        alert = desk.page.get_by_role("alert").filter(has_text="What to do")
        expect(alert.first).to_contain_text("b_bad")
        desk.page.get_by_label("Show", exact=True).select_option("unreadable")
        expect(desk.page.locator(".scene")).to_have_count(1)
        found = desk.page.locator(".scene")
        desk.page.get_by_label("Show", exact=True).select_option("")
        expect(found).to_have_count(3)
        desk.page.get_by_label("Find a scene by its name").fill("müller")
        expect(found).to_have_count(1)
        expect(found).to_contain_text("Müller & Söhne.tif")
        desk.open("Muller _ Sohne")
        expect(desk.page.locator(".open-scene")).to_have_text("Müller & Söhne.tif")


def test_a_reload_in_the_middle_of_a_stroke_keeps_it(chromium: Browser, tmp_path: Path) -> None:
    file = scenes(tmp_path, a_small=(400, 500))
    with served(file) as studio, at(chromium, studio.address) as desk:
        desk.open("a_small")
        desk.page.keyboard.press("1")
        mouse = desk.page.mouse
        mouse.move(*desk.screen((100, 100)))
        mouse.down()
        mouse.move(*desk.screen((200, 100)), steps=4)
        desk.page.reload()
        desk.open("a_small")
        expect(desk.page.get_by_role("button", name="field")).to_contain_text("pixels")
        assert on_disk(tmp_path, "a_small") == drawn(desk, "a_small")
        assert drawn(desk, "a_small")["1"] > 1000

        mouse.up()
        desk.page.keyboard.press("p")
        for corner in ((300, 300), (350, 300), (350, 350)):
            mouse.click(*desk.screen(corner))
        asked: list[str] = []

        def stay(dialog: Dialog) -> None:
            asked.append(dialog.type)
            dialog.dismiss()

        desk.page.on("dialog", stay)
        desk.page.evaluate("() => setTimeout(() => location.reload())")  # a person's: playwright's waits for its end
        desk.page.wait_for_timeout(1000)
        assert asked == ["beforeunload"]  # a polygon that is not closed is asked about
        with desk.page.expect_response(lambda answer: answer.url.endswith("/strokes")):
            desk.page.keyboard.press("Enter")


def half_a_stroke(desk: Desk, key: str) -> None:
    """Draw, and press a key while the button is down; wait until the stroke is saved."""
    desk.page.keyboard.press("1")
    mouse = desk.page.mouse
    mouse.move(*desk.screen((16, 16)))
    mouse.down()
    mouse.move(*desk.screen((40, 16)), steps=4)
    with desk.page.expect_response(lambda answer: answer.url.endswith("/strokes")):
        desk.page.keyboard.press(key)
    mouse.up()


def test_a_slice_a_scene_or_a_tool_that_changes_in_the_middle_of_a_stroke_ends_it(
    chromium: Browser, tmp_path: Path
) -> None:
    write_series(tmp_path / "series", [float(z) for z in range(5)], shape=(64, 64))
    with served(pipeline(tmp_path, "series", "dicom", "segmentation")) as studio, at(chromium, studio.address) as desk:
        desk.open("")
        half_a_stroke(desk, "PageDown")
        scene = desk.page.locator(".map").get_attribute("data-scene")
        slices = desk.page.request.get(f"{desk.origin}/api/scenes/{scene}/labels").json()["slices"]
        assert list(slices) == ["2"]  # the one in the middle, which it was begun on
    file = scenes(tmp_path, a_small=(60, 60), b_small=(60, 60))
    with served(file) as studio, at(chromium, studio.address) as desk:
        desk.open("a_small")
        half_a_stroke(desk, ".")
        expect(desk.page.locator(".open-scene")).to_have_text("b_small")
        assert drawn(desk, "b_small") == {}
        before = drawn(desk, "a_small")["1"]
        assert before > 100
        desk.page.wait_for_selector('.map[data-scene="b_small"]')
        half_a_stroke(desk, "e")
        assert drawn(desk, "b_small")["1"] == before


def test_labels_that_may_not_be_written_are_kept_and_told(chromium: Browser, tmp_path: Path) -> None:
    file = scenes(tmp_path, a_small=(400, 500))
    labels = tmp_path / "labels"
    labels.mkdir()
    labels.chmod(0o555)
    with served(file, before=MERE_MORTAL) as studio, at(chromium, studio.address) as desk:
        desk.open("a_small")
        desk.line(1, dash((100, 100), 40))
        expect(unsaved(desk, 1)).to_contain_text("kept in this browser")
        expect(unsaved(desk, 1)).to_contain_text("labels")
        expect(desk.page.get_by_text("Not saved", exact=True)).to_be_visible()
        desk.line(0, dash((100, 300), 40))
        expect(unsaved(desk, 2)).to_be_visible()
        desk.page.reload()
        expect(unsaved(desk, 2)).to_be_visible()
        labels.chmod(0o755)
        unsaved(desk, 2).get_by_role("button", name="Try now").click()
        expect(unsaved(desk, 2)).to_be_hidden()
        assert drawn(desk, "a_small") == on_disk(tmp_path, "a_small")
        assert set(on_disk(tmp_path, "a_small")) == {"0", "1"}
