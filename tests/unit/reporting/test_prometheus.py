from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from hdm_pipeline.errors import OutputError, SceneError
from hdm_pipeline.reporting.events import (
    BlockInferred,
    ProductsNotSent,
    ProductsSent,
    RunEnded,
    RunStarted,
    SceneQuarantined,
    SceneStarted,
    StepDone,
    WorkerDied,
)
from hdm_pipeline.reporting.prometheus import MetricsFile, increments


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
    metrics.event(SceneStarted(scene="a", shape=(1, 1, 9, 9), tiles=48, blocks=3, blocks_done=1, warnings=()))
    metrics.event(BlockInferred(scene="a", block=0, seconds=1.5, tiles=16, skipped=0))
    metrics.event(StepDone(scene="a", step="stage", block=0, seconds=0.25))
    metrics.event(WorkerDied(scene="a", step="infer", block=1, reason="gone"))
    metrics.event(SceneQuarantined(scene="a", error=SceneError("no"), seconds={}))
    metrics.event(ProductsSent(scene="b", to="dimse://A@pacs:104", products=("segmentation",), what="stored"))
    metrics.event(ProductsNotSent(scene="c", to="dimse://A@pacs:104", products=("a",), what="away", remedy=""))
    metrics.event(ProductsNotSent(scene="d", to="dimse://A@pacs:104", products=("a",), what="away", remedy=""))
    metrics.event(RunEnded(status="done"))
    assert samples(path) == {
        ("hdm_deliveries_total", "sent"): 1,
        ("hdm_deliveries_total", "not_sent"): 2,
        ("hdm_tiles_total", ""): 16,
        ("hdm_blocks_total", "infer"): 1,
        ("hdm_blocks_total", "stage"): 1,
        ("hdm_stage_seconds_total", "infer"): 1.5,
        ("hdm_stage_seconds_total", "stage"): 0.25,
        ("hdm_scenes_total", "quarantined"): 1,
        ("hdm_worker_deaths_total", ""): 1,
        ("hdm_queue_blocks", ""): 1,
        ("hdm_failed", ""): 0,
    }


def test_metrics_without_a_label_start_at_zero_and_the_others_are_absent(tmp_path: Path) -> None:
    MetricsFile(tmp_path / "metrics.prom", "flood").event(RunEnded(status="done"))
    assert samples(tmp_path / "metrics.prom") == {
        ("hdm_tiles_total", ""): 0,
        ("hdm_worker_deaths_total", ""): 0,
        ("hdm_queue_blocks", ""): 0,
        ("hdm_failed", ""): 0,
    }


def test_every_sample_names_its_pipeline_whatever_it_is_called(tmp_path: Path) -> None:
    name = 'a "quoted" name\\ of\ntwo lines'
    path = tmp_path / "metrics.prom"
    MetricsFile(path, name).event(RunEnded(status="done"))
    families = list(text_string_to_metric_families(path.read_text()))
    assert {sample.labels["pipeline"] for family in families for sample in family.samples} == {name}


def test_the_file_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    path = tmp_path / "metrics.prom"
    metrics = MetricsFile(path, "flood")
    metrics.event(RunStarted(scenes=1, done_before=0))
    first = path.stat().st_ino
    metrics.event(RunEnded(status="done"))
    assert path.stat().st_ino != first
    assert [each.name for each in tmp_path.iterdir()] == ["metrics.prom"]


def test_a_disk_that_refuses_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot write"):
        MetricsFile(tmp_path / "gone" / "metrics.prom", "flood").event(RunEnded(status="done"))


def test_a_block_without_a_tile_adds_no_tiles() -> None:
    """Ray's counters refuse a zero, which would end the run."""
    empty = BlockInferred(scene="a", block=0, seconds=0.5, tiles=0, skipped=4)
    assert increments(empty) == {("blocks", "infer"): 1, ("stage_seconds", "infer"): 0.5}
