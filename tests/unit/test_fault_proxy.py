"""The S3 server of the tests and the proxy before it: what the tests of object stores stand on."""

from __future__ import annotations

import threading

import pytest

from hdm_pipeline.errors import ObjectStoreError
from hdm_pipeline.objects.folder import ObjectFolder
from tests.fault_proxy import Rule
from tests.s3_server import S3Server


@pytest.fixture
def folder(request: pytest.FixtureRequest, server: S3Server) -> ObjectFolder:
    return ObjectFolder(f"s3://out/{request.node.name}")


def test_requests_are_counted_by_kind(server: S3Server, folder: ObjectFolder) -> None:
    folder.put("a", b"1")
    folder.get("a")
    folder.get("none")
    tag = folder.create("b", b"1")
    assert folder.create("b", b"2") is None
    assert tag is not None
    assert folder.replace("b", b"3", tag) is not None
    assert folder.replace("b", b"4", tag) is None
    assert sorted(dict(folder.keys())) == ["a", "b"]
    folder.delete("a")
    assert server.counts() == {"put": 1, "get": 2, "create": 2, "replace": 2, "list": 1, "delete": 1}
    assert server.counts("/b") == {"create": 2, "replace": 2}


@pytest.mark.parametrize("fault", ["slow_down", "cut", "lose", "refuse"])
def test_a_fault_is_repeated_by_the_library(server: S3Server, folder: ObjectFolder, fault: str) -> None:
    folder.put("a", b"0123456789" * 5000)
    server.fails(fault, kind="get|range", times=2)  # after a cut the library asks for the rest
    assert folder.get("a") == b"0123456789" * 5000
    (rule,) = server.faults()
    assert rule.done == 2


def test_a_lost_answer_is_a_request_that_was_done(server: S3Server, folder: ObjectFolder) -> None:
    server.fails("lose", kind="create", times=1)
    assert folder.create("a", b"mine") is None  # repeated by the library, and refused then: its own write stands there
    assert folder.get("a") == b"mine"
    assert [one["status"] for one in server.log() if one["kind"] == "create"] == [200, 412]


def test_expired_keys_from_some_moment_on(server: S3Server, folder: ObjectFolder) -> None:
    server.fails("expired", first=3)
    folder.put("a", b"1")
    folder.put("b", b"1")
    with pytest.raises(ObjectStoreError, match="keys"):
        folder.put("c", b"1")
    server.heals()
    folder.put("c", b"1")
    assert set(server.objects("out", "test_expired_keys_from_some_moment_on/")) == {
        f"test_expired_keys_from_some_moment_on/{key}" for key in "abc"
    }


def test_every_third_request_fails_and_no_other(server: S3Server) -> None:
    rule = Rule("slow_down", first=2, every=3, times=2)
    assert [rule.counts() for _ in range(10)] == [False, True, False, False, True] + 5 * [False]


def test_of_many_writers_on_one_condition_one_wins(server: S3Server, folder: ObjectFolder) -> None:
    """moto alone reads, compares and writes without a lock; the proxy lets one write a key at a time."""
    for turn in range(5):
        tag = folder.put(f"lock{turn}", b"old")
        together, won = threading.Barrier(6), []

        def write(number: int, turn: int = turn, tag: str = tag, together: threading.Barrier = together) -> None:
            together.wait()
            if folder.replace(f"lock{turn}", b"writer %d" % number, tag) is not None:
                won.append(number)  # noqa: B023

        threads = [threading.Thread(target=write, args=(number,)) for number in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(won) == 1
        assert folder.get(f"lock{turn}") == b"writer %d" % won[0]
