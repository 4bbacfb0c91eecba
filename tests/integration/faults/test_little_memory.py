"""A process that may take little memory says so, and blames no scene."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from hdm_pipeline.errors import ExecutionError, ReadError, out_of_memory
from hdm_pipeline.pipeline import Pipeline
from tests.integration.conftest import Workbench

LIMIT_KB = 1_000_000
"""Of address space: what the libraries of PyTorch alone take is more."""


def test_a_run_that_may_take_too_little_memory_says_so(bench: Workbench) -> None:
    file = bench.pipeline()
    command = f"ulimit -v {LIMIT_KB}; exec {sys.executable} -m hdm_pipeline run {file}"
    said = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=300, check=False)
    assert said.returncode == 1
    assert "this process ran out of memory" in said.stderr
    assert "Traceback" not in said.stderr
    report = json.loads((bench.root / "out" / "run.json").read_text())
    assert report["status"] == "failed"
    assert report["error"]["what"] == "this process ran out of memory"
    assert report["totals"]["quarantined"] == 0
    assert len(Pipeline.from_yaml(file).run().done) == 3


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("CUDA error: out of memory"),
        ImportError("libtorch_cpu.so: failed to map segment from shared object"),
        OSError(12, "Cannot allocate memory"),
    ],
)
def test_what_libraries_say_where_memory_is_out(error: Exception) -> None:
    assert isinstance(out_of_memory(error), ExecutionError)


@pytest.mark.parametrize("error", [RuntimeError("shapes"), ImportError("no module x"), ReadError("out of memory")])
def test_other_errors_are_theirs(error: Exception) -> None:
    assert out_of_memory(error) is None
