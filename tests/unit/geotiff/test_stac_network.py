"""Catalogs and APIs on a network, and addresses that are not followed."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pystac
import pytest

from hdm_geotiff.files import containers, remote
from hdm_geotiff.reader import GeoTiffReader
from hdm_geotiff.stac import catalog as stac_catalog
from hdm_pipeline.contracts import RasterGeometry, SceneRef
from hdm_pipeline.errors import ArchiveError, ConfigError, ReadError, UnsupportedSceneError
from tests.stac_catalog import asset, catalog, item, write_band
from tests.unit.geotiff.conftest import RED
from tests.unit.geotiff.stac_scenes import find_all, find_one


@pytest.mark.parametrize("name", ["proj:code", "proj:wkt2"])
def test_a_crs_that_is_an_address_is_not_fetched(tmp_path: Path, server: str, name: str) -> None:
    write_band(tmp_path / "data/bare.tif", RED, crs=None, transform=None)
    fields = {name: f"{server}/api/search", "proj:transform": [10, 0, 4e5, 0, -10, 5e6], "proj:shape": [40, 50]}
    file = catalog(tmp_path / "cat", item("a", {"B04": asset(tmp_path / "data/bare.tif")}, **fields))
    geometry = GeoTiffReader({"asked": ["B04"]}).header(find_one(file, asked=["B04"])).geometry
    assert isinstance(geometry, RasterGeometry)
    assert not geometry.crs_wkt
    assert not _Server.asked


def test_nor_is_that_of_an_area_of_interest(tmp_path: Path, server: str) -> None:
    square = {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1], [0, 0]]]}
    area = tmp_path / "aoi.geojson"
    for name in (f"{server}/api/search", f"/vsicurl/{server}/api/search"):
        area.write_text(json.dumps({**square, "crs": {"properties": {"name": name}}}), encoding="utf-8")
        with pytest.raises(ConfigError, match="neither by a code nor as WKT"):
            GeoTiffReader({"aoi": str(area)})
    assert not _Server.asked


class _Server(BaseHTTPRequestHandler):
    """A STAC API with one collection and pages of one item, and the items' files."""

    items: ClassVar[list[dict[str, Any]]] = []
    folder = Path()
    asked: ClassVar[list[dict[str, list[str]]]] = []

    def do_GET(self) -> None:
        base = f"http://127.0.0.1:{self.server.server_address[1]}"  # type: ignore[str-bytes-safe]
        url = urlsplit(self.path)
        if url.path == "/api":
            rels = {"self": "/api", "root": "/api", "search": "/api/search", "data": "/api/collections"}
            links = [{"rel": rel, "href": base + path, "type": "application/json"} for rel, path in rels.items()]
            links[2] |= {"type": "application/geo+json", "method": "GET"}
            conforms = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
            root = {"type": "Catalog", "id": "api", "description": "x", "stac_version": "1.0.0"}
            self._answer({**root, "links": links, "conformsTo": conforms})
        elif url.path == "/api/search":
            query = parse_qs(url.query)
            self.asked.append(query)
            page = int(query.get("page", ["0"])[0])
            onward = [{"rel": "next", "href": f"{base}/api/search?page={page + 1}"}]
            links = onward if page + 1 < len(self.items) else []
            self._answer({"type": "FeatureCollection", "features": self.items[page : page + 1], "links": links})
        elif url.path.startswith("/static/") and (self.folder / url.path[8:]).is_file():
            self._answer((self.folder / url.path[8:]).read_bytes())
        else:
            self.send_error(404)

    def _answer(self, content: dict[str, Any] | bytes) -> None:
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/geo+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    _Server.folder, _Server.items, _Server.asked = tmp_path, [], []
    with ThreadingHTTPServer(("127.0.0.1", 0), _Server) as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_the_search_of_an_api(tmp_path: Path, server: str, two_bands: dict[str, pystac.Asset]) -> None:
    pytest.importorskip("pystac_client")
    two_bands["B04"].href = f"{server}/static/data/B04.tif"
    _Server.items = [item(name, two_bands).to_dict(include_self_link=False) for name in ("a", "b")]
    url = f"{server}/api/search?collections=s2,l8&bbox=15,45,16,46&datetime=2024-06-01/2024-06-30&limit=1"
    with pytest.raises(ArchiveError, match="network access is switched off") as refused:
        find_all(url)
    assert "allow_network" in refused.value.remedy
    assert not _Server.asked
    found = find_all(url, allow_network=True, asked=["B04"])
    assert [one.id for one in found if isinstance(one, SceneRef)] == ["a", "b"]
    assert _Server.asked[0]["collections"] == ["s2,l8"]
    assert _Server.asked[0]["bbox"] == ["15.0,45.0,16.0,46.0"]
    assert isinstance(found[0], SceneRef)
    assert found[0].members == (f"{server}/static/data/B04.tif",)
    with pytest.raises(ArchiveError, match="no parameter"):
        find_all(f"{server}/api/search?cloud=3", allow_network=True)
    with pytest.raises(ArchiveError, match="search fails"):
        find_all(f"{server}/nothing/search", allow_network=True)


