"""`ray job submit` to a real job server on loopback, as docs/nightly.md has it: a run over scenes in a bucket."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from hdm_pipeline.pipeline import Pipeline
from tests.integration.cluster.bucket_bench import fill, from_bucket
from tests.integration.conftest import Workbench, published
from tests.ray_nodes import ray_nodes

pytestmark = [
    pytest.mark.ray,
    pytest.mark.long,
    pytest.mark.skipif(not importlib.util.find_spec("aiohttp_cors"), reason="needs ray[default] (extra `cluster`)"),
]

SUBMIT = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit", "--address", "http://127.0.0.1:8265"]


def test_a_job_runs_over_a_bucket(bench: Workbench) -> None:
    Pipeline.from_yaml(bench.pipeline("disk")).run()
    file = from_bucket(bench, "night", "night")
    with ray_nodes(bench.root, count=1, jobs=True) as nodes:
        fill(nodes.server, bench)
        # The folder is sent along, and is the job's working directory.
        submit = [*SUBMIT, "--working-dir", ".", "--"]
        run = [sys.executable, "-m", "hdm_pipeline", "run", file.name, "--address", "auto"]
        run += ["--set", f"output.directory={nodes.folder}/node/night"]
        ended = nodes.run(0, [*submit, *run])
        assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]
        assert "succeeded" in ended.stdout
        disk = Path(f"/proc/{nodes.first(0)}/root{nodes.folder}/node")  # of the node, as seen from here
        assert published(disk / "night") == published(bench.root / "disk")
        # The exit code of `run` decides whether the job failed, and its message is in the job's log.
        wrong = nodes.run(0, [*submit, *run, "--set", "input.uri=s3://archive/nothing/"])
        assert wrong.returncode != 0
        assert "s3://archive/nothing/" in wrong.stdout
        assert "a-secret-of-the-tests" not in ended.stdout + wrong.stdout
