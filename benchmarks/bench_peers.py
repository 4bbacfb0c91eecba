"""Other ways to segment a large scene or a CT with the same network, side by side: time, memory, seams, bytes.

    python -m benchmarks.bench_peers [--sizes 4096] [--slices 400] [--network unet:4] [--only NAME ...] [--repeats 3]

Each contender is a process of its own (`benchmarks/_contenders.py`): start, imports and the example count for all. They
take turns. Time is that of the CPU of all processes, the median of the repeats; memory is the largest sum over all
processes (`benchmarks/_process_tree.py`). `start` is a scene of four tiles: the process, its imports, the network and
the example.
What is not installed is said and left out: `pip install hdm-pipeline[peers]`. docs/peers.md explains the rows.

`--network ours` takes the default weights, `unet:WIDTH` a plain U-Net that nobody trained.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from PIL import Image

from benchmarks._contenders import NEEDS, SCENES, VOLUMES, Job
from benchmarks._process_tree import Cost, measured
from benchmarks._scenes import ct_slice, write_pipeline, write_scene, write_support
from benchmarks._table import Row, arguments, at_most, median, show

ROOT = Path(__file__).resolve().parents[1]
KIT = ROOT / "tests" / "kit"
FLAT_FROM = 8192
MOST_TIME, MOST_MEMORY, MOST_GROWTH = 1.0, 0.25, 1.10
MOST_OVER_BARE = {"hdm-inline": 1.03, "hdm-ray": 1.05}
SEAM_SIDE = 2048
HU = (-160.0, 240.0)
DECIBEL = (-25.0, 0.0)


@dataclass(frozen=True)
class Table:
    """What contenders cost on one scene, by name."""

    costs: dict[str, list[Cost]]
    sizes: dict[str, int]

    def cpu(self, name: str) -> float:
        """Seconds of the CPU, the median."""
        return median([cost.cpu for cost in self.costs[name]])

    def wall(self, name: str) -> float:
        """Seconds on the clock, the median."""
        return median([cost.wall for cost in self.costs[name]])

    def peak(self, name: str) -> float:
        """Most MiB of all repeats."""
        return max(cost.peak for cost in self.costs[name])


class Field:
    """A folder with the network, the example and the scenes, in which contenders run."""

    def __init__(self, folder: Path, options: argparse.Namespace) -> None:
        self.folder, self.options = folder, options
        self.weights = str(self._network(options.network))

    def _network(self, name: str) -> str | Path:
        if name == "ours":
            return "builtin:pyramid"
        sys.path.insert(0, str(KIT))
        from hdm_testkit.unet import PlainUNet

        from hdm_pipeline.model.checkpoints import save_weights

        path = self.folder / "unet.safetensors"
        save_weights(PlainUNet(int(name.partition(":")[2])), path)
        return path

    def contenders(self, known: dict[str, Any]) -> list[str]:
        """Those that are asked for and installed."""
        chosen = [name for name in known if name != "untiled" and name in (self.options.only or known)]
        missing = [name for name in chosen if name in NEEDS and not importlib.util.find_spec(NEEDS[name])]
        for name in missing:
            print(f"left out: {name}: {NEEDS[name]} is not installed (pip install hdm-pipeline[peers])")
        return [name for name in chosen if name not in missing]

    def scene_job(self, size: int, low_high: tuple[float, float] = DECIBEL) -> Job:
        """A job over a scene of `size` pixels a side."""
        place = self.folder / f"scene-{size}"
        if not place.exists():
            write_scene(place / "scenes" / "scene.tif", size)
            write_support(place)
            with rasterio.open(place / "chip.tif") as chip, rasterio.open(place / "mask.tif") as mask:
                np.save(place / "chip.npy", chip.read())
                np.save(place / "mask.npy", mask.read(1))
        return self._job(place, str(place / "scenes" / "scene.tif"), low_high)

    def volume_job(self, slices: int) -> Job:
        """A job over a CT."""
        sys.path.insert(0, str(ROOT))
        from tests.dicom_series import write_series

        place = self.folder / "ct"
        write_series(place / "scenes", [2.0 * z for z in range(slices)], pixels=ct_slice)
        write_series(place / "chip", [0.0], series="chip", pixels=lambda _: ct_slice(1000))[0].rename(
            place / "chip" / "0.dcm"
        )
        image = ct_slice(1000).astype(np.float32) - 1024
        np.save(place / "chip.npy", image[None])
        np.save(place / "mask.npy", (image > 0).astype(np.uint8))
        Image.fromarray((image > 0).astype(np.uint8)).save(place / "mask.png")
        return self._job(place, str(place / "scenes"), HU)

    def _job(self, place: Path, source: str, ranges: tuple[float, float]) -> Job:
        one = self.options
        files = (str(place / "chip.npy"), str(place / "mask.npy"))
        return Job(source, "", "", self.weights, *files, *ranges, one.tile, one.overlap, one.batch, one.threads)

    def run(self, name: str, job: Job) -> tuple[Cost, Path]:
        """Run a contender afresh; returns its cost and the folder of its product."""
        place = Path(job.chip).parent
        out = place / f"out-{name}"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        if name.startswith("hdm-"):
            job = replace(job, pipeline=str(self._pipeline(name, place, job)))
        told = place / f"{name}.json"
        told.write_text(json.dumps(asdict(replace(job, out=str(out)))))
        command = [sys.executable, "-m", "benchmarks._contenders", name, "--job", str(told)]
        paths = os.pathsep.join([str(KIT), str(ROOT), os.environ.get("PYTHONPATH", "")])
        return measured(command, {"PYTHONPATH": paths, "OMP_NUM_THREADS": str(job.threads)}), out

    def _pipeline(self, name: str, place: Path, job: Job) -> Path:
        executor: dict[str, Any] = {"executor": "inline"}
        if name == "hdm-ray":
            executor = {"executor": "ray", "actors": 1, "threads": job.threads}
        example: dict[str, Any] = {"image": "chip.tif", "mask": "mask.tif"}
        source: dict[str, Any] = {"scale": {"fixed": [job.low, job.high]}}
        products = ["mask", "score"] if job.scores else ["mask"]
        if (place / "chip").is_dir():
            source |= {"reader": "dicom", "bands": [1]}
            example = {"image": "chip/0.dcm", "mask": "mask.png", "slices": [0]}
            products = ["nifti"]
        return write_pipeline(
            place,
            f"out-{name}",
            job.weights,
            input=source,
            support={"classes": [{"name": "water", "examples": [example]}]},
            tiling={"size": job.tile, "overlap": job.overlap},
            execution={**executor, "batch_size": job.batch},
            output={"products": products},
        )

    def table(self, names: list[str], job: Job) -> Table:
        """All contenders on one scene, in turn."""
        costs: dict[str, list[Cost]] = {name: [] for name in names}
        sizes: dict[str, int] = {}
        for _ in range(self.options.repeats):
            for name in names:
                cost, out = self.run(name, job)
                costs[name].append(cost)
                told = f"{cost.cpu:.1f} CPU s, {cost.wall:.1f} s, {cost.peak:.0f} MiB"
                print(f"... {Path(job.chip).parent.name}, {name}: {told}", flush=True)
                products = [path for kind in ("mask.tif", "*.nii.gz") for path in out.rglob(kind)]
                sizes[name] = sum(path.stat().st_size for path in products)
        return Table(costs, sizes)


def rows_of(where: str, table: Table, start: Table, *, bounded: bool) -> list[Row]:
    """The figures of one scene; ours against the best of the others."""
    rows = []
    for name in table.costs:
        rows += [
            Row(f"{where}, {name}: time", table.cpu(name), "CPU s"),
            Row(f"{where}, {name}: on the clock", table.wall(name), "s"),
            Row(f"{where}, {name}: peak memory", table.peak(name), "MiB"),
            Row(f"{where}, {name}: product", table.sizes[name] / 2**20, "MiB"),
        ]
    others = [name for name in table.costs if not name.startswith("hdm-")]
    for name in (name for name in table.costs if name.startswith("hdm-") and others):
        blending = [other for other in others if other != "bare"]
        if blending:
            fastest = min(blending, key=table.cpu)
            least = min(blending, key=table.peak)
            rows.append(
                at_most(f"{where}, {name}: time over {fastest}", table.cpu(name) / table.cpu(fastest), "x", MOST_TIME)
            )
            share = table.peak(name) / table.peak(least)
            label = f"{where}, {name}: memory over {least}"
            rows.append(at_most(label, share, "x", MOST_MEMORY) if bounded else Row(label, share, "x"))
        if "bare" in others:
            ours, loop = (table.cpu(one) - start.cpu(one) for one in (name, "bare"))
            rows.append(at_most(f"{where}, {name}: time over bare, less start", ours / loop, "x", MOST_OVER_BARE[name]))
    return rows


def seams(field: Field, names: list[str]) -> list[Row]:
    """How far each is from the network on the whole scene at once."""
    job = replace(field.scene_job(SEAM_SIDE), scores=True)
    _, out = field.run("untiled", job)
    truth = np.load(out / "scores.npy").astype(np.int16)
    rows = []
    for name in names:
        _, out = field.run(name, job)
        if name.startswith("hdm-"):
            (path,) = out.rglob("score.tif")
            with rasterio.open(path) as file:
                scores = file.read(1)
        else:
            scores = np.load(out / "scores.npy")
        # At the scene's own edges there is nothing to be right about: one pads with zeros, the other by reflection.
        within = np.s_[job.overlap : -job.overlap, job.overlap : -job.overlap]
        apart = np.abs(scores.astype(np.int16) - truth)[within]
        flipped = float(((scores >= 128) != (truth >= 128))[within].mean())
        rows += [
            Row(f"seams, {name}: mask pixels that differ from untiled", flipped * 1e6, "ppm"),
            Row(f"seams, {name}: mean difference of the score", float(apart.mean()), "/ 255"),
            Row(f"seams, {name}: largest difference of the score", float(apart.max()), "/ 255"),
        ]
    return rows


def growth(tables: dict[int, Table]) -> list[Row]:
    """Our memory on the largest scene over that on the smallest."""
    if len(tables) < 2:
        return []
    small, large = min(tables), max(tables)
    return [
        at_most(f"{name}: memory at {large} over {small}", tables[large].peak(name) / cost, "x", MOST_GROWTH)
        for name in tables[small].costs
        if name.startswith("hdm-") and (cost := tables[small].peak(name))
    ]


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[4096], help="sides of the scenes in pixels")
    parser.add_argument("--slices", type=int, default=0, help="slices of a CT; 0 for none")
    parser.add_argument("--network", default="unet:4", help="ours, or unet:WIDTH")
    parser.add_argument("--only", nargs="*", choices=list(SCENES), help="contenders")
    parser.add_argument("--no-seams", action="store_true")
    parser.add_argument("--tile", type=int, default=512)
    parser.add_argument("--overlap", type=int, default=64)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=1)
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        field = Field(Path(name), options)
        names = field.contenders(SCENES)
        start = field.table(names, field.scene_job(2 * options.tile - options.overlap))
        rows += [Row(f"start, {one}: time", start.cpu(one), "CPU s") for one in start.costs]
        rows += [Row(f"start, {one}: peak memory", start.peak(one), "MiB") for one in start.costs]
        tables: dict[int, Table] = {}
        for size in options.sizes:
            tables[size] = field.table(names, field.scene_job(size))
            rows += rows_of(f"{size}²", tables[size], start, bounded=size >= FLAT_FROM)
        rows += growth(tables)
        if not options.no_seams:
            rows += seams(field, names)
        if options.slices:
            volumes = field.table(field.contenders(VOLUMES), field.volume_job(options.slices))
            rows += rows_of(f"CT {options.slices}", volumes, start, bounded=True)
    return show(f"peers, network {options.network}", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
