"""The network between two nodes is cut while both work: the run ends with the bytes of an undisturbed one.

The worker node lives in a network namespace of its own, joined by a pair of virtual links; it stays alive behind the
cut and may go on writing, as a node behind a broken switch would.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from hdm_pipeline.pipeline import Pipeline
from tests.integration.conftest import Workbench, published, steps_of, write_scene

pytestmark = [pytest.mark.ray, pytest.mark.slow]

HEALTH = {
    "RAY_health_check_initial_delay_ms": "0",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
"""As docs/nightly.md advises, save that a test cannot wait as long."""

PORT = 46379


def ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True)


@dataclass(frozen=True)
class Link:
    """A namespace, and the link to it that can be cut."""

    namespace: str
    outside: str
    subnet: str

    def cut(self) -> None:
        ip("link", "set", self.outside, "down")


@pytest.fixture
def link() -> Iterator[Link]:
    """A namespace and a pair of links; skipped where that is not allowed."""
    if shutil.which("ip") is None:
        pytest.skip("the network cannot be cut without the command ip")
    number = os.getpid() % 100_000
    made = Link(f"hdm-{number}", f"hdmo{number}", f"10.231.{number % 250}")
    if ip("netns", "add", made.namespace, check=False).returncode:
        pytest.skip("making a network namespace needs root")
    try:
        ip("link", "add", made.outside, "type", "veth", "peer", "name", "inside", "netns", made.namespace)
        ip("addr", "add", f"{made.subnet}.1/24", "dev", made.outside)
        ip("link", "set", made.outside, "up")
        ip("-n", made.namespace, "addr", "add", f"{made.subnet}.2/24", "dev", "inside")
        for device in ("lo", "inside"):
            ip("-n", made.namespace, "link", "set", device, "up")
        yield made
    finally:
        ip("link", "del", made.outside, check=False)
        ip("netns", "del", made.namespace)


@pytest.fixture
def cluster(link: Link, kit: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A head node here and a worker node in the namespace, which share a token; its address."""
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", secrets.token_hex(32))
    ray_command = [str(Path(sys.executable).with_name("ray")), "start", "--block", "--num-cpus", "1"]
    store = ["--object-store-memory", str(100 << 20)]
    here = ["--head", f"--port={PORT}", f"--node-ip-address={link.subnet}.1", "--include-dashboard=false"]
    there = [f"--address={link.subnet}.1:{PORT}", f"--node-ip-address={link.subnet}.2"]
    with ExitStack() as stack:
        scratch = tempfile.mkdtemp(prefix="hdm-")  # pytest's own are too long for Ray's sockets
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        stack.enter_context(_Node([*ray_command, *here, *store, f"--temp-dir={scratch}"]))
        inside = ["ip", "netns", "exec", link.namespace]
        _wait_for_head(link)
        stack.enter_context(_Node([*inside, *ray_command, *there, *store]))
        yield f"{link.subnet}.1:{PORT}"


class _Node:
    """A `ray start --block` that is killed with all its children."""

    def __init__(self, command: list[str]) -> None:
        self._process = subprocess.Popen(
            command,
            env=os.environ | HEALTH,
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)  # ends its children, too
        try:
            self._process.wait(5)  # one that lost its head does not end by itself
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _wait_for_head(link: Link) -> None:
    for _ in range(600):
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex((f"{link.subnet}.1", PORT)) == 0:
                return
        time.sleep(0.1)
    pytest.fail("the head node does not start")


_DRIVER = """
import subprocess, sys, time
import ray
from hdm_pipeline.pipeline import Pipeline

address, file, device = sys.argv[1:]
ray.init(address=address, _node_ip_address=address.split(":")[0], log_to_driver=False)
for _ in range(600):
    if sum(node["Alive"] for node in ray.nodes()) == 2:
        break
    time.sleep(0.1)
else:
    sys.exit("the second node does not come up")
inferred, cut, noticed = 0, 0.0, 0.0

def on_event(event):
    global inferred, cut, noticed
    if event.kind == "step_done" and event.step == "infer":
        inferred += 1
        if inferred == 4:
            subprocess.run(["ip", "link", "set", device, "down"], check=True)
            cut = time.monotonic()
    if event.kind == "worker_died" and not noticed:
        noticed = time.monotonic()

code = Pipeline.from_yaml(file).run(on_event).exit_code
print(code, noticed - cut)
"""


@pytest.mark.long
def test_a_cut_network_is_survived(bench: Workbench, link: Link, cluster: str) -> None:
    for number in range(4):
        write_scene(bench.scenes / f"more-{number}.tif", 300, 300, 20 + number)
    Pipeline.from_yaml(bench.pipeline("undisturbed")).run()
    file = bench.pipeline("cut", execution={"executor": "ray", "actors": 2, "threads": 1, "step_timeout": 120})
    # A process of its own: Ray remembers how it authenticates as long as a process lives.
    command = [sys.executable, "-c", _DRIVER, cluster, str(file), link.outside]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=400)
    assert ended.returncode == 0, ended.stderr[-3000:]
    code, seconds = ended.stdout.splitlines()[-1].split()  # Ray prints, too
    assert code == "0"
    assert 0 < float(seconds) < 60, "the loss is noticed by the health checks, not by a time limit of ours"
    print(f"noticed after {float(seconds):.1f} s")
    assert published(bench.root / "cut") == published(bench.root / "undisturbed")
    assert steps_of(bench.root / "cut") == steps_of(bench.root / "undisturbed")
