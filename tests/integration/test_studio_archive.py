"""Scenes of the studio's archive that are damaged, or have names that ids cannot take."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import rasterio

from tests.integration.conftest import Workbench
from tests.studio_server import answer, refusal, running_studio

NAMED = "Müller & Söhne.tif"


@pytest.fixture
def page(bench: Workbench) -> Iterator[httpx.Client]:
    """One scene has no header, one only half of its pixels, and one has umlauts."""
    (bench.scenes / "large.tif").rename(bench.scenes / NAMED)
    cut = bench.scenes / "middle.tif"
    with rasterio.open(cut) as file:
        profile = {**file.profile, "compress": "deflate", "blockysize": 16, "tiled": False}
    with rasterio.open(cut, "w", **profile) as file:
        noise = np.random.default_rng(0).normal(-12, 3, (file.count, file.height, file.width))
        file.write(noise.astype(file.dtypes[0]))
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    (bench.scenes / "small.tif").write_bytes(b"II*\0no TIFF")
    with running_studio(bench.pipeline()) as server, server.browser() as client:
        yield client


def test_a_damaged_scene_is_told_and_its_row_says_so(page: httpx.Client) -> None:
    for path in ("thumbnail.png", "", "image/0/0/0/0.png", "labels/0/0/0/0.png"):
        error = refusal(page.get(f"/api/scenes/small/{path}".rstrip("/")), 422)
        assert error["remedy"]
        assert "small" in error["where"]
    body = {"z": 0, "tool": "point", "value": 1, "points": [[1, 1]]}
    assert refusal(page.post("/api/scenes/small/strokes", json=body), 422)["remedy"]
    half = refusal(page.get("/api/scenes/middle/thumbnail.png"), 422)
    listed = answer(page.get("/api/scenes"))
    assert listed["counts"] == {"new": 1, "unreadable": 2}
    rows = {one["id"]: one for one in listed["scenes"]}
    assert (rows["middle"]["state"], rows["middle"]["error"]) == ("unreadable", half)
    assert rows["small"]["error"]["what"] == error["what"]
    assert answer(page.get("/api/scenes", params={"state": "unreadable"}))["total"] == 2
    assert answer(page.get("/api/plan"))["pending"] == 3  # a run tries them all the same


def test_a_scene_is_found_by_the_name_of_its_file(page: httpx.Client) -> None:
    (found,) = answer(page.get("/api/scenes", params={"text": "müller & s"}))["scenes"]
    assert found["name"] == NAMED
    assert found["id"].startswith("Muller _ Sohne-")
    assert page.get(f"/api/scenes/{found['id']}/thumbnail.png").status_code == 200
    assert answer(page.get(f"/api/scenes/{found['id']}"))["name"] == NAMED
