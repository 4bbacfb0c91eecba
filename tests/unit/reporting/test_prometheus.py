from __future__ import annotations

from pathlib import Path

from hdm_pipeline.errors import SceneError
from hdm_pipeline.reporting.events import BlockInferred, RunEnded, SceneQuarantined, SceneStarted, WorkerDied
from hdm_pipeline.reporting.prometheus import MetricsFile


def test_the_textfile_counts_what_happened(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.prom", "flood")
    metrics.event(SceneStarted(scene="a", shape=(1, 1, 9, 9), tiles=48, blocks=3, blocks_done=1, warnings=()))
    metrics.event(BlockInferred(scene="a", block=0, seconds=1.5, tiles=16, skipped=0))
    metrics.event(WorkerDied(scene="a", step="infer", block=1, reason="gone"))
    metrics.event(SceneQuarantined(scene="a", error=SceneError("no"), seconds={}))
    metrics.event(RunEnded(status="done"))
    lines = (tmp_path / "metrics.prom").read_text().splitlines()
    assert 'hdm_tiles_total{pipeline="flood"} 16' in lines
    assert 'hdm_stage_seconds_total{pipeline="flood",step="infer"} 1.5' in lines
    assert 'hdm_scenes_total{pipeline="flood",status="quarantined"} 1' in lines
    assert 'hdm_worker_deaths_total{pipeline="flood"} 1' in lines
    assert 'hdm_queue_blocks{pipeline="flood"} 1' in lines
