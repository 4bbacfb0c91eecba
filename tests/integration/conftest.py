"""A small archive and pipeline files over it, for tests that run the whole way."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from affine import Affine

from hdm_pipeline.options import RunSummary
from hdm_pipeline.pipeline import Pipeline

KIT = Path(__file__).resolve().parents[1] / "kit"


@pytest.fixture(scope="session", autouse=True)
def kit() -> Iterator[Path]:
    """Make the test kit's plug-ins known to this process and to the workers it starts."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(KIT), *([before] if before else [])])
    sys.path.insert(0, str(KIT))
    from hdm_pipeline.plugin.registry import available

    available.cache_clear()
    yield KIT
    sys.path.remove(str(KIT))
    os.environ.pop("PYTHONPATH")
    if before:
        os.environ["PYTHONPATH"] = before


def write_scene(path: Path, height: int, width: int, seed: int, *, nodata_rows: int = 0) -> Path:
    """A two-band scene in dB: dark lakes on bright land, with speckle; the first rows may hold no data."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    water = np.sin(x / 37.0 + seed) + np.cos(y / 29.0) > 0.6
    speckle = rng.normal(0, 1.2, (2, height, width))
    pixels = (np.where(water, -19.0, -8.0) + speckle + np.array([0.0, -6.0])[:, None, None]).astype(np.float32)
    pixels[:, :nodata_rows] = np.nan
    _write(path, pixels, np.nan)
    return path


def write_mask(path: Path, height: int, width: int, seed: int) -> Path:
    """The truth of `write_scene`."""
    y, x = np.mgrid[0:height, 0:width]
    water = np.sin(x / 37.0 + seed) + np.cos(y / 29.0) > 0.6
    _write(path, water[None].astype(np.uint8), None)
    return path


def _write(path: Path, pixels: np.ndarray, nodata: float | None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {
        "driver": "GTiff",
        "count": len(pixels),
        "height": pixels.shape[1],
        "width": pixels.shape[2],
        "dtype": pixels.dtype.name,
        "crs": "EPSG:32633",
        "transform": Affine(10, 0, 500000, 0, -10, 5000000),
        "nodata": nodata,
        "tiled": True,
        "blockxsize": 128,
        "blockysize": 128,
        "compress": "deflate",
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(pixels)


@dataclass
class Workbench:
    """A folder with an archive, supports, cheap weights and pipeline files."""

    root: Path
    weights: Path

    @property
    def scenes(self) -> Path:
        return self.root / "scenes"

    def pipeline(self, folder: str = "out", **sections: dict[str, Any]) -> Path:
        """Write a pipeline file; keyword arguments update its sections."""
        content: dict[str, Any] = {
            "name": "test",
            "input": {"uri": "scenes", "bands": [1, 2], "scale": {"fixed": [[-25, 0], [-32, -5]]}},
            "support": {
                "adapt": "off",
                "classes": [
                    {"name": "water", "examples": [{"image": "support/chip.tif", "mask": "support/chip_mask.tif"}]}
                ],
            },
            "model": {"weights": str(self.weights)},
            "tiling": {"size": 64, "overlap": 16, "block": 4},
            "execution": {"executor": "inline", "batch_size": 2},
            "output": {"directory": folder, "products": ["mask", "score"]},
        }
        for name, section in sections.items():
            content[name] = {**content.get(name, {}), **section}
        path = self.root / f"{folder}.yaml"
        path.write_text(yaml.safe_dump(content))
        return path


def make_bench(root: Path) -> Workbench:
    """Three scenes of different sizes, one with a collar of nodata, one smaller than a tile."""
    from hdm_testkit.network import MeanColor

    from hdm_pipeline.model.checkpoints import save_weights

    write_scene(root / "scenes" / "large.tif", 333, 412, 1, nodata_rows=70)
    write_scene(root / "scenes" / "middle.tif", 200, 130, 2)
    write_scene(root / "scenes" / "small.tif", 40, 50, 3)
    write_scene(root / "support" / "chip.tif", 128, 128, 4)
    write_mask(root / "support" / "chip_mask.tif", 128, 128, 4)
    weights = root / "mean-color.safetensors"
    save_weights(MeanColor(), weights)
    return Workbench(root, weights)


def other_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    """From now on nothing is known of what earlier runs left on their disk."""
    monkeypatch.setenv("HDM_SCRATCH", str(tmp_path / "scratch" / name))


@pytest.fixture
def bench(tmp_path: Path, kit: Path) -> Workbench:
    """See `make_bench`."""
    return make_bench(tmp_path)


def published(folder: Path) -> dict[str, bytes]:
    """Every published file's bytes, by path relative to the output directory."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.suffix in (".tif", ".xml", ".qml") and ".hdm" not in path.parts
    }


def steps_of(output: Path) -> dict[str, int]:
    """How often each step was done, over all runs, by the logs."""
    counts: dict[str, int] = {}
    for log in (output / ".hdm" / "logs").glob("*.jsonl"):
        for line in log.read_text().splitlines():
            record = json.loads(line)
            if record.get("event") == "step_done":
                counts[record["step"]] = counts.get(record["step"], 0) + 1
    return counts


@dataclass(frozen=True)
class Undisturbed:
    """An inline run over the archive of `bench` that nothing disturbed; made once and only read.

    Attributes:
        bench: its archive and pipeline file.
        summary: what it said.
        files: what it published.
        steps: how often it did each step.
    """

    bench: Workbench
    summary: RunSummary
    files: dict[str, bytes]
    steps: dict[str, int]

    @property
    def out(self) -> Path:
        """Its output directory."""
        return self.bench.root / "out"


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, kit: Path) -> Undisturbed:
    """What other runs over the same archive are compared with."""
    bench = make_bench(tmp_path_factory.mktemp("undisturbed"))
    summary = Pipeline.from_yaml(bench.pipeline()).run()
    out = bench.root / "out"
    return Undisturbed(bench, summary, published(out), steps_of(out))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests with a Ray cluster of their own come last, so that the shared one is started once."""
    items.sort(key=lambda item: "no_cluster" in getattr(item, "fixturenames", ()))


@pytest.fixture(scope="session")
def _end_of_ray() -> Iterator[None]:
    import ray

    yield
    ray.shutdown()


@pytest.fixture
def cluster(_end_of_ray: None, kit: Path) -> None:
    """A local Ray cluster, started once for all tests; runs join it instead of starting their own."""
    import ray

    if not ray.is_initialized():
        memory = 100 << 20
        ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=memory, log_to_driver=False)


@pytest.fixture
def no_cluster(_end_of_ray: None, kit: Path) -> None:
    """For a test that starts a cluster of its own: the shared one is gone."""
    import ray

    ray.shutdown()
