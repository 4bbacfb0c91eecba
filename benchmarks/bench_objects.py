"""Work and output in an object store beside a disk: CPU seconds and requests; and clients of such stores side by side.

    python -m benchmarks.bench_objects [--size 4096] [--json FILE]

The store is a real S3 server on this machine (moto, in a process of its own, which is slow: so CPU seconds of the
clients are measured, and wall time only said). A run with a network that costs nothing, inline, once with everything on
a disk and once with staged pixels, scores and products in the store. Then the requests of runs over one and three small
scenes whose products alone are in the store, and what each scene adds. Then whole objects of 2 MiB written and read by
obstore, and through zarr's stores over obstore and, where s3fs is installed, over fsspec.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._scenes import write_pipeline, write_scene, write_support
from benchmarks._table import Row, arguments, show
from hdm_pipeline.model.checkpoints import save_weights
from hdm_pipeline.objects.folder import ObjectFolder
from tests.s3_server import S3Server, s3_server

KIT = Path(__file__).resolve().parents[1] / "tests" / "kit"
_BY_TIME = ("run.lock", "ledger.sqlite", "files.json", "run.json")
_OBJECTS = 60
_BYTES = 2 << 20


def run(file: Path, environment: dict[str, str], *more: str) -> tuple[float, float]:
    """(CPU seconds, wall seconds) of a run in a process of its own."""
    path = os.pathsep.join([str(KIT), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-m", "hdm_pipeline", "run", str(file), *more]
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=os.environ | environment | {"PYTHONPATH": path}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(process.stderr.read().decode()[-2000:] if process.stderr else "failed")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - start


def runs(server: S3Server, size: int) -> list[Row]:
    """The same run on a disk and in the store."""
    from hdm_testkit.network import MeanColor

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_scene(folder / "scenes" / "scene.tif", size)
        write_support(folder)
        save_weights(MeanColor(), folder / "cheap.safetensors")
        blocks = {"tiling": {"size": 256, "overlap": 32, "block": 16}, "output": {"keep": "all"}}
        file = write_pipeline(folder, "out", str(folder / "cheap.safetensors"), **blocks)
        environment = {**server.environment(), "HDM_SCRATCH": str(folder), "HDM_CACHE": "off"}
        disk_cpu, disk_wall = run(file, environment)
        server.forget()
        address = "s3://bench/out"
        cpu, wall = run(file, environment, "--output", address, "--set", "execution.work=s3://bench/work")
        asked = server.counts(key="work/")
        cells = sum(1 for key in server.objects("bench", "work/") if "/stage-" in key and "/c." in key)
    reads, writes = asked["get"], asked["put"]
    return [
        Row("on a disk, CPU", disk_cpu, "s"),
        Row("in the store, CPU", cpu, "s"),
        Row("the store over the disk, CPU", cpu / disk_cpu, "x"),
        Row("the store over the disk, wall (moto)", wall / disk_wall, "x"),
        Row("cells", cells, ""),
        Row("writes of work a cell (pixels, scores, sums)", writes / cells, ""),
        Row("reads of work a cell (with its neighbors)", reads / cells, ""),
        Row("other requests of the run", sum(server.counts().values()) - sum(asked.values()), ""),
    ]


def requests(server: S3Server) -> list[Row]:
    """Requests of runs inline, mask and score, without such as come by time: signs of life, copies of the ledger."""
    from hdm_testkit.network import MeanColor

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for number in range(3):
            write_scene(folder / "scenes" / f"scene{number}.tif", 256, seed=number)
        write_support(folder)
        save_weights(MeanColor(), folder / "cheap.safetensors")
        output = {"products": ["mask", "score"]}
        file = write_pipeline(folder, "out", str(folder / "cheap.safetensors"), output=output)
        environment = {**server.environment(), "HDM_SCRATCH": name, "HDM_CACHE": "off"}
        one, three, none = (
            _asked(server, file, environment, "--output", f"s3://bench/{place}", *more)
            for place, *more in (("one", "--limit", "1"), ("three",), ("three",))
        )
    each = Counter({kind: (three[kind] - one[kind]) / 2 for kind in three})
    return [
        *(Row(f"{kind.upper()} a small scene, mask and score", each[kind], "") for kind in ("put", "get", "list")),
        Row("requests of a run over three of them", sum(three.values()), ""),
        Row("requests of a run with nothing to do", sum(none.values()), ""),
    ]


def _asked(server: S3Server, file: Path, environment: dict[str, str], *more: str) -> Counter[str]:
    """Requests of a run by kind, but for such as come by time."""
    server.forget()
    run(file, environment, *more)
    steady = [one for one in server.log() if one["kind"] == "get" or not one["key"].endswith(_BY_TIME)]
    return Counter(one["kind"] for one in steady)


def clients() -> list[Row]:
    """Whole objects by three clients: milliseconds of CPU each."""
    from obstore.store import from_url
    from zarr.core.buffer import default_buffer_prototype
    from zarr.core.sync import sync
    from zarr.storage import FsspecStore, ObjectStore

    plain = ObjectFolder("s3://bench/plain")
    prototype = default_buffer_prototype()
    buffer = prototype.buffer.from_bytes

    def through(store: Any) -> tuple[Callable[[str, bytes], Any], Callable[[str], Any]]:
        return lambda key, data: sync(store.set(key, buffer(data))), lambda key: sync(
            store.get(key, prototype)
        ).to_bytes()

    found = {
        "obstore": (plain.put, plain.get),
        "zarr over obstore": through(ObjectStore(from_url("s3://bench/zarr", client_options={"allow_http": True}))),
    }
    if find_spec("s3fs"):
        keys = {name: os.environ[f"AWS_{name}"] for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY", "ENDPOINT_URL")}
        options = {"key": keys["ACCESS_KEY_ID"], "secret": keys["SECRET_ACCESS_KEY"]}
        options |= {"client_kwargs": {"endpoint_url": keys["ENDPOINT_URL"]}}
        found["zarr over fsspec"] = through(FsspecStore.from_url("s3://bench/fsspec", storage_options=options))
    data = np.random.default_rng(0).integers(0, 255, _BYTES, dtype=np.uint8).tobytes()
    rows = []
    for name, (put, get) in found.items():
        seconds = Counter[str]()
        for number in range(_OBJECTS):
            start = time.process_time()
            put(f"c{number}", data)
            between = time.process_time()
            get(f"c{number}")
            seconds["write"] += between - start  # type: ignore[assignment]
            seconds["read"] += time.process_time() - between  # type: ignore[assignment]
        rows += [Row(f"{name}, {what} of 2 MiB, CPU", 1e3 * total / _OBJECTS, "ms") for what, total in seconds.items()]
    return rows


def main() -> int:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--size", type=int, default=4096)
    options = parser.parse_args()
    sys.path.insert(0, str(KIT))
    with s3_server() as server:
        os.environ.update(server.environment())
        server.make_bucket("bench")
        rows = runs(server, options.size) + requests(server) + clients()
    return show("object stores", rows, options.json)


if __name__ == "__main__":
    sys.exit(main())
