"""What a series costs beside its segmentation: reports, structure sets and maps against highdicom's segmentation alone.

    python -m benchmarks.bench_dicom_products [--slices 500] [--side 256] [--repeats 3] [--json FILE]

Time: CPU seconds of our SEG, SR and RTSTRUCT (where it is installed) together, and of highdicom's SEG from the same
array, its source headers read. Each product stands by itself, too. The report decodes every slice, as it tells means;
so what bare pydicom takes to decode them is told beside it.
Memory: peak of a fresh process that writes all of them, by number of slices. What it grows by is held against the
pixels that pass through: a byte a voxel of the mask, and five of each class's scores.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from copy import copy
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pydicom

from benchmarks._highdicom import write_segmentation
from benchmarks._table import Row, arguments, at_most, median, show
from hdm_dicom.reader import DicomReader
from hdm_pipeline.contracts import PixelSource, Product, PublishedFile, SceneHeader, ScenePublication, SceneRef
from hdm_pipeline.grid import Window
from hdm_pipeline.plugin.registry import WRITERS, available, load
from tests.dicom_product import LIVER, PROVENANCE, SPLEEN, ArraySource
from tests.dicom_series import write_series

PRODUCTS = ("segmentation", "report", "rtstruct", "parametric_map", "preview")
TOGETHER = ("segmentation", "report", "rtstruct")
OPTIONS: dict[str, dict[str, Any]] = {"report": {"lesions": True, "min_volume_ml": 0.1}, "preview": {"every": 10}}
MOST_TIME = 1.3
MOST_GROWTH = 100.0
"""KiB that a slice more may cost, whatever its size: descriptions of frames in three products, and the source's."""


class Organs:
    """A mask of any number of slices that costs the memory of one: an organ through all of them, and lesions."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = (1, *shape)
        depth, height, width = shape
        self._depth = depth
        self._y, self._x = np.mgrid[:height, :width] / max(height, width)

    def plane(self, z: int) -> np.ndarray:
        """[y, x] of a slice."""
        radius = 0.05 + 0.15 * np.sin(np.pi * z / self._depth)
        mask = ((self._y - 0.5) ** 2 + (self._x - 0.4) ** 2 < radius**2).astype(np.uint8)
        if z % 50 < 20:
            mask[(self._y - 0.25) ** 2 + (self._x - 0.8) ** 2 < 0.05**2] = 2
        return np.asarray(mask)

    def read(self, window: Window) -> np.ndarray:
        """See `PixelSource.read`."""
        return self.plane(window.z)[np.newaxis, window.y : window.bottom, window.x : window.right]


class Scores(Organs):
    """The scores of the same."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        super().__init__(shape)
        self.shape = (2, *shape)

    def read(self, window: Window) -> np.ndarray:
        """See `PixelSource.read`."""
        mask = super().read(window)[0]
        return np.stack([np.where(mask == value, 200, 30) for value in (1, 2)]).astype(np.uint8)


def make_series(folder: Path, slices: int, side: int) -> None:
    """A CT with noise."""
    noise = np.random.default_rng(0).integers(900, 1300, (side, side)).astype(np.uint16)
    write_series(folder, [1.5 * i for i in range(slices)], pixels=lambda index: np.roll(noise, index))


def product_of(folder: Path, *, whole: bool = False) -> Product:
    """The product of the series of a folder; `whole` holds mask and scores as arrays, as highdicom gets them."""
    reader = DicomReader()
    ref = next(found for found in reader.discover(str(folder)) if isinstance(found, SceneRef))
    header: SceneHeader = reader.header(ref)
    shape = header.shape[1:]
    mask: PixelSource = Organs(shape)
    score: PixelSource = Scores(shape)
    if whole:
        mask, score = (
            ArraySource(np.stack([one.read(Window.whole(z, shape[1:])) for z in range(shape[0])], axis=1))
            for one in (mask, score)
        )
    return Product(header, (LIVER, SPLEEN), mask, score, header.shape[2:], PROVENANCE)


