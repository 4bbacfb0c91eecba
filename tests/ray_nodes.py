"""A Ray cluster of several nodes on one machine that share nothing but a network: as pods do, or machines in a cloud.

Each node has a mount, a process and a network namespace of its own. At one path, `/…/node`, each sees a disk (tmpfs) of
its own; a bucket is what they have in common. The store's namespace holds the switch between them, and the S3 server.

    with ray_nodes(seed=folder) as nodes:
        nodes.server.make_bucket("out")
        process = nodes.start(0, [sys.executable, "-m", "hdm_pipeline", "run", nodes.seed / "out.yaml"])
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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.s3_server import ROOT, S3Server, installed, s3_server

PORT = 46379
WITH_US = ["setpriv", "--pdeathsig", "KILL"]
"""Before a command: it is killed when its parent ends, however that ends."""
_STORE = 100 << 20

_NODE = """
set -e
mount -t tmpfs -o size=400m tmpfs {disk}
mount -t tmpfs -o size=300m tmpfs /dev/shm
mkdir -p {disk}/scratch-{number} {disk}/tmp {disk}/ray
cp -r {seed} {disk}/seed-{number}
mount -t tmpfs tmpfs {seed}
cd {disk}
"$@" &
wait
"""
"""A node's first process. Its seed (pipeline file, examples, weights) lies at a path that no other node has."""


def ip(*arguments: str, check: bool = True) -> subprocess.CompletedProcess[bytes]:
    """The command ip."""
    return subprocess.run(["ip", *arguments], check=check, capture_output=True)


@dataclass
class RayNodes:
    """A running cluster. Node 0 is its head.

    Attributes:
        server: the S3 server that all nodes reach.
        folder: what lies on this machine: `node`, where each node has its disk, and `seed`.
        names: of network namespaces: the store's, then each node's.
        subnet: first three numbers of all addresses.
        running: the outer process of each node.
    """

    server: S3Server
    folder: Path
    names: list[str]
    subnet: str
    environment: Mapping[str, str]
    jobs: bool = False
    running: dict[int, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """Of the cluster."""
        return f"{self.subnet}.10:{PORT}"

    def seed(self, node: int) -> Path:
        """Where a node has its copy of the seed."""
        return self.folder / "node" / f"seed-{node}"

    def scratch(self, node: int) -> Path:
        """`HDM_SCRATCH` of a node, on its own disk."""
        return self.folder / "node" / f"scratch-{node}"

    def variables(self, node: int) -> dict[str, str]:
        """Environment of a node's processes."""
        disk = self.folder / "node"
        own = {"HDM_SCRATCH": str(self.scratch(node)), "TMPDIR": str(disk / "tmp"), "RAY_TMPDIR": str(disk / "ray")}
        return {**os.environ, **self.server.environment(), **self.environment, **own}

    def add(self, node: int) -> None:
        """Start a node, or start it anew with an empty disk."""
        ray = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--num-cpus", "1"]
        ray += [
            f"--object-store-memory={_STORE}",
            f"--node-ip-address={self.subnet}.{10 + node}",
            "--disable-usage-stats",
        ]
        if node == 0:
            ray += ["--head", f"--port={PORT}", *self._job_server(), f"--temp-dir={self.folder}/node/ray"]
        else:
            ray += [f"--address={self.address}"]
        script = _NODE.format(disk=self.folder / "node", seed=self.folder / "seed", number=node)
        apart = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
        inside = [*WITH_US, "ip", "netns", "exec", self.names[1 + node], *apart, "sh", "-c", script, "sh"]
        self.running[node] = subprocess.Popen(
            [*inside, *ray],
            env=self.variables(node),
            stdout=(log := (self.folder / f"log-{node}").open("ab")),
            stderr=log,
            cwd=ROOT,
        )

    def _job_server(self) -> list[str]:
        """It lives in the dashboard, which listens on the loopback of the head's own network namespace."""
        return ["--dashboard-host=127.0.0.1", f"--include-dashboard={str(self.jobs).lower()}"]

    def first(self, node: int) -> int:
        """Process id, on this machine, of a node's first process."""
        for _ in range(200):
            parent = self.running[node].pid
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
            if children and Path(f"/proc/{children[0]}/comm").read_text().strip() == "sh":
                return int(children[0])
            time.sleep(0.05)
        said = (self.folder / f"log-{node}").read_text(errors="replace")[-2000:]
        raise TimeoutError(f"node {node} does not start: {said}")

    def start(self, node: int, command: Sequence[object], **more: object) -> subprocess.Popen[str]:
        """Start a process in a node, in its folder; what it says is read from its pipes."""
        inside = [
            "nsenter",
            f"--target={self.first(node)}",
            "--mount",
            "--pid",
            "--net",
            "--wdns=" + str(self.seed(node)),
        ]
        # nsenter ends when it is killed, and its child goes on: `setpriv` ends the child with it.
        whole = [*WITH_US, *inside, *WITH_US, *(str(word) for word in command)]
        env = {**self.variables(node), **{name: str(value) for name, value in more.items()}}
        return subprocess.Popen(whole, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(
        self, node: int, command: Sequence[object], timeout: float = 240, **more: object
    ) -> subprocess.CompletedProcess[str]:
        """Run a process in a node to its end, for at most `timeout` seconds."""
        with self.start(node, command, **more) as process:
            try:
                out, err = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def processes(self, node: int, title: str) -> list[int]:
        """Process ids, on this machine, of a node's processes whose command line begins so (`ray::ModelActor`)."""
        space = os.readlink(f"/proc/{self.first(node)}/ns/pid")
        found = []
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if os.readlink(entry / "ns/pid") == space and (entry / "cmdline").read_bytes().startswith(
                        title.encode()
                    ):
                        found.append(int(entry.name))
                except OSError:  # it ended meanwhile
                    continue
        return sorted(found)

    def kill(self, node: int) -> None:
        """All of a node's processes end at once, and its disk is gone; its network stays."""
        process = self.running.pop(node)
        process.kill()
        process.wait()

    def wait_for(self, count: int) -> None:
        """Until the cluster has so many nodes."""
        script = f"""
import ray, sys, time
ray.init(address={self.address!r}, _node_ip_address={self.subnet + ".10"!r}, log_to_driver=False)
for _ in range(600):
    if sum(node["Alive"] for node in ray.nodes()) == {count}:
        sys.exit(0)
    time.sleep(0.1)
sys.exit("too few nodes")
"""
        self._wait_for_head()
        ended = self.run(0, [sys.executable, "-c", script], timeout=90)
        if ended.returncode:
            pytest.fail(f"the cluster does not come up: {ended.stderr[-2000:]}")

    def _wait_for_head(self) -> None:
        for _ in range(600):
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((f"{self.subnet}.10", PORT)) == 0:
                    return
            time.sleep(0.1)
        pytest.fail("the head node does not start")


@contextmanager
def ray_nodes(
    seed: Path, environment: Mapping[str, str] | None = None, count: int = 3, jobs: bool = False
) -> Iterator[RayNodes]:
    """Start a cluster and an S3 server; skipped where namespaces may not be made.

    Args:
        seed: folder of which each node gets a copy, at a path of its own.
        environment: variables of all nodes' processes.
        count: of nodes.
        jobs: with the job server, at http://127.0.0.1:8265 in node 0 (extra `cluster`).
    """
    if not installed():
        pytest.skip("moto is not installed (extra `judges`)")
    if any(shutil.which(name) is None for name in ("ip", "unshare", "nsenter", "setpriv")):
        pytest.skip("nodes of their own need the commands ip, unshare, nsenter and setpriv")
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="hdm-"))  # pytest's own are too long for Ray's sockets
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "node").mkdir()
        shutil.copytree(seed, folder / "seed")
        number = os.getpid() % 100_000
        names = [f"hdm-{number}-{place}" for place in range(count + 1)]
        subnet = f"10.232.{number % 250}"
        _switch(stack, names, subnet, f"hdms{number}")
        server = stack.enter_context(s3_server(f"{subnet}.1", within=["ip", "netns", "exec", names[0]]))
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
        nodes = RayNodes(server, folder, names, subnet, {**token, **(environment or {})}, jobs)
        stack.callback(lambda: [nodes.kill(node) for node in list(nodes.running)])
        for node in range(count):
            nodes.add(node)
            if node == 0:
                nodes.wait_for(1)
        nodes.wait_for(count)
        yield nodes


