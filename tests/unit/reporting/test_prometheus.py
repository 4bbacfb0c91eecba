from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hdm_pipeline.errors import OutputError
from hdm_pipeline.reporting.events import Event
from hdm_pipeline.reporting.prometheus import MetricsFile


def samples(path: Path) -> dict[tuple[str, str], float]:
    """What a Prometheus server reads from the file: (metric, value of `step` or `status`) to value."""
    return {
        (sample.name, sample.labels.get("step", sample.labels.get("status", ""))): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def test_the_textfile_counts_what_happened(tmp_path: Path) -> None:
    path = tmp_path / "metrics.prom"
    metrics = MetricsFile(path, "flood")
    metrics.event(Event("scene_started", "a", data={"blocks": 3, "blocks_done": 1}))
    metrics.event(Event("step_done", "a", "infer", 0, {"seconds": 1.5, "tiles": 16}))
    metrics.event(Event("step_done", "a", "stage", 0, {"seconds": 0.25}))
    metrics.event(Event("worker_died", "a", "infer", 1, {"reason": "gone"}))
    metrics.event(Event("scene_quarantined", "a", data={"error": {}}))
    metrics.event(Event("run_ended"))
    assert samples(path) == {
        ("hdm_tiles_total", ""): 16,
        ("hdm_blocks_total", "infer"): 1,
        ("hdm_blocks_total", "stage"): 1,
        ("hdm_stage_seconds_total", "infer"): 1.5,
        ("hdm_stage_seconds_total", "stage"): 0.25,
        ("hdm_scenes_total", "quarantined"): 1,
        ("hdm_worker_deaths_total", ""): 1,
        ("hdm_queue_blocks", ""): 1,
    }


def test_metrics_without_a_label_start_at_zero_and_the_others_are_absent(tmp_path: Path) -> None:
    MetricsFile(tmp_path / "metrics.prom", "flood").event(Event("run_ended"))
    assert samples(tmp_path / "metrics.prom") == {
        ("hdm_tiles_total", ""): 0,
        ("hdm_worker_deaths_total", ""): 0,
        ("hdm_queue_blocks", ""): 0,
    }


def test_every_sample_names_its_pipeline_whatever_it_is_called(tmp_path: Path) -> None:
    name = 'a "quoted" name\\ of\ntwo lines'
    path = tmp_path / "metrics.prom"
    MetricsFile(path, name).event(Event("run_ended"))
    families = list(text_string_to_metric_families(path.read_text()))
    assert {sample.labels["pipeline"] for family in families for sample in family.samples} == {name}


def test_the_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "metrics.prom"
    metrics = MetricsFile(path, "flood")
    metrics.event(Event("run_started"))
    first = path.stat().st_ino
    metrics.event(Event("run_ended"))
    assert path.stat().st_ino != first
    assert [each.name for each in tmp_path.iterdir()] == ["metrics.prom"]


def test_a_disk_that_refuses_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        MetricsFile(tmp_path / "gone" / "metrics.prom", "flood").event(Event("run_ended"))


def test_commands_that_write_no_metrics_do_not_load_the_library() -> None:
    code = (
        "import sys, hdm_pipeline.cli.main, hdm_pipeline.pipeline, hdm_pipeline.planning.plan;"
        "sys.exit('prometheus_client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
