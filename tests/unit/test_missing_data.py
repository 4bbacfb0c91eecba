"""Without the real data nothing is skipped silently: the end of the report counts the tests, or they fail."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("required", "code"), [("0", 0), ("1", 1)])
def test_missing_data_is_counted_or_fails(tmp_path: Path, required: str, code: int) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/integration/test_geotiff_zoo.py"],
        env=os.environ | {"HDM_TEST_DATA": str(tmp_path / "nowhere"), "HDM_REQUIRE_DATA": required},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == code, ended.stdout
    told = f"real test data not found at {tmp_path / 'nowhere'}; set HDM_TEST_DATA"
    lines = ended.stdout.splitlines()
    assert (f"5 skipped: {told}" in lines) == (required == "0")
    assert told in ended.stdout
