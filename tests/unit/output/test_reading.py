"""Folders in which readers see an output of a bucket: none is taken from under a reader, and none is kept for ever."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from hdm_pipeline.output import reading
from hdm_pipeline.output.reading import copy_for_reading

_READER = """
import sys, time
from pathlib import Path
from hdm_pipeline.output.reading import copy_for_reading

base, states = Path(sys.argv[1]), sys.argv[2].split(",")
for state in states:
    def fill(folder):
        for number in range(20):
            (folder / str(number)).write_text(state)
            time.sleep(0.002)
    folder = copy_for_reading(base, state.encode(), fill)
    for number in range(20):
        assert (folder / str(number)).read_text() == state
        time.sleep(0.002)
"""


def _fill(folder: Path) -> None:
    (folder / "file").write_text("1")


def _of_another_process(base: Path, state: str) -> None:
    command = [sys.executable, "-c", _READER, str(base), state]
    subprocess.run(command, check=True, timeout=60)


def test_many_readers_of_changing_states_all_see_whole_ones(tmp_path: Path) -> None:
    turns = [",".join(str((start + step) % 5) for step in range(25)) for start in range(4)]
    readers = [subprocess.Popen([sys.executable, "-c", _READER, str(tmp_path), turn]) for turn in turns]
    assert [reader.wait(timeout=120) for reader in readers] == [0] * 4


def test_a_folder_that_nobody_reads_in_goes_with_the_next_state(tmp_path: Path) -> None:
    _of_another_process(tmp_path, "old")
    (tmp_path / f"{reading._ASIDE}{_name('old')}-x").mkdir()  # as a reader leaves it that is killed
    mine = copy_for_reading(tmp_path, b"mine", _fill)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [mine]
    newer = copy_for_reading(tmp_path, b"newer", _fill)
    assert {path for path in tmp_path.iterdir() if path.is_dir()} == {mine, newer}, "this process reads in both"
    _of_another_process(tmp_path, "newest")
    assert mine.is_dir()


def test_who_is_second_takes_what_the_first_filled(tmp_path: Path) -> None:
    together, found = threading.Barrier(3), []

    def fill(folder: Path) -> None:
        together.wait(timeout=30)
        _fill(folder)

    threads = [threading.Thread(target=lambda: found.append(copy_for_reading(tmp_path, b"1", fill))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert os.listdir(found[0]) == ["file"]
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == found[:1]


def test_what_cannot_be_filled_leaves_nothing(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        _fill(folder)
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011
        copy_for_reading(tmp_path, b"1", fill)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == []
    assert copy_for_reading(tmp_path, b"1", _fill).is_dir()


def _name(state: str) -> str:
    return hashlib.sha256(state.encode()).hexdigest()[:16]