def test_without_pystac_client_an_api_is_an_error_that_names_it(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules['pystac_client'] = None\n"
        "from hdm_geotiff.reader import GeoTiffReader\n"
        "try: list(GeoTiffReader({'allow_network': True}).discover('https://127.0.0.1:1/search'))\n"
        "except Exception as error: print(type(error).__name__, error.remedy)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ArchiveError pip install 'hdm-pipeline[stac]'")


def test_what_is_too_large_on_the_network_is_refused_and_not_cut(
    tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.json").write_text('{"stac_version": "1.0.0", "links": []}' + " " * 100, encoding="utf-8")
    monkeypatch.setattr(stac_catalog, "_MOST_BYTES", 50)  # cut there, it would be a whole catalog
    with pytest.raises(ArchiveError, match="too large"):
        find_all(f"{server}/static/a.json", allow_network=True)
    monkeypatch.setattr(containers, "MOST_TEXT", 50)
    with pytest.raises(ReadError, match="too large"):
        remote.read_remote(f"{server}/static/a.json")
    monkeypatch.setattr(containers, "MOST_TEXT", 500)
    assert remote.read_remote(f"{server}/static/a.json").startswith('{"stac_version"')


def test_metadata_in_a_bucket_without_boto3_name_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(ReadError, match="needs boto3") as refused:
        remote.read_remote("s3://bucket/MTD_MSIL2A.xml")
    assert "hdm-pipeline[s3]" in str(refused.value.remedy)


def test_a_static_catalog_on_the_network(tmp_path: Path, server: str, two_bands: dict[str, pystac.Asset]) -> None:
    catalog(tmp_path / "cat", item("a", two_bands))
    url = f"{server}/static/cat/catalog.json"
    with pytest.raises(ArchiveError, match="network access is switched off"):
        find_all(url)
    ref = find_one(url, allow_network=True, asked=["B04"])
    assert ref.members == (f"{server}/static/data/B04.tif",)
    with pytest.raises(UnsupportedSceneError, match="network"):
        GeoTiffReader({"asked": ["B04"]}).header(ref)
    for href in (
        f"file://{tmp_path}/data/B04.tif",
        f"/vsizip/{tmp_path}/a.zip/a.tif",
        f"zip://{tmp_path}/a.zip!/a.tif",
    ):
        stranger = item("a", {"B04": asset(href)}).to_dict(include_self_link=False)
        (tmp_path / "cat/stranger.json").write_text(json.dumps(stranger))
        network = {"allow_network": True, "asked": ["B04"]}
        (place,) = find_one(f"{server}/static/cat/stranger.json", **network).members
        assert place.startswith("file://") or place.startswith(server)  # no file of this machine is opened
    with pytest.raises(ArchiveError, match="cannot be read"):
        find_all(f"{server}/static/none.json", allow_network=True)
    with pytest.raises(ArchiveError, match="user or a password"):
        find_all("https://me:secret@127.0.0.1/catalog.json", allow_network=True)
