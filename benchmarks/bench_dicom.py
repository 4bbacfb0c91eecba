"""DICOM plug-in against bare pydicom and highdicom, in one run on one machine; the figures that count are ratios.

    python benchmarks/bench_dicom.py [--slices 1500] [--repeats 5] [--json FILE]

Scanning: headers a second of `DicomReader.discover` over CT slices (real ones with HDM_TEST_DATA, else synthetic).
Reading: a JPEG 2000 series by `DicomSource` (floats in HU, validity) and by only pydicom's `pixel_array`.
Writing: a mask by `SegmentationWriter` and by one highdicom call on the same array, saved.
Structures: the same by `StructureSetWriter`, compared with our segmentation of one mask.
Memory: peak of a fresh process that reads every slice of a series and writes its segmentation, by number of slices.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pydicom
from _highdicom import write_segmentation
from _table import Row, alternate, arguments, at_least, at_most, median, show
from pydicom.uid import JPEG2000Lossless

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' synthetic series; others install `tests`, too

from benchmarks._scenes import ct_slice as anatomy
from hdm_dicom.reader import DicomReader
from hdm_dicom.segmentation.writer import SegmentationWriter
from hdm_dicom.structure_set.writer import StructureSetWriter
from hdm_pipeline.contracts import Product, SceneHeader, SceneRef
from hdm_pipeline.grid import Window
from tests.dicom_product import LIVER, PROVENANCE, ArraySource, make_product
from tests.dicom_series import set_pixels, write_series

SIDE = 512
LEAST_SCAN = 400.0
MOST_READ = 1.2
MOST_WRITE = 1.2
MOST_GROWTH_MIB = 64.0
"""Resident memory that 1,350 more slices may cost: headers and frame descriptions. Their mask by itself is 337 MiB."""


def blob(header: SceneHeader) -> np.ndarray:
    """A mask with a class in every second slice."""
    mask = np.zeros((1, *header.shape[1:]), np.uint8)
    mask[0, ::2, 100:300, 150:350] = 1
    return mask


def only(reader: DicomReader, folder: Path) -> SceneRef:
    """The one series of a folder."""
    return next(found for found in reader.discover(str(folder)) if isinstance(found, SceneRef))


def another(path: Path, index: int) -> bytes:
    """A file's bytes under a SOP instance UID of its own: copies would have their pixels compared."""
    uid = str(pydicom.dcmread(path, stop_before_pixels=True).file_meta.MediaStorageSOPInstanceUID)
    return path.read_bytes().replace(uid.encode(), f"{uid[:-6]}1{index:05d}".encode())


def bench_scan(folder: Path, files: int) -> list[Row]:
    data = Path(os.environ.get("HDM_TEST_DATA", "../shared/data")) / "dicom/ct-abdomen/example_ct_dicom"
    kind = "real" if data.is_dir() else "synthetic"
    sources = sorted(data.iterdir()) if data.is_dir() else write_series(folder / "one", pixels=anatomy)
    target = folder / "scan"
    target.mkdir()
    for index in range(files):
        (target / f"{index:05d}").write_bytes(another(sources[index % len(sources)], index))
    walls: list[float] = []

    def scan() -> None:
        start = time.perf_counter()
        list(DicomReader().discover(str(target)))
        walls.append(time.perf_counter() - start)

    (seconds,) = alternate(3, scan)
    shutil.rmtree(target)
    return [
        at_least(f"headers of {kind} CT slices, CPU seconds", files / min(seconds), "files/s", LEAST_SCAN),
        Row(f"headers of {kind} CT slices, seconds", files / min(walls), "files/s"),
    ]


def bench_read(folder: Path, slices: int, repeats: int) -> Row:
    def compress(dataset: pydicom.Dataset, index: int) -> None:
        dataset.BitsStored, dataset.HighBit = 12, 11
        dataset.compress(JPEG2000Lossless)

    paths = write_series(folder / "j2k", [2.0 * i for i in range(slices)], pixels=anatomy, change=compress)
    reader = DicomReader()
    ref = only(reader, folder / "j2k")
    reader.header(ref)

    def plugin() -> None:
        with reader.open(ref) as source:
            for z in range(slices):
                source.read(Window(z=z, y=0, x=0, height=SIDE, width=SIDE), [0])

    def bare() -> None:
        for path in paths:
            _ = pydicom.dcmread(path).pixel_array

    ours, theirs = alternate(repeats, plugin, bare)
    return at_most("reading JPEG 2000, times bare pydicom", median(ours) / median(theirs), "x", MOST_READ)


