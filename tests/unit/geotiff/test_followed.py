"""A raster cannot make GDAL open what nobody asked for: not by its metadata, what lies beside it, or as a VRT."""

from __future__ import annotations

import html
import socket
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
import rasterio
import rasterio.shutil

from hdm_geotiff.reader import GeoTiffReader
from hdm_pipeline.contracts import SceneRef, SupportRequest
from hdm_pipeline.errors import HdmError, SupportError, UnsupportedSceneError
from hdm_pipeline.grid import Window
from tests.unit.geotiff.conftest import WriteTif

PIXELS = np.full((1, 8, 8), 7, np.uint8)
WHOLE = Window.whole(0, (8, 8))
PAM = '<PAMDataset><Metadata domain="OVERVIEWS"><MDI key="OVERVIEW_FILE">{}</MDI></Metadata></PAMDataset>'
WMS = (
    '<GDAL_WMS><Service name="TMS"><ServerUrl>{}/${{z}}.png</ServerUrl></Service><DataWindow><UpperLeftX>0</UpperLeftX>'
    "<UpperLeftY>8</UpperLeftY><LowerRightX>8</LowerRightX><LowerRightY>0</LowerRightY><SizeX>8</SizeX><SizeY>8</SizeY>"
    "<TileLevel>0</TileLevel></DataWindow><Projection>EPSG:4326</Projection><BandsCount>1</BandsCount></GDAL_WMS>"
)
VRT = (
    '<VRTDataset rasterXSize="8" rasterYSize="8">{}<VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
    '<SourceFilename relativeToVRT="1">{}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
)


@pytest.fixture
def address() -> Iterator[str]:
    """Where nobody listens, so that who asks is told at once."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def refused(path: Path | str, match: str, **options: object) -> None:
    with (
        pytest.raises(UnsupportedSceneError, match=match) as caught,
        GeoTiffReader(options).open(SceneRef("a", str(path), "geotiff", "")) as source,
    ):
        source.read(WHOLE, [0])
    assert caught.value.remedy
    assert str(path) in caught.value.where


def pixels_of(path: Path | str, **options: object) -> np.ndarray:
    with GeoTiffReader(options).open(SceneRef("a", str(path), "geotiff", "")) as source:
        return source.read(WHOLE, [0])[0]


@pytest.mark.parametrize("inside", [True, False], ids=["in the file", "in its .aux.xml"])
def test_metadata_that_name_overviews(write_tif: WriteTif, address: str, inside: bool) -> None:
    path = write_tif("a.tif", PIXELS)
    if inside:
        with rasterio.open(path, "r+") as file:
            file.update_tags(ns="OVERVIEWS", OVERVIEW_FILE=f"{address}/o.tif")
    else:
        path.with_name("a.tif.aux.xml").write_text(PAM.format(f"{address}/o.tif"))
    refused(path, "make GDAL open another file as its overviews: http://")
    with pytest.raises(SupportError, match="make GDAL open another file"):
        GeoTiffReader().read_support(SupportRequest(str(write_tif("chip.tif", PIXELS)), str(path), values=(7,)))


@pytest.mark.parametrize("suffix", [".ovr", ".msk", ".MSK"])
@pytest.mark.parametrize("text", [WMS, "\ufeff \n" + VRT, '{{"type": "gdal", "{}": 1}}'], ids=["WMS", "VRT", "JSON"])
def test_sidecars_that_are_no_rasters(write_tif: WriteTif, address: str, suffix: str, text: str) -> None:
    path = write_tif("a.tif", PIXELS)
    path.with_name(f"a.tif{suffix}").write_text(text.format(address, address), encoding="utf-8")
    refused(path, f"a.tif{suffix}.* is no raster but a text")


def test_overviews_of_another_name_and_sidecars_of_sidecars(write_tif: WriteTif, address: str) -> None:
    path = write_tif("a.tif", PIXELS, mask=np.ones((8, 8), bool), sidecar=True)
    assert (pixels_of(path) == 7).all()
    path.with_name("a.tif.msk.aux.xml").write_text(PAM.format(f"{address}/o.tif"))
    refused(path, "make GDAL open another file")
    path.with_name("a.tif.msk.aux.xml").unlink()
    path.with_name("a.ovr").write_text(WMS.format(address))
    refused(path, r"a\.ovr.* is no raster")


def test_sidecars_in_an_archive(write_tif: WriteTif, tmp_path: Path, address: str) -> None:
    path = write_tif("in/a.tif", PIXELS)
    with ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.write(path, "a.tif")
        packed.write(path, "b.tif")
        packed.writestr("b.tif.msk", WMS.format(address))
    assert (pixels_of(f"/vsizip/{tmp_path}/a.zip/a.tif") == 7).all()
    refused(f"/vsizip/{tmp_path}/a.zip/b.tif", "b.tif.msk.* is no raster but a text")


@pytest.mark.parametrize(
    "source",
    [
        "{0}/a.tif",
        "<![CDATA[{0}/a.tif]]>",
        "&#104;ttp{1}/a.tif",
        "/vsicurl/{0}/a.tif.network-is-switched-off",
        "/vsizip//vsis3/bucket/a.zip/a.tif",
        "wms.xml",
        "wms.vrt",
        "INLINE",
        "named.tif",
    ],
)
def test_a_vrt_that_leads_to_a_network(write_tif: WriteTif, tmp_path: Path, address: str, source: str) -> None:
    (tmp_path / "wms.xml").write_text(WMS.format(address))
    (tmp_path / "wms.vrt").write_text(VRT.format("", "wms.xml"))
    write_tif("named.tif", PIXELS).with_name("named.tif.aux.xml").write_text(PAM.format(f"{address}/o.tif"))
    inline = html.escape(WMS.format(address))
    named = inline if source == "INLINE" else source.format(address, address.removeprefix("http"))
    path = tmp_path / "a.vrt"
    path.write_text(VRT.format("", named))
    refused(path, "names what lies on a network, which is switched off", allow_vrt=True)


def test_a_vrt_of_local_rasters_is_read(write_tif: WriteTif, tmp_path: Path) -> None:
    """Also one in another, and one whose texts hold addresses that nothing is opened by."""
    write_tif("a.tif", PIXELS)
    said = '<Metadata><MDI key="SOURCE">http://example.org/a.tif</MDI></Metadata>'
    (tmp_path / "inner.vrt").write_text(VRT.format(said, "a.tif"))
    (tmp_path / "outer.vrt").write_text(VRT.format("", "inner.vrt"))
    for name in ("inner.vrt", "outer.vrt"):
        assert (pixels_of(tmp_path / name, allow_vrt=True) == 7).all()


def test_a_vrt_may_lead_to_a_network_that_is_allowed(tmp_path: Path) -> None:
    path = tmp_path / "a.vrt"
    path.write_text(VRT.format("", "http://127.0.0.1:9/a.tif"))
    with pytest.raises(HdmError) as caught:
        pixels_of(path, allow_vrt=True, allow_network=True)
    assert "switched off" not in caught.value.what
