"""`python -m tests.golden DIR`: the largest error of every case and quantity; exit 1 beyond tolerance."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.golden.cases import check_case, check_keys, check_training
from tests.golden.folder import Check, GoldenFolder
from tests.golden.units import check_units


def run(folder: GoldenFolder) -> Iterator[Check]:
    """Every check that the folder's files allow; each network is built once."""
    yield from check_keys(folder)
    if (folder.path / "unit.npz").is_file():
        yield from check_units(folder)
    names = sorted({*folder.cases, *(case for case in folder.training if case in folder.recipe.CASES)})
    by_configuration: dict[str, list[str]] = {}
    for case in names:
        by_configuration.setdefault(folder.configuration(case), []).append(case)
    for configuration, cases in by_configuration.items():
        network = folder.network(configuration)
        for case in cases:
            if case in folder.cases:
                yield from check_case(folder, case, network)
            if case in folder.training:
                yield from check_training(folder, case, network)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__)
    parser.add_argument("folder", type=Path, help="folder of recipe.py, keys.json, *.npz")
    path = parser.parse_args().folder
    checks = failed = 0
    print(f"{'case':26} {'quantity':28} {'largest error':>14} {'allowed':>10}")
    for check in run(GoldenFolder(path)):
        checks += 1
        failed += not check.passed
        verdict = "" if check.passed else "  BEYOND TOLERANCE"
        print(f"{check.case:26} {check.quantity:28} {check.error:14.3e} {check.tolerance:10.1e}{verdict}", flush=True)
    print(f"{checks} checks, {failed} beyond tolerance")
    if not any(path.glob("*.npz")):
        print(f"no golden file in {path}", file=sys.stderr)
        return 1
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
