"""An archive of very many small scenes: listed, planned and run by the real driver, with workers that do nothing.

    python -m benchmarks.bench_scale [--sizes 10000 100000] [--sides 50000 200000] [--json FILE]

The files are links to one small GeoTIFF, a thousand in a folder; names and inodes are real, pixels are never read. The
workers return receipts at once, so what is measured is listing, planning, driver, ledger and report. For each size, in
a process of its own:

* plan: seconds and peak memory of finding the scenes and deciding what is to be done, with an empty ledger
* driver: blocks a second of wall time, and of processor time, which other programs disturb less: a scene is one block
  here, with five messages (survey, staging, inference, stitching, publishing)
* memory: bytes that the run grows by for each finished scene, at its end over its first tenth
* ledger: bytes a scene
* resume: seconds to plan again where nine tenths are done; beside it the processor time of both, and of a bare loop
  that asks for the same files
* status, report: seconds on it
* sent: processor time to write `run.json` and to find what is owed where a peer has the products of all that is done

And scenes of so many pixels a side, blocks of sixteen tiles: blocks a second with three messages each.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks._scenes import write_pipeline, write_scene, write_support
from benchmarks._table import Row, arguments, at_least, at_most, show
from hdm_pipeline.contracts import Band, Provenance, RasterGeometry, SceneHeader, SceneRef
from hdm_pipeline.execution.driver import Driver
from hdm_pipeline.execution.messages import (
    Finished,
    InferResult,
    InferTask,
    Outcome,
    Published,
    PublishTask,
    RunContext,
    SceneWork,
    StepResult,
    SurveyTask,
    Task,
)
from hdm_pipeline.output.deliveries import Delivered, Deliveries, Delivery
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.pixels.bands import BandPlan
from hdm_pipeline.planning.forecast import scene_grid
from hdm_pipeline.planning.keys import PendingScene, SceneKeys
from hdm_pipeline.planning.plan import Plan, make_plan
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.reporting.events import Event
from hdm_pipeline.reporting.html.page import write_report
from hdm_pipeline.reporting.run_json import RunReport
from hdm_pipeline.reporting.status import output_status
from hdm_pipeline.run import fan_out
from hdm_pipeline.support.bundle import ModelBundle
from hdm_pipeline.support.examples import support_files

_IN_A_FOLDER = 1000
_DONE = 0.9


class Instant:
    """An executor whose steps are done as soon as they are given out."""

    name = "instant"
    model_slots = 4
    model_free = 8
    cpu_free = 8

    def __init__(self, context: RunContext, side: int = 64) -> None:
        self._context, self._side = context, side
        self._given: deque[Task] = deque()

    def equip(self, context: RunContext, bundle: ModelBundle) -> None:
        """Nothing to prepare."""

    def submit(self, task: Task) -> None:
        """Done."""
        self._given.append(task)

    def next(self, timeout: float | None = None) -> Outcome | None:
        """The oldest."""
        task = self._given.popleft()
        match task:
            case SurveyTask(pending=pending):
                return Finished(task, _surveyed(self._context, pending, self._side))
            case PublishTask():
                mask = Path(task.scene) / "mask.tif"
                measures = {"valid": 1.0, "pixels": {"water": 9}, "area_m2": {"water": 900.0}}
                return Finished(task, Published((mask,), 0.1, measures, products={"mask": (mask,)}))
            case InferTask():
                return Finished(task, InferResult(0.1, 1, skipped=0, unlike=((0, 256),)))
            case _:
                return Finished(task, StepResult(0.1))

    def observe(self, event: Event) -> None:
        """Nothing to count."""

    def close(self) -> None:
        """Nothing to end."""


def _surveyed(context: RunContext, pending: PendingScene, side: int) -> SceneWork:
    geometry = RasterGeometry((10.0, 0.0, 5e5, 0.0, -10.0, 5e6))
    header = SceneHeader(pending.ref, (1, 1, side, side), "uint8", (Band("b1"),), geometry)
    plan = BandPlan((0,), (Band("b1"),), (), {})
    return SceneWork(header, pending.keys, scene_grid(context.config, header), plan, ((0, 1),))


def make_archive(folder: Path, scenes: int) -> Path:
    """A pipeline over so many links to one scene."""
    write_support(folder)
    one = write_scene(folder / "one.tif", 64)
    for number in range(scenes):
        below = folder / "scenes" / f"{number // _IN_A_FOLDER:05}"
        if number % _IN_A_FOLDER == 0:
            below.mkdir(parents=True)
            own = shutil.copy(one, folder / f"one_{number // _IN_A_FOLDER:05}.tif")  # a file system counts links
        os.link(own, below / f"scene_{number:07}.tif")
    more = {"input": {"options": {"recursive": True}, "bands": [1]}, "output": {"keep": "scores"}}
    return write_pipeline(folder, "out", "builtin:pyramid-small", **more)


def _context(pipeline: Pipeline) -> RunContext:
    return RunContext(pipeline.config, pipeline.workspace, (), Provenance("0", "p", "w", "s", 0.5, "none"))


def run_all(pipeline: Pipeline, plan: Plan, ledger: Ledger, scenes: int) -> dict[str, float]:
    """Blocks a second of wall and processor time, and bytes of memory a finished scene, of so many scenes of a plan."""
    workspace, context = pipeline.workspace, _context(pipeline)
    inputs = {ref.id: ref.shown for ref in plan.scenes}
    report = RunReport(workspace.report, "scale", inputs, ledger, plan.done, plan.quarantined)
    executor = Instant(context)
    marks: list[int] = []

    def given() -> Iterator[PendingScene]:
        for number, scene in enumerate(plan.pending(scenes)):
            if number in (scenes // 10, scenes - 1):
                marks.append(_resident())
            yield scene

    wall, processor = time.perf_counter(), time.process_time()
    Driver(context, executor, ledger, fan_out([report.event, executor.observe])).run(given())
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    report.status = "stopped"
    report.write()
    growth = (marks[1] - marks[0]) / (0.9 * scenes)
    return {"wall": scenes / wall, "processor": scenes / processor, "growth": growth}


def run_large(pipeline: Pipeline, side: int) -> dict[str, float]:
    """Blocks a second of wall and processor time, and blocks, of one scene."""
    workspace, context = pipeline.workspace, _context(pipeline)
    workspace.create()
    keys = SceneKeys("t" * 16, "s" * 16, "p" * 16)
    pending = PendingScene(SceneRef("large", "/archive/large.tif", "geotiff", "1"), keys)
    with Ledger.open(workspace.ledger) as ledger:
        report = RunReport(workspace.report, "scale", {"large": "large"}, ledger)
        wall, processor = time.perf_counter(), time.process_time()
        Driver(context, Instant(context, side), ledger, report.event).run(iter([pending]))
        wall, processor = time.perf_counter() - wall, time.process_time() - processor
        blocks = int(report.head()["totals"]["blocks"])
    return {"wall": blocks / wall, "processor": blocks / processor, "blocks": blocks}


def _resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _peak() -> float:
    """Of this process alone: what `getrusage` says begins with what the one had that started it."""
    status = Path("/proc/self/status").read_text()
    return 1024.0 * int(status.partition("VmHWM:")[2].split()[0])


def measure(folder: Path, what: str, scenes: int) -> dict[str, float]:
    """One part, in this process."""
    pipeline = Pipeline.from_yaml(folder / "out.yaml")
    workspace = pipeline.workspace
    found: dict[str, float] = {}
    start, processor = time.perf_counter(), time.process_time()
    if what in ("plan", "run", "resume"):
        workspace.create()
        reader = archive_reader(pipeline.config)
        with Ledger.open(workspace.ledger) as ledger:
            plan = make_plan(pipeline.config, support_files(pipeline.config), workspace, reader, ledger)
            found["seconds"], found["planned"] = time.perf_counter() - start, len(plan.scenes)
            found["processor_seconds"] = time.process_time() - processor
            if what == "run":
                found |= run_all(pipeline, plan, ledger, int(_DONE * scenes))
    elif what == "floor":
        look_at_all(folder)
        found["seconds"] = time.process_time() - processor
    elif what == "large":
        found = run_large(pipeline, scenes)
    elif what == "sent":
        found = look_at_what_was_sent(pipeline)
    elif what == "status":
        output_status(workspace.root)
        found["seconds"] = time.perf_counter() - start
    else:
        write_report(workspace)
        found["seconds"] = time.perf_counter() - start
    found["peak"] = _peak()
    return found


def _apart(folder: Path, what: str, scenes: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.bench_scale", "--part", what, "--folder", str(folder)]
    done = subprocess.run([*command, "--sizes", str(scenes)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def touch_products(folder: Path, scenes: int) -> None:
    """The masks that a run would have left: the next one looks whether they are there."""
    for number in range(int(_DONE * scenes)):
        mask = folder / "out" / f"scene_{number:07}" / "mask.tif"
        mask.parent.mkdir()
        mask.touch()


def look_at_what_was_sent(pipeline: Pipeline) -> dict[str, float]:
    """Seconds of processor time: `run.json` with what a peer has of each scene, and what it lacks."""
    workspace, peer, receipt = pipeline.workspace, "folder:///peer", Delivered("mask", "0" * 64, "there")
    with Ledger.open(workspace.ledger) as ledger, Deliveries(workspace.ledger) as deliveries:
        deliveries.record(
            Delivery(peer, one.id, one.product_key, ("mask",), True, {f"{one.id}/mask.tif": receipt})
            for one in ledger.walk("done", info=False)
        )
        done = ledger.ids("done")
        start = time.process_time()
        report = RunReport(workspace.report, "scale", dict.fromkeys(done, ""), ledger, set(done))
        report.write()
        written = time.process_time()
        if deliveries.lacking(peer, ("mask",)):
            raise SystemExit("a peer lacks what it has")
        return {"write": written - start, "lacking": time.process_time() - written}


def look_at_all(folder: Path) -> None:
    """What no plan can do without: every folder is listed, every scene and every product asked for once."""
    for below in os.scandir(folder / "scenes"):
        for entry in os.scandir(below):
            os.stat(entry.path)
    for entry in os.scandir(folder / "out"):
        if entry.name.startswith("scene_"):
            os.stat(f"{entry.path}/mask.tif")


def rows_of(scenes: int) -> list[Row]:
    """All parts for one size."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_archive(folder, scenes)
        plan = _apart(folder, "plan", scenes)
        run = _apart(folder, "run", scenes)
        touch_products(folder, scenes)
        ledger = (folder / "out" / ".hdm" / "ledger.sqlite").stat().st_size
        resume, floor = _apart(folder, "resume", scenes), _apart(folder, "floor", scenes)
        status, report = _apart(folder, "status", scenes), _apart(folder, "report", scenes)
        run_json = (folder / "out" / "run.json").stat().st_size
        sent = _apart(folder, "sent", scenes)
    done = int(_DONE * scenes)
    title = f"{scenes:,}"
    if resume["planned"] != scenes - done:
        raise SystemExit(f"{resume['planned']} scenes are planned again, not {scenes - done}")
    return [
        at_most(f"{title} scenes: plan", plan["seconds"], "s", 60),
        Row(f"{title} scenes: plan, processor time", plan["processor_seconds"], "s"),
        at_most(f"{title} scenes: plan, peak memory", plan["peak"] / 1e9, "GB", 1),
        at_least(f"{title} scenes: driver", run["wall"], "blocks/s", 1000),
        Row(f"{title} scenes: driver, by processor time", run["processor"], "blocks/s"),
        at_most(f"{title} scenes: growth a finished scene", run["growth"], "bytes", 200),
        Row(f"{title} scenes: run, peak memory", run["peak"] / 1e9, "GB"),
        Row(f"{title} scenes: ledger", ledger / done, "B/scene"),
        Row(f"{title} scenes: run.json", run_json / scenes, "B/scene"),
        at_most(f"{title} scenes: resume, nine tenths done", resume["seconds"], "s", 20),
        Row(f"{title} scenes: resume, processor time", resume["processor_seconds"], "s"),
        Row(f"{title} scenes: resume, processor time of its files alone", floor["seconds"], "s"),
        Row(f"{title} scenes: resume, peak memory", resume["peak"] / 1e9, "GB"),
        Row(f"{title} scenes: run.json with what a peer has, processor time", sent["write"], "s"),
        Row(f"{title} scenes: what a peer lacks, processor time", sent["lacking"], "s"),
        Row(f"{title} scenes: status", status["seconds"], "s"),
        Row(f"{title} scenes: report", report["seconds"], "s"),
        Row(f"{title} scenes: report, peak memory", report["peak"] / 1e9, "GB"),
    ]


def rows_of_large(side: int) -> list[Row]:
    """One scene of so many pixels a side."""
    with tempfile.TemporaryDirectory() as name:
        make_archive(Path(name), 1)
        found = _apart(Path(name), "large", side)
    title = f"{side:,} x {side:,} px, {found['blocks']:,} blocks"
    return [
        at_least(f"{title}: driver", found["wall"], "blocks/s", 1000),
        Row(f"{title}: driver, by processor time", found["processor"], "blocks/s"),
        Row(f"{title}: peak memory", found["peak"] / 1e9, "GB"),
    ]


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--sides", type=int, nargs="*", default=[50_000, 200_000])
    parser.add_argument("--part", help="measure one part, in this process")
    parser.add_argument("--folder", type=Path, help="of that part")
    options = parser.parse_args()
    if options.part:
        print(json.dumps(measure(options.folder, options.part, options.sizes[0])))
        return 0
    rows = [row for size in options.sizes for row in rows_of(size)]
    rows += [row for side in options.sides for row in rows_of_large(side)]
    return show("an archive of many scenes, and large scenes", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
