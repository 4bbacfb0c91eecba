"""Threads that wait for each other go to sleep soon, unless the user has chosen otherwise."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

_CODE = "from hdm_pipeline.waiting import wait_asleep; wait_asleep(); import torch"


@pytest.mark.skipif(sys.platform != "linux", reason="torch computes with another OpenMP there")
@pytest.mark.parametrize(
    ("chosen", "spins"), [({}, "3000"), ({"GOMP_SPINCOUNT": "70"}, "70"), ({"OMP_WAIT_POLICY": "PASSIVE"}, "0")]
)
def test_what_openmp_reads_when_torch_is_loaded(chosen: dict[str, str], spins: str) -> None:
    own = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    environment = own | chosen | {"OMP_DISPLAY_ENV": "VERBOSE"}
    told = subprocess.run([sys.executable, "-c", _CODE], env=environment, capture_output=True, text=True, check=True)
    found = re.search(r"GOMP_SPINCOUNT = '(\d+)'", told.stderr)
    assert found is not None, told.stderr
    assert found[1] == spins
