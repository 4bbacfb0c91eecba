"""A scene of 200,000 x 200,000 pixels: planned from its header, and its first and last blocks really run."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from rasterio.windows import Window

from hdm_pipeline import Pipeline
from hdm_pipeline.contracts import Provenance
from hdm_pipeline.execution.messages import InferTask, RunContext
from hdm_pipeline.execution.model_worker import ModelWorker
from hdm_pipeline.execution.steps import open_scores, stage, survey
from hdm_pipeline.output.ledger import Ledger
from hdm_pipeline.planning.plan import make_plan
from hdm_pipeline.planning.validation import class_infos
from hdm_pipeline.plugin.registry import archive_reader
from hdm_pipeline.support.examples import support_files
from hdm_pipeline.support.prepare import prepare
from hdm_pipeline.support.read import read_examples
from tests.integration.conftest import Workbench

SIDE = 200_000


def write_sparse(path: Path) -> None:
    """Two bands, of which only two corners were ever written: a few megabytes on the disk."""
    profile = {"driver": "GTiff", "count": 2, "height": SIDE, "width": SIDE, "dtype": "int16", "nodata": 0}
    profile |= {"tiled": True, "blockxsize": 512, "blockysize": 512, "bigtiff": "yes", "sparse_ok": True}
    place = {"crs": "EPSG:32633", "transform": Affine(1, 0, 500000, 0, -1, 5000000)}
    values = np.random.default_rng(0).integers(-20, -5, (2, 1024, 1024)).astype(np.int16)
    with rasterio.open(path, "w", **profile, **place) as target:
        for corner in (0, SIDE - 1024):
            target.write(values, window=Window(corner, corner, 1024, 1024))


def test_its_first_and_last_blocks_run(bench: Workbench) -> None:
    for path in bench.scenes.iterdir():
        path.unlink()
    write_sparse(bench.scenes / "huge.tif")
    tiling = {"size": 512, "overlap": 64, "block": 16}
    pipeline = Pipeline.from_yaml(bench.pipeline(tiling=tiling, output={"products": ["mask"]}))
    start = time.perf_counter()
    forecast = pipeline.plan()
    print(f"planned in {time.perf_counter() - start:.2f} s, asked: 1")
    assert forecast.tiles == 447**2
    assert forecast.peak_memory < 4 << 30

    config, workspace = pipeline.config, pipeline.workspace
    workspace.create()
    reader = archive_reader(config)
    with Ledger.open(workspace.ledger) as ledger:
        (scene,) = make_plan(config, support_files(config), workspace, reader, ledger).pending()
    context = RunContext(config, workspace, class_infos(config), Provenance("0", "p", "w", "s", 0.5, "test"))
    work = survey(context, scene.ref, scene.keys)
    blocks = work.blocks(context)
    across = next(index for index, block in enumerate(blocks) if block.j0 == 0 and index)
    worker = ModelWorker(
        context, prepare(config, read_examples(config, support_files(config), reader), workspace).bundle
    )
    for block, step in ((blocks[0], 1), (blocks[-1], -1)):
        for index in (block.index, block.index + step, block.index + step * across, block.index + step * (across + 1)):
            stage(context, work, index)
        found = worker.infer(InferTask(work=work, block=block.index))
        assert found.tiles > 0
        assert found.tiles + found.skipped == block.tile_count
    assert open_scores(context, work).grid.size == (1, SIDE, SIDE)
