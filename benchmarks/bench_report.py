"""`report.html` of 10,000 scenes, and what quicklooks add to publishing a scene.

    python -m benchmarks.bench_report [--scenes 10000] [--sides 4096 16384] [--json FILE]

The report is made in a process of its own, of a ledger with an entry for each scene as a run leaves it and pictures for
each (speckled land and a lake: what compresses badly); *again* is made with nothing changed.

The quicklook of a scene is timed as publishing makes it: on a cloud-optimized GeoTIFF of two bands with overviews, and
on a file without. *Measuring* is what publishing did before (areas of a mask whose scores lie in a store), and what it
does now, with the small mask collected on the way. Seconds are those of the CPU, all threads.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from rasterio.shutil import copy

from benchmarks._scenes import write_scene
from benchmarks._table import Row, alternate, arguments, at_most, median, show
from hdm_pipeline.contracts import ClassInfo, Product, Provenance, SceneHeader, SceneRef
from hdm_pipeline.execution.measures import measure
from hdm_pipeline.execution.quicklook import SIZES, Quicklook
from hdm_pipeline.execution.reduced import ReducedMask
from hdm_pipeline.grid import TileGrid, Window
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.pictures.color import as_colors
from hdm_pipeline.pictures.overlay import webp
from hdm_pipeline.pixels.overview import reduced
from hdm_pipeline.plugin.registry import make_reader
from hdm_pipeline.store.scene import ScoreStore

MOST_MEGABYTES = 30.0
MOST_MILLISECONDS = 30.0
_DIFFERENT = 300
"""Pictures that differ."""

_CLASS = ClassInfo(1, "flood", (30, 96, 220))


def archive(root: Path, scenes: int) -> Workspace:
    """An output directory with so many scenes that are done."""
    workspace = Workspace(root)
    workspace.create()
    workspace.shown.mkdir()
    classes = [{"name": "flood", "color": "#1e60dc"}]
    settings = {"version": 1, "name": "benchmark", "html": True, "private": False, "pixels": True, "settings": []}
    settings["classes"] = classes
    (workspace.shown / "settings.json").write_text(json.dumps(settings))
    workspace.report.write_text(json.dumps({"status": "done", "pipeline": "benchmark", "totals": {"scenes": scenes}}))
    rng = np.random.default_rng(0)
    for size in SIZES:
        (workspace.quicklooks / size).mkdir(parents=True)
    records = []
    looks = [_speckled(rng) for _ in range(min(scenes, _DIFFERENT))]
    shown = [{size: webp(one.drawn(side), most) for size, (side, most) in SIZES.items()} for one in looks]
    for number in range(scenes):
        name = f"S1A_IW_GRDH_1SDV_20240602T052345_{number:06d}"
        records.append(record(name, number, rng))
        for size, content in shown[number % _DIFFERENT].items():
            workspace.quicklook(name, size).write_bytes(content)
    with Ledger.open(workspace.ledger) as ledger:
        ledger.upsert_scenes(records)
    return workspace


def record(name: str, number: int, rng: np.random.Generator) -> SceneRecord:
    """A scene as a run leaves it in the ledger."""
    area = float(rng.lognormal(14, 2))
    west, south = number % 200 / 2 - 50, number // 200 / 2
    edge = np.arange(4) / 10
    along = np.concatenate([edge, 0 * edge + 0.4, 0.4 - edge, 0 * edge])
    across = np.roll(along, 4)
    files = {"mask": [f"{name}/mask.tif", f"{name}/mask.tif.aux.xml"], "polygons": [f"{name}/polygons.gpkg"]}
    warnings = [{"kind": "empty", "what": "nothing was found", "remedy": "look at it", "suspect": False}]
    info = {
        "pixels": {"flood": int(area / 100)},
        "area_m2": {"flood": area},
        "area_m2_interval": {"flood": [0.9 * area, 1.2 * area]},
        "valid": 0.97,
        "mean_score": {"flood": 0.93},
        "date": f"2024-{1 + number % 12:02d}-{1 + number % 28:02d}T05:23:45Z",
        "footprint": [
            [round(west + float(a), 4), round(south + float(b), 4)] for a, b in zip(along, across, strict=True)
        ],
        "products": files,
        "warnings": warnings if number % 50 == 0 else [],
    }
    outputs = tuple(path for of_one in files.values() for path in of_one)
    return SceneRecord(name, "0" * 64, "1" * 64, "2" * 64, "done", outputs, info=info)


def _speckled(rng: np.random.Generator) -> Quicklook:
    y, x = np.mgrid[:288, :288].astype(np.float32)
    a, b, c = rng.uniform(20, 90, 3)
    lake = np.sin(x / a) + np.cos(y / b) + 0.5 * np.sin((x + y) / c) > 0.8
    land = np.where(lake, 0.15, 0.55) + rng.normal(0, 0.08, (2, 288, 288))
    return Quicklook(as_colors(land.astype(np.float32)), lake.astype(np.uint8), {1: _CLASS.color})


def report(scenes: int) -> list[Row]:
    """Time, memory and size of the report of so many scenes."""
    with tempfile.TemporaryDirectory() as name:
        root = Path(name) / "out"
        workspace = archive(root, scenes)
        first, again = (_made(root) for _ in range(2))
        sizes = [path.stat().st_size for path in (workspace.page, *workspace.pages.glob("*"))]
        pictures = sum(path.stat().st_size for path in (workspace.quicklooks / "small").iterdir()) / scenes
        archive(Path(name) / "one", 1)
        least = _made(Path(name) / "one")["megabytes"]
    return [
        Row(f"report of {scenes} scenes", first["seconds"], "s"),
        Row("the same again, nothing changed", again["seconds"], "s"),
        Row("memory, above that of the report of one scene", first["megabytes"] - least, "MB"),
        Row("pages", len(sizes), ""),
        at_most("all pages", sum(sizes) / 1e6, "MB", MOST_MEGABYTES),
        Row("the first page", sizes[0] / 1e6, "MB"),
        Row("a small picture", pictures, "bytes"),
    ]


def _made(root: Path) -> dict[str, float]:
    """Make the report in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_report", "--make", str(root)]
    ended = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(ended.stdout))