def write(product: Product, name: str, folder: Path) -> None:
    """Write one product, the segmentation lying beside it."""
    writer = load(WRITERS, name)(OPTIONS.get(name, {}))
    files = (PublishedFile("segmentation", folder / "segmentation.dcm"),)
    published = ScenePublication("bench", folder, files)
    # Another mask object: a report measures the one it has measured before no second time.
    writer.write(
        replace(product, mask=copy(product.mask), published=published), folder / writer.filename(product.scene)
    )


def decode(product: Product) -> None:
    """What bare pydicom does to read every slice."""
    for member in product.scene.ref.members:
        _ = pydicom.dcmread(member).pixel_array


def bench_time(folder: Path, slices: int, side: int, repeats: int) -> list[Row]:
    make_series(folder / "series", slices, side)
    product = product_of(folder / "series", whole=True)
    mask = product.mask.array[0] if isinstance(product.mask, ArraySource) else np.empty(0)
    members = product.scene.ref.members
    calls: dict[str, Callable[[], None]] = {
        "highdicom": lambda: write_segmentation(members, mask, folder / "theirs.dcm", ["liver", "spleen"]),
        "decoding": lambda: decode(product),
    }
    calls |= {name: partial(write, product, name, folder) for name in PRODUCTS if name in available(WRITERS)}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):  # in turn, so that a busy machine disturbs all alike
        for name, call in calls.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    took = {name: median(values) for name, values in seconds.items()}
    alone = took["highdicom"]
    together = sum(took[name] for name in TOGETHER if name in took)
    rows = [Row("highdicom's SEG alone", alone, "s"), Row("bare pydicom decodes the slices", took["decoding"], "s")]
    rows += [Row(name, took[name], "s") for name in PRODUCTS if name in took]
    names = ", ".join(name for name in TOGETHER if name in took)
    return [*rows, at_most(f"{names}: times highdicom's SEG", together / alone, "x", MOST_TIME)]


def one_series(folder: Path, products: list[str]) -> None:
    """What a fresh process does: write some products, print its peak in MiB."""
    product = product_of(folder)
    for name in products:
        write(product, name, folder.parent)
    status = Path("/proc/self/status").read_text()
    # Not ru_maxrss: it remembers the parent that this process was forked from.
    print(int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024)


def bench_memory(folder: Path, slices: int, side: int) -> list[Row]:
    counts = (slices // 10, slices)
    for count in counts:
        make_series(folder / str(count) / "series", count, side)
    script = "import sys; from pathlib import Path; from benchmarks import bench_dicom_products as b; "
    script += "b.one_series(Path(sys.argv[1]), sys.argv[2:])"

    def growth(products: list[str]) -> tuple[list[float], float]:
        peaks = []
        for count in counts:
            command = [sys.executable, "-c", script, str(folder / str(count) / "series"), *products]
            peaks.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
        return peaks, (peaks[1] - peaks[0]) * 1024 / (counts[1] - counts[0])

    found = [name for name in PRODUCTS if name in available(WRITERS)]
    peaks, more = growth([name for name in found if name != "rtstruct"])
    rows = [
        Row(f"peak, {count} slices, but for rtstruct", peak, "MiB") for count, peak in zip(counts, peaks, strict=True)
    ]
    rows.append(Row("pixels that pass through, a slice", side * side * 11 / 1024, "KiB"))
    rows.append(at_most("growth a slice, but for rtstruct", more, "KiB", MOST_GROWTH))
    if "rtstruct" in found:
        rows.append(Row("growth a slice, rtstruct (text of contours)", growth(["rtstruct"])[1], "KiB"))
    return rows


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = bench_time(folder, options.slices, options.side, options.repeats)
        rows += bench_memory(folder / "memory", options.slices, options.side)
    return show(f"DICOM products of {options.slices} slices, {options.side} x {options.side}", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
