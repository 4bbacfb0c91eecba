"""Peak memory of a run on scenes of growing size, with a model that costs next to nothing.

    python -m benchmarks.bench_memory [--large 16384] [--world cog_world.tif] [--json FILE]

Each run is a process of its own (the inline executor: everything in one process), measured by the kernel
(VmHWM). `--world` adds the 36000 x 18000 scene of the test data.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._scenes import write_pipeline, write_scene, write_support
from benchmarks._table import Row, arguments, at_most, show
from hdm_pipeline.model.checkpoints import save_weights
from hdm_pipeline.pipeline import Pipeline

KIT = Path(__file__).resolve().parents[1] / "tests" / "kit"
_MIB = 1 << 20


_CHILD = """
import sys
from hdm_pipeline.pipeline import Pipeline
Pipeline.from_yaml(sys.argv[1]).run()
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak(pipeline: Path) -> float:
    """Peak resident MiB of a run in a process of its own (VmHWM: ru_maxrss would count the parent's memory, too)."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(KIT), os.environ.get("PYTHONPATH", "")])}
    ended = subprocess.run(
        [sys.executable, "-c", _CHILD, str(pipeline)], env=environment, capture_output=True, text=True, check=False
    )
    if ended.returncode:
        raise SystemExit(f"the run of {pipeline} failed:\n{ended.stderr}")
    return int(ended.stdout) / 1024


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--small", type=int, default=4096)
    parser.add_argument("--large", type=int, default=16384)
    parser.add_argument("--world", type=Path, help="path of cog_world.tif")
    options = parser.parse_args()
    sys.path.insert(0, str(KIT))
    from hdm_testkit.network import MeanColor

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_support(folder)
        save_weights(MeanColor(), folder / "cheap.safetensors")
        tiling = {"size": 512, "overlap": 32}
        peaks: dict[str, float] = {}
        for size in (options.small, options.large):
            write_scene(folder / "scenes" / "scene.tif", size)
            file = write_pipeline(folder, f"out{size}", str(folder / "cheap.safetensors"), tiling=tiling)
            peaks[f"{size} x {size}"] = peak(file)
            shutil.rmtree(folder / f"out{size}")
        if options.world is not None:
            bands = {"uri": str(options.world), "bands": [1], "scale": {"fixed": [0, 255]}}
            write_support(folder, bands=1)
            file = write_pipeline(folder, "world", str(folder / "cheap.safetensors"), tiling=tiling, input=bands)
            peaks["36000 x 18000"] = peak(file)
        bound = Pipeline.from_yaml(file).plan().peak_memory / _MIB
    small, *others = peaks.values()
    rows = [Row(f"peak, {scene}", value, "MiB") for scene, value in peaks.items()]
    rows += [at_most(f"growth to {scene}", value / small, "x", 1.10) for scene, value in list(peaks.items())[1:]]
    rows.append(at_most("largest peak / what plan said", max(small, *others) / bound, "x", 1.0))
    return show("memory of a run", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
