"""What all benchmarks share: a table for people, JSON for machines, and fair timing of alternatives."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class Row:
    """One figure.

    Attributes:
        name: what was measured.
        value: the figure.
        unit: of the figure.
        bound: what it is held to, e.g. ``>= 0.7``; empty for none.
        ok: whether it keeps to the bound; None for no bound.
    """

    name: str
    value: float
    unit: str
    bound: str = ""
    ok: bool | None = None


def at_least(name: str, value: float, unit: str, least: float) -> Row:
    """A figure that must reach a bound."""
    return Row(name, value, unit, f">= {least:g}", value >= least)


def at_most(name: str, value: float, unit: str, most: float) -> Row:
    """A figure that must not exceed a bound."""
    return Row(name, value, unit, f"<= {most:g}", value <= most)


def alternate(repeats: int, *calls: Callable[[], object]) -> list[list[float]]:
    """CPU seconds of each call, `repeats` times in turn, so that a busy machine disturbs all alike.

    Seconds of all threads of this process are counted: other programs on the machine do not count.
    """
    seconds: list[list[float]] = [[] for _ in calls]
    for _ in range(repeats):
        for index, call in enumerate(calls):
            start = time.process_time()
            call()
            seconds[index].append(time.process_time() - start)
    return seconds


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with the option that all benchmarks know."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    return parser


def show(title: str, rows: Sequence[Row], json_path: Path | None = None) -> int:
    """Print the table; returns the exit code: 1 if a bound is missed."""
    print(f"{title}  ({platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f})")
    width = max(len(row.name) for row in rows)
    for row in rows:
        verdict = "" if row.ok is None else "ok" if row.ok else "MISSED"
        print(f"  {row.name:<{width}}  {row.value:>10.3f} {row.unit:<8} {row.bound:<10} {verdict}")
    if json_path is not None:
        json_path.write_text(json.dumps({"title": title, "rows": [asdict(row) for row in rows]}, indent=1) + "\n")
    return int(any(row.ok is False for row in rows))
