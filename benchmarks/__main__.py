"""All benchmarks, one after the other: `python -m benchmarks [--json FOLDER] [--only NAME ...]`."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path


def main() -> int:
    """Run every `bench_*.py` in a process of its own; 1 if a bound was missed or a benchmark failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="folder for the figures")
    parser.add_argument("--only", nargs="*", help="names, such as run or stitch")
    options = parser.parse_args()
    found = sorted(path.stem for path in Path(__file__).parent.glob("bench_*.py"))
    chosen = [name for name in found if not options.only or name.removeprefix("bench_") in options.only]
    if options.json:
        options.json.mkdir(parents=True, exist_ok=True)
    missed = []
    folder = str(Path(__file__).parent)  # some are scripts, which import their neighbours by name
    paths = os.environ | {"PYTHONPATH": os.pathsep.join([folder, os.environ.get("PYTHONPATH", "")])}
    for name in chosen:
        figures = ["--json", str(options.json / f"{name}.json")] if options.json else []
        ended = subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *figures], env=paths, check=False)
        missed += [name] if ended.returncode else []
        print(flush=True)
    print(f"{len(chosen) - len(missed)} of {len(chosen)} benchmarks kept to their bounds")
    if missed:
        print(f"missed or failed: {', '.join(missed)}")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
