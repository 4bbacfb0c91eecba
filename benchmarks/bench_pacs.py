"""An archive of small series through a PACS on this machine, against the same series in a folder.

    python benchmarks/bench_pacs.py [--series 200] [--slices 8] [--side 128] [--repeats 1] [--json FILE]

Whole runs as users start them, in fresh processes and in turn: seconds from the command to its end, over new output
directories. The PACS is a real Orthanc with DICOMweb and users, by plain HTTP on loopback.
"""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import yaml
from _table import Row, arguments, at_most, show
from PIL import Image
from pydicom.dataset import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tests' synthetic series and their Orthanc

from tests.dicom_product import ORGAN
from tests.dicom_series import uid, write_series
from tests.judges.orthanc import Archive, running

MOST = 1.3
USER, PASSWORD = "BENCH_USER", "BENCH_PASSWORD"


def disc(side: int, index: int) -> np.ndarray:
    """Noise with a bright disc that moves from slice to slice."""
    y, x = np.mgrid[:side, :side]
    noise = np.random.default_rng(index).normal(0, 20, (side, side))
    inside = (y - side / 2) ** 2 + (x - side / 3 - 6 * index) ** 2 < (side / 7) ** 2
    return np.clip(np.where(inside, 1150, 950) + noise, 0, 4095).astype(np.uint16)


def write_archive(root: Path, count: int, slices: int, side: int) -> None:
    """Series in studies of their own, and a labelled one."""

    def one(folder: Path, name: str) -> None:
        def change(dataset: Dataset, index: int) -> None:
            dataset.StudyInstanceUID, dataset.StudyID = uid("study", name), name[:16]

        depths = [2.0 * index for index in range(slices)]
        write_series(folder, depths, series=name, pixels=lambda index: disc(side, index), change=change)

    for number in range(count):
        one(root / "files" / f"{number:04d}", f"series {number}")
    one(root / "support" / "series", "support")
    for z in (1, 3):
        clean = (np.hypot(*np.mgrid[:side, :side].astype(float)) < 0).astype(np.uint8)
        y, x = np.mgrid[:side, :side]
        clean[(y - side / 2) ** 2 + (x - side / 3 - 6 * z) ** 2 < (side / 7) ** 2] = 1
        Image.fromarray(clean).save(root / "support" / f"mask_{z}.png")


def pipeline(root: Path, out: str, side: int, source: dict[str, object]) -> Path:
    """A pipeline file over one of the two sources."""
    examples = [{"image": "support/series", "mask": f"support/mask_{z}.png", "slices": [z]} for z in (1, 3)]
    codes = {"category": ORGAN, "type": "SCT:10200004:Liver"}
    content = {
        "name": "bench",
        "input": {"reader": "dicom", "bands": [1, 1, 1], "scale": {"fixed": [-160, 240]}, **source},
        "support": {"adapt": "off", "classes": [{"name": "disc", "codes": codes, "examples": examples}]},
        "model": {"weights": "builtin:pyramid-small"},
        "tiling": {"size": side, "overlap": 0, "block": 16},
        "execution": {"executor": "inline"},
        "output": {"directory": out, "products": ["segmentation"], "keep": "nothing"},
    }
    path = root / f"{out}.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def seconds_of(path: Path, count: int) -> tuple[float, float]:
    """How long a run takes, and its CPU seconds; it must do all series."""
    out = path.with_suffix("")
    shutil.rmtree(out, ignore_errors=True)
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-m", "hdm_pipeline", "run", str(path)], capture_output=True, text=True)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    found = len(list(out.glob("*/segmentation.dcm")))
    if done.returncode or found != count:
        raise SystemExit(f"{found} of {count} series: {done.stdout[-1000:]}{done.stderr[-1000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def bench(root: Path, archive: Archive, count: int, slices: int, side: int, repeats: int) -> list[Row]:
    """Both sources in turn; of several runs the fastest counts."""
    write_archive(root, count, slices, side)
    archive.fill(root / "files")
    os.environ |= {USER: archive.user, PASSWORD: archive.password}
    connection = {"plain": True, "user_env": USER, "password_env": PASSWORD}
    address = archive.web.replace("http://", "dicomweb://")
    folder = pipeline(root, "folder", side, {"uri": "files"})
    pacs = pipeline(root, "pacs", side, {"uri": address, "network": True, "options": {"connection": connection}})
    found: dict[Path, list[tuple[float, float]]] = {folder: [], pacs: []}
    for _ in range(repeats):
        for path, of_path in found.items():
            of_path.append(seconds_of(path, count))
    (wall, cpu), (wall_pacs, cpu_pacs) = (tuple(map(min, zip(*found[path], strict=True))) for path in (folder, pacs))
    return [
        Row(f"{count} series of {slices} x {side} x {side} in a folder", wall, "s"),
        Row("the same through Orthanc", wall_pacs, "s"),
        at_most("times the folder", wall_pacs / wall, "x", MOST),
        Row("CPU seconds of the run over the folder", cpu, "s"),
        Row("CPU seconds of the run over Orthanc, without Orthanc's", cpu_pacs, "s"),
        Row("times the folder, CPU seconds", cpu_pacs / cpu, "x"),
    ]


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--series", type=int, default=200)
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--repeats", type=int, default=1)
    given = parser.parse_args()
    program = shutil.which("Orthanc", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin"]))
    if program is None:
        raise SystemExit("Orthanc is not installed: apt-get install orthanc orthanc-dicomweb")
    with tempfile.TemporaryDirectory() as folder, running(program, Path(folder) / "orthanc") as archive:
        rows = bench(Path(folder), archive, given.series, given.slices, given.side, given.repeats)
    return show("studies from a PACS", rows, given.json)


if __name__ == "__main__":
    sys.exit(main())
