"""How long a person waits before anything happens: help, import, validate, a run with nothing to do; the first minute.

    python -m benchmarks.bench_startup [--repeats 3] [--json FILE]

The first rows are user and system seconds of whole processes (other programs on the machine do not count), the median
of five. The first minute is wall time, the median of `--repeats`, on the sample archive, everything fresh: output and
kept preparations; so look at the load that stands beside the table. CPU seconds, of all processes, follow. The last
rows compare two ways in which threads wait for each other (`hdm_pipeline/waiting.py`), beside busy programs and alone.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks._scenes import write_pipeline, write_scene, write_support
from benchmarks._table import Row, arguments, at_most, median, show
from hdm_pipeline.model.checkpoints import save_weights
from hdm_pipeline.waiting import SPINS

KIT = Path(__file__).resolve().parents[1] / "tests" / "kit"
_REPEATS = 5


def seconds(*command: str) -> float:
    """Median CPU seconds of a command."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(KIT), os.environ.get("PYTHONPATH", "")])}
    found = []
    for _ in range(_REPEATS):
        process = subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"failed: {' '.join(command)}")
        found.append(usage.ru_utime + usage.ru_stime)
    return median(found)


@dataclass(frozen=True)
class Timing:
    """One run.

    Attributes:
        wall: seconds.
        cpu: seconds of the process and all that it started; on other systems than Linux, of Ray's only some.
        first: seconds until the first scene is published.
        prepared: seconds from the first look at the examples until they are prepared.
    """

    wall: float
    cpu: float
    first: float
    prepared: float


def timed_run(file: Path, out: Path, cache: Path, *more: str) -> Timing:
    """Run a pipeline into a new folder."""
    environment = os.environ | {"HDM_CACHE": str(cache)}
    command = [sys.executable, "-m", "hdm_pipeline", "run", str(file), "--output", str(out), *more]
    start, begun, before = time.time(), time.perf_counter(), _cpu_of_children()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    status = process.wait()
    wall = time.perf_counter() - begun
    _wait_for_orphans()
    if status:
        raise SystemExit(f"failed: {' '.join(command)}")
    (log,) = (out / ".hdm" / "logs").glob("*.jsonl")
    told: list[dict[str, Any]] = [json.loads(line) for line in log.read_text().splitlines()]
    times = {kind: next(one["time"] for one in told if one.get("event") == kind) for kind in _KINDS}
    prepared = times["support_checked"] - times["preparing"]
    return Timing(wall, _cpu_of_children() - before, times["scene_done"] - start, prepared)


