"""Finding and starting the command line from within QGIS."""

from __future__ import annotations

import signal
import sys
import time
from pathlib import Path

import pytest

from qgis_hdm.commands import CommandMissingError, clean_environment, find_command, run_command
from qgis_hdm.running import run


def program(path: Path, text: str = "#!/bin/sh\n") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_the_setting_is_a_program_a_python_or_a_folder(tmp_path: Path) -> None:
    installed = program(tmp_path / "env" / "bin" / "hdm-pipeline")
    python = program(tmp_path / "env" / "bin" / "python3.11")
    cloned = program(tmp_path / "clone" / ".venv" / "bin" / "hdm-pipeline")
    assert find_command(str(installed)) == [str(installed)]
    assert find_command(f" {python} ") == [str(python), "-m", "hdm_pipeline"]
    assert find_command(str(tmp_path / "env")) == [str(installed)]
    assert find_command(str(tmp_path / "clone")) == [str(cloned)]
    assert find_command("", path=str(installed.parent)) == [str(installed)]


def test_what_is_not_there_is_told_with_a_remedy(tmp_path: Path) -> None:
    plain = tmp_path / "hdm-pipeline"
    plain.write_text("no program")
    for setting in ("", str(tmp_path / "none"), str(tmp_path), str(plain)):
        with pytest.raises(CommandMissingError, match="pip install hdm-pipeline") as caught:
            find_command(setting, path=str(tmp_path / "empty"))
        assert setting in str(caught.value)
        assert "Options > Processing" in str(caught.value)


def test_what_qgis_sets_for_itself_is_not_handed_on() -> None:
    of_qgis = {"PYTHONHOME": "/apps/QGIS", "PYTHONPATH": "/usr/share/qgis/python", "PROJ_LIB": "x", "GDAL_DATA": "y"}
    found = clean_environment({**of_qgis, "PATH": "/usr/bin", "AWS_PROFILE": "me", "OMP_NUM_THREADS": "1"})
    assert not set(of_qgis) & set(found)
    assert (found["PATH"], found["AWS_PROFILE"], found["OMP_NUM_THREADS"]) == ("/usr/bin", "me", "1")
    assert found["PYTHONUNBUFFERED"] == "1"


def test_the_command_tells_events() -> None:
    assert run_command(["hdm"], "a.yaml", strict=False, retry=False) == ["hdm", "run", "a.yaml", "--events"]
    full = run_command(["py", "-m", "x"], "a.yaml", "out", strict=True, retry=True)
    assert full[3:] == ["run", "a.yaml", "--events", "--output", "out", "--strict", "--retry-quarantined"]


def collected(code: str, cancel_at: str = "") -> tuple[int, bool, str, list[str]]:
    lines: list[str] = []
    ended = run(
        [sys.executable, "-c", code],
        on_line=lines.append,
        on_error=lambda line: None,
        cancelled=lambda: cancel_at in lines,
    )
    return ended.code, ended.cancelled, ended.errors, lines


def test_lines_come_as_they_are_printed_and_errors_are_kept() -> None:
    code = "import sys\nfor i in range(99): print(i, 'é\\xff'); print('oh', i, file=sys.stderr)\nsys.exit(3)"
    exit_code, cancelled, errors, lines = collected(code)
    assert (exit_code, cancelled) == (3, False)
    assert lines == [f"{i} é\xff" for i in range(99)]
    assert errors.splitlines()[0] == "oh 59"
    assert errors.splitlines()[-1] == "oh 98"


def test_a_program_that_floods_one_pipe_does_not_block() -> None:
    exit_code, _, _, lines = collected("import sys\nsys.stderr.write('x' * 3_000_000)\nprint('end')")
    assert (exit_code, lines) == (0, ["end"])


def test_cancelling_interrupts_once_and_waits_for_the_end() -> None:
    code = """
import signal, sys, time
count = 0
def stop(*_):
    global count
    count += 1
signal.signal(signal.SIGINT, stop)
print("ready")
while not count: time.sleep(0.05)
time.sleep(1)
print("finished its block", count)
sys.exit(5)
"""
    start = time.monotonic()
    exit_code, cancelled, _, lines = collected(code, "ready")
    assert (exit_code, cancelled, lines) == (5, True, ["ready", "finished its block 1"])
    assert time.monotonic() - start > 1


def test_a_killed_program_says_by_what() -> None:
    code = f"import os; os.kill(os.getpid(), {int(signal.SIGKILL)})"
    assert collected(code)[0] == -signal.SIGKILL


def test_no_program() -> None:
    with pytest.raises(FileNotFoundError):
        run(["/no/such/program"], on_line=print, on_error=print, cancelled=lambda: False)


def test_a_command_is_told_to_stop_where_its_lines_cannot_be_taken_in(tmp_path: Path) -> None:
    """It ends by itself, as if it was cancelled, and goes on writing until then; nobody waits for a dead dialog."""
    ended = tmp_path / "ended"
    text = f"""#!{sys.executable}
import pathlib, time
try:
    print("first", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("x" * 1_000_000, flush=True)
    pathlib.Path({str(ended)!r}).write_text("whole")
"""

    def broken(line: str) -> None:
        raise KeyError(line)

    command = [str(program(tmp_path / "loop", text))]
    with pytest.raises(KeyError, match="first"):
        run(command, on_line=broken, on_error=str, cancelled=lambda: False)
    assert ended.read_text() == "whole"