def make(root: Path) -> None:
    """What the process of `_made` does."""
    from hdm_pipeline.reporting.html.page import write_report

    start = time.process_time()
    write_report(Workspace(root))
    seconds = time.process_time() - start
    # Not `ru_maxrss`, which a process begins with what its parent had.
    (peak,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    megabytes = int(peak.split()[1]) / 1000
    print(json.dumps({"seconds": seconds, "megabytes": megabytes}))


def quicklooks(folder: Path, side: int, repeats: int) -> list[Row]:
    """Milliseconds of a quicklook of a square scene, with and without overviews, and of measuring its mask."""
    plain, cog = write_scene(folder / "plain.tif", side, seed=3), folder / "cog.tif"
    copy(plain, cog, driver="COG", compress="DEFLATE", level=1, overview_resampling="average", bigtiff="IF_SAFER")
    whole = Window(z=0, y=0, x=0, height=side, width=side)
    size = ReducedMask((1, side, side), [_CLASS]).shape
    reader = make_reader("geotiff", {}, [1, 2])
    refs = {path: one for path in (plain, cog) for one in reader.discover(str(path)) if isinstance(one, SceneRef)}
    mask = np.zeros(size, np.uint8)
    mask[100:200, 100:300] = 1

    def look(path: Path) -> None:
        with reader.open(refs[path]) as source:
            pixels, _ = reduced(source, whole, (0, 1), size)
        made = Quicklook(as_colors((pixels + 25) / 25), mask, {1: _CLASS.color})
        for most_side, most in SIZES.values():
            webp(made.drawn(most_side), most)

    def opened(path: Path) -> None:
        with reader.open(refs[path]):
            pass

    product = _stored(folder / "scores", reader.header(refs[plain]), side)
    areas = np.full(side, 100.0)

    def now() -> None:
        collected = ReducedMask((1, side, side), [_CLASS])
        measure(product, areas, (), collected)
        collected.result()

    # Publishing opens the scene anyway, to measure its pixels.
    with_overviews, opening = alternate(3 * repeats, lambda: look(cog), lambda: opened(cog))
    (without,) = alternate(1, lambda: look(plain))
    old, new = alternate(repeats, lambda: measure(product, areas), now)
    made = 1000 * (median(with_overviews) - median(opening))
    return [
        at_most(f"quicklook of {side} x {side}, overviews", made, "ms", MOST_MILLISECONDS),
        Row(f"quicklook of {side} x {side}, no overviews", 1000 * median(without), "ms"),
        Row(f"measuring {side} x {side}, before", 1000 * median(old), "ms"),
        Row(f"measuring {side} x {side}, with the small mask", 1000 * median(new), "ms"),
    ]


def _stored(folder: Path, header: SceneHeader, side: int) -> Product:
    """A scene whose scores lie in a store, a third of it flooded."""
    grid = TileGrid((1, side, side), 512, 0)
    blocks = grid.blocks(16)
    store = ScoreStore.create(folder, 1, grid, blocks)
    for block in blocks:
        cell = grid.cell(block)
        y, x = np.ogrid[cell.y : cell.bottom, cell.x : cell.right]
        scores = ((np.sin(x / 97.0) + np.cos(y / 83.0) + 2) * 63).astype(np.uint8)
        store._scores.write_cell(block, np.stack([scores, np.ones_like(scores)])[:, None])
    provenance = Provenance("0", "0", "0", "0", 0.7, "benchmark")
    return Product(header, (_CLASS,), store.mask_source(0.7), store.score_source(), store.cell_shape, provenance)


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--scenes", type=int, default=10_000)
    parser.add_argument("--sides", type=int, nargs="*", default=[4096, 16384])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--make", type=Path, help="only make the report of this output directory")
    options = parser.parse_args()
    if options.make:
        make(options.make)
        return 0
    rows = report(options.scenes) if options.scenes else []
    for side in options.sides:
        with tempfile.TemporaryDirectory() as name:
            rows += quicklooks(Path(name), side, options.repeats)
    return show("The report, and quicklooks", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