def _adopt_orphans() -> None:
    """Processes of Ray whose parent ends become children of this one, so that their CPU seconds count."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER


def _wait_for_orphans() -> None:
    while True:
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _cpu_of_children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


_KINDS = ("preparing", "support_checked", "scene_done")


def first_minute(folder: Path, repeats: int) -> list[Row]:
    """The sample archive and a single small scene."""
    samples = folder / "samples"
    subprocess.run([sys.executable, "-m", "hdm_pipeline", "samples", str(samples)], check=True, capture_output=True)
    os.environ["HDM_FLOOD_DATA"] = str(samples)
    flood = Path(__file__).resolve().parents[1] / "pipelines" / "flood_extent.yaml"
    rows = []
    for executor, bound in (("ray", 20.0), ("inline", 15.0)):
        found = [
            timed_run(flood, folder / f"{executor}-{i}", folder / f"cache-{executor}-{i}", "--executor", executor)
            for i in range(repeats)
        ]
        rows.append(at_most(f"samples, fresh, {executor}", median([one.wall for one in found]), "s", bound))
        rows.append(at_most(f"  the first mask, {executor}", median([one.first for one in found]), "s", 10.0))
        rows.append(Row(f"  examples prepared, {executor}", median([one.prepared for one in found]), "s"))
        rows.append(Row(f"  CPU, {executor}", median([one.cpu for one in found]), "s"))
    again = [
        timed_run(flood, folder / f"again-{i}", folder / "cache-inline-0", "--executor", "inline") for i in range(3)
    ]
    rows.append(at_most("examples prepared, from what is kept", median([one.prepared for one in again]), "s", 1.0))
    write_scene(folder / "one" / "scenes" / "scene.tif", 512)
    write_support(folder / "one", side=512)
    small = write_pipeline(
        folder / "one", "out", "builtin:pyramid", model={"reduction": "auto"}, tiling={"size": 512, "overlap": 64}
    )
    found = [timed_run(small, folder / f"small-{i}", folder / f"cache-small-{i}") for i in range(repeats)]
    imports = _import_seconds()
    wall = median([one.wall for one in found])
    rows.append(at_most("one scene and one example of 512 x 512, inline", wall, "s", 6.0))
    rows.append(at_most("  less what imports take", wall - imports, "s", 2.5))
    return rows


_SEGMENT = """
import time
import numpy as np, torch
from hdm_pipeline.model.segmenter import FewShotSegmenter
torch.set_num_threads(2)
segmenter = FewShotSegmenter.load("builtin:pyramid-small")
pixels = np.random.default_rng(0).random((3, 512, 512), dtype=np.float32)
mask = (pixels[0] > 0.5).astype(np.uint8)
bank = segmenter.encode_support([pixels], [mask])
wall, cpu = time.perf_counter(), time.process_time()
for _ in range(3):
    segmenter.predict(pixels[None], [bank])
print(time.perf_counter() - wall, time.process_time() - cpu)
"""
_BUSY = "while True: pass"


def waiting(repeats: int) -> list[Row]:
    """Three tiles by two threads: as OpenMP lets them wait, and as this program does; a turn of each at a time."""
    rows = []
    for place, programs in (("beside two busy programs", 2), ("alone", 0)):
        busy = [subprocess.Popen([sys.executable, "-c", _BUSY]) for _ in range(programs)]
        try:
            turns = [[_segment({}), _segment({"GOMP_SPINCOUNT": SPINS})] for _ in range(repeats)]
        finally:
            for program in busy:
                program.kill()
                program.wait()
        for name, which in (("CPU", 1), ("wall", 0)):
            usual, ours = (median([turn[way][which] for turn in turns]) for way in (0, 1))
            rows.append(at_most(f"threads that sleep soon, {place}: {name} to before", ours / usual, "x", 1.1))
    return rows


def _segment(more: dict[str, str]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    own = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    command = [sys.executable, "-c", _SEGMENT]
    told = subprocess.run(command, env=own | more, check=True, capture_output=True, text=True).stdout.split()
    return float(told[0]), float(told[1])


def _import_seconds() -> float:
    """Wall seconds to load what such a run loads, the median of three."""
    code = "import hdm_pipeline.cli.main, hdm_pipeline.run, hdm_pipeline.execution.model_worker, rasterio, scipy"
    found = []
    for _ in range(3):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        found.append(time.perf_counter() - start)
    return median(found)


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    sys.path.insert(0, str(KIT))
    _adopt_orphans()
    from hdm_testkit.network import MeanColor

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scene(folder / "scenes" / "scene.tif", 512)
        write_support(folder)
        save_weights(MeanColor(), folder / "cheap.safetensors")
        file = str(write_pipeline(folder, "out", str(folder / "cheap.safetensors")))
        module = ("-m", "hdm_pipeline")
        seconds(*module, "run", file)
        rows = [
            at_most("import hdm_pipeline", seconds("-c", "import hdm_pipeline"), "s", 0.2),
            at_most("--help", seconds(*module, "--help"), "s", 1.0),
            at_most("validate", seconds(*module, "validate", file), "s", 1.0),
            at_most("run on a finished output", seconds(*module, "run", file), "s", 2.0),
            *first_minute(folder, options.repeats),
            *waiting(options.repeats),
        ]
    return show("start-up", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
