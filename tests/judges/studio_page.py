"""The studio's page in Chromium, driven by mouse and keyboard as a person would (Playwright)."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from scipy.ndimage import distance_transform_edt

from tests.judges.conftest import RequireJudge, missing

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "plugins" / "hdm_studio" / "page" / "index.html"
AXE = ROOT / "ui" / "node_modules" / "axe-core" / "axe.min.js"
PICTURES = "HDM_STUDIO_PICTURES"
"""Environment variable: a folder for screenshots, as docs/images; none are made without it."""

_FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-dev-shm-usage"]
_START_S = 120.0
_PATIENCE_MS = 45_000
"""For what takes a second on an idle machine; others may be at work on it."""
_LARGEST_PICTURE = 150_000
_PICTURE_SIZE = (1024, 1024)

Mask = npt.NDArray[np.bool_]
Place = tuple[float, float]


@contextmanager
def browser(require_judge: RequireJudge) -> Iterator[Browser]:
    """Debian's Chromium; skips the test where it, or the built page, is missing."""
    program = require_judge("chromium", "apt-get install chromium")
    if not PAGE.is_file():
        missing("the studio's page (make studio)")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=program, args=_FLAGS)
        yield opened
        opened.close()


@dataclass(frozen=True)
class Served:
    """A studio that listens.

    Attributes:
        process: the command.
        address: that it printed, with the token.
    """

    process: subprocess.Popen[str]
    address: str


@contextmanager
def studio(pipeline: Path) -> Iterator[str]:
    """The command `studio` on a pipeline file; gives the address that it prints."""
    with served(pipeline) as found:
        yield found.address


@contextmanager
def served(pipeline: Path, port: int = 0, before: Sequence[str] = ()) -> Iterator[Served]:
    """The same, with its process; port 0 is any, and `before` is a command that runs it."""
    command = [*before, sys.executable, "-m", "hdm_pipeline", "studio", str(pipeline), "--port", str(port)]
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    lines: list[str] = []
    found = threading.Event()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.append(line)
            if "token=" in line:
                found.set()
        found.set()

    threading.Thread(target=read, daemon=True).start()
    try:
        found.wait(_START_S)
        address = re.search(r"http://\S+token=\S+", "".join(lines))
        assert address is not None, "".join(lines)
        yield Served(process, address.group())
    finally:
        process.terminate()
        process.wait(30)


class Desk:
    """A person at the page.

    Args:
        page: a page of the browser.
        address: of the studio, with the token.
    """

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.origin = address.partition("/?")[0]
        self.troubles: list[str] = []
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.on("console", lambda told: self.troubles.append(told.text) if told.type == "error" else None)
        page.set_default_timeout(_PATIENCE_MS)
        expect.set_options(timeout=_PATIENCE_MS)
        page.goto(address)
        expect(page.get_by_role("application")).to_be_visible()

    def open(self, scene: str) -> None:
        """Choose a scene in the archive, the first one whose name holds the text, and wait until it is seen."""
        self.page.locator(".scene", has_text=scene).click()
        self.page.wait_for_selector(f'.map[data-scene*="{scene}"]' if scene else '.map:not([data-scene=""])')

    def slice(self, z: int) -> None:
        """Go to a slice by the slider."""
        self.page.get_by_role("slider", name="Slice").fill(str(z))
        self.page.wait_for_timeout(300)

    def screen(self, place: Place) -> Place:
        """Where on the screen a pixel of the scene is: (x, y)."""
        told = self.page.locator(".map")
        expect(told).to_have_attribute("data-center", re.compile(r"\S \S"))  # it says so once it has drawn
        box = told.bounding_box()
        assert box is not None
        center = [float(part) for part in (told.get_attribute("data-center") or "").split()]
        resolution = float(told.get_attribute("data-resolution") or "1")
        aspect = float(told.get_attribute("data-aspect") or "1")
        return (
            box["x"] + box["width"] / 2 + (place[0] - center[0]) / resolution,
            box["y"] + box["height"] / 2 + (place[1] - center[1]) * aspect / resolution,
        )

    def zoom_to(self, place: Place, resolution: float) -> None:
        """Turn the wheel over a pixel of the scene until one of the screen is at most so many of it."""
        told = self.page.locator(".map")
        while float(told.get_attribute("data-resolution") or "1") > resolution:
            before = told.get_attribute("data-resolution")
            self.page.mouse.move(*self.screen(place))
            self.page.mouse.wheel(0, -300)
            expect(told).not_to_have_attribute("data-resolution", before or "")

    def radius(self, pixels: float) -> None:
        """Set the brush."""
        self.page.get_by_label("Brush size").fill(str(pixels))

    def switch(self, label: str, *, on: bool) -> None:
        """Set a switch."""
        self.page.get_by_role("switch", name=label).set_checked(on)

    def stroke(self, value: int, places: list[Place]) -> None:
        """Draw a line of a class with the mouse, and wait until the server has it."""
        with self.page.expect_response(lambda answer: answer.url.endswith("/strokes")) as sent:
            self.line(value, places)
        assert sent.value.ok, sent.value.text()

    def line(self, value: int, places: list[Place]) -> None:
        """Draw a line of a class with the mouse."""
        self.page.keyboard.press(str(value))
        mouse = self.page.mouse
        mouse.move(*self.screen(places[0]))
        mouse.down()
        for place in places[1:]:
            mouse.move(*self.screen(place), steps=4)
        mouse.up()

    def try_it(self) -> dict[str, Any]:
        """Try what is seen: what the server answers."""
        with self.page.expect_response(lambda answer: answer.url.endswith("/api/try")) as answer:
            self.page.get_by_role("button", name="Try what I see").click()
        assert answer.value.ok, answer.value.text()
        found: dict[str, Any] = answer.value.json()
        return found

    def mask(self, tried: dict[str, Any], shape: tuple[int, int]) -> Mask:
        """Where a try found something, [*shape] of the scene; False where it did not look."""
        x, y, width, height = tried["window"]
        body = self.page.request.get(f"{self.origin}/api/tries/{tried['id']}/mask.png").body()
        found = np.zeros(shape, bool)
        found[y : y + height, x : x + width] = np.asarray(Image.open(io.BytesIO(body)))[..., 3] > 0
        return found

    def picture(self, name: str) -> None:
        """A screenshot for the documentation, where they are asked for."""
        folder = os.environ.get(PICTURES)
        if folder is None:
            return
        self.page.wait_for_timeout(800)
        shot = Image.open(io.BytesIO(self.page.screenshot())).convert("RGB")
        shot.thumbnail(_PICTURE_SIZE, Image.Resampling.LANCZOS)
        file = Path(folder) / f"studio_{name}.png"
        for colors in (200, 96, 48):
            shot.quantize(colors, dither=Image.Dither.NONE).save(file, optimize=True)
            if file.stat().st_size < _LARGEST_PICTURE:
                return
        raise AssertionError(f"{file.name} is too large for the documentation")


