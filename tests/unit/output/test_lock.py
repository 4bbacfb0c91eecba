"""One run at a time."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from hdm_pipeline.errors import LostLockError, OutputError
from hdm_pipeline.output.fence import Fence
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.lock import Lock, RunLock, interrupt_holder
from tests.until import until

_HOLDER = """
import sys, time
from pathlib import Path
from hdm_pipeline.output.lock import RunLock
with RunLock(Path(sys.argv[1]), "the holder"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    folder = tmp_path / "out" / ".hdm"
    folder.mkdir(parents=True)
    return folder / "run.lock"


@pytest.fixture
def holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", _HOLDER, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.wait()


def test_the_second_leaves_and_hears_who_holds_it(path: Path, holder: subprocess.Popen[str]) -> None:
    with pytest.raises(OutputError) as caught, RunLock(path, "me"):
        pass
    assert "the holder" in str(caught.value)
    assert caught.value.remedy


def test_the_second_waits(path: Path) -> None:
    order = []

    def second() -> None:
        with RunLock(path, "second", wait=True):
            order.append("second")

    with RunLock(path, "first"):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert not path.exists()


def test_a_killed_owner_leaves_no_lock_behind(path: Path, holder: subprocess.Popen[str]) -> None:
    holder.kill()
    holder.wait()
    assert path.exists()
    with RunLock(path, "me") as lock:
        assert not lock.lost


def write_foreign(path: Path) -> None:
    path.write_text(json.dumps({"owner": "far away", "host": "another-host", "pid": 1, "started": 5}))


def test_a_process_number_that_was_given_away_again_does_not_hold_the_lock(path: Path) -> None:
    content = {"owner": "before the reboot", "host": socket.gethostname(), "pid": os.getpid(), "started": 1}
    path.write_text(json.dumps(content))
    with RunLock(path, "me"):
        assert json.loads(path.read_text())["owner"] == "me"


def test_a_silent_owner_on_another_host_is_taken_over(path: Path) -> None:
    write_foreign(path)
    os.utime(path, (4e9, 4e9))  # its clock is decades ahead: only changes count
    start = time.monotonic()
    with RunLock(path, "me", heartbeat=0.1, stale_after=0.8):
        assert time.monotonic() - start > 0.7, "not before it was silent long enough"


def test_a_living_owner_on_another_host_keeps_it(path: Path) -> None:
    write_foreign(path)
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(0.2):
            os.utime(path)

    thread = threading.Thread(target=beat)
    thread.start()
    try:
        with pytest.raises(OutputError, match="another run"), RunLock(path, "me", heartbeat=0.1, stale_after=3):
            pass
    finally:
        ended.set()
        thread.join()


def test_the_owner_notices_that_it_was_taken_over(path: Path) -> None:
    with RunLock(path, "me", heartbeat=0.05) as lock:
        write_foreign(path)
        deadline = time.monotonic() + 5
        while not lock.lost and time.monotonic() < deadline:
            time.sleep(0.02)
        assert lock.lost
    assert json.loads(path.read_text())["owner"] == "far away", "a lost lock is not removed"


@pytest.mark.parametrize("gone", ["out", "out/.hdm"])
def test_an_output_that_is_removed_ends_the_run_in_words(path: Path, tmp_path: Path, gone: str) -> None:
    fence = Fence(Workspace(tmp_path / "out"), {})
    with RunLock(path, "me", heartbeat=0.05) as lock:
        shutil.rmtree(tmp_path / gone)
        until(lambda: lock.lost)
        for asked in (lock.check, fence.require):
            with pytest.raises(LostLockError, match="or it was removed while this run wrote to it") as caught:
                asked()
            assert str(tmp_path / "out") in caught.value.where
    assert not path.exists()


def test_heartbeats_touch_the_file(path: Path) -> None:
    with RunLock(path, "me", heartbeat=0.05):
        first = path.stat().st_mtime_ns
        time.sleep(0.5)
        assert path.stat().st_mtime_ns > first


def test_of_many_at_once_one_gets_it(path: Path) -> None:
    write_foreign(path)
    inside, most, taken = 0, 0, 0
    guard = threading.Lock()

    def contender(number: int) -> None:
        nonlocal inside, most, taken
        with RunLock(path, str(number), wait=True, heartbeat=0.05, stale_after=0.5):
            with guard:
                inside, taken = inside + 1, taken + 1
                most = max(most, inside)
            time.sleep(0.05)
            with guard:
                inside -= 1

    threads = [threading.Thread(target=contender, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (taken, most) == (6, 1)


def test_looking_and_taking_are_one_step(path: Path) -> None:
    taken = threading.Event()

    def take() -> None:
        with RunLock(path, "me"):
            taken.set()

    thread = threading.Thread(target=take)
    with open(path.with_name("run.lock.guard"), "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # another process is just looking
        thread.start()
        assert not taken.wait(0.5)
    thread.join(10)
    assert taken.is_set()


def test_a_lock_that_is_no_lock_is_taken_over_when_nothing_touches_it(path: Path) -> None:
    path.write_text("garbage")
    with RunLock(path, "me", heartbeat=0.1, stale_after=0.5):
        pass


def test_a_missing_folder_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError), RunLock(tmp_path / "nothing" / "run.lock", "me"):
        pass


def test_who_holds_the_lock_is_asked_to_stop(path: Path, holder: subprocess.Popen[str]) -> None:
    assert interrupt_holder(path) == "the holder"
    assert holder.wait(timeout=30) != 0  # Python's own answer to SIGINT: KeyboardInterrupt


def test_a_process_that_got_the_number_of_a_holder_that_is_gone_is_not_asked(
    path: Path, holder: subprocess.Popen[str]
) -> None:
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "started": content["started"] - 1}))
    assert interrupt_holder(path) == ""
    assert holder.poll() is None


def test_a_holder_on_another_host_is_not_asked_from_here(path: Path, holder: subprocess.Popen[str]) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), "host": "elsewhere"}))
    with pytest.raises(OutputError, match="cannot be stopped from here"):
        interrupt_holder(path)
    assert holder.poll() is None


def test_without_a_holder_nobody_is_asked(path: Path) -> None:
    assert interrupt_holder(path) == ""


class Watched(Lock):
    """A lock that another run holds, in a store that is away for a while within the second attempt to take it."""

    def __init__(self) -> None:
        super().__init__("me", wait=True, heartbeat=60, stale_after=0.5, pause=0.01)
        self.given: list[object] = []

    _shown = "out"

    def _look(self) -> tuple[dict[str, str], str]:
        return {"owner": "far away"}, "the same"

    def _take(self, stale: tuple[object, object] | None) -> bool:
        self.given.append(stale)
        if len(self.given) == 2:
            self._unseen += 1
            time.sleep(0.6)
        return len(self.given) == 3

    def _sign(self) -> bool:
        return True

    def _release(self) -> None:
        pass


def test_time_in_which_nobody_answers_who_would_take_the_lock_does_not_count() -> None:
    with Watched() as lock:
        assert lock.given == [None, None, None]
