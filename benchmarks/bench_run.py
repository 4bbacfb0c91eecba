"""The whole run against a warm bare loop of the same model on the same tiles; two Ray actors against one.

    python -m benchmarks.bench_run [--weights FILE] [--size 2000] [--json FILE]

Wall time in one go. A run's clock starts when its first block is inferred, so that loading torch and starting Ray do
not count, and ends with the last product: staging, stitching and writing count. The bare loop has its tiles in memory
and throws the scores away. It keeps freed memory as the runs do (without that it is a seventh slower, and the runs
would look better than they are). Runs and bare loops take turns, so that a drifting machine disturbs both alike, and
medians are compared.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ray
import torch

from benchmarks._scenes import write_pipeline, write_scene, write_support
from benchmarks._table import Row, arguments, at_least, at_most, show
from hdm_pipeline.execution.malloc import keep_freed
from hdm_pipeline.model.weights_file import weights_path
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.plugin.registry import make_reader
from hdm_pipeline.reporting.events import BlockInferred, Event
from hdm_pipeline.support.bundle import load_segmenter
from hdm_pipeline.support.examples import load_examples, support_files

_BARE_TILES = 48
_TURNS = 3


@dataclass(frozen=True)
class Timed:
    """Seconds and tiles of a run after its first block."""

    seconds: float
    tiles: int

    @property
    def per_tile(self) -> float:
        """Seconds a tile."""
        return self.seconds / self.tiles


def timed_run(path: Path) -> Timed:
    """Run a pipeline afresh and time it from its first inferred block on."""
    shutil.rmtree(Pipeline.from_yaml(path).config.output.directory, ignore_errors=True)
    first: float | None = None
    tiles = 0

    def on_event(event: Event) -> None:
        nonlocal first, tiles
        if isinstance(event, BlockInferred):
            if first is None:
                first = time.perf_counter()
            else:
                tiles += event.tiles

    Pipeline.from_yaml(path).run(on_event)
    return Timed(time.perf_counter() - (first or 0.0), tiles)


def bare_loop(path: Path, threads: int) -> float:
    """Seconds a tile of only the model, warm, on tiles in memory."""
    pipeline = Pipeline.from_yaml(path)
    config = pipeline.config
    torch.set_num_threads(threads)
    keep_freed()
    segmenter = load_segmenter(str(weights_path(config.model.weights)), config.model)
    (examples,) = load_examples(config, support_files(config), make_reader("geotiff", {}))
    bank = segmenter.encode_support([e.pixels for e in examples], [e.label for e in examples])
    size = config.tiling.size
    tile = np.ascontiguousarray(np.tile(examples[0].pixels, (1, 2, 2))[:, :size, :size])
    batch: Any = np.stack([tile] * config.execution.batch_size)
    segmenter.predict(batch, [bank])
    start = time.perf_counter()
    for _ in range(_BARE_TILES // len(batch)):
        segmenter.predict(batch, [bank])
    return (time.perf_counter() - start) / (_BARE_TILES // len(batch) * len(batch))


def overhead(path: Path, threads: int) -> float:
    """Seconds a tile of the run, over those of the bare loop."""
    bare, runs = [bare_loop(path, threads)], []
    for _ in range(_TURNS):
        runs.append(timed_run(path).per_tile)
        bare.append(bare_loop(path, threads))
    return statistics.median(runs) / statistics.median(bare)


def share_of_linear(one: Path, two: Path) -> float:
    """Speed of two actors over twice that of one."""
    singles, doubles = [], []
    for _ in range(_TURNS):
        singles.append(timed_run(one).per_tile)
        doubles.append(timed_run(two).per_tile)
    return statistics.median(singles) / statistics.median(doubles) / 2


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--weights", default="builtin:pyramid")
    parser.add_argument("--size", type=int, default=2000, help="side of the scene in pixels")
    options = parser.parse_args()
    cores = 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scene(folder / "scenes" / "scene.tif", options.size)
        write_support(folder)

        def file(kind: str, **execution: Any) -> Path:
            return write_pipeline(folder, kind, options.weights, execution=execution)

        rows: list[Row] = [at_most("inline / bare loop", overhead(file("inline", executor="inline"), cores), "x", 1.05)]
        ray.init(address="local", num_cpus=cores, include_dashboard=False, log_to_driver=False)
        one = file("ray1", executor="ray", actors=1, threads=cores)
        rows.append(at_most("ray, one actor / bare loop", overhead(one, cores), "x", 1.10))
        share = share_of_linear(
            file("ray1t1", executor="ray", actors=1, threads=1), file("ray2t1", executor="ray", actors=2, threads=1)
        )
        rows.append(at_least("two actors / one, a thread each, share of linear", share, "x", 0.9))
        ray.shutdown()
    return show("whole run", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
