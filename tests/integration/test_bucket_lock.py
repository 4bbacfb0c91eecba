"""The run lock in a bucket, against a real server that also loses answers."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from hdm_pipeline.errors import ObjectStoreError, OutputError
from hdm_pipeline.objects.folder import ObjectFolder
from hdm_pipeline.output.bucket_lock import BucketLock, run_lock
from hdm_pipeline.output.layout import Workspace
from hdm_pipeline.output.lock import LOCK, STALE_AFTER, holder
from tests.fault_proxy import Rule
from tests.s3_server import S3Server
from tests.until import until


@pytest.fixture
def folder(server: S3Server, request: pytest.FixtureRequest) -> ObjectFolder:
    return ObjectFolder(f"s3://out/{request.node.name.replace('[', '/').strip(']')}")


def _of_another_host(folder: ObjectFolder, beat: int) -> None:
    content = {"owner": "night:1", "host": "elsewhere", "pid": 1, "started": 5, "token": "theirs", "beat": beat}
    folder.put(LOCK, json.dumps(content).encode())


def test_one_holds_it_and_gives_it_back(folder: ObjectFolder) -> None:
    with BucketLock(folder, "first"):
        found = holder(folder)
        assert found is not None
        assert (found["owner"], found["alive"]) == ("first", True)
        with pytest.raises(OutputError, match="another run") as caught, BucketLock(folder, "second"):
            pass
        assert "held by first" in caught.value.where
    assert holder(folder) is None


def test_one_that_gives_no_sign_of_life_is_taken_over(folder: ObjectFolder) -> None:
    _of_another_host(folder, 1)
    start = time.monotonic()
    with BucketLock(folder, "me", heartbeat=0.1, stale_after=0.6):
        assert time.monotonic() - start >= 0.6
        assert holder(folder) == {"owner": "me", "host": (holder(folder) or {})["host"], "alive": True}


def test_one_that_gives_signs_of_life_is_not(folder: ObjectFolder) -> None:
    _of_another_host(folder, 1)
    lock = BucketLock(folder, "me", heartbeat=0.1, stale_after=3)
    look = lock._look
    beats = iter(range(2, 1000))

    def beaten() -> object:
        _of_another_host(folder, next(beats))
        return look()

    lock._look = beaten  # type: ignore[method-assign, assignment]
    with pytest.raises(OutputError, match="another run"), lock:
        pass


def test_the_loser_of_a_take_over_notices_and_leaves_the_lock(folder: ObjectFolder) -> None:
    with BucketLock(folder, "me", heartbeat=0.05) as lock:
        _of_another_host(folder, 7)
        until(lambda: lock.lost)
    found = folder.get(LOCK)
    assert found is not None
    assert json.loads(found)["token"] == "theirs"


def test_two_who_take_over_at_once_are_not_both_let_in(folder: ObjectFolder) -> None:
    _of_another_host(folder, 1)
    first, second = (BucketLock(folder, name, heartbeat=60) for name in ("first", "second"))
    stale = first._look()
    assert [first._take(stale), second._take(stale)] == [True, False]


@pytest.mark.parametrize("kind", ["create", "replace"])
def test_an_answer_that_is_lost_is_not_anothers_lock(folder: ObjectFolder, server: S3Server, kind: str) -> None:
    server.rules([Rule("lose", kind=kind, key=LOCK, every=2)])
    with BucketLock(folder, "me", heartbeat=0.05) as lock:
        until(lambda: server.counts(LOCK)["replace"] > 6)
        assert not lock.lost
        assert [rule.done > 0 for rule in server.faults()] == [True]
    assert holder(folder) is None


def _waiting(lock: BucketLock) -> tuple[threading.Thread, threading.Event]:
    """A thread, not started, that waits for a lock and gives it back at once; the event tells that it had it."""
    taken = threading.Event()

    def wait() -> None:
        with lock:
            taken.set()

    return threading.Thread(target=wait), taken


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["replace", "get"])
@pytest.mark.long
def test_a_request_that_hangs_for_longer_than_a_lock_lives_does_not_lose_it(
    folder: ObjectFolder, server: S3Server, kind: str
) -> None:
    other, taken = _waiting(BucketLock(folder.hurried(0.8), "other", wait=True, heartbeat=0.3, stale_after=5))
    with BucketLock(folder.hurried(0.8), "me", heartbeat=0.3, stale_after=5) as lock:
        if kind == "replace":
            other.start()
            server.rules([Rule("delay", kind=kind, key=LOCK, first=2, every=3, seconds=15)])
        else:  # an answer is lost, and then nobody tells whose the lock is
            lose = Rule("lose", kind="replace", key=LOCK, every=3)
            server.rules([lose, Rule("delay", kind="get", key=LOCK, every=2, seconds=15)])
        time.sleep(12)
        faults = [rule.done for rule in server.faults()]
        assert not lock.lost
        assert not taken.is_set()
        assert lock.confirm()
        server.heals()
    assert all(done > 1 for done in faults)
    if kind == "replace":
        other.join(timeout=60)
        assert taken.is_set()


def test_who_waits_does_not_give_up_over_a_store_that_is_away_for_a_while(
    folder: ObjectFolder, server: S3Server
) -> None:
    waiting = BucketLock(folder.hurried(0.5), "other", wait=True)
    with BucketLock(folder, "me"):
        server.fails("refuse", kind="get", key=LOCK)
        other = threading.Thread(target=waiting.__enter__)
        other.start()
        time.sleep(5)
        until(lambda: server.faults()[0].done > 3)
        assert other.is_alive()
        server.heals()
    other.join(timeout=60)
    assert (holder(folder) or {})["owner"] == "other"
    waiting.__exit__(None, None, None)


@pytest.mark.slow
def test_time_in_which_the_store_is_away_does_not_count_against_who_holds_it(
    folder: ObjectFolder, server: S3Server
) -> None:
    other, taken = _waiting(BucketLock(folder.hurried(0.5), "other", wait=True, heartbeat=0.3, stale_after=4))
    with BucketLock(folder.hurried(0.5), "me", heartbeat=1, stale_after=4) as lock:
        other.start()
        time.sleep(1)
        server.rules([Rule("refuse", kind=kind, key=LOCK) for kind in ("get", "replace")])
        time.sleep(6)
        server.heals()
        time.sleep(5)
        assert not taken.is_set()
        assert not lock.lost
    other.join(timeout=60)
    assert taken.is_set()


def test_of_the_time_that_a_lock_lives_a_request_takes_a_small_part(server: S3Server) -> None:
    lock = run_lock(Workspace.of("s3://out/b"), "me")
    assert isinstance(lock, BucketLock)
    assert lock.folder.timeout + lock.folder.patience + lock.folder.timeout < STALE_AFTER / 2


def test_a_write_on_a_condition_is_sent_to_google_cloud_storage(
    server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """No server of theirs can be had to test with: that the client sends it, by the generation, is all that is seen."""
    account = {"gcs_base_url": server.endpoint, "disable_oauth": True, "client_email": "", "private_key": ""}
    (tmp_path / "account.json").write_text(json.dumps({**account, "private_key_id": ""}))
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
    with pytest.raises(ObjectStoreError):
        ObjectFolder("gs://out/b").hurried(1.0).replace("k", b"1", "5")
    assert server.counts("out/b/k")["put"] > 0