def fresh(chromium: Browser, width: int = 1280, height: int = 720, scheme: Literal["light", "dark"] = "light") -> Page:
    """A page of a person who was never here."""
    return chromium.new_context(viewport={"width": width, "height": height}, color_scheme=scheme).new_page()


def hatching(where: Mask, step: int) -> list[list[Place]]:
    """Lines from left to right that lie in an area, `step` rows apart."""
    found: list[list[Place]] = []
    for row in range(step // 2, where.shape[0], step):
        edges = np.flatnonzero(np.diff(np.pad(where[row].astype(np.int8), 1)))
        found += [[(left + 0.5, row + 0.5), (right - 0.5, row + 0.5)] for left, right in edges.reshape(-1, 2).tolist()]
    return found


def spots(where: Mask, count: int, apart: float) -> list[Place]:
    """Places deep inside an area, (x, y), the deepest first and not nearer to each other than `apart`."""
    depth = np.asarray(distance_transform_edt(np.pad(where, 1)))[1:-1, 1:-1]
    rows, columns = np.mgrid[: where.shape[0], : where.shape[1]]
    found: list[Place] = []
    while len(found) < count and depth.max() > 1.5:
        row, column = np.unravel_index(int(depth.argmax()), depth.shape)
        found.append((float(column) + 0.5, float(row) + 0.5))
        depth[np.hypot(rows - row, columns - column) < apart] = 0
    return found


def dash(place: Place, length: float) -> list[Place]:
    """A short line through a place."""
    return [(place[0] - length / 2, place[1]), (place[0] + length / 2, place[1])]


def iou(found: Mask, truth: Mask) -> float:
    """Intersection over union."""
    return float((found & truth).sum() / max(1, (found | truth).sum()))


def dice(found: Mask, truth: Mask) -> float:
    """Twice the intersection over the sum."""
    return float(2 * (found & truth).sum() / max(1, found.sum() + truth.sum()))


def accessibility(page: Page) -> list[str]:
    """What axe-core finds that is serious or critical."""
    if not AXE.is_file():
        missing("axe-core (make studio)")
    page.evaluate(AXE.read_text(encoding="utf-8"))  # the page's policy allows no script of others; this way it runs
    found = page.evaluate("() => axe.run(document)")
    return [
        f"{rule['id']} ({rule['impact']}): {rule['help']}: {', '.join(str(node['target']) for node in rule['nodes'])}"
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
