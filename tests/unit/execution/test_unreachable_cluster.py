"""A cluster that is not there is told within seconds, and holds nobody up."""

from __future__ import annotations

import socket

import pytest

from hdm_pipeline.config.schema import Execution
from hdm_pipeline.errors import ExecutionError
from hdm_pipeline.execution.background_cluster import BackgroundCluster


@pytest.mark.parametrize("kind", ["{}", "ray://{}"])
def test_an_address_where_nobody_listens(kind: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = kind.format(f"127.0.0.1:{server.getsockname()[1]}")
    cluster = BackgroundCluster(Execution(address=address))
    with pytest.raises(ExecutionError, match="cannot reach or start Ray") as caught:
        cluster.shares()
    assert caught.value.where == address
    cluster.close()
    assert cluster.settled


def test_a_folder_of_ray_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_TMPDIR", "/proc/nope")
    cluster = BackgroundCluster(Execution())
    with pytest.raises(ExecutionError, match="cannot start Ray") as caught:
        cluster.shares()
    assert "RAY_TMPDIR" in caught.value.remedy
    cluster.close()
