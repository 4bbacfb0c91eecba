"""What a stranger's file, archive or network could try, tried: one test for each promise of docs/security.md."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import threading
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import numpy as np
import pytest
import rasterio
from pydicom.uid import DeflatedExplicitVRLittleEndian

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.config.file import PipelineFileError, read_pipeline_file
from hdm_pipeline.contracts import SceneRef
from hdm_pipeline.errors import ArchiveError, HdmError, OutputError, ReadError, SceneError, WeightsError
from hdm_pipeline.pipeline import Pipeline
from tests.dicom_series import write_series
from tests.integration.conftest import Workbench, published

SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"


class Touch:
    """Unpickling it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.path),)


# ---------------------------------------------------------------------------------------------------- pipeline files


def test_yaml_runs_no_code(bench: Workbench) -> None:
    marker = bench.root / "marker"
    file = bench.pipeline()
    for evil in (
        f"!!python/object/apply:os.mkdir ['{marker}']",
        f"!!python/object/new:os.mkdir ['{marker}']",
        "!!python/name:os.system",
        "!!python/module:os",
    ):
        file.write_text(f"{bench.pipeline().read_text()}\nevil: {evil}\n")
        with pytest.raises(PipelineFileError, match="YAML"):
            read_pipeline_file(file)
    assert not marker.exists()


@pytest.mark.parametrize("override", ["input.reader=os.system", "output.products=[subprocess.run]"])
def test_plugins_are_names_not_paths_to_code(bench: Workbench, override: str) -> None:
    with pytest.raises(HdmError):
        Pipeline.from_yaml(bench.pipeline(), [override]).validate()


def test_band_expressions_are_arithmetic_only(bench: Workbench) -> None:
    marker = bench.root / "marker"
    for evil in (f"__import__('os').mkdir('{marker}')", "VV.__class__", "(lambda: 1)()", "VV ** 9", "[1][0]"):
        with pytest.raises(HdmError):
            Pipeline.from_yaml(bench.pipeline(input={"bands": [evil, 2]})).validate()
    assert not marker.exists()


def test_a_yaml_bomb_is_refused_before_it_is_built(tmp_path: Path) -> None:
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 6)}]" for n in range(1, 11)]
    many = "a: &a 1\nb: [" + ", ".join(["*a"] * 65) + "]"
    for text in ("\n".join(levels), many, "a: " + "x" * (1 << 20), "[" * 5000):
        (tmp_path / "bomb.yaml").write_text(text)
        with pytest.raises(PipelineFileError):
            read_pipeline_file(tmp_path / "bomb.yaml")


# ---------------------------------------------------------------------------------------------------- weights


def test_weights_that_are_code_are_refused(bench: Workbench) -> None:
    marker = bench.root / "marker"
    for name in ("evil.pth", "evil.safetensors"):
        (bench.root / name).write_bytes(pickle.dumps({"state_dict": Touch(marker)}, protocol=2))
        with pytest.raises(WeightsError):
            Pipeline.from_yaml(bench.pipeline(model={"weights": name})).run()
    assert not marker.exists()


def test_weights_other_than_the_pinned_ones_are_refused(bench: Workbench) -> None:
    with pytest.raises(WeightsError, match="SHA-256"):
        Pipeline.from_yaml(bench.pipeline(model={"sha256": "0" * 64})).run()


# ---------------------------------------------------------------------------------------------------- outputs


@pytest.mark.parametrize("link", ["large", ".hdm", ".hdm/scenes", ".hdm/scenes/large", ".hdm/models", ".hdm/logs"])
def test_nothing_is_written_through_a_link_out_of_the_output(bench: Workbench, link: str) -> None:
    elsewhere = bench.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("keep me")
    target = bench.root / "out" / link
    target.parent.mkdir(parents=True, exist_ok=True)
    target.symlink_to(elsewhere)
    with pytest.raises(OutputError, match="symbolic link"):
        Pipeline.from_yaml(bench.pipeline()).run()
    assert [path.name for path in elsewhere.iterdir()] == ["precious"]


def test_a_link_in_a_products_place_is_replaced_not_followed(bench: Workbench) -> None:
    precious = bench.root / "precious"
    precious.write_text("keep me")
    folder = bench.root / "out" / "large"
    folder.mkdir(parents=True)
    (folder / "mask.tif").symlink_to(precious)
    (bench.root / "out" / "run.json").symlink_to(precious)
    Pipeline.from_yaml(bench.pipeline()).run()
    assert precious.read_text() == "keep me"
    assert not (folder / "mask.tif").is_symlink()


