"""How long a person waits before anything happens: help, import, validate, and a run with nothing to do.

    python -m benchmarks.bench_startup [--json FILE]

User and system seconds of whole processes (other programs on the machine do not count), the median of five.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._scenes import write_pipeline, write_scene, write_support
from benchmarks._table import arguments, at_most, median, show
from hdm_pipeline.model.checkpoints import save_weights

KIT = Path(__file__).resolve().parents[1] / "tests" / "kit"
_REPEATS = 5


def seconds(*command: str) -> float:
    """Median CPU seconds of a command."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(KIT), os.environ.get("PYTHONPATH", "")])}
    found = []
    for _ in range(_REPEATS):
        process = subprocess.Popen([sys.executable, *command], env=environment, stdout=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"failed: {' '.join(command)}")
        found.append(usage.ru_utime + usage.ru_stime)
    return median(found)


def main() -> int:
    """Measure and print."""
    options = arguments(__doc__).parse_args()
    sys.path.insert(0, str(KIT))
    from hdm_testkit.network import MeanColor

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scene(folder / "scenes" / "scene.tif", 512)
        write_support(folder)
        save_weights(MeanColor(), folder / "cheap.safetensors")
        file = str(write_pipeline(folder, "out", str(folder / "cheap.safetensors")))
        module = ("-m", "hdm_pipeline")
        seconds(*module, "run", file)
        rows = [
            at_most("import hdm_pipeline", seconds("-c", "import hdm_pipeline"), "s", 0.2),
            at_most("--help", seconds(*module, "--help"), "s", 1.0),
            at_most("validate", seconds(*module, "validate", file), "s", 1.0),
            at_most("run on a finished output", seconds(*module, "run", file), "s", 2.0),
        ]
    return show("start-up", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