def bench_write(folder: Path, slices: int, repeats: int, kind: str) -> Row:
    series = folder / "plain"
    if not series.exists():
        write_series(series, [2.0 * i for i in range(slices)], pixels=anatomy)
    product = make_product(series, blob, classes=(LIVER,))
    writer, out = SegmentationWriter({"type": kind}), folder / "ours.dcm"
    mask = product.mask.array[0] if isinstance(product.mask, ArraySource) else np.empty(0)
    scores = product.score.array[0] if isinstance(product.score, ArraySource) else np.empty(0)

    def bare() -> None:
        pixels = mask if kind == "BINARY" else scores.astype(np.float32) / 255
        write_segmentation(product.scene.ref.members, pixels, folder / "theirs.dcm", ["liver"], kind)

    ours, theirs = alternate(repeats, lambda: writer.write(product, out), bare)
    return at_most(f"writing {kind}, times bare highdicom", median(ours) / median(theirs), "x", MOST_WRITE)


def ring(header: SceneHeader) -> np.ndarray:
    """A mask with a round organ, and a hole in it, in every slice."""
    y, x = np.mgrid[:SIDE, :SIDE]
    distance = np.hypot(y - 256, x - 240)
    mask = np.zeros((1, *header.shape[1:]), np.uint8)
    mask[0, :, (distance < 120) & (distance > 30)] = 1
    return mask


def bench_structures(folder: Path, repeats: int) -> Row:
    """After `bench_write`, whose series it takes."""
    product = make_product(folder / "plain", ring, classes=(LIVER,))
    structures, segmentation = StructureSetWriter(), SegmentationWriter()
    ours, theirs = alternate(
        repeats,
        lambda: structures.write(product, folder / "rtstruct.dcm"),
        lambda: segmentation.write(product, folder / "ours.dcm"),
    )
    return Row("writing a structure set, times our BINARY segmentation", median(ours) / median(theirs), "x")


class Repeated:
    """A mask of any number of slices that costs the memory of one."""

    def __init__(self, shape: tuple[int, int, int, int]) -> None:
        self.shape = shape
        self._slice = np.zeros(shape[2:], np.uint8)
        self._slice[100:300, 150:350] = 1

    def read(self, window: Window) -> np.ndarray:
        """The same for every slice."""
        return self._slice[np.newaxis, window.y : window.bottom, window.x : window.right]


def one_series(folder: Path, plane: str) -> None:
    """What a fresh process does: read every slice, write the segmentation, print its peak in MiB."""
    reader = DicomReader({"plane": plane})
    ref = only(reader, folder)
    with reader.open(ref) as source:
        header = source.header
        for z in range(0, header.shape[1], 1 if plane == "acquired" else 16):
            source.read(Window.whole(z, header.shape[2:]), [0])
    repeated = Repeated((1, *header.shape[1:]))
    product = Product(header, (LIVER,), repeated, repeated, header.shape[2:], PROVENANCE)
    SegmentationWriter().write(product, folder.parent / "memory.dcm")
    status = Path("/proc/self/status").read_text()
    # Not ru_maxrss: it remembers the parent that this process was forked from.
    print(int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 1024)


def bench_memory(folder: Path, slices: int) -> list[Row]:
    image = anatomy(0)

    def alike(dataset: pydicom.Dataset, index: int) -> None:
        set_pixels(dataset, image)

    small, large = folder / "small", folder / "large"
    for target, count in ((small, slices // 10), (large, slices)):
        write_series(target, [1.0 * i for i in range(count)], shape=(8, 8), change=alike)
    rows = []
    for plane in ("acquired", "sagittal"):
        peaks = []
        for target in (small, large):
            command = [sys.executable, __file__, "--one-series", str(target), "--plane", plane]
            peaks.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]))
        rows += [
            Row(f"peak, {plane}, {slices // 10} slices", peaks[0], "MiB"),
            Row(f"peak, {plane}, {slices} slices", peaks[1], "MiB"),
            at_most(f"growth, {plane}, {slices - slices // 10} slices", peaks[1] - peaks[0], "MiB", MOST_GROWTH_MIB),
        ]
    return rows


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--slices", type=int, default=1500, help="of the large series")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--one-series", type=Path, help="internal: read and segment this folder, print the peak")
    parser.add_argument("--plane", default="acquired", help="plane that --one-series reads")
    options = parser.parse_args()
    if options.one_series is not None:
        one_series(options.one_series, options.plane)
        return 0
    with tempfile.TemporaryDirectory(prefix="bench-dicom-") as name:
        folder = Path(name)
        rows = [
            *bench_scan(folder, 2000),
            bench_read(folder, 40, options.repeats),
            *(bench_write(folder, 100, options.repeats, kind) for kind in ("BINARY", "FRACTIONAL")),
            bench_structures(folder, options.repeats),
            *bench_memory(folder, options.slices),
        ]
    return show("DICOM", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
