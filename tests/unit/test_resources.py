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
    assert processor_quota(tmp_path / "none", write(tmp_path, told)) == expected


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
    assert memory_limit(tmp_path / "none", write(tmp_path, told)) == expected


SECOND = "0::/system.slice/nightly.slice/run.scope\n"
"""What `/proc/self/cgroup` says where there is version 2 alone."""

FIRST = "12:memory:/slurm/job_7/step_0\n4:cpu,cpuacct:/slurm/job_7\n1:name=systemd:/x\n0::/x\n"
"""The same of version 1, with the empty tree of version 2 beside it."""

SLICE = "system.slice/nightly.slice"


@pytest.mark.parametrize(
    ("groups", "told", "expected"),
    [
        # the slice above allows less than the scope itself
        (SECOND, [(f"{SLICE}/run.scope", 9000, 1000), (SLICE, 3000, 1000), ("system.slice", None, 1000)], (2000, 3000)),
        # the scope allows less, but others took most of what the slice allows
        (SECOND, [(f"{SLICE}/run.scope", 4000, 1000), (SLICE, 8000, 7500)], (500, 4000)),
        (SECOND, [("system.slice", 5000, 1000)], (4000, 5000)),
        # what is beside the way up says nothing
        (SECOND, [("system.slice/other.slice", 50, 10), ("user.slice", 50, 10)], None),
        # as the host names it, where only the container's own group is seen, at the top
        ("0::/docker/0123\n", [("", 3000, 1000)], (2000, 3000)),
        ("0::/../../elsewhere\n", [("", 3000, 1000)], (2000, 3000)),
        ("", [("", 3000, 1000)], (2000, 3000)),
    ],
)
def test_memory_of_groups_within_groups(
    tmp_path: Path, groups: str, told: list[tuple[str, int | None, int]], expected: tuple[int, int] | None
) -> None:
    """As systemd nests them: a limit of a slice holds for all that is below it."""
    proc, cgroup = write(tmp_path / "proc", {"self/cgroup": groups}), tmp_path / "cgroup"
    for name, limit, used in told:
        write(cgroup / name, second(max="max" if limit is None else str(limit), current=str(used)))
    assert memory_limit(proc, cgroup) == expected


def test_groups_within_groups_of_the_first_version(tmp_path: Path) -> None:
    proc, cgroup = write(tmp_path / "proc", {"self/cgroup": FIRST}), tmp_path / "cgroup"
    for name, limit, used in (("", 2**63 - 4096, 9000), ("slurm/job_7", 3000, 1000), ("slurm/job_7/step_0", 8000, 900)):
        told = {"limit_in_bytes": str(limit), "usage_in_bytes": str(used)}
        write(cgroup / "memory" / name, {f"memory.{key}": text for key, text in told.items()})
    assert memory_limit(proc, cgroup) == (2000, 3000)
    write(cgroup / "cpu" / "slurm", {"cpu.cfs_quota_us": "300000", "cpu.cfs_period_us": "100000"})
    write(cgroup / "cpu" / "slurm" / "job_7", {"cpu.cfs_quota_us": "-1", "cpu.cfs_period_us": "100000"})
    assert processor_quota(proc, cgroup) == 3


def test_processors_of_groups_within_groups(tmp_path: Path) -> None:
    proc, cgroup = write(tmp_path / "proc", {"self/cgroup": SECOND}), tmp_path / "cgroup"
    write(cgroup / SLICE, {"cpu.max": "150000 100000"})
    write(cgroup / SLICE / "run.scope", {"cpu.max": "max 100000"})
    write(cgroup / "system.slice", {"cpu.max": "400000 100000"})
    assert processor_quota(proc, cgroup) == 1.5


def test_what_is_available_is_the_less_of_both(tmp_path: Path) -> None:
    proc = write(tmp_path / "proc", {"meminfo": "MemTotal:  9 kB\nMemAvailable:      3 kB\n"})
    small = write(tmp_path / "small", second(max="3000", current="1000"))
    large = write(tmp_path / "large", second(max="90000", current="1000"))
    nothing = tmp_path / "none"
    assert free_memory(proc) == 3072
    found = [available_memory(*asked) for asked in ((proc, small), (proc, large), (proc, nothing), (nothing, small))]
    assert found == [2000, 3072, 3072, 2000]
    assert available_memory(nothing, nothing) is None
