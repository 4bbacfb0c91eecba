"""Fuzz with atheris: `python -m tests.fuzz [NAME ...] [--seconds 60] [--out fuzz-results]`.

Each harness runs in a process of its own for a while. What it finds lies under OUT/NAME/crash-*, with the traceback on
the terminal; `python -m tests.fuzz NAME --input FILE` tries one such file again. Exit code 1: something was found.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import HARNESSES


def fuzz(name: str, seconds: int, out: Path) -> int:
    """Fuzz in a process of its own: libFuzzer ends the process that it runs in."""
    command = [sys.executable, "-m", "tests.fuzz", name, "--worker", "--seconds", str(seconds), "--out", str(out)]
    return subprocess.run(command, check=False).returncode


def work(name: str, seconds: int, out: Path) -> None:
    """Fuzz in this process; does not return."""
    import atheris

    harness = HARNESSES[name]
    corpus, scratch = out / name / "corpus", Path(tempfile.mkdtemp(prefix=f"fuzz-{name}-"))
    corpus.mkdir(parents=True, exist_ok=True)
    (seeds := scratch / "seeds").mkdir()
    (inputs := scratch / "inputs").mkdir()
    with atheris.instrument_imports(include=list(harness.modules)):
        target = harness.make(inputs)
        for number, seed in enumerate(harness.seeds(seeds)):
            (corpus / f"seed-{number}").write_bytes(seed)
            target(seed)  # here, as much is imported only when it is needed
    options = [
        f"-max_total_time={seconds}",
        f"-max_len={harness.longest}",
        f"-artifact_prefix={out / name}/",
        "-timeout=30",
        "-rss_limit_mb=4096",
        "-print_final_stats=1",
    ]
    atheris.Setup([sys.argv[0], *options, str(corpus)], target)
    atheris.Fuzz()


def main() -> int:
    """Fuzz, or try one input again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(HARNESSES)}; all by default")
    parser.add_argument("--seconds", type=int, default=60, help="for each harness")
    parser.add_argument("--out", type=Path, default=Path("fuzz-results"))
    parser.add_argument("--input", type=Path, help="try this file instead of fuzzing")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if unknown := set(options.names) - HARNESSES.keys():
        parser.error(f"no such harness: {', '.join(sorted(unknown))}")
    names = options.names or list(HARNESSES)
    if options.input:
        HARNESSES[names[0]].make(Path(tempfile.mkdtemp()))(options.input.read_bytes())
        return 0
    if options.worker:
        work(names[0], options.seconds, options.out)
    found = [name for name in names if fuzz(name, options.seconds, options.out)]
    print(f"findings in: {', '.join(found)}" if found else f"nothing found in {', '.join(names)}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
