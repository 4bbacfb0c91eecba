"""A cluster that is not there is told within seconds, and holds nobody up."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from hdm_pipeline.config.schema import Execution
from hdm_pipeline.errors import ExecutionError
from hdm_pipeline.execution.background_cluster import BackgroundCluster
from hdm_pipeline.execution.cluster import cluster

_START = """
from hdm_pipeline.config.schema import Execution
from hdm_pipeline.errors import ExecutionError
from hdm_pipeline.execution.background_cluster import BackgroundCluster

cluster = BackgroundCluster(Execution())
try:
    cluster.shares()
except ExecutionError as error:
    print(error.what, "|", error.remedy)
cluster.close()
"""


@pytest.mark.parametrize("kind", ["{}", "ray://{}"])
def test_an_address_where_nobody_listens(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)  # another test's cluster would be used
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = kind.format(f"127.0.0.1:{server.getsockname()[1]}")
    cluster = BackgroundCluster(Execution(address=address))
    with pytest.raises(ExecutionError, match="cannot reach or start Ray") as caught:
        cluster.shares()
    assert caught.value.where == address
    cluster.close()
    assert cluster.settled


def test_a_folder_of_ray_that_cannot_be_written() -> None:
    environment = os.environ | {"RAY_TMPDIR": "/proc/nope"}
    command = [sys.executable, "-c", _START]
    told = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True).stdout
    assert "cannot start Ray" in told
    assert "RAY_TMPDIR" in told


def test_a_ray_that_does_not_come_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray tells it by a plain exception, after half a minute; other surprises stay what they are."""
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    for raised, expected in ((Exception("The node timed out"), ExecutionError), (KeyError("x"), KeyError)):

        def init(raised: Exception = raised, **_options: object) -> None:
            raise raised

        monkeypatch.setattr("ray.init", init)
        with pytest.raises(expected, match=r"timed out[\s\S]*less busy|x"), cluster(Execution()):
            raise AssertionError("it started")
