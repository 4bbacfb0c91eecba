"""What fuzzing found stays found: each input under tests/fuzz/findings goes through its harness without a surprise."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fuzz.targets import HARNESSES

FINDINGS = sorted((Path(__file__).parents[1] / "fuzz" / "findings").glob("*/*"))


@pytest.mark.parametrize("file", FINDINGS, ids=lambda file: f"{file.parent.name}-{file.name}")
def test_a_finding_ends_in_a_typed_error(file: Path, tmp_path: Path) -> None:
    HARNESSES[file.parent.name].make(tmp_path)(file.read_bytes())


@pytest.mark.parametrize("name", HARNESSES)
def test_the_seeds_of_a_harness_are_read(name: str, tmp_path: Path) -> None:
    (tmp_path / "seeds").mkdir()
    (tmp_path / "inputs").mkdir()
    target = HARNESSES[name].make(tmp_path / "inputs")
    seeds = list(HARNESSES[name].seeds(tmp_path / "seeds"))
    assert seeds
    for seed in seeds:
        target(seed)
