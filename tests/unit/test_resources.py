"""What the kernel tells of processors and memory, of the machine and of containers of both kinds."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdm_pipeline.resources import available_memory, free_memory, memory_limit, processor_quota


def write(folder: Path, contents: dict[str, str]) -> Path:
    for name, text in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def second(**memory: str) -> dict[str, str]:
    """Version 2 of cgroups: a file a question, in one folder."""
    return {f"memory.{name}": text for name, text in memory.items()}


def first(limit: int, used: int, **more: str) -> dict[str, str]:
    """Version 1: a folder a controller."""
    told = {"limit_in_bytes": str(limit), "usage_in_bytes": str(used), **more}
    return {f"memory/memory.{name}": text for name, text in told.items()}


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({"cpu.max": "50000 100000\n"}, 0.5),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "150000", "cpu/cpu.cfs_period_us": "100000"}, 1.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_processors(tmp_path: Path, told: dict[str, str], expected: float | None) -> None:
    assert processor_quota(write(tmp_path, told)) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (second(max="3000", current="1000"), (2000, 3000)),
        (second(max="max", current="1000"), None),
        (second(max="3000", current="2900", stat="anon 100\ninactive_file 2500\nactive_file 300"), (2600, 3000)),
        (second(max="3000", current="4000", stat="anon 4000"), (0, 3000)),
        (second(max="3000"), None),
        (first(3000, 2900, stat="inactive_file 1\ntotal_inactive_file 2000"), (2100, 3000)),
        (first(2**63 - 4096, 5), None),
        ({}, None),
    ],
)
def test_memory_of_a_container(tmp_path: Path, told: dict[str, str], expected: tuple[int, int] | None) -> None:
    """Files that were read and can be let go of are left, not taken."""
    assert memory_limit(write(tmp_path, told)) == expected


def test_what_is_available_is_the_less_of_both(tmp_path: Path) -> None:
    proc = write(tmp_path / "proc", {"meminfo": "MemTotal:  9 kB\nMemAvailable:      3 kB\n"})
    small = write(tmp_path / "small", second(max="3000", current="1000"))
    large = write(tmp_path / "large", second(max="90000", current="1000"))
    nothing = tmp_path / "none"
    assert free_memory(proc) == 3072
    found = [available_memory(*asked) for asked in ((proc, small), (proc, large), (proc, nothing), (nothing, small))]
    assert found == [2000, 3072, 3072, 2000]
    assert available_memory(nothing, nothing) is None
