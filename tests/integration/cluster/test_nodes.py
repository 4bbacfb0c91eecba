"""The nodes that other tests here stand on: what they share is the network, and one that is killed comes back empty."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.ray_nodes import ray_nodes

pytestmark = [pytest.mark.ray, pytest.mark.long]

_LOOK = """
import json, os, sys, time
import ray
from hdm_pipeline.objects.folder import ObjectFolder

@ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
def look():
    time.sleep(1)  # so that no node takes two
    scratch = os.environ["HDM_SCRATCH"]
    ObjectFolder("s3://out/seen").put(os.path.basename(scratch), b"1")
    return os.path.basename(scratch), sorted(os.listdir(os.path.dirname(scratch)))

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
print(json.dumps(ray.get([look.remote() for _ in range(3)])))
"""


def test_nodes_share_a_bucket_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("1")
    with ray_nodes(tmp_path) as nodes:
        nodes.server.make_bucket("out")
        ended = nodes.run(1, [sys.executable, "-c", _LOOK, nodes.address])
        assert ended.returncode == 0, ended.stderr[-3000:]
        seen = dict(json.loads(ended.stdout.splitlines()[-1]))
        for number in range(3):
            own = [name for name in seen[f"scratch-{number}"] if name[-2:-1] == "-"]
            assert own == [f"scratch-{number}", f"seed-{number}"], "a path of one node is none on another"
        assert len(nodes.server.objects("out", "seen/")) == 3
        assert nodes.run(2, ["touch", str(nodes.scratch(2) / "kept")]).returncode == 0
        nodes.kill(2)
        nodes.wait_for(2)
        nodes.add(2)
        nodes.wait_for(3)
        assert nodes.run(2, ["ls", str(nodes.scratch(2))]).stdout == ""