def _switch(stack: ExitStack, names: list[str], subnet: str, outside: str) -> None:
    """Network namespaces joined by a bridge in the first; this machine has a link to it, and listens nowhere."""
    for name in names:
        if ip("netns", "add", name, check=False).returncode:
            pytest.skip("making a network namespace needs root")
        stack.callback(ip, "netns", "del", name, check=False)
        ip("-n", name, "link", "set", "lo", "up")
    store = names[0]
    ip("-n", store, "link", "add", "switch", "type", "bridge")
    ip("-n", store, "addr", "add", f"{subnet}.1/24", "dev", "switch")
    ip("-n", store, "link", "set", "switch", "up")
    for place, name in enumerate(names[1:]):
        ip("-n", store, "link", "add", f"port{place}", "type", "veth", "peer", "name", "net", "netns", name)
        ip("-n", name, "addr", "add", f"{subnet}.{10 + place}/24", "dev", "net")
        ip("-n", name, "link", "set", "net", "up")
        ip("-n", store, "link", "set", f"port{place}", "master", "switch", "up")
    ip("link", "add", outside, "type", "veth", "peer", "name", "host", "netns", store)
    stack.callback(ip, "link", "del", outside, check=False)
    ip("addr", "add", f"{subnet}.254/24", "dev", outside)
    ip("link", "set", outside, "up")
    ip("-n", store, "link", "set", "host", "master", "switch", "up")


def interrupted(process: subprocess.Popen[str]) -> None:
    """End a process of `RayNodes.start` as kill -9 would, whatever it is in."""
    process.send_signal(signal.SIGKILL)
    process.wait()