def test_names_of_scenes_cannot_climb(bench: Workbench) -> None:
    (bench.scenes / "...tif").write_bytes((bench.scenes / "small.tif").read_bytes())
    inside = Path(os.path.relpath(bench.scenes / "small.tif", bench.root)).as_posix()
    (bench.root / "list.txt").write_text(f"../{bench.root.name}/{inside}\n{bench.scenes / 'middle.tif'}\n")
    for folder, options in (("names", {}), ("paths", {"options": {"ids": "path"}})):
        Pipeline.from_yaml(
            bench.pipeline(folder, input={"uri": ["scenes", "list.txt"][folder == "paths"], **options})
        ).run()
    made = {path.name for path in bench.root.iterdir()}
    assert made == {"scenes", "support", "list.txt", "names", "paths", "names.yaml", "paths.yaml", bench.weights.name}
    assert len([name for name in published(bench.root / "paths") if name.endswith(".tif")]) == 4


# ---------------------------------------------------------------------------------------------------- readers


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A web server on loopback, and the paths that it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        do_HEAD = do_GET  # noqa: N815 (the name is the library's)

        def log_message(self, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def vrt_of(source: str) -> str:
    return (
        '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{source}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )


def test_the_network_is_reached_only_when_asked_for(tmp_path: Path) -> None:
    with listening() as (server, asked):
        addresses = [f"{server}/a.tif", f"/vsicurl/{server}/a.tif", f"/vsizip//vsicurl/{server}/a.zip/a.tif"]
        addresses += ["s3://bucket/a.tif", "/vsis3/bucket/a.tif", "ftp://127.0.0.1/a.tif"]
        for address in addresses:
            with pytest.raises((ArchiveError, SceneError)):
                list(GeoTiffReader({}).discover(address))
            with pytest.raises(SceneError), GeoTiffReader({}).open(SceneRef("a", address, "geotiff", "")):
                pass
        vrt = tmp_path / "a.vrt"
        vrt.write_text(vrt_of(f"/vsicurl/{server}/a.tif"))
        with (
            pytest.raises(SceneError),
            GeoTiffReader({"allow_vrt": True}).open(SceneRef("a", str(vrt), "geotiff", "")) as source,
        ):
            source.sample([0], 64)
        assert asked == []
        reader = GeoTiffReader({"allow_network": True})
        with pytest.raises(ReadError), reader.open(SceneRef("a", f"{server}/a.tif", "geotiff", "")):
            pass
        assert asked, "the server must be reachable, or this test shows nothing"


def test_a_file_is_opened_by_the_driver_of_its_suffix_alone(bench: Workbench, tmp_path: Path) -> None:
    (tmp_path / "vrt.tif").write_text(vrt_of(str(bench.scenes / "small.tif")))
    with rasterio.open(tmp_path / "png.tif", "w", driver="PNG", width=8, height=8, count=1, dtype="uint8") as file:
        file.write(np.zeros((1, 8, 8), dtype=np.uint8))
    (tmp_path / "wms.tif").write_text("<GDAL_WMS><Service name='TMS'/></GDAL_WMS>")
    for path in tmp_path.glob("*.tif"):
        with pytest.raises(ReadError), GeoTiffReader({}).open(SceneRef("a", str(path), "geotiff", "")):
            pass
    with pytest.raises(SceneError, match="VRT"), GeoTiffReader({}).open(SceneRef("a", "a.vrt", "geotiff", "")):
        pass


_PEAK = """
import sys
from hdm_pipeline.errors import HdmError
from hdm_pipeline.plugin.registry import make_reader
def resident():
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))
reader = make_reader(sys.argv[1], {})
outcome = "skipped"
import hdm_dicom.volumes.source, hdm_geotiff.scenes.opening, hdm_dicom.archive.discovery
before = resident()
try:
    for found in reader.discover(sys.argv[2]):
        if hasattr(found, "identity"):
            with reader.open(found) as source:
                source.sample([0], 1000)
                outcome = "read"
except HdmError as error:
    outcome = type(error).__name__
print(outcome, (resident() - before) // 1024)
"""


def test_decompression_bombs_are_refused_in_little_memory(tmp_path: Path) -> None:
    """A few megabytes that would decode to several gigabytes."""
    tiff = tmp_path / "tiff" / "bomb.tif"
    tiff.parent.mkdir()
    block = {"tiled": True, "blockxsize": 16384, "blockysize": 16384, "compress": "deflate"}
    size = {"width": 65536, "height": 65536, "count": 1, "dtype": "float64", "bigtiff": "YES", "sparse_ok": True}
    with rasterio.open(tiff, "w", driver="GTiff", **size, **block):
        pass
    dicom, *others = write_series(tmp_path / "dicom")
    for other in others:
        other.unlink()
    deflate(dicom, zeros=1 << 29)
    for reader, folder in (("geotiff", tiff.parent), ("dicom", dicom.parent)):
        ended = subprocess.run(
            [sys.executable, "-c", _PEAK, reader, str(folder)], capture_output=True, text=True, check=False, timeout=120
        )
        assert ended.returncode == 0, ended.stderr
        outcome, grown = ended.stdout.split()
        assert outcome != "read"
        assert int(grown) < 300, f"{reader}: {outcome} in {grown} MiB"


def deflate(path: Path, zeros: int) -> None:
    """Make a slice a deflated data set whose private element holds `zeros` bytes."""
    import pydicom

    dataset = pydicom.dcmread(path)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(path)
    content = path.read_bytes()
    start = content.index(DeflatedExplicitVRLittleEndian.encode()) + len(DeflatedExplicitVRLittleEndian)
    # The meta header ends where raw deflate data inflate to the first element of group 8.
    body = next(at for at in range(start, start + 200) if _inflates(content[at:]))
    plain = zlib.decompress(content[body:], wbits=-15)
    packer = zlib.compressobj(1, wbits=-15)
    packed = [packer.compress(plain), packer.compress(b"\xe1\x7f\x10\x00OB\0\0" + zeros.to_bytes(4, "little"))]
    packed += [packer.compress(bytes(1 << 24)) for _ in range(zeros >> 24)]
    path.write_bytes(content[:body] + b"".join(packed) + packer.flush())


def _inflates(data: bytes) -> bool:
    try:
        return zlib.decompress(data, wbits=-15)[:2] == b"\x08\x00"
    except zlib.error:
        return False


def test_damaged_dicom_files_say_no_name_on_the_terminal(tmp_path: Path) -> None:
    for path in write_series(tmp_path / "series"):
        content = path.read_bytes()
        at = content.index(b"1.2.840.10008.5.1.4.1.1.2", 300)
        path.write_bytes(content[:at] + b"SECRET^NAME" + content[at + 11 :])
    ended = subprocess.run(
        [sys.executable, "-c", _PEAK, "dicom", str(tmp_path / "series")], capture_output=True, check=False, timeout=120
    )
    assert b"SECRET" not in ended.stdout + ended.stderr


# ---------------------------------------------------------------------------------------------------- Ray

_SOCKETS = """
import os, subprocess, sys
from hdm_pipeline.config.schema import Execution
from hdm_pipeline.execution.cluster import cluster
connection = cluster(Execution())
connection.__enter__()
import ray
print(ray.get(ray.remote(num_cpus=0)(lambda: os.environ.get("RAY_AUTH_MODE", "unset")).remote()))
children, seen = [os.getpid()], []
while children:
    seen += children
    found = subprocess.run(["ps", "-o", "pid=", "--ppid", ",".join(map(str, children))], capture_output=True, text=True)
    children = [int(pid) for pid in found.stdout.split()]
for line in subprocess.run(["ss", "-ltnpH"], capture_output=True, text=True).stdout.splitlines():
    if any(f"pid={pid}," in line for pid in seen):
        print("socket", line.split()[3])
print("dashboard", ray._private.worker._global_node.webui_url or "")
ray.shutdown()
"""


@pytest.mark.ray
def test_a_ray_of_our_own_listens_on_loopback_alone(bench: Workbench) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "RAY_AUTH_MODE"}
    ended = subprocess.run(
        [sys.executable, "-c", _SOCKETS], capture_output=True, text=True, check=False, timeout=240, env=environment
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    sockets = re.findall(r"socket (\S+)", ended.stdout)
    assert sockets, "Ray listens somewhere, or this test shows nothing"
    assert all(re.match(r"(127\.0\.0\.1|\[::ffff:127\.0\.0\.1\]|\[::1\]):", socket) for socket in sockets), sockets
    assert "disabled" not in ended.stdout.splitlines()[0], "token authentication is left as Ray has it"
    assert ended.stdout.rstrip().endswith("dashboard"), "no dashboard"


# ---------------------------------------------------------------------------------------------------- secrets


def test_keys_of_the_environment_appear_nowhere(bench: Workbench) -> None:
    environment = os.environ | {
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_S3_ENDPOINT": "127.0.0.1:9",
        "AWS_HTTPS": "NO",
        "AWS_MAX_ATTEMPTS": "1",
    }
    (bench.scenes / "broken.tif").write_bytes(b"II*\0 no more")
    file = bench.pipeline()
    remote = bench.pipeline("remote", input={"uri": "s3://bucket/prefix/", "options": {"allow_network": True}})
    said = b""
    for command in (
        ["plan", str(file), "--json"],
        ["run", str(file)],
        ["status", str(bench.root / "out")],
        ["run", str(remote)],
    ):
        ended = subprocess.run(
            [sys.executable, "-m", "hdm_pipeline", *command],
            capture_output=True,
            check=False,
            timeout=240,
            env=environment,
        )
        said += ended.stdout + ended.stderr
    assert json.loads((bench.root / "out" / "run.json").read_text())["totals"]["quarantined"] == 1
    written = {path: path.read_bytes() for path in bench.root.rglob("*") if path.is_file()}
    for secret in (SECRET.encode(), b"AKIAIOSFODNN7EXAMPLE"):
        assert secret not in said
        assert [path for path, content in written.items() if secret in content] == []


def test_an_address_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(ArchiveError) as caught:
        list(GeoTiffReader({"allow_network": True}).discover("https://user:hunter2@127.0.0.1:9/a.tif"))
    assert "hunter2" not in str(caught.value)
