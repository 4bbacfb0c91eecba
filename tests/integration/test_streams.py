"""What cannot be printed ends nothing: pipes and terminals that nobody reads, a full disk, streams that are closed."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.conftest import Workbench

RUN = f"{sys.executable} -m hdm_pipeline run {{file}} {{options}} {{streams}}"


def run(file: Path, options: str, streams: str) -> subprocess.CompletedProcess[str]:
    """A run in a shell of its own, which gives it the streams."""
    command = RUN.format(file=file, options=options, streams=streams)
    return subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, timeout=300, check=False
    )


def ended(folder: Path) -> tuple[str, int]:
    """What `run.json` says of a run: its status, and scenes that are done."""
    report = json.loads((folder / "run.json").read_text())
    return report["status"], report["totals"]["done"]


@pytest.mark.parametrize(
    ("options", "streams"),
    [
        ("", "2>&1 | head -1"),
        ("--events", "| head -1"),
        ("--json", "| head -c 1"),
        ("", ">&-"),
        ("--json", ">&-"),
        ("", "<&- >&- 2>&-"),
    ],
)
def test_a_run_that_nobody_reads_does_its_work(bench: Workbench, options: str, streams: str) -> None:
    said = run(bench.pipeline(), options, streams)
    assert (said.returncode, said.stderr if "2>" in streams else "") == (0, "")
    assert ended(bench.root / "out") == ("done", 3)


@pytest.mark.parametrize("options", ["", "--events", "--json"])
def test_what_does_not_fit_on_the_disk_is_said(bench: Workbench, options: str) -> None:
    said = run(bench.pipeline(), options, "> /dev/full")
    assert said.returncode == 1
    assert "error: not all could be printed: No space left on device" in said.stderr
    assert "Traceback" not in said.stderr
    assert ended(bench.root / "out") == ("done", 3)


def test_files_do_not_take_the_place_of_closed_streams(bench: Workbench) -> None:
    """What a library prints would go into them."""
    code = "import os, sys; from hdm_pipeline.cli.main import main; sys.argv = ['x', 'schema']"
    code += "\ntry: main()\nfinally: open('seen', 'w').write(os.readlink('/proc/self/fd/2'))"
    subprocess.run(["bash", "-c", f'{sys.executable} -c "$0" <&- >&- 2>&-', code], cwd=bench.root, check=True)
    assert (bench.root / "seen").read_text() == "/dev/null"


@pytest.mark.parametrize("ignored", [False, True], ids=["", "nohup"])
def test_a_closed_terminal_stops_a_run_as_ctrl_c_does(bench: Workbench, ignored: bool) -> None:
    file = bench.pipeline()
    child, terminal = pty.fork()
    if child == 0:
        if ignored:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)
        os.execv(sys.executable, [sys.executable, "-m", "hdm_pipeline", "run", str(file)])
    while b"reading" not in os.read(terminal, 1000):
        pass
    os.close(terminal)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert ended(bench.root / "out")[0] == ("done" if ignored else "stopped")
