"""What an archive costs beyond its pixels: planning 100,000 files, the overhead of 1,000 tiny scenes, the ledger.

    python -m benchmarks.bench_nights [--files 100000] [--scenes 1000] [--json FILE]

Planning runs in a process of its own (wall seconds, and VmHWM for its peak of memory). The tiny scenes (64 x 64, one
block each) are run inline, with a network that costs next to nothing; overhead is the wall time of `run.json` less the
seconds that it gives to inference, stitching and writing, so surveying, staging, deciding and remembering all count.

The ledger's share is the CPU time inside its methods over that of the run (wall time would count its waiting for the
interpreter's lock, during which the run goes on). It is held to 1 % on a run with the shipped network, and shown for
the tiny scenes, where all work but the ledger's is as small as it can be.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._scenes import write_pipeline, write_scene, write_support
from benchmarks._table import Row, arguments, at_most, show
from hdm_pipeline.model.checkpoints import save_weights
from hdm_pipeline.output.ledger import Ledger, SceneRecord
from hdm_pipeline.pipeline import Pipeline

KIT = Path(__file__).resolve().parents[1] / "tests" / "kit"
_RECORDS = 20_000
_LINKS = 10_000
"""Names of one file: file systems allow some ten thousand (ext4: 65,000)."""

_PLAN = """
import sys, time
start = time.perf_counter()
from hdm_pipeline.pipeline import Pipeline
plan = Pipeline.from_yaml(sys.argv[1]).plan()
print(plan.scenes_total)
print(time.perf_counter() - start)
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def write_archive(folder: Path, count: int, size: int) -> None:
    """`count` real GeoTIFFs of `size` pixels a side; all but one in `_LINKS` are hard links."""
    for number in range(count):
        target = folder / f"scene-{number:06}.tif"
        if number % _LINKS == 0:
            origin = write_scene(target, size, seed=number)
        else:
            os.link(origin, target)


def planning(pipeline: Path, files: int) -> tuple[float, float]:
    """Wall seconds and peak resident MiB of `plan` in a process of its own."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(KIT), os.environ.get("PYTHONPATH", "")])}
    ended = subprocess.run(
        [sys.executable, "-c", _PLAN, str(pipeline)], env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"planning {pipeline} failed:\n{ended.stderr}")
    total, seconds, peak = ended.stdout.split()
    if int(total) != files:
        raise SystemExit(f"{total} scenes were planned, not {files}")
    return float(seconds), int(peak) / 1024


class LedgerClock:
    """Counts the CPU seconds inside the ledger's methods, nested calls once."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._inside = False
        for name, function in list(vars(Ledger).items()):
            if callable(function) and not name.startswith("_"):
                setattr(Ledger, name, self._timed(function))

    def _timed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if self._inside:
                return function(*args, **kwargs)
            self._inside, start = True, time.thread_time()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds += time.thread_time() - start
                self._inside = False

        return wrapped


@dataclass(frozen=True)
class Measured:
    """One run in this process: its report, and the ledger's share of its CPU seconds in percent."""

    report: dict[str, Any]
    ledger_share: float


def measured_run(pipeline: Path, scenes: int, clock: LedgerClock) -> Measured:
    """Run a pipeline whose archive holds `scenes` scenes."""
    before, start = clock.seconds, time.process_time()
    summary = Pipeline.from_yaml(pipeline).run()
    share = (clock.seconds - before) / (time.process_time() - start)
    if len(summary.done) != scenes:
        raise SystemExit(f"{len(summary.done)} scenes were done, not {scenes}")
    return Measured(json.loads(summary.report.read_text()), share * 100)


def ledger_seconds(path: Path, scenes: int) -> float:
    """CPU seconds to note an archive's scenes in a new ledger and to read all of them back."""
    info = {"tiles": 12, "blocks": 1, "seconds": {"stage": 0.1, "infer": 3.5}, "area_m2": {"flood": 123.4}}
    records = [
        SceneRecord(f"scene-{n:06}", "p" * 64, "s" * 64, "t" * 64, "done", (f"{n}/mask.tif",), None, info)
        for n in range(scenes)
    ]
    start = time.process_time()
    with Ledger.open(path) as ledger:
        ledger.upsert_scenes(records)
        if len(ledger.scenes()) != scenes:
            raise SystemExit(f"the ledger does not hold {scenes} scenes")
    return time.process_time() - start


def run_rows(tiny: Path, scenes: int, real: Path) -> list[Row]:
    """Overhead a scene, and the ledger's share of a run."""
    clock = LedgerClock()
    found = measured_run(tiny, scenes, clock)
    wall, by_stage = found.report["seconds"], found.report["totals"]["seconds_by_stage"]
    work = sum(by_stage[step] for step in ("infer", "stitch", "publish"))
    return [
        Row("wall time a tiny scene", wall / scenes * 1000, "ms"),
        Row("of it inference, stitching, writing", work / scenes * 1000, "ms"),
        at_most("overhead a tiny scene", (wall - work) / scenes * 1000, "ms", 20),
        Row("ledger's share, tiny scenes, no network", found.ledger_share, "%"),
        at_most("ledger's share, shipped network", measured_run(real, 1, clock).ledger_share, "%", 1),
    ]


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--scenes", type=int, default=1000)
    options = parser.parse_args()
    sys.path.insert(0, str(KIT))
    from hdm_testkit.network import MeanColor

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_support(folder)
        weights = folder / "cheap.safetensors"
        save_weights(MeanColor(), weights)
        write_archive(folder / "scenes", options.files, 16)
        seconds, peak = planning(write_pipeline(folder, "planned", str(weights)), options.files)
        rows = [
            at_most(f"planning {options.files} files", seconds, "s", 30),
            at_most("peak memory of planning", peak, "MiB", 500),
            at_most(f"noting and reading {_RECORDS} scenes", ledger_seconds(folder / "l.sqlite", _RECORDS), "s", 3),
        ]
        shutil.rmtree(folder / "scenes")
        write_archive(folder / "scenes", options.scenes, 64)
        tiny = write_pipeline(folder, "tiny", str(weights), tiling={"size": 64, "overlap": 16})
        scene = {"uri": str(write_scene(folder / "real" / "scene.tif", 1024))}
        real = write_pipeline(folder, "real", "builtin:pyramid", input=scene)
        rows += run_rows(tiny, options.scenes, real)
    return show("night after night", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
