"""Ray starts beside the reading of the examples: what its actors load, and how a run ends that never needs them."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from hdm_pipeline.errors import SupportError
from hdm_pipeline.execution.ray import RayExecutor
from hdm_pipeline.pipeline import Pipeline
from hdm_pipeline.reporting.events import Event, SceneDone, SceneQuarantined
from tests.integration.conftest import Workbench

pytestmark = pytest.mark.ray


def loaded(_actor: Any) -> frozenset[str]:
    """Asked in the process of an actor."""
    return frozenset(name for name in ("torch", "rasterio", "zarr") if name in sys.modules)


@pytest.mark.long
def test_actors_without_the_model_load_no_torch(
    bench: Workbench, cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After all steps of a run, products too, in the actors that did them."""
    import ray

    steps: list[frozenset[str]] = []
    models: list[frozenset[str]] = []
    close = RayExecutor.close

    def ask_and_close(executor: RayExecutor) -> None:
        for slots, found in ((executor._steps, steps), (executor._models, models)):
            found += ray.get([slot.handle.__ray_call__.remote(loaded) for slot in slots])
        close(executor)

    monkeypatch.setattr(RayExecutor, "close", ask_and_close)
    file = bench.pipeline(
        execution={"executor": "ray", "actors": 1, "threads": 1}, output={"products": ["mask", "polygons", "stac"]}
    )
    assert len(Pipeline.from_yaml(file).run().done) == 3
    assert steps
    assert set(steps) == {frozenset({"rasterio", "zarr"})}
    assert all("torch" in one for one in models)


def spoil_size(mask: np.ndarray) -> np.ndarray:
    """Found when the examples are read, while Ray starts."""
    return mask[:64]


def spoil_background(mask: np.ndarray) -> np.ndarray:
    """Found when they are prepared, while workers start."""
    return np.ones_like(mask)


@pytest.mark.parametrize("spoil", [spoil_size, pytest.param(spoil_background, marks=pytest.mark.long)])
def test_a_bad_example_ends_the_run_in_one_error_and_ray_with_it(
    bench: Workbench, no_cluster: None, spoil: Any
) -> None:
    import ray

    chip = bench.root / "support" / "chip_mask.tif"
    with rasterio.open(chip) as file:
        profile, mask = file.profile, spoil(file.read(1))
    with rasterio.open(chip, "w", **(profile | {"height": len(mask)})) as file:
        file.write(mask, 1)
    told: list[Event] = []
    with pytest.raises(SupportError) as caught:
        Pipeline.from_yaml(bench.pipeline(execution={"executor": "ray", "actors": 1, "threads": 1})).run(told.append)
    assert caught.value.remedy
    report = json.loads((bench.root / "out/run.json").read_text())
    assert (report["status"], report["error"]["type"]) == ("failed", "SupportError")
    assert not [event for event in told if isinstance(event, SceneDone | SceneQuarantined)]
    assert not ray.is_initialized()
    assert not [thread.name for thread in threading.enumerate() if thread.name == "hdm-cluster"]
    end = time.monotonic() + 60
    while (left := ray_processes()) and time.monotonic() < end:
        time.sleep(0.2)  # they were told to end
    assert not left


def ray_processes() -> list[str]:
    """Processes of Ray that this process started, by their commands."""
    return [
        Path(folder, "cmdline").read_text().replace("\0", " ")
        for folder in Path("/proc").iterdir()
        if folder.name.isdigit() and _is_ours(folder)
    ]


def _is_ours(folder: Path) -> bool:
    try:
        parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
        command = (folder / "cmdline").read_text()
    except OSError:  # it ended meanwhile
        return False
    return int(parent) == threading.main_thread().native_id and ("gcs_server" in command or "raylet" in command)


def test_a_python_without_docstrings_is_refused_at_once(bench: Workbench) -> None:
    """Ray's processes do not start there, which would be waited for."""
    command = [sys.executable, "-OO", "-m", "hdm_pipeline", "run", str(bench.pipeline()), "--executor", "ray"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert said.returncode == 1
    assert "PYTHONOPTIMIZE=2" in said.stderr
    assert "Traceback" not in said.stderr
