"""Three nodes that share a bucket and no disk: the bytes of a run on a disk, whoever dies and whatever the store does.

A path of one node is none on another: each has its disk, its processes and its network (`tests/ray_nodes.py`).
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hdm_pipeline.pipeline import Pipeline
from tests.fault_proxy import Rule
from tests.integration.cluster.bucket_bench import fill, from_bucket, in_bucket, published_in
from tests.integration.conftest import make_bench, published, write_scene
from tests.ray_nodes import RayNodes, ray_nodes

pytestmark = [pytest.mark.ray, pytest.mark.long]

RUNS = ("same", "driver", "actor", "node", "weather", "expired", "lies")
SECRET = "a-secret-of-the-tests"


@dataclass(frozen=True)
class Cloud:
    """The cluster, its archive in a bucket, and what an undisturbed run on a disk publishes."""

    nodes: RayNodes
    expected: dict[str, bytes]

    def command(self, name: str, node: int) -> list[str]:
        """Of a run whose driver is on a node."""
        file = self.nodes.seed(node) / f"{name}.yaml"
        return [sys.executable, "-m", "hdm_pipeline", "run", str(file), "--address", self.nodes.address]

    def run(self, name: str, node: int = 0) -> subprocess.CompletedProcess[str]:
        """Run to the end."""
        return self.nodes.run(node, self.command(name, node))

    def start(self, name: str, node: int = 0) -> subprocess.Popen[str]:
        """Start a run."""
        return self.nodes.start(node, self.command(name, node))

    def wait(self, process: subprocess.Popen[str], until: Callable[[], bool]) -> None:
        """Until something is seen; the run must still be going on then."""
        deadline = time.monotonic() + 120
        while not until():
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def finished(self, name: str) -> set[str]:
        """Scenes whose manifest is there."""
        return {key.split("/")[3] for key in self.nodes.server.objects("out", f"{name}/.hdm/published/")}

    def ends_well(self, process: subprocess.Popen[str]) -> None:
        """The run ends with 0."""
        out, err = process.communicate(timeout=240)
        assert process.returncode == 0, out[-2000:] + err[-4000:]


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory, kit: Path) -> Iterator[Cloud]:
    bench = make_bench(tmp_path_factory.mktemp("cloud"))
    for number in range(5):
        write_scene(bench.scenes / f"more-{number}.tif", 300, 260, 20 + number)
    Pipeline.from_yaml(bench.pipeline("disk")).run()
    for name in RUNS:
        in_bucket(bench, name)
    execution = {"executor": "ray", "actors": 2, "threads": 1}
    weights = {"weights": bench.weights.name}
    bench.pipeline("local", model=weights, execution=execution, output={"directory": "s3://out/local"})
    from_bucket(bench, "on-a-disk", "out")
    broken = from_bucket(bench, "broken", "s3://out/broken")
    broken.write_text(broken.read_text().replace("s3://archive/scenes/", "s3://archive/broken/"))
    expected = published(bench.root / "disk")
    with ray_nodes(bench.root) as nodes:
        fill(nodes.server, bench)
        nodes.server.client().put_object(Bucket="archive", Key="broken/bad.tif", Body=b"II*\0 no image")
        yield Cloud(nodes, expected)


@pytest.fixture(autouse=True)
def _fair_weather(cloud: Cloud) -> Iterator[None]:
    yield
    cloud.nodes.server.heals()
    for node in (1, 2):
        if node not in cloud.nodes.running:
            cloud.nodes.add(node)
    cloud.nodes.wait_for(3)
    cloud.nodes.server.forget()


def test_the_same_bytes_as_on_a_disk_and_no_secret_anywhere(cloud: Cloud) -> None:
    ended = cloud.run("same")
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert published_in(cloud.nodes.server, "same") == cloud.expected
    assert cloud.nodes.server.counts("same/.hdm/uploads/")["put"] == 1, "own weights travel through the bucket"
    assert cloud.nodes.server.keys("out", "same/.hdm/uploads/") == [], "and are gone when the run has ended"
    for node in range(3):
        found = cloud.nodes.run(node, ["find", str(cloud.nodes.scratch(node)), "-name", "*.safetensors"])
        assert found.stdout == "", "nor do they stay on a node"
    again = cloud.run("same", node=1)  # from another machine: everything is done
    assert again.returncode == 0, again.stderr[-4000:]
    assert "8 done by earlier runs" in again.stdout + again.stderr
    for key, content in cloud.nodes.server.objects("out", "same/").items():
        assert SECRET.encode() not in content, key
    assert SECRET not in ended.stdout + ended.stderr + again.stdout + again.stderr
    for node in range(3):
        found = cloud.nodes.run(node, ["grep", "-rl", SECRET, str(cloud.nodes.folder / "node")])
        assert found.stdout == "", "no log of Ray and no scratch file holds the keys"


@pytest.mark.parametrize(("name", "key"), [("local", "input.uri"), ("on-a-disk", "output.directory")])
def test_files_that_other_nodes_do_not_see_are_told_before_a_scene_is_begun(cloud: Cloud, name: str, key: str) -> None:
    ended = cloud.run(name)
    assert ended.returncode == 2, ended.stderr[-4000:]
    assert "2 of 3 nodes of the cluster do not see" in ended.stderr
    folder = cloud.nodes.seed(0) / ("scenes" if name == "local" else "out")
    for text in (str(folder), key, f"{cloud.nodes.subnet}.11", f"{cloud.nodes.subnet}.12", "s3://"):
        assert text in ended.stderr
    assert "quarantined" not in ended.stdout + ended.stderr
    assert cloud.finished(name) == set()


def test_an_error_says_on_which_node_it_was(cloud: Cloud) -> None:
    ended = cloud.run("broken")
    assert ended.returncode == 3, ended.stderr[-4000:]
    report = json.loads(cloud.nodes.server.objects("out", "broken/run.json")["broken/run.json"])
    assert f", on node {cloud.nodes.subnet}.1" in json.dumps(report["scenes"]["bad"])


def test_a_new_driver_on_another_node_goes_on_where_the_killed_one_was(cloud: Cloud) -> None:
    process = cloud.start("driver")
    cloud.wait(process, lambda: len(cloud.finished("driver")) >= 2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = cloud.finished("driver")
    cloud.nodes.server.forget()
    ended = cloud.run("driver", node=1)
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert published_in(cloud.nodes.server, "driver") == cloud.expected
    written = {one["key"] for one in cloud.nodes.server.log() if one["kind"] in ("put", "part", "create")}
    for scene in done:
        assert f"out/driver/{scene}/mask.tif" not in written, "what is published is not done again"


@pytest.mark.parametrize("title", ["ray::ModelActor", "ray::StepActor"])
def test_an_actor_is_killed(cloud: Cloud, title: str) -> None:
    process = cloud.start("actor")
    try:
        cloud.wait(process, lambda: cloud.nodes.server.counts("out/actor").total() > 40)
        found = [pid for node in range(3) for pid in cloud.nodes.processes(node, title)]
        assert found
        os.kill(found[-1], signal.SIGKILL)
        cloud.ends_well(process)
    finally:
        process.kill()
    assert published_in(cloud.nodes.server, "actor") == cloud.expected
    cloud.nodes.server.empty("out", "actor/")


def test_a_node_is_killed_with_its_disk(cloud: Cloud) -> None:
    process = cloud.start("node")
    try:
        cloud.wait(process, lambda: cloud.nodes.server.counts("out/node").total() > 40)
        cloud.nodes.kill(2)
        cloud.ends_well(process)
    finally:
        process.kill()
    assert published_in(cloud.nodes.server, "node") == cloud.expected


def test_a_store_with_bad_days(cloud: Cloud) -> None:
    cloud.nodes.server.rules(
        [
            Rule("slow_down", kind="put|part|create|replace|delete", key="out/", first=3, every=7),
            Rule("cut", kind="get|range", key="(out|archive)/.+/", first=2, every=9),
            Rule("drip", kind="list", first=1, every=4, seconds=0.5),
        ]
    )
    ended = cloud.run("weather")
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert [rule for rule in cloud.nodes.server.faults() if not rule.done] == [], "each of them happened"
    cloud.nodes.server.heals()
    assert published_in(cloud.nodes.server, "weather") == cloud.expected


def test_answers_that_are_lost(cloud: Cloud) -> None:
    cloud.nodes.server.rules(
        [
            Rule("lose", kind="create|replace", key="out/", first=1, every=3),
            Rule("lose", kind="put|delete", key="out/", first=2, every=8),
        ]
    )
    ended = cloud.run("lies")
    assert all(rule.done for rule in cloud.nodes.server.faults())
    assert ended.returncode == 0, ended.stderr[-4000:]
    cloud.nodes.server.heals()
    assert published_in(cloud.nodes.server, "lies") == cloud.expected


def test_keys_that_expire_end_the_run_with_a_remedy_and_new_ones_go_on(cloud: Cloud) -> None:
    process = cloud.start("expired")
    cloud.wait(process, lambda: len(cloud.finished("expired")) >= 1)
    cloud.nodes.server.fails("expired")
    out, err = process.communicate(timeout=240)
    assert process.returncode not in (0, None)
    assert "keys" in err
    assert "remedy" in err
    assert "Traceback" not in err
    assert SECRET not in out + err
    cloud.nodes.server.heals()
    ended = cloud.run("expired", node=2)
    assert ended.returncode == 0, ended.stderr[-4000:]
    assert published_in(cloud.nodes.server, "expired") == cloud.expected
