from __future__ import annotations

from pathlib import Path

from hdm_pipeline.reporting.events import Event
from hdm_pipeline.reporting.prometheus import MetricsFile


def test_the_textfile_counts_what_happened(tmp_path: Path) -> None:
    metrics = MetricsFile(tmp_path / "metrics.prom", "flood")
    metrics.event(Event("scene_started", "a", data={"blocks": 3, "blocks_done": 1}))
    metrics.event(Event("step_done", "a", "infer", 0, {"seconds": 1.5, "tiles": 16}))
    metrics.event(Event("worker_died", "a", "infer", 1, {"reason": "gone"}))
    metrics.event(Event("scene_quarantined", "a", data={"error": {}}))
    metrics.event(Event("run_ended"))
    lines = (tmp_path / "metrics.prom").read_text().splitlines()
    assert 'hdm_tiles_total{pipeline="flood"} 16' in lines
    assert 'hdm_stage_seconds_total{pipeline="flood",step="infer"} 1.5' in lines
    assert 'hdm_scenes_total{pipeline="flood",status="quarantined"} 1' in lines
    assert 'hdm_worker_deaths_total{pipeline="flood"} 1' in lines
    assert 'hdm_queue_blocks{pipeline="flood"} 1' in lines
